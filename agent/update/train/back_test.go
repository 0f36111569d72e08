package train_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
)

// failing has changes of the disk fail while is says so.
func (r *rig) failing(why error, is func(kind, name string) bool) {
	r.Train = train.New(r.l, hooked{layout.Plain(), func(kind, name string) error {
		if is(kind, name) {
			return &fs.PathError{Op: kind, Path: name, Err: why}
		}
		return nil
	}})
}

// byHand has a person put and point to 1.2.0.
func (r *rig) byHand() {
	r.Helper()
	r.put("1.2.0")
	r.must(r.l.PointLauncher(layout.Plain(), "1.2.0"))
}

// TestAttack41_ByHandDoesNotComeUp: somebody points to a launcher of his own while one is
// on trial, and his does not come up. The one before is started, and the one that was on
// trial is barred only if it had failed itself.
func TestAttack41_ByHandDoesNotComeUp(t *testing.T) {
	t.Run("the other one did nothing wrong", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		r.runs("1.1.0")()
		r.byHand()
		r.mends(train.Back, "1.0.0")
		if barred, err := r.Barred(sum); err != nil || barred {
			t.Errorf("barred %v, %v", barred, err)
		}
		r.mends(train.Nothing, "1.0.0")
		r.must(r.Try("1.0.0", "1.1.0", sum))
	})
	t.Run("the other one was never started", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		r.byHand()
		r.mends(train.Back, "1.0.0")
		if barred, err := r.Barred(sum); err != nil || barred {
			t.Errorf("barred %v, %v", barred, err)
		}
	})
	t.Run("it runs for a moment, again and again", func(t *testing.T) {
		r := newRig(t)
		r.onTrial()
		r.byHand()
		end := r.flaps("1.2.0")
		got, err := r.Mend(t.Context(), short, nil, nil)
		end()
		if err != nil || got != train.Back {
			t.Errorf("Mend = %s, %v, want %s", got, err, train.Back)
		}
	})
	t.Run("it does come up", func(t *testing.T) {
		r := newRig(t)
		r.onTrial()
		r.byHand()
		defer r.runs("1.2.0")()
		r.mends(train.Nothing, "1.2.0")
	})
	t.Run("the trial cannot be forgotten just then", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		r.runs("1.1.0")()
		r.byHand()
		held := true
		r.failing(syscall.EACCES, func(kind, name string) bool { return held && kind == "remove" && filepath.Base(name) == "trial" })
		if got, err := r.Mend(t.Context(), short, nil, nil); err == nil {
			t.Errorf("Mend = %s, and the trial goes on", got)
		}
		held = false
		r.mends(train.Nothing, "1.0.0")
		if barred, err := r.Barred(sum); err != nil || barred {
			t.Errorf("barred %v, %v", barred, err)
		}
	})
	t.Run("the other one had failed", func(t *testing.T) {
		r := newRig(t)
		sum := r.onTrial()
		if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
			t.Fatalf("Mend = %s, %v", got, err)
		}
		r.byHand()
		if err := r.Over(t.Context(), short); !errors.Is(err, train.ErrNotSeen) {
			t.Fatalf("Over = %v while nobody runs", err)
		}
		r.mends(train.Back, "1.0.0")
		r.wentBack(sum)
	})
}

// flaps has a launcher begin and end again until end is called.
func (r *rig) flaps(version string) (end func()) {
	stop := make(chan bool)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			lock, err := layout.Lock(r.LockPath())
			if err == nil {
				_ = r.Began(version, time.Now())
				time.Sleep(15 * time.Millisecond)
				lock.Close()
			}
			select {
			case <-stop:
				return
			case <-time.After(25 * time.Millisecond):
			}
		}
	})
	return func() { close(stop); all.Wait() }
}

// TestAttack41_BeginsOnAFullDisk: a launcher whose first start comes once the disk is full
// cannot write who it is, and is not taken for the old one.
func TestAttack41_BeginsOnAFullDisk(t *testing.T) {
	full := func(r *rig) { r.failing(syscall.ENOSPC, func(kind, _ string) bool { return kind == "create" }) }
	t.Run("and ends again and again", func(t *testing.T) {
		r := newRig(t)
		r.onTrial()
		full(r)
		end := r.flaps("1.1.0")
		got, err := r.Mend(t.Context(), short, nil, nil)
		end()
		if now, _ := r.Current(); err != nil || got != train.Back || now != "1.0.0" {
			t.Errorf("Mend = %s, %v, and the next start takes %s", got, err, now)
		}
	})
	t.Run("and runs; or it is the old one", func(t *testing.T) {
		r := newRig(t)
		r.onTrial()
		full(r)
		lock, err := layout.Lock(r.LockPath())
		r.must(err)
		defer lock.Close()
		_ = r.Began("1.1.0", time.Now())
		for range 5 {
			r.mends(train.Waiting, "1.1.0")
		}
	})
}

