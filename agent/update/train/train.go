// Package train takes a device to a newer launcher. The launcher is the one program
// that nobody watches: it is the service itself. So it has a train of its own, slower
// than the agent's, with other signatures, and never comes with an agent.
//
// A launcher is put beside the others (launcher/<version>/), and only the pointer
// launcher/current changes, whole or not at all; the service manager takes it at the
// next start of the service, at the device's own time. Three who do not depend on
// each other take part, each with files of its own in launcher/:
//
//	agent     trial      from, to and hash, durable before the pointer changes
//	launcher  running    who runs, written at each start
//	          starts     how often the new one was started on trial
//	timer     looks      how often it was seen to run without having proved itself
//	          barred     hashes of launchers that did not come up, for ever
//	          left       version of the last of them, to be told
//
// While a launcher is on trial, waiting for its start or running, no agent is: the look
// at launchers is made by the agent's program. Who arms an agent drops a launcher that
// waits (Drop) and waits for one that runs.
//
// The new launcher ends its trial itself, once an agent was alive under it for as
// long as it watches a new agent. Everything else ends in Mend, which the operating
// system's timer calls through the agent's program (hausmeister-agent mend), so that
// a launcher that cannot even be started is left again: barred, the pointer put back.
//
// What calls Mend, and what is known of it:
//
//	Linux    timer of systemd, every half hour by the clock (so also at wake) and
//	         after a start; the pointer is a link. Tried on a real Debian.
//	Windows  a task of the task scheduler, every half hour, at wake and after a start,
//	         and the service's recovery command, after three restarts; the pointer is
//	         a file, and the service's command is set to what it says. A launcher that
//	         hangs while it starts is no failure for the service manager: the task
//	         leaves it, and ends its process. Tried in Wine, which takes the task and
//	         does not run it, and there not to the end for one that hangs later.
//	macOS    a job of launchd, every half hour and after a start; a link. Compiled only.
//
// Where the service manager has no watchdog, a launcher that does not get on also ends
// itself (platform/service, Guard).
//
// A crash at any moment leaves a trial that Mend or the next launcher ends: the bar
// is durable before the pointer goes back, and the trial is forgotten when another
// launcher was seen to run. Where a full disk takes no bar, the program is taken from its
// place before the pointer goes back, unless it is the last one or held, and the trial
// waits for the bar.
package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/platform/layout"
)

var (
	// ErrBarred: this launcher did not come up here before.
	ErrBarred = errors.New("this launcher is barred")
	// ErrNotNow: a trial goes on, or another launcher runs than is pointed to.
	ErrNotNow = errors.New("no launcher can be tried now")
)

// Trial is a change of launchers that is not settled.
type Trial struct {
	From string     `json:"from"`
	To   string     `json:"to"`
	Sum  layout.Sum `json:"sum"`
}

// Train is the one of an installation.
type Train struct {
	l    layout.Layout
	disk layout.Disk
}

// New makes it; nothing is touched.
func New(l layout.Layout, d layout.Disk) *Train { return &Train{l, d} }

func (t *Train) file(name string) string { return filepath.Join(t.l.Launchers(), name) }

// LockPath is the lock that a launcher holds while it runs.
func (t *Train) LockPath() string { return filepath.Join(t.l.Update(), "launcher.lock") }

// lock is held from a look at trial and pointer until both are changed: agent and timer
// would else each go by what the other one is about to change.
func (t *Train) lock() (*layout.FileLock, error) {
	return layout.Lock(filepath.Join(t.l.Update(), "train.lock"))
}

// Path is where a launcher lies, whether or not it does.
func (t *Train) Path(version string) string { return t.l.LauncherPath(version) }

const maxFile = 64 << 10

// read returns "" for a file that is not there.
func (t *Train) read(name string) (string, error) {
	f, err := t.disk.Open(t.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(b), errors.Join(err, f.Close())
}

func (t *Train) write(name, text string) error {
	return layout.WriteOn(t.disk, t.file(name), []byte(text), 0o644)
}

func (t *Train) remove(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, t.disk.Remove(t.file(name)))
	}
	return errors.Join(append(errs, t.disk.SyncDir(t.l.Launchers()))...)
}

