package journal_test

import (
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/testenv/fault"
)

// unreadable keeps a copy from being read, so often or until it is replaced.
func unreadable(name string, times int) func(fault.Op) fault.Fault {
	return func(op fault.Op) fault.Fault {
		if op.Kind == "rename" && op.Name == name {
			times = 0
		}
		if op.Kind == "open" && op.Name == name && times > 0 {
			times--
			return fault.Fail
		}
		return fault.None
	}
}

// TestAttack40_CopyUnread: a copy that cannot be read is not one that is broken. It is
// tried again, and then the agent waits, so that no commit is written over and nothing
// armed that was withdrawn; the launcher, which must count and go back, goes on from the
// other one.
func TestAttack40_CopyUnread(t *testing.T) {
	const forGood = 1000
	for name, before := range map[string]journal.State{"a": journal.Staged, "b": journal.Armed} { // a has the last
		path := dir + "/journal." + name
		synctest.Test(t, func(t *testing.T) {
			d := fault.NewTree(dir)
			must(t, walk(store(d)))
			image := d.Clone()
			d.Plan(unreadable(path, 2))
			if j, err := store(d).Load(); err != nil || j.State != journal.Armed {
				t.Errorf("%s, for a moment: %s, %v", name, j.State, err)
			}
			d.Plan(unreadable(path, 2))
			if j, _, err := store(d).Do(t.Context(), journal.Event{Kind: journal.Tell, Count: 1}); err != nil || j.State != journal.Armed {
				t.Errorf("%s, for a moment, a step: %s, %v", name, j.State, err)
			}
			for _, k := range journal.Kinds {
				d := image.Clone()
				d.Plan(unreadable(path, forGood))
				if j, err := store(d).Load(); !errors.Is(err, journal.ErrUnread) || j.State != before {
					t.Errorf("%s: Load = %s, %v; want %s and that it may not be the last", name, j.State, err, before)
				}
				was, _ := store(d).Load()
				next, _, err := store(d).Do(t.Context(), event(k))
				if errors.Is(err, journal.ErrNotNow) {
					continue
				}
				waits := errors.Is(err, journal.ErrUnread)
				if !waits {
					must(t, err)
				}
				left := waits || cmp.Equal(was, next)
				if left { // and nothing was written over
					d.Plan(nil)
				}
				if j, err := store(d).Load(); err != nil || left && j.State != journal.Armed {
					t.Errorf("%s, behind %s: %s, %v", name, k, j.State, err)
				}
				if agents := k >= journal.Offer && k <= journal.Arm || k == journal.Tell; agents != waits {
					t.Errorf("%s: %s was made: %t", name, k, !waits)
				}
			}
		})
	}
}

// TestAttack40_WithdrawnUnreadForAMoment: what the launcher does by the hour changes
// nothing, and writes nothing over a withdrawal that cannot be read for a moment.
func TestAttack40_WithdrawnUnreadForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fault.NewTree(dir)
		s := store(d)
		for _, e := range []journal.Event{
			{Kind: journal.Adopt, Program: v1}, {Kind: journal.Offer, Program: v2, Lease: "L"}, {Kind: journal.Download}, {Kind: journal.Stage},
			{Kind: journal.Withdraw, Lease: "L"}, // a has it
		} {
			_, _, err := s.Do(t.Context(), e)
			must(t, err)
		}
		d.Plan(unreadable(dir+"/journal.a", 4)) // all tries of one look
		if j, _, err := s.Do(t.Context(), journal.Event{Kind: journal.Age, At: 5}); err != nil || j.State != journal.Staged {
			t.Errorf("with the withdrawal unread: %s, %v", j.State, err)
		}
		if j, err := s.Load(); err != nil || j.State != journal.Idle {
			t.Errorf("read again: %s, lease %q, %v", j.State, j.Lease, err)
		}
	})
}

// TestAttack40_CopyGoneForGood: a copy that nobody can read for an hour keeps the agent
// from its steps no longer; one that was read in between begins its hour anew.
func TestAttack40_CopyGoneForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fault.NewTree(dir)
		s := store(d)
		must(t, walk(s))
		step := journal.Event{Kind: journal.Tell, Count: 1}
		waits := func(what string) {
			t.Helper()
			if _, _, err := s.Do(t.Context(), step); !errors.Is(err, journal.ErrUnread) {
				t.Errorf("%s: %v, want that it waits", what, err)
			}
		}
		d.Plan(unreadable(dir+"/journal.a", 1000))
		waits("at first")
		time.Sleep(50 * time.Minute)
		waits("within the hour")
		d.Plan(nil)
		if _, err := s.Load(); err != nil {
			t.Error(err)
		}
		d.Plan(unreadable(dir+"/journal.a", 1000))
		time.Sleep(50 * time.Minute)
		waits("anew")
		time.Sleep(time.Hour)
		if j, err := s.Load(); err != nil || j.State != journal.Staged {
			t.Errorf("after an hour: %s, %v", j.State, err)
		}
		_, _, err := s.Do(t.Context(), step)
		must(t, err)
		if _, err := store(d).Load(); err != nil {
			t.Errorf("its step did not replace the copy: %v", err)
		}
	})
}

// TestAttack40_OnlyCopyUnread: where the only copy there is cannot be read just now there is
// a journal, and none is begun in its place.
func TestAttack40_OnlyCopyUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fault.NewTree(dir)
		adopt := journal.Event{Kind: journal.Adopt, Program: v1}
		_, _, err := store(d).Do(t.Context(), adopt)
		must(t, err)
		adopt.Program = v2
		for _, name := range []string{"a", "b"} {
			if _, there := d.Read(dir + "/journal." + name); !there {
				continue
			}
			d.Plan(unreadable(dir+"/journal."+name, 1000))
			if _, err := store(d).Load(); !errors.Is(err, fault.ErrInjected) {
				t.Errorf("Load = %v", err)
			}
			if _, _, err := store(d).Do(t.Context(), adopt); !errors.Is(err, fault.ErrInjected) {
				t.Errorf("Adopt = %v", err)
			}
		}
		d.Plan(nil)
		if j, err := store(d).Load(); err != nil || j.Good != v1 {
			t.Errorf("read again: good %v, %v", j.Good, err)
		}
	})
}

// TestAttack17_SomebodyElsesCopies: what another user put in their place is no journal, and
// keeps none from being begun.
func TestAttack17_SomebodyElsesCopies(t *testing.T) {
	d := fault.NewTree(dir)
	s := store(foreign{d})
	if _, err := s.Load(); !errors.Is(err, journal.ErrTorn) {
		t.Errorf("Load = %v", err)
	}
	if _, _, err := s.Do(t.Context(), journal.Event{Kind: journal.Adopt, Program: v1}); err != nil {
		t.Errorf("Adopt = %v", err)
	}
	if j, err := store(d).Load(); err != nil || j.Good != v1 {
		t.Errorf("good %v, %v", j.Good, err)
	}
}

// foreign is a disk on which all that is opened is another user's.
type foreign struct{ *fault.Tree }

func (foreign) Open(name string) (layout.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: layout.ErrForeign}
}