// TestAttack41_UnreadForAMoment: the old launcher runs, and one look meets a program or a
// pointer that cannot be read. That leaves nobody.
func TestAttack41_UnreadForAMoment(t *testing.T) {
	for _, file := range []string{"hausmeister-launcher", "current"} {
		r := newRig(t)
		sum := r.onTrial()
		defer r.runs("1.0.0")()
		r.Train = train.New(r.l, unread{layout.Plain(), file})
		if got, err := r.Mend(t.Context(), short, nil, nil); got == train.Back || file == "current" && err == nil {
			t.Errorf("%s: Mend = %s, %v", file, got, err)
		}
		r.Train = train.New(r.l, layout.Plain())
		if barred, err := r.Barred(sum); err != nil || barred {
			t.Errorf("%s: barred %v, %v", file, barred, err)
		}
		r.mends(train.Waiting, "1.1.0")
	}
}

// unread is a disk on which files of one name cannot be read.
type unread struct {
	layout.Disk
	name string
}

func (u unread) Open(name string) (layout.File, error) {
	if filepath.Base(name) == u.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
	}
	return u.Disk.Open(name)
}

func (u unread) Readlink(name string) (string, error) {
	if filepath.Base(name) == u.name {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: syscall.EIO}
	}
	return u.Disk.Readlink(name)
}

// TestAttack41_LastOneStays: on a full disk a launcher that failed makes room for its bar,
// but not where no other is there: one that may come up is better than none.
func TestAttack41_LastOneStays(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	r.must(os.Remove(r.Path("1.0.0")))
	full := true
	r.failing(syscall.ENOSPC, func(kind, _ string) bool { return kind == "create" && full })
	for range 3 {
		if got, err := r.Mend(t.Context(), short, nil, nil); err == nil {
			t.Fatalf("Mend = %s, and there is nothing to go back to", got)
		}
	}
	if got, err := layout.SumFile(layout.Plain(), r.Path("1.1.0")); err != nil || got != sum {
		t.Errorf("the last launcher: %v, %v", got, err)
	}
	if now, err := r.Current(); err != nil || now != "1.1.0" {
		t.Errorf("the next start takes %s, %v", now, err)
	}
	full = false
	r.put("0.9.0") // somebody brings one, and then there is no room for the bar
	full = true
	if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
		t.Fatalf("Mend = %s, %v, want %s", got, err, train.Back)
	}
	if now, err := r.Current(); err != nil || now != "0.9.0" {
		t.Errorf("the next start takes %s, %v", now, err)
	}
	full = false
	r.startedAnew("0.9.0")
	r.mends(train.Nothing, "0.9.0")
	if barred, err := r.Barred(sum); err != nil || !barred {
		t.Errorf("barred %v, %v", barred, err)
	}
}

// TestAttack41_ReadOnly: the launcher that was gone back to runs, and the disk takes no
// more changes. Nobody starts it anew each half hour for that.
func TestAttack41_ReadOnly(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
		t.Fatalf("Mend = %s, %v", got, err)
	}
	stop := r.runs("1.0.0")
	readOnly := true
	r.failing(syscall.EROFS, func(string, string) bool { return readOnly })
	for range 2 {
		if got, err := r.Mend(t.Context(), short, nil, nil); err == nil || got == train.Back {
			t.Errorf("Mend = %s, %v", got, err)
		}
	}
	readOnly = false
	r.mends(train.Nothing, "1.0.0")
	stop()
	r.wentBack(sum)
}

// TestAttack41_BarsBeforeItIsDropped: a launcher was left on a full disk, and an agent
// comes once there is room and before the timer's next look. It is not tried again.
func TestAttack41_BarsBeforeItIsDropped(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	full := true
	r.failing(syscall.ENOSPC, func(kind, _ string) bool { return kind == "create" && full })
	if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
		t.Fatalf("Mend = %s, %v", got, err)
	}
	full = false
	r.must(r.Drop("1.0.0", nil))
	r.wentBack(sum)
}

// TestAttack41_WhoIsBetterThanNone: the launcher that is used is gone. First comes the one
// that did its work before, last what failed here.
func TestAttack41_WhoIsBetterThanNone(t *testing.T) {
	r := newRig(t)
	failed := r.onTrial()
	r.mends(train.Back, "1.0.0")
	r.put("0.8.0")
	r.put("0.9.0")
	r.must(layout.WriteFile(filepath.Join(r.l.Launchers(), "previous"), []byte("0.8.0\n"), 0o644))
	for _, want := range []string{"0.8.0", "0.9.0", "1.1.0"} {
		now, err := r.Current()
		r.must(err)
		r.must(os.Remove(r.Path(now)))
		r.mends(train.Back, want)
	}
	if barred, err := r.Barred(failed); err != nil || !barred {
		t.Errorf("barred %v, %v", barred, err)
	}
}
