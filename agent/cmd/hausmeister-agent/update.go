package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	agentupdate "hausmeister/agent/update"
	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/platform/process"
	"hausmeister/proto/manifest"
)

// updater is this machine's.
func (m *machine) updater(ctx context.Context, parent *agentupdate.Parent, sum layout.Sum, means agent.Means, follow func() error, logs *slog.Logger) agent.Updates {
	l, disk := m.layout, layout.Plain()
	dir := l.Update()
	settings, _ := config.ReadSettings(enroll.Dir(l.State())) // the agent says what is wrong with it
	trust := agentupdate.Trust(filepath.Join(dir, "trust"))
	client := fetch.New(fetch.Config{
		Open: means.Open,
		Page: func(ctx context.Context) (net.Conn, string, error) {
			address := means.Address()
			conn, err := m.dialer.DialPage(ctx, address)
			return conn, address, err
		},
		Log: logs,
	})
	return agentupdate.New(agentupdate.Config{
		Parent: parent,
		Device: manifest.Device{
			Product: manifest.ProductAgent, Version: version, OS: m.hardware(ctx).OS, Arch: runtime.GOARCH, Channel: settings.Channel,
		},
		Sum:       sum,
		Root:      manifest.BuiltInRoot(),
		Build:     manifest.BuildTime(),
		Trust:     trust,
		Lock:      trust.Lock,
		Journal:   journal.NewStore(journal.Config{Dir: dir, Disk: disk, Lock: journal.FileLock(dir)}),
		Programs:  l.VersionsOn(disk, layout.AgentName()),
		Parts:     agentupdate.Folder(filepath.Join(dir, "parts")),
		Files:     enroll.Dir(dir),
		Fetch:     client,
		Sink:      means.Sink,
		Policies:  means.Policies,
		Launchers: launchers{train.New(l, layout.Plain()), follow},
		Selftest:  func(ctx context.Context, path string) error { return selftestOf(ctx, path, l.Root) },
		Hindrance: func() agentupdate.Hindrance {
			return agentupdate.Hindrance{Battery: means.BatteryLow(), Metered: means.Metered()}
		},
		Wishes:  wishes(l),
		Trusted: means.Trust,
		Changed: means.Changed,
		Pulse:   means.Pulse,
		Log:     logs,
	})
}

// launchers is this installation's train, of which the service manager is told too.
type launchers struct {
	*train.Train
	follow func() error
}

// Try also changes the service where no link leads to its program.
func (l launchers) Try(from, to string, sum layout.Sum) error {
	if err := l.Train.Try(from, to, sum); err != nil {
		return err
	}
	return l.follow()
}

// Drop tells the service as well.
func (l launchers) Drop(runs string) error { return l.Train.Drop(runs, l.follow) }

// Test asks a launcher for its version: one that cannot even say that is for another
// system, or damaged. One that cannot be started may be in the hands of a scanner.
func (l launchers) Test(ctx context.Context, version string) error {
	c := exec.CommandContext(ctx, l.Path(version), "version")
	c.WaitDelay = time.Second
	var out bounded
	c.Stdout = &out
	err := c.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("%w: %w", agentupdate.ErrSelftest, err)
	}
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(out.String()); got != version {
		return fmt.Errorf("%w: it says that it is %.60q", agentupdate.ErrSelftest, got)
	}
	return nil
}

// maxAnswer bounds what a program may say of itself.
const maxAnswer = 64 << 10

// selftestOf runs a program's test of itself in the folder root. What the program
// says of itself can only keep it away.
func selftestOf(ctx context.Context, path, root string) error {
	c := exec.CommandContext(ctx, path, "selftest", "--dir", root, "--json")
	c.WaitDelay = time.Second
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, journal.EnvLauncher+"=") {
			c.Env = append(c.Env, v)
		}
	}
	var out bounded
	c.Stdout = &out
	err := c.Run()
	var t tested
	var exit *exec.ExitError
	switch {
	case process.NoProgram(path, err): // it never will be one here; its copy was looked at, and is as it was signed
		return fmt.Errorf("%w: %w", agentupdate.ErrSelftest, err)
	case err != nil && !errors.As(err, &exit) && ctx.Err() == nil:
		return fmt.Errorf("starting the new program's test: %w", err) // a scanner holds it, say: no word of the program
	case err != nil:
		return fmt.Errorf("%w: %w: %.300s", agentupdate.ErrSelftest, err, out.Bytes())
	}
	if err := json.Unmarshal(out.Bytes(), &t); err != nil {
		return fmt.Errorf("%w: %w", agentupdate.ErrSelftest, err)
	}
	if !t.OK {
		return fmt.Errorf("%w: state %.100s", agentupdate.ErrSelftest, t.State)
	}
	return nil
}

// bounded keeps the beginning.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxAnswer - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// wishes is where a file puts an update off; the agent takes it within minutes. It
// needs no rights: three days are all that it can cost.
func wishes(l layout.Layout) agentupdate.WishFolder { return agentupdate.WishFolder(l.Wishes()) }

// update is the verb with its own verbs.
func (p *program) update(ctx context.Context) error {
	what := "status"
	if len(p.rest) > 0 {
		what = p.rest[0]
	}
	switch what {
	case "status":
		return p.updateStatus(ctx)
	case "postpone":
		return p.postpone(ctx)
	}
	return p.misused("update " + what)
}