// OnTrial is the change that is not settled. A file that is none is no trial: it was
// written whole or not at all, so that somebody else made it.
func (t *Train) OnTrial() (trial Trial, ok bool, err error) {
	text, err := t.read("trial")
	if err != nil || text == "" {
		return Trial{}, false, err
	}
	if json.Unmarshal([]byte(text), &trial) != nil || layout.CheckVersion(trial.From) != nil || layout.CheckVersion(trial.To) != nil {
		return Trial{}, false, nil
	}
	return trial, true, nil
}

// Current is the launcher that the next start of the service takes.
func (t *Train) Current() (string, error) { return t.l.LauncherVersion(t.disk) }

// Barred says whether these bytes failed here before.
func (t *Train) Barred(sum layout.Sum) (bool, error) {
	text, err := t.read("barred")
	return slices.Contains(strings.Fields(text), sum.String()), err
}

// Left is the version of the last launcher that did not come up here; "" = all did. It
// is for people to know, and decides nothing.
func (t *Train) Left() (string, error) {
	text, err := t.read("left")
	if version := strings.TrimSpace(text); layout.CheckVersion(version) == nil {
		return version, err
	}
	return "", err
}

// maxBarred are remembered; the oldest is forgotten.
const maxBarred = 32

// Bar keeps these bytes away from here for ever.
func (t *Train) Bar(sum layout.Sum) error {
	text, err := t.read("barred")
	sums := strings.Fields(text)
	if err != nil || slices.Contains(sums, sum.String()) {
		return err
	}
	sums = append(sums, sum.String())
	return t.write("barred", strings.Join(sums[max(0, len(sums)-maxBarred):], "\n")+"\n")
}

// Has says whether a launcher is here, whole. With ErrOtherBytes it never will be: others
// of this version are, and somebody may need them.
func (t *Train) Has(version string, sum layout.Sum) (bool, error) {
	if got, err := layout.SumFile(t.disk, t.Path(version)); err == nil && got == sum {
		return true, nil
	}
	used, err := t.used()
	if err == nil && slices.Contains(used, version) {
		err = fmt.Errorf("launcher %s: %w", version, layout.ErrOtherBytes)
	}
	return false, err
}

// Put keeps a launcher beside the others. One that is pointed to or runs is never
// written over.
func (t *Train) Put(version string, sum layout.Sum, r io.Reader) error {
	whole, err := t.Has(version, sum)
	if err != nil || whole {
		return err
	}
	return t.l.PutLauncher(t.disk, version, sum, r)
}

// used are the launchers that somebody may need.
func (t *Train) used() ([]string, error) {
	current, err := t.Current()
	if errors.Is(err, fs.ErrNotExist) { // the first one has no pointer yet
		err = nil
	}
	trial, _, err2 := t.OnTrial()
	running, err3 := t.running()
	previous, err4 := t.read("previous")
	return []string{current, trial.From, trial.To, running.version, strings.TrimSpace(previous)}, errors.Join(err, err2, err3, err4)
}

// Try makes a launcher that was put the one of the next start, on trial. from is the
// one that runs.
func (t *Train) Try(from, to string, sum layout.Sum) error {
	if barred, err := t.Barred(sum); err != nil || barred {
		return errors.Join(err, ErrBarred)
	}
	lock, err := t.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	current, err := t.Current()
	if err != nil {
		return err
	}
	trial, on, err := t.OnTrial()
	switch {
	case err != nil:
		return err
	case on && trial == (Trial{from, to, sum}): // a crash came before the pointer
	case on, current != from:
		return fmt.Errorf("%w: %s runs, %s is next", ErrNotNow, from, current)
	}
	if got, err := layout.SumFile(t.disk, t.Path(to)); err != nil || got != sum {
		return errors.Join(err, fmt.Errorf("launcher %s: %w", to, layout.ErrOtherBytes))
	}
	// Whole, but who put it may have been ended before it was durable.
	if err := errors.Join(t.disk.SyncDir(filepath.Dir(t.Path(to))), t.disk.SyncDir(t.l.Launchers())); err != nil {
		return err
	}
	text, err := json.Marshal(Trial{from, to, sum})
	if err != nil {
		return err
	}
	if err := t.remove("starts", "looks"); err != nil {
		return err
	}
	if err := t.write("trial", string(text)); err != nil {
		return err
	}
	return t.l.PointLauncher(t.disk, to)
}

