package train_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

// The kill matrix of launchers: a change of them, from the agent's first byte until it is
// settled, is ended by SIGKILL, by EIO and by ENOSPC at each of its operations on the
// disk; what is left, also after a power cut, is started again, and that start and its
// repair are cut in their turn, by each of the three. Each time a known launcher is
// started, and in the end the one that is well runs.

// story is how a new launcher does.
type story struct {
	name string
	// comesUp: it begins its work; proves: it does it, too.
	comesUp, proves bool
	// makesRoom: it is dropped once for an agent before its first start, and tried anew.
	makesRoom bool
	// byCommand: no link leads to it, the service manager's command names it.
	byCommand bool
	// after is what happens to it once it is pointed to.
	after func(d *device)
}

var stories = []story{
	{name: "good", comesUp: true, proves: true},
	{name: "does not come up"},
	{name: "makes room, good", comesUp: true, proves: true, makesRoom: true},
	{name: "makes room, does not come up", makesRoom: true},
	{name: "of no use", comesUp: true},
	{name: "by command, good", comesUp: true, proves: true, byCommand: true},
	{name: "by command, makes room, good", comesUp: true, proves: true, makesRoom: true, byCommand: true},
	{name: "by command, makes room, does not come up", makesRoom: true, byCommand: true},
	{name: "by command, makes room, of no use", comesUp: true, makesRoom: true, byCommand: true},
	{name: "taken away", after: func(d *device) { d.disk.Put(d.l.LauncherPath(newer), nil) }},
}

const older, newer = "1.0.0", "1.1.0"

func bytesOf(version string) string { return "launcher " + version }

func sumOf(version string) layout.Sum {
	sum, _ := layout.SumOf(strings.NewReader(bytesOf(version)))
	return sum
}

// device has its disk in memory; only the lock by which is known who runs is a real one.
type device struct {
	*testing.T
	s    story
	l    layout.Layout
	disk *fault.Tree
	line *train.Train
	// the launcher that runs, and which one was started last, though it went down
	lock          *layout.FileLock
	runs, started string
	tried         bool // the new one was pointed to, durably
	dropped       bool // and taken back before it was started
	command       string
}

func newDevice(t *testing.T, root string, disk *fault.Tree, s story) *device {
	l := layout.Layout{Root: root}
	return &device{T: t, s: s, l: l, disk: disk, line: train.New(l, disk), command: older}
}

func (d *device) stop() {
	if d.lock != nil {
		d.lock.Close()
	}
	d.lock, d.runs, d.started = nil, "", ""
}

func (d *device) pointed() string {
	to, _ := d.disk.Read(filepath.Join(d.l.Launchers(), "current"))
	return string(to)
}

// follow is the service manager's, which keeps its command on a disk of its own.
func (d *device) follow() error {
	if d.disk.Dead() {
		return errors.New("nobody is there to follow")
	}
	d.command = d.pointed()
	return nil
}

// start is the service manager's: it runs what the pointer leads to, or its command names.
func (d *device) start() {
	d.stop()
	if d.disk.Dead() {
		return
	}
	to := d.pointed()
	if d.s.byCommand {
		to = d.command
	}
	program, ok := d.disk.Read(d.l.LauncherPath(to))
	if !ok {
		return
	}
	if string(program) != bytesOf(to) {
		d.Errorf("the pointer leads to %s, which holds %q", to, program)
	}
	d.started = to
	if d.started == newer && !d.s.comesUp {
		return
	}
	lock, err := layout.Lock(d.line.LockPath())
	if err != nil {
		d.Fatal(err)
	}
	d.lock, d.runs = lock, d.started
	_ = d.line.Began(d.runs, time.Now()) // it goes on
}

// agent under the old launcher takes the new one, once.
func (d *device) agent() {
	if d.runs != older {
		return
	}
	if barred, err := d.line.Barred(sumOf(newer)); err != nil || barred {
		return
	}
	if d.line.Put(newer, sumOf(newer), strings.NewReader(bytesOf(newer))) != nil || d.line.Try(older, newer, sumOf(newer)) != nil || d.follow() != nil {
		return // at the next look
	}
	if d.s.makesRoom && !d.dropped {
		if d.line.Drop(older, d.follow) == nil {
			d.dropped = true
			if to := d.pointed(); to != older {
				d.Errorf("room was made, and the next start takes %s", to)
			}
		}
		return
	}
	first := !d.tried
	d.tried = true
	if d.s.after != nil && first {
		d.s.after(d)
	}
}

func (d *device) timer() {
	times := train.Times{Patience: 4 * time.Second, Steady: 2 * time.Second, Every: time.Second}
	if o, err := d.line.Mend(d.Context(), times, d.follow, nil); err == nil && o == train.Back {
		_ = d.follow()
		d.start()
		_ = d.line.Over(d.Context(), times)
	}
}

