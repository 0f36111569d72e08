package train_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/testenv/fault"
)

// rig is an installation whose launcher 1.0.0 is used; times are short.
type rig struct {
	*testing.T
	*train.Train
	l layout.Layout
}

var short = train.Times{Patience: 200 * time.Millisecond, Steady: 30 * time.Millisecond, Every: 10 * time.Millisecond}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, l: layout.Layout{Root: filepath.Join(t.TempDir(), "hm")}}
	r.Train = train.New(r.l, layout.Plain())
	r.must(r.l.Create())
	r.put("1.0.0")
	r.must(r.l.PointLauncher(layout.Plain(), "1.0.0"))
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) put(version string) layout.Sum {
	r.Helper()
	text := "launcher " + version
	sum, err := layout.SumOf(strings.NewReader(text))
	r.must(err)
	r.must(r.Put(version, sum, strings.NewReader(text)))
	return sum
}

// onTrial has 1.1.0 put and pointed to.
func (r *rig) onTrial() layout.Sum {
	r.Helper()
	sum := r.put("1.1.0")
	r.must(r.Try("1.0.0", "1.1.0", sum))
	return sum
}

// runs holds the lock as a launcher does that has begun.
func (r *rig) runs(version string) (stop func()) {
	r.Helper()
	lock, err := layout.Lock(r.LockPath())
	r.must(err)
	r.must(r.Began(version, time.Now()))
	return func() { r.must(lock.Close()) }
}

func (r *rig) mends(want train.Outcome, pointer string) {
	r.Helper()
	got, err := r.Mend(r.Context(), short, nil, nil)
	if err != nil || got != want {
		r.Fatalf("Mend = %s, %v, want %s", got, err, want)
	}
	if got == train.Back {
		r.startedAnew(pointer)
	}
	if now, err := r.Current(); err != nil || now != pointer {
		r.Fatalf("after Mend the pointer leads to %s, %v, want %s", now, err, pointer)
	}
}

// startedAnew is what follows on a Back: the service runs the other launcher.
func (r *rig) startedAnew(version string) {
	r.Helper()
	lock, err := layout.Lock(r.LockPath())
	if err == nil {
		defer lock.Close()
	} else if !errors.Is(err, layout.ErrLocked) { // a test has it
		r.Fatal(err)
	}
	r.must(r.Began(version, time.Now()))
	r.must(r.Over(r.Context(), short))
}

// wentBack: the new one is barred, no trial goes on, and it cannot be tried again.
func (r *rig) wentBack(sum layout.Sum) {
	r.Helper()
	if barred, err := r.Barred(sum); err != nil || !barred {
		r.Errorf("Barred = %v, %v", barred, err)
	}
	if _, on, err := r.OnTrial(); err != nil || on {
		r.Errorf("OnTrial = %v, %v", on, err)
	}
	if err := r.Try("1.0.0", "1.1.0", sum); !errors.Is(err, train.ErrBarred) {
		r.Errorf("Try of what failed = %v, want ErrBarred", err)
	}
	if left, err := r.Left(); err != nil || left != "1.1.0" {
		r.Errorf("Left = %q, %v, want the one that failed", left, err)
	}
	r.mends(train.Nothing, "1.0.0")
}

func TestAttack41_NewLauncherDoesNotComeUp(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	r.mends(train.Back, "1.0.0")
	r.wentBack(sum)
}

func TestAttack41_OldLauncherStillRuns(t *testing.T) {
	r := newRig(t)
	stop := r.runs("1.0.0")
	sum := r.onTrial()
	for range 10 { // the next start of the service may be weeks away
		r.mends(train.Waiting, "1.1.0")
	}
	stop()
	r.mends(train.Back, "1.0.0")
	r.wentBack(sum)
}