// updates reads how updates stand, and how the agent is that said so.
func (p *program) updates(ctx context.Context) (agentupdate.Status, shown, error) {
	s, _, err := p.now(ctx)
	if err != nil {
		return agentupdate.Status{}, s, err
	}
	if s.Update == nil { // never enrolled, or an older agent runs
		return agentupdate.Status{}, s, &failure{code: "update_unknown", exit: exitRefused}
	}
	return *s.Update, s, nil
}

// updateShown is what update status prints as JSON.
type updateShown struct {
	agentupdate.Status
	Running string `json:"running_version,omitempty"` // of the agent that said this
	// AgentRuns is null for a user who may not know. Nothing comes while none does.
	AgentRuns *bool `json:"running"`
	// Noted: it is put off, which the agent has not taken up yet.
	Noted bool `json:"wish_noted,omitempty"`
}

func (p *program) updateStatus(ctx context.Context) error {
	u, s, err := p.updates(ctx)
	if err != nil {
		return err
	}
	noted := u.Coming() && wishes(p.layout).Waits(u.Version)
	if p.json {
		return p.print(updateShown{u, s.Version, s.Running, noted})
	}
	w := p.words
	line := func(label string, value string) {
		if value != "" {
			fmt.Fprintf(p.out, "%-*s %s\n", 22, w.text("label."+label), value)
		}
	}
	if s.stopped() {
		p.say("update_stopped")
		line("as_of", w.when(s.AsOf))
	}
	line("version", s.Version)
	line("update", w.update(u))
	if u.Coming() {
		// It goes on under the next lease where this one ends before it may begin.
		if u.Until.After(u.Begins) {
			line("update_until", w.text("update_anew", w.when(u.Until)))
		}
		line("postponable", w.postponable(u, noted, s.stopped()))
	}
	line("previous", u.Previous)
	line("launcher", u.Launcher)
	if u.LauncherNext != "" && u.LauncherNext != u.Launcher {
		line("launcher_coming", w.text("launcher_waits", u.LauncherNext))
	} else {
		line("launcher_next", u.LauncherNext)
	}
	line("launcher_left", u.LauncherLeft)
	line("policy", u.Policy)
	return nil
}

// postponable says how often a coming update may still be put off; with a wish that waits
// nobody knows before the agent took it up.
func (w words) postponable(u agentupdate.Status, noted, stopped bool) string {
	switch {
	case noted:
		return w.text("wish_noted") + " " + w.takesUp(stopped)
	case u.Postponable <= 0:
		return w.text("postponable_none")
	case u.Postponable == 1:
		return w.text("postponable_once")
	}
	return w.text("postponable_times", w.whole(int64(u.Postponable)))
}

// takesUp says when the agent hears of a wish.
func (w words) takesUp(stopped bool) string {
	if stopped {
		return w.text("takes_up_later")
	}
	return w.text("takes_up")
}

// update says in a line how updates stand.
func (w words) update(u agentupdate.Status) string {
	if u.Off != "" {
		return w.text("updates_off." + u.Off)
	}
	text := w.stands(u)
	if !u.Coming() {
		if u.PutOff.After(time.Now()) {
			text += "; " + w.text("update_put_off", w.when(u.PutOff))
		}
		return text
	}
	if u.Waits != "" {
		text += "; " + w.text("wait."+u.Waits)
	}
	if u.Begins.After(time.Now()) {
		text += "; " + w.text("update_begins", w.when(u.Begins))
	}
	return text
}

// stands says where the update is that is under way. Where none is, nobody here knows
// whether there is a newer version: it says no more than how the last one failed.
func (w words) stands(u agentupdate.Status) string {
	text := w.text("update." + u.State)
	switch {
	case u.Failed != "" && u.State == journal.RolledBack.String():
		return w.text("update_undone", u.Failed, w.text("why."+u.Why))
	case u.Failed != "":
		return text + "; " + w.text("update_failed", u.Failed, w.text("why."+u.Why))
	case u.State == journal.Offered.String() && u.Waits == "" && !u.Begins.After(time.Now()):
		text = w.text("update_fetching")
	}
	if u.Version != "" {
		text = w.text("update_to", u.Version, text)
	}
	return text
}

// postponed is what postpone prints as JSON. How often it may be put off after this is
// for the status to say: the agent takes the wish up at its next look, and what the
// status says until then may be of before an earlier wish.
type postponed struct {
	Version string `json:"version"`
	// Noted: the agent has not taken up an earlier wish yet; both are one.
	Noted bool `json:"noted,omitempty"`
	// AgentRuns is null for a user who may not know. It is taken up once one does.
	AgentRuns *bool `json:"running"`
}

// postpone puts a coming update off for a day.
func (p *program) postpone(ctx context.Context) error {
	u, s, err := p.updates(ctx)
	switch {
	case err != nil:
		return err
	case u.Off == "" && u.TooLate():
		return &failure{code: "update_too_late", args: []any{u.Version}, exit: exitRefused}
	case u.Off != "" || !u.Coming():
		return &failure{code: "update_none", exit: exitRefused}
	case u.Postponable <= 0:
		return &failure{code: "update_enough", exit: exitRefused}
	}
	err = wishes(p.layout).Make(u.Version)
	noted := errors.Is(err, fs.ErrExist)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &failure{code: "update_none", exit: exitRefused, err: err}
	case err != nil && !noted:
		return err
	case p.json:
		return p.print(postponed{u.Version, noted, s.Running})
	case noted:
		p.say("postponed_noted", u.Version)
	default:
		p.say("postponed", u.Version)
	}
	fmt.Fprintln(p.out, p.words.takesUp(s.stopped()))
	p.say("postponed_shown")
	return nil
}