// goesOn through some half hours.
func (d *device) goesOn() {
	for range 6 {
		d.agent()
		d.start() // the machine is switched on anew
		d.timer()
		if d.runs == newer && d.s.proves && d.line.Proved(newer) == nil {
			_ = d.line.Prune()
		}
		if d.disk.Dead() {
			return
		}
	}
}

// ends is that of a process, or of the machine with what its disk had not written.
func (d *device) ends(power bool, a, b int) {
	d.stop()
	d.disk.Plan(nil)
	d.disk.Closed()
	if power {
		d.disk.PowerCut(rand.New(rand.NewPCG(uint64(a), uint64(b))))
	}
}

// comesUp: a known launcher is started, if not at once then after the timer's look.
func (d *device) comesUp() {
	d.start()
	if d.started == "" || d.runs == "" {
		d.timer()
	}
}

// settles is what is true in the end, whatever happened.
func (d *device) settles(what string) {
	d.Helper()
	if barred, err := d.line.Barred(sumOf(newer)); d.tried && d.pointed() == older && !barred {
		d.Errorf("%s: the pointer went back, and the new one is not barred (%v)", what, err)
	}
	d.comesUp()
	if d.started == "" {
		d.Errorf("%s: no launcher was started; %v", what, d.disk.Paths())
		return
	}
	d.goesOn()
	barred, err := d.line.Barred(sumOf(newer))
	_, on, err2 := d.line.OnTrial()
	end := newer
	if barred { // an error of the disk may look like a bad launcher
		end = older
	}
	if err != nil || err2 != nil || on || d.runs != end || !barred && !d.s.proves {
		d.Errorf("%s: in the end %q runs; barred %v, on trial %v, %v, %v; %v", what, d.runs, barred, on, err, err2, d.disk.Paths())
	}
	if n := d.disk.OpenFiles(); n != 0 {
		d.Errorf("%s: %d files left open", what, n)
	}
	d.ends(true, len(what), 0)
	if d.start(); d.runs != end {
		d.Errorf("%s: %q runs after a power cut when all was settled", what, d.runs)
	}
	d.stop()
}

func TestAttack41_KillMatrix(t *testing.T) {
	need.Plain(t)
	long := os.Getenv("HAUSMEISTER_LONG") == "1"
	every := 15 // of the points in repairs; all in make test-long
	if long {
		every = 1
	}
	faults := []fault.Fault{fault.Kill, fault.Fail, fault.Full}
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			root := t.TempDir()
			if err := (layout.Layout{Root: root}).Create(); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				begin := newDevice(t, root, fault.NewTree(filepath.Join(root, "launcher")), s)
				if err := begin.line.Put(older, sumOf(older), strings.NewReader(bytesOf(older))); err != nil {
					t.Fatal(err)
				}
				if err := begin.l.PointLauncher(begin.disk, older); err != nil {
					t.Fatal(err)
				}
				from := func(left *device) *device {
					d := newDevice(t, root, left.disk.Clone(), s)
					d.tried, d.dropped, d.command = left.tried, left.dropped, left.command
					return d
				}
				whole := from(begin)
				whole.disk.Plan(nil)
				whole.start()
				whole.goesOn()
				kinds := map[string]int{}
				for _, op := range whole.disk.Ops() {
					kinds[op.Kind]++
				}
				for _, kind := range []string{"create", "mkdir", "symlink", "write", "rename", "unlink", "fsync", "close"} {
					if kinds[kind] == 0 {
						t.Errorf("a change of launchers has no %s", kind)
					}
				}
				ops := len(whole.disk.Ops())
				if barred, _ := whole.line.Barred(sumOf(newer)); barred == s.proves {
					t.Errorf("barred is %v without any fault", barred)
				}
				whole.settles("no fault")
				points, repairs := 0, 0
				for i, f := range faults {
					for _, power := range []bool{false, true} {
						for n := range ops {
							// After every second fault the power is cut too; after each in make test-long.
							if !long && power != ((n+int(f))%2 == 0) {
								continue
							}
							d := from(begin)
							d.disk.Plan(fault.At(n, f))
							d.start()
							d.goesOn()
							if len(d.disk.Ops()) <= n {
								break
							}
							what := fmt.Sprint(f, " at ", d.disk.Ops()[n], ", power cut ", power)
							d.ends(power, n, int(f))
							points++
							left := from(d)
							d.settles(what)
							for m := (every - n%every) % every; ; m += every {
								// The second fault is of each kind in turn.
								again := faults[(i+(n+m)/every)%len(faults)]
								d := from(left)
								d.disk.Plan(fault.At(m, again))
								d.comesUp()
								done := d.disk.Ops()
								if m >= len(done) {
									d.stop()
									break
								}
								d.ends(power, m, n)
								repairs++
								d.settles(fmt.Sprint(what, ", then ", again, " at ", done[m]))
							}
							if t.Failed() {
								return
							}
						}
					}
				}
				if points == 0 || repairs == 0 {
					t.Errorf("%d points, %d in repairs", points, repairs)
				}
				t.Logf("%d points of fault, %d more in the repair; operations of one change: %v", points, repairs, kinds)
			})
		})
	}
}