// TestAttack41_StoppedByHand: that nobody runs while the service is stopped says nothing
// of the launcher that waits for its start, or is on trial.
func TestAttack41_StoppedByHand(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	is := true
	stopped := func() bool { return is }
	for _, began := range []bool{false, true} {
		if began {
			r.runs("1.1.0")()
		}
		for range 5 {
			if got, err := r.Mend(t.Context(), short, nil, stopped); err != nil || got != train.Stopped {
				t.Fatalf("Mend = %s, %v, want %s", got, err, train.Stopped)
			}
		}
	}
	if now, err := r.Current(); err != nil || now != "1.1.0" {
		t.Errorf("the next start takes %s, %v", now, err)
	}
	is = false
	if got, err := r.Mend(t.Context(), short, nil, stopped); err != nil || got != train.Back {
		t.Fatalf("Mend = %s, %v, want %s", got, err, train.Back)
	}
	r.startedAnew("1.0.0")
	r.wentBack(sum)
}

func TestAttack41_NewLauncherProvesItself(t *testing.T) {
	r := newRig(t)
	r.onTrial()
	stop := r.runs("1.1.0")
	defer stop()
	r.mends(train.Waiting, "1.1.0")
	r.must(r.Proved("1.0.0")) // another's word ends no trial
	if _, on, _ := r.OnTrial(); !on {
		t.Fatal("the trial ended by the old launcher's word")
	}
	r.must(r.Proved("1.1.0"))
	r.mends(train.Nothing, "1.1.0")
	if left, err := r.Left(); err != nil || left != "" {
		r.Errorf("Left = %q, %v, and none failed", left, err)
	}
	r.put("1.0.5")
	r.must(r.Prune())
	for version, want := range map[string]bool{"1.0.0": true, "1.1.0": true, "1.0.5": false} {
		if _, err := os.Stat(r.Path(version)); (err == nil) != want {
			t.Errorf("after Prune, launcher %s: %v", version, err)
		}
	}
}

func TestAttack41_NewLauncherRunsWithoutAnyUse(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	stop := r.runs("1.1.0")
	r.mends(train.Waiting, "1.1.0")
	r.mends(train.Waiting, "1.1.0")
	r.mends(train.Back, "1.0.0")
	stop()
	r.wentBack(sum)
}

func TestAttack41_NewLauncherCrashesAgainAndAgain(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	for range 5 {
		r.runs("1.1.0")() // it begins and is gone
	}
	stop := r.runs("1.1.0") // and is just up when somebody looks
	defer stop()
	r.mends(train.Back, "1.0.0")
	if barred, _ := r.Barred(sum); !barred {
		t.Error("it is not barred")
	}
}

func TestAttack41_TakenAwayOrDamaged(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"taken away": os.Remove,
		"damaged":    func(path string) error { return os.WriteFile(path, []byte("launcher 6.6.6"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			sum := r.onTrial()
			r.must(spoil(r.Path("1.1.0")))
			r.mends(train.Back, "1.0.0")
			r.wentBack(sum)
		})
	}
	t.Run("without a trial", func(t *testing.T) {
		r := newRig(t)
		r.put("0.9.0")
		r.must(os.Remove(r.Path("1.0.0")))
		r.mends(train.Back, "0.9.0")
		r.mends(train.Nothing, "0.9.0")
	})
	t.Run("all", func(t *testing.T) {
		r := newRig(t)
		r.must(os.Remove(r.Path("1.0.0")))
		if o, err := r.Mend(t.Context(), short, nil, nil); err == nil || o != train.Nothing {
			t.Errorf("Mend without any launcher = %s, %v", o, err)
		}
	})
}

