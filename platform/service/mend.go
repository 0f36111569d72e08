package service

import (
	"context"
	"encoding/xml"
	"errors"
	"strings"

	kservice "github.com/kardianos/service"
)

// A service whose own program cannot be started, or hangs, is nobody's to repair: what
// it would repair itself with does not run. So the system runs another command, Mend,
// without the service: by a timer of systemd, a job of launchd, a task of Windows' task
// scheduler, and there also when restarts did not help.

// mendName is the name of the command's own entry.
func mendName(c Config) string { return c.Name + "-mend" }

// MendUnits are the texts of the systemd units that run Mend, for Install and for
// packages. Unlike timers that count from their last run, one that goes by the clock
// also fires when the machine wakes.
func MendUnits(c Config) (service, timer string) {
	var words []string
	for _, w := range c.Mend {
		words = append(words, quote(strings.ReplaceAll(w, "$", "$$")))
	}
	title := escape(c.DisplayName) + ": looks after the service's own program"
	service = `[Unit]
Description=` + title + `

[Service]
Type=oneshot
ExecStart=` + strings.Join(words, " ") + `
TimeoutStartSec=10min
Nice=10
UMask=0077
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX
`
	timer = `[Unit]
Description=` + title + `

[Timer]
OnCalendar=*:00/30
AccuracySec=1min
OnBootSec=5min

[Install]
WantedBy=timers.target
`
	return service, timer
}

// MendTask is the text of the task of Windows' task scheduler that runs Mend, whose
// arguments are given as Windows wants them. Its elements stand in the order in which
// the scheduler writes them itself. StartWhenAvailable: what was slept through is done
// at wake.
func MendTask(c Config, arguments string) string {
	return `<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>` + xmlText(c.DisplayName+": looks after the service's own program") + `</Description>
  </RegistrationInfo>
  <Triggers>
    <BootTrigger>
      <Enabled>true</Enabled>
      <Delay>PT5M</Delay>
    </BootTrigger>
    <TimeTrigger>
      <Repetition>
        <Interval>PT30M</Interval>
        <StopAtDurationEnd>false</StopAtDurationEnd>
      </Repetition>
      <StartBoundary>2026-01-01T00:00:00</StartBoundary>
      <Enabled>true</Enabled>
    </TimeTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>S-1-5-18</UserId>
      <RunLevel>HighestAvailable</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <AllowHardTerminate>true</AllowHardTerminate>
    <StartWhenAvailable>true</StartWhenAvailable>
    <Enabled>true</Enabled>
    <Hidden>false</Hidden>
    <WakeToRun>false</WakeToRun>
    <ExecutionTimeLimit>PT10M</ExecutionTimeLimit>
    <Priority>8</Priority>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>` + xmlText(c.Mend[0]) + `</Command>
      <Arguments>` + xmlText(arguments) + `</Arguments>
    </Exec>
  </Actions>
</Task>
`
}

// MendJob is the text of the launchd job that runs Mend at each start of the machine
// and every half hour.
func MendJob(c Config) string {
	var words strings.Builder
	for _, w := range c.Mend {
		words.WriteString("\t\t<string>" + xmlText(w) + "</string>\n")
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + xmlText(mendName(c)) + `</string>
	<key>ProgramArguments</key>
	<array>
` + words.String() + `	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>StartInterval</key>
	<integer>1800</integer>
</dict>
</plist>
`
}

func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes all
	return b.String()
}

// Revive starts the service anew, also one that hangs. Where the service manager can
// tell a service that somebody stopped from one that failed, the former stays so.
func (s *Service) Revive(ctx context.Context) error {
	status, err := s.Status(ctx)
	if err != nil || status == NotInstalled {
		return err
	}
	if is, err := s.StoppedByHand(ctx); err != nil || is {
		return err
	}
	// Not Stop, which goes by the status: what is between two starts counts as stopped, and
	// launchd would not load it again.
	if err := s.call(ctx, "stopping", func(m kservice.Service) error { return stop(m, s.config) }); err != nil {
		// It does not listen. Where the manager does not end such a one, we do.
		if err2 := s.call(ctx, "ending", func(kservice.Service) error { return end(s.config) }); err2 != nil {
			return errors.Join(err, err2)
		}
	}
	return s.Start(ctx)
}

// StoppedByHand says whether somebody stopped the service, who may want it to stay so. No
// is also said where the service manager cannot tell that from a service that failed.
func (s *Service) StoppedByHand(ctx context.Context) (bool, error) {
	status, err := s.Status(ctx)
	if err != nil || status != Stopped {
		return false, err
	}
	var is bool
	if err := s.call(ctx, "asking for", func(kservice.Service) (err error) { is, err = kept(s.config); return err }); err != nil {
		return false, err // and not is: a call that was given up may still write it
	}
	return !is, nil
}

// Rouse starts the service where the service manager gave it up: where none does,
// there is nothing to do. One that somebody stopped stays so.
func (s *Service) Rouse(ctx context.Context) error {
	if !givesUp {
		return nil
	}
	if status, err := s.Status(ctx); err != nil || status != Failing {
		return err
	}
	return s.Start(ctx)
}

// Follow makes the service run this Config's program from its next start on. Where
// that is reached through a link there is nothing to do.
func (s *Service) Follow() error { return follow(s.config) }
