package service

import (
	"context"
	"strings"
)

// A service whose own program cannot be started is nobody's to repair: what it would
// repair itself with does not run. So the service manager runs another command, Mend,
// without the service: where it has timers by a timer, on Windows when restarts did
// not help.

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

// Revive starts the service anew, also one that hangs. Where the service manager can
// tell a service that somebody stopped from one that failed, the former stays so.
func (s *Service) Revive(ctx context.Context) error {
	status, err := s.Status(ctx)
	if err != nil || status == NotInstalled || status == Stopped && stoppedIsAWish {
		return err
	}
	if err := s.Stop(ctx); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Follow makes the service run this Config's program from its next start on. Where
// that is reached through a link there is nothing to do.
func (s *Service) Follow() error { return follow(s.config) }