// TestAttack41_CutAnywhere: what a power cut leaves between any two files.
func TestAttack41_CutAnywhere(t *testing.T) {
	t.Run("trial, no pointer", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		r.must(r.l.PointLauncher(layout.Plain(), "1.0.0"))
		r.must(r.Try("1.0.0", "1.1.0", sum)) // the agent goes on
		if now, _ := r.Current(); now != "1.1.0" {
			t.Errorf("pointer leads to %s", now)
		}
	})
	t.Run("trial, no pointer, and the timer first", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		r.must(r.l.PointLauncher(layout.Plain(), "1.0.0"))
		r.mends(train.Nothing, "1.0.0")
		if barred, _ := r.Barred(sum); barred {
			t.Error("barred, and was never tried")
		}
	})
	t.Run("barred, pointer not back", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		r.must(os.WriteFile(filepath.Join(r.l.Launchers(), "barred"), []byte(sum.String()+"\n"), 0o644))
		stop := r.runs("1.1.0")
		defer stop()
		r.mends(train.Back, "1.0.0")
	})
	t.Run("a trial that is none", func(t *testing.T) {
		r := newRig(t)
		r.must(os.WriteFile(filepath.Join(r.l.Launchers(), "trial"), []byte("{"), 0o644))
		r.mends(train.Nothing, "1.0.0")
		r.onTrial()
		r.mends(train.Back, "1.0.0")
	})
}

// TestAttack41_ServiceNotStartedAnew: the pointer went back, and who had to start the
// service anew could not: the next look has it done again.
func TestAttack41_ServiceNotStartedAnew(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	r.must(r.Over(t.Context(), short)) // which forgets nothing that was not left
	for range 3 {
		if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
			t.Fatalf("Mend = %s, %v, want %s", got, err, train.Back)
		}
		if err := r.Over(t.Context(), short); !errors.Is(err, train.ErrNotSeen) {
			t.Fatalf("Over = %v while no launcher runs, want ErrNotSeen", err)
		}
	}
	r.startedAnew("1.0.0")
	r.wentBack(sum)
}

// TestAttack41_AnotherByHand: somebody points to another launcher while the one on trial
// runs, of no use. The timer leaves that one, and not what was installed by hand, unless
// its program is gone.
func TestAttack41_AnotherByHand(t *testing.T) {
	for name, want := range map[string]string{"there": "1.2.0", "gone": "1.0.0"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			sum := r.onTrial()
			stop := r.runs("1.1.0")
			r.put("1.2.0")
			r.must(r.l.PointLauncher(layout.Plain(), "1.2.0"))
			if name == "gone" {
				r.must(os.Remove(r.Path("1.2.0")))
			}
			followed := 0
			var got train.Outcome
			for got != train.Back && followed < 5 {
				var err error
				got, err = r.Mend(t.Context(), short, func() error { followed++; return nil }, nil)
				r.must(err)
			}
			if now, err := r.Current(); err != nil || now != want || followed != 3 {
				t.Errorf("the service was told %d times, and the next start takes %s, %v; want 3 and %s", followed, now, err, want)
			}
			stop()
			r.startedAnew(want)
			barred, err := r.Barred(sum)
			_, on, err2 := r.OnTrial()
			if err := errors.Join(err, err2); err != nil || !barred || on {
				t.Errorf("the one that failed: barred %v, on trial %v; %v", barred, on, err)
			}
			r.mends(train.Nothing, want)
		})
	}
}

func TestTryRefuses(t *testing.T) {
	r := newRig(t)
	sum := r.put("1.1.0")
	if err := r.Try("0.9.0", "1.1.0", sum); !errors.Is(err, train.ErrNotNow) {
		t.Errorf("Try while another one is pointed to = %v, want ErrNotNow", err)
	}
	if err := r.Try("1.0.0", "1.1.0", layout.Sum{1}); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Try of other bytes = %v, want ErrOtherBytes", err)
	}
	if err := r.Put("1.0.0", sum, strings.NewReader("launcher 1.1.0")); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Put over the one that is used = %v, want ErrOtherBytes", err)
	}
	r.must(r.Try("1.0.0", "1.1.0", sum))
	two := r.put("1.2.0")
	if err := r.Try("1.0.0", "1.2.0", two); !errors.Is(err, train.ErrNotNow) {
		t.Errorf("Try during a trial = %v, want ErrNotNow", err)
	}
}