// Drop takes back a launcher that was not started yet: the pointer leads to the one that
// runs again, and the other may be tried anew. Whom the service manager's command needs is
// told in between (follow, nil = it needs nobody), since whatever is started before the end
// must be on trial.
func (t *Train) Drop(runs string, follow func() error) error {
	lock, err := t.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	trial, on, err := t.OnTrial()
	if err != nil || !on {
		return err
	}
	if trial.To == runs {
		return fmt.Errorf("%w: %s runs on trial", ErrNotNow, runs)
	}
	// It was left, and waits for its bar. Where that still cannot be written no agent
	// waits for it: such a launcher is tried once more.
	if errors.Is(t.opens(trial.To), fs.ErrNotExist) {
		_ = t.note(trial)
	}
	if err := t.l.PointLauncher(t.disk, runs); err != nil {
		return err
	}
	if follow != nil {
		if err := follow(); err != nil {
			return err
		}
	}
	return t.remove("trial", "starts", "looks")
}

// run is one start of a launcher.
type run struct {
	version string
	id      string // another at each start
}

func (t *Train) running() (run, error) {
	text, err := t.read("running")
	version, id, _ := strings.Cut(strings.TrimSpace(text), " ")
	if layout.CheckVersion(version) != nil {
		return run{}, err
	}
	return run{version, id}, err
}

// Began is the launcher's first word, when it holds the lock. What cannot be written
// must not keep it from its work.
func (t *Train) Began(version string, now time.Time) error {
	err := t.write("running", fmt.Sprintf("%s %d.%d\n", version, os.Getpid(), now.UnixNano()))
	if err != nil {
		err = errors.Join(err, t.remove("running")) // or the one before would seem to run
	}
	trial, on, err2 := t.OnTrial()
	if !on || trial.To != version {
		return errors.Join(err, err2)
	}
	n, err3 := t.count("starts")
	return errors.Join(err, err2, err3, t.write("starts", strconv.Itoa(n+1)+"\n"))
}

func (t *Train) count(name string) (int, error) {
	text, err := t.read(name)
	n, _ := strconv.Atoi(strings.TrimSpace(text)) // what is no number counts from the start
	return n, err
}

// Proved ends the trial of the launcher that says so: it does its work.
func (t *Train) Proved(version string) error {
	trial, on, err := t.OnTrial()
	if err != nil || !on || trial.To != version {
		return err
	}
	if err := t.write("previous", trial.From+"\n"); err != nil {
		return err
	}
	return t.remove("trial", "starts", "looks")
}

// Prune removes the launchers that nobody needs: not the one of the next start, the
// one that runs, those of a trial, the one before, and these.
func (t *Train) Prune(these ...string) error {
	keep, err := t.used()
	if err != nil {
		return err
	}
	keep = append(keep, these...)
	all, err := t.there()
	if err != nil {
		return err
	}
	var errs []error
	for _, version := range all {
		if !slices.Contains(keep, version) {
			errs = append(errs, t.removeAll(filepath.Dir(t.Path(version))))
		}
	}
	return errors.Join(errs...)
}

// removeAll removes a folder of files.
func (t *Train) removeAll(dir string) error {
	names, err := t.disk.Names(dir)
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, t.disk.Remove(filepath.Join(dir, name)))
	}
	return errors.Join(append(errs, t.disk.Remove(dir))...)
}

// there are the launchers that are here, oldest first.
func (t *Train) there() ([]string, error) {
	names, err := t.disk.Names(t.l.Launchers())
	var out []string
	for _, name := range names {
		if layout.CheckVersion(name) == nil {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, layout.CompareVersions)
	return out, err
}
