package launcher_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
)

// folders makes what is missing, as the layout's Create does.
func (d *device) folders() error {
	for _, dir := range []string{l.Bin(), l.Update()} {
		if err := d.disk.Mkdir(dir); err != nil {
			return err
		}
	}
	return nil
}

// takeFolder takes a folder away with all that is in it, as rm -rf does.
func (d *device) takeFolder(t *testing.T, dir string) {
	t.Helper()
	for _, path := range d.disk.Paths() {
		if strings.HasPrefix(path, dir+"/") {
			must(t, d.disk.Remove(path))
		}
	}
	must(t, d.disk.Remove(dir))
}

// TestAttack25_FolderTakenAway: a folder that is gone while the launcher runs is made again,
// so that an agent runs and can be updated without a restart of the service.
func TestAttack25_FolderTakenAway(t *testing.T) {
	const at, lost = 90 * time.Minute, 20 * time.Minute
	for _, dir := range []string{l.Bin(), l.Update()} {
		for _, ends := range []bool{true, false} {
			if dir == l.Bin() && !ends {
				continue // nobody misses it
			}
			t.Run(fmt.Sprintf("%s, the agent ends %t", filepath.Base(dir), ends), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newDevice()
					d.folder = d.folders
					d.build[bytesOf(v1.Version)] = func(c *fakeChild) {
						d.build = map[string]func(*fakeChild){}
						c.well(at, "checked ok", "reached", c.heard())
						d.takeFolder(t, dir)
						if !ends {
							for i := 1000; c.tell(fmt.Sprint("alive ", i)) && c.sleep(time.Minute); i++ {
							}
						}
						c.end(1)
					}
					d.runFor(t.Context(), at+time.Hour+lost)
					d.runs(t, v1)
					if want := map[bool]int{true: 2, false: 1}[ends]; len(d.starts) != want {
						t.Errorf("started %v, want %d", d.starts, want)
					}
					if j, err := d.store.Load(); err != nil || j.Good != v1 {
						t.Errorf("good is %v, %v; want %v", j.Good, err, v1)
					}
					must(t, d.arm(v2))
				})
			})
		}
	}
}

// TestAttack17_ForeignFolder: what turns out to be somebody else's while the launcher runs
// is nothing to run a program from; where a folder cannot be made, one goes on as it is.
func TestAttack17_ForeignFolder(t *testing.T) {
	for err, starts := range map[error]int{fmt.Errorf("bin: %w", layout.ErrForeign): 0, &fs.PathError{Op: "mkdir", Err: errors.New("read-only file system")}: 1} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice()
			d.folder = func() error { return err }
			d.runFor(t.Context(), time.Hour)
			if len(d.starts) != starts {
				t.Errorf("%v: started %v, want %d", err, d.starts, starts)
			}
		})
	}
}

// TestAttack26_KeepsTheLock: a bad program that keeps the journal's lock is gone back from;
// one that is not judged yet lives, whoever has the lock.
func TestAttack26_KeepsTheLock(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		why   journal.Reason
	}{
		"unfit":        {[]string{"checked bad no memory"}, journal.Selftest},
		"no collector": {[]string{"checked ok"}, journal.NoCollector},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := armed(t)
				locked := false // the launcher asks while it waits for nothing else
				d.store = journal.NewStore(journal.Config{Dir: l.Update(), Disk: d.disk, Lock: func() (func() error, error) {
					if locked {
						return nil, layout.ErrLocked
					}
					return func() error { return nil }, nil
				}})
				d.probe = func(context.Context, journal.Program) error { return nil }
				rollsBack(t, d, func(child *fakeChild) {
					locked = true
					child.well(1000*time.Hour, c.lines...)
					locked = false // as the system does at its end
				}, c.why, 30*time.Minute)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // of somebody else: a good program stays
		d := newDevice()
		d.runFor(t.Context(), time.Hour)
		d.store = journal.NewStore(journal.Config{Dir: l.Update(), Disk: d.disk, Lock: func() (func() error, error) { return nil, layout.ErrLocked }})
		crashed := false
		d.build[bytesOf(v1.Version)] = func(c *fakeChild) {
			if !crashed {
				crashed = true
				c.end(launcher.ExitSwap + 1)
				return
			}
			c.wellUntilTheEnd()
		}
		d.starts = nil
		d.runFor(t.Context(), 5*time.Hour)
		if len(d.starts) != 2 {
			t.Errorf("started %v, want it once more after its crash", d.starts)
		}
	})
}