// TestAttack41_Dropped: one that waits is taken back and may be tried anew; one that runs
// on trial stays there.
func TestAttack41_Dropped(t *testing.T) {
	r := newRig(t)
	r.must(r.Drop("1.0.0", nil)) // of which there is none
	sum := r.onTrial()
	stop := r.runs("1.0.0")
	defer stop()
	if err := r.Drop("1.1.0", nil); !errors.Is(err, train.ErrNotNow) {
		t.Errorf("Drop of the one that runs = %v, want ErrNotNow", err)
	}
	refuses := errors.New("the service manager does not listen")
	if err := r.Drop("1.0.0", func() error { return refuses }); !errors.Is(err, refuses) {
		t.Errorf("Drop = %v, want what the service manager says", err)
	}
	if _, on, err := r.OnTrial(); err != nil || !on {
		t.Errorf("the service manager may still start it, and OnTrial = %v, %v", on, err)
	}
	r.must(r.Drop("1.0.0", nil))
	if _, on, err := r.OnTrial(); err != nil || on {
		t.Errorf("OnTrial = %v, %v", on, err)
	}
	r.mends(train.Nothing, "1.0.0")
	r.must(r.Prune("1.1.0"))
	if whole, err := r.Has("1.1.0", sum); err != nil || !whole {
		t.Errorf("Has = %v, %v, want it kept for the next time", whole, err)
	}
	r.must(r.Try("1.0.0", "1.1.0", sum))
	r.mends(train.Waiting, "1.1.0")
}

