package train_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update/train"
	"hausmeister/platform/layout"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

// TestAttack41_BackOnAFullDisk: somebody filled the disk while the launcher was on trial,
// and it is of no use. Its program makes room, if that is not held open; another one is
// started all the same, at once, and only once. The bar follows.
func TestAttack41_BackOnAFullDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		// room: what its program takes is enough; held: that is open, until its process was
		// ended, and cannot be put aside either where also stuck.
		room, held, stuck bool
	}{
		{name: "makes room", room: true},
		{name: "makes too little room"},
		{name: "hangs", room: true, held: true},
		{name: "hangs, and makes too little room", held: true},
		{name: "hangs, and cannot be put aside", room: true, held: true, stuck: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			sum := r.onTrial()
			stop := r.runs("1.1.0")
			r.mends(train.Waiting, "1.1.0")
			r.mends(train.Waiting, "1.1.0")
			full, held := true, c.held
			r.Train = train.New(r.l, hooked{layout.Plain(), func(kind, name string) error {
				_, err := os.Stat(name)
				program := err == nil && filepath.Dir(name) == filepath.Dir(r.Path("1.1.0"))
				switch {
				case kind == "create" && full:
					return &fs.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
				case program && held && (kind == "remove" || c.stuck):
					return &fs.PathError{Op: kind, Path: name, Err: syscall.EACCES}
				case program && kind == "remove":
					full = full && !c.room
				}
				return nil
			}})
			if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
				t.Fatalf("Mend = %s, %v, want %s", got, err, train.Back)
			}
			if now, err := r.Current(); err != nil || now != "1.0.0" {
				t.Fatalf("the next start takes %s, %v", now, err)
			}
			stop()
			held = false
			lock, err := layout.Lock(r.LockPath())
			r.must(err)
			defer lock.Close()
			if err := r.Began("1.0.0", time.Now()); err != nil && !layout.IsFull(err) {
				t.Fatal(err)
			}
			if err := r.Over(t.Context(), short); (err == nil) != c.room || err != nil && !layout.IsFull(err) {
				t.Errorf("Over = %v", err)
			}
			for range 3 { // nobody starts the service anew again
				if got, err := r.Mend(t.Context(), short, nil, nil); got == train.Back || c.room && err != nil {
					t.Errorf("the next look: %s, %v", got, err)
				}
			}
			full = false
			r.mends(train.Nothing, "1.0.0")
			r.wentBack(sum)
		})
	}
}

// TestAttack41_BarredUnread: a file of bars that can be neither read nor written keeps
// nobody with a launcher that does not come up. It is barred once that is well again.
func TestAttack41_BarredUnread(t *testing.T) {
	r := newRig(t)
	sum := r.onTrial()
	barred := filepath.Join(r.l.Launchers(), "barred")
	r.must(os.Mkdir(barred, 0o755))
	if got, err := r.Mend(t.Context(), short, nil, nil); err != nil || got != train.Back {
		t.Fatalf("Mend = %s, %v, want %s", got, err, train.Back)
	}
	stop := r.runs("1.0.0")
	if err := r.Over(t.Context(), short); err == nil {
		t.Error("Over = nil, and nothing is barred")
	}
	if err := r.Try("1.0.0", "1.1.0", sum); err == nil {
		t.Error("it was tried again")
	}
	if got, err := r.Mend(t.Context(), short, nil, nil); err == nil || got != train.Waiting {
		t.Errorf("the next look: %s, %v, want %s and why", got, err, train.Waiting)
	}
	r.must(os.Remove(barred))
	r.mends(train.Nothing, "1.0.0")
	stop()
	r.wentBack(sum)
}

// TestAttack41_BackOnAFullDiskCut: the power is cut anywhere on the way back on a full disk,
// also where the program is held open: one look later the launcher is left and barred.
func TestAttack41_BackOnAFullDiskCut(t *testing.T) {
	need.Plain(t)
	root := t.TempDir()
	if err := (layout.Layout{Root: root}).Create(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		begin := newDevice(t, root, fault.NewTree(filepath.Join(root, "launcher")), story{name: "does not come up"})
		for _, err := range []error{
			begin.line.Put(older, sumOf(older), strings.NewReader(bytesOf(older))), begin.l.PointLauncher(begin.disk, older),
			begin.line.Put(newer, sumOf(newer), strings.NewReader(bytesOf(newer))), begin.line.Try(older, newer, sumOf(newer)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		back := 0
		for _, held := range []bool{false, true} {
			for n := 0; ; n++ {
				done := false
				for seed := range uint64(4) {
					d := newDevice(t, root, begin.disk.Clone(), begin.s)
					d.disk.Plan(func(op fault.Op) fault.Fault {
						switch {
						case op.N == n:
							return fault.Kill
						case op.Kind == "create" && strings.HasSuffix(op.Name, ".tmp-new"), // there is room for a link
							held && op.Kind == "unlink" && filepath.Dir(op.Name) == filepath.Dir(d.line.Path(newer)):
							return fault.Fail
						}
						return fault.None
					})
					d.timer()
					what := fmt.Sprintf("held %v, cut at %d, %d", held, n, seed)
					done = len(d.disk.Ops()) <= n
					d.stop()
					d.disk.Plan(nil)
					d.disk.Closed()
					d.disk.PowerCut(rand.New(rand.NewPCG(uint64(n), seed)))
					if d.pointed() == older {
						back++
					}
					d.start()
					d.timer()
					barred, err := d.line.Barred(sumOf(newer))
					_, on, err2 := d.line.OnTrial()
					if err := errors.Join(err, err2); err != nil || d.runs != older || !barred || on {
						t.Errorf("%s: %q runs, barred %v, on trial %v; %v; %v", what, d.runs, barred, on, err, d.disk.Paths())
					}
					d.stop()
				}
				if done || t.Failed() {
					break
				}
			}
		}
		if back == 0 {
			t.Error("the power was never cut once it pointed back")
		}
	})
}