// TestAttack41_DropCut: whatever ends it in the middle, the one that waits is on trial as
// long as the next start takes it, and is not once it was dropped.
func TestAttack41_DropCut(t *testing.T) {
	root := t.TempDir()
	l := layout.Layout{Root: root}
	if err := l.Create(); err != nil {
		t.Fatal(err)
	}
	began := fault.NewTree(l.Launchers())
	line := train.New(l, began)
	for _, err := range []error{
		line.Put(older, sumOf(older), strings.NewReader(bytesOf(older))), l.PointLauncher(began, older),
		line.Put(newer, sumOf(newer), strings.NewReader(bytesOf(newer))), line.Try(older, newer, sumOf(newer)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	points := 0
	for _, f := range []fault.Fault{fault.Kill, fault.Fail, fault.Full} {
		for n := 0; ; n++ {
			disk := began.Clone()
			disk.Plan(fault.At(n, f))
			dropped := train.New(l, disk).Drop(older, nil) == nil
			if len(disk.Ops()) <= n {
				break
			}
			points++
			disk.Plan(nil)
			disk.Closed()
			disk.PowerCut(rand.New(rand.NewPCG(uint64(n), uint64(f))))
			line := train.New(l, disk)
			next, err := line.Current()
			trial, on, err2 := line.OnTrial()
			if err != nil || err2 != nil || next != older && !(next == newer && on && trial.To == newer) || dropped && (on || next != older) {
				t.Errorf("%s at %d: dropped %v, the next start takes %s, on trial %v; %v, %v", f, n, dropped, next, on, err, err2)
			}
		}
	}
	if points == 0 {
		t.Error("nothing was cut")
	}
}

// TestAttack41_DropCutTwice: the agent ends when the pointer has changed and that is not
// durable yet, and the power is cut while the timer forgets the trial.
func TestAttack41_DropCutTwice(t *testing.T) {
	l := layout.Layout{Root: t.TempDir()}
	if err := l.Create(); err != nil {
		t.Fatal(err)
	}
	began := fault.NewTree(l.Launchers())
	line := train.New(l, began)
	for _, err := range []error{
		line.Put(older, sumOf(older), strings.NewReader(bytesOf(older))), l.PointLauncher(began, older),
		line.Put(newer, sumOf(newer), strings.NewReader(bytesOf(newer))), line.Try(older, newer, sumOf(newer)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	renamed := false
	began.Plan(func(op fault.Op) fault.Fault {
		renamed = renamed || op.Kind == "rename"
		if renamed && op.Kind == "fsync" {
			return fault.Kill
		}
		return fault.None
	})
	if err := line.Drop(older, nil); !errors.Is(err, fault.ErrDead) {
		t.Fatalf("Drop = %v", err)
	}
	for n := 0; ; n++ {
		ops := 0
		for seed := range uint64(16) {
			disk := began.Clone()
			disk.Closed()
			disk.Plan(fault.At(n, fault.Kill))
			_, _ = train.New(l, disk).Mend(t.Context(), short, nil, nil)
			ops = len(disk.Ops())
			disk.Plan(nil)
			disk.PowerCut(rand.New(rand.NewPCG(uint64(n), seed)))
			line := train.New(l, disk)
			next, err := line.Current()
			_, on, err2 := line.OnTrial()
			if err := errors.Join(err, err2); err != nil || next != older && !on {
				t.Errorf("cut at %d, %d: the next start takes %s, on trial %v; %v", n, seed, next, on, err)
			}
		}
		if ops <= n || t.Failed() {
			break
		}
	}
}

func TestReadTimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "launcher.json")
	if got := train.ReadTimes(path); got != (train.Times{}) {
		t.Errorf("ReadTimes of none = %v", got)
	}
	if err := os.WriteFile(path, []byte(`{"mend_patience": "5s", "mend_steady": "-1s", "mend_every": "x", "again": "1s"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := train.ReadTimes(path); got != (train.Times{Patience: 5 * time.Second}) {
		t.Errorf("ReadTimes = %v", got)
	}
}

// hooked calls before with each change.
type hooked struct {
	layout.Disk
	before func(kind, name string) error
}

func (h hooked) Remove(name string) error {
	if err := h.before("remove", name); err != nil {
		return err
	}
	return h.Disk.Remove(name)
}

func (h hooked) Create(name string, mode fs.FileMode) (layout.File, error) {
	if err := h.before("create", name); err != nil {
		return nil, err
	}
	return h.Disk.Create(name, mode)
}

func (h hooked) Rename(from, to string) error {
	if err := h.before("rename", from); err != nil {
		return err
	}
	return h.Disk.Rename(from, to)
}

func (h hooked) Symlink(to, name string) error {
	if err := h.before("symlink", name); err != nil {
		return err
	}
	return h.Disk.Symlink(to, name)
}

// TestAttack41_MendWhileItIsTried: the timer forgets what was not pointed to, and the agent
// points to it just then: nobody would look after it.
func TestAttack41_MendWhileItIsTried(t *testing.T) {
	r := newRig(t)
	sum := r.put("1.1.0")
	cut := errors.New("ended before it pointed")
	if err := train.New(r.l, hooked{layout.Plain(), func(kind, _ string) error {
		if kind == "symlink" {
			return cut
		}
		return nil
	}}).Try("1.0.0", "1.1.0", sum); !errors.Is(err, cut) {
		t.Fatalf("Try = %v", err)
	}
	tried := false
	_, err := train.New(r.l, hooked{layout.Plain(), func(kind, name string) error {
		if kind == "remove" && filepath.Base(name) == "trial" {
			tried = true
			if err := r.Try("1.0.0", "1.1.0", sum); !errors.Is(err, layout.ErrLocked) {
				t.Errorf("Try meanwhile = %v, want that it waits", err)
			}
		}
		return nil
	}}).Mend(t.Context(), short, nil, nil)
	next, err2 := r.Current()
	_, on, err3 := r.OnTrial()
	if err := errors.Join(err, err2, err3); err != nil || !tried || next != "1.0.0" || on {
		t.Errorf("the next start takes %s, on trial %v; %v", next, on, err)
	}
	r.must(r.Try("1.0.0", "1.1.0", sum))
}
