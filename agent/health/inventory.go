package health

import (
	"bytes"
	"context"
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// A Lister says what is installed; *sysinfo.Reader is one. A Source may be one.
type Lister interface {
	Software(ctx context.Context) ([]sysinfo.Program, error)
}

const (
	// The first list is read some minutes after the start, when the machine has
	// its boot behind it; spread, since a school's devices start together.
	listMin, listMax = 3 * time.Minute, 8 * time.Minute
	listEvery        = 6 * time.Hour
	// listAgain is the wait after a failure.
	listAgain = time.Hour
)

// software is what Run and the one goroutine that reads the list share; guarded
// by Health.mu.
type software struct {
	next     time.Time // when the list is read again
	reading  bool
	count    sysinfo.Opt[int64]
	programs []inventory.Program // not yet seen by the findings
	trouble  string              // why there is no list, as last logged
}

// listDue says whether to read the list now, and that it is being read.
func (h *Health) listDue(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.source.(Lister); !ok || h.software.reading || now.Before(h.software.next) {
		return false
	}
	h.software.reading = true
	return true
}

// listAfter a look, what it brought about is over and the program's pages are left:
// reading a list, which takes seconds, does not come on top of that. Only on mains: on
// battery it belongs to the wake of the look.
const listAfter = leaveAfter + time.Second

// apart waits on mains, so that one work does not come on top of another.
func (h *Health) apart(ctx context.Context, d time.Duration) bool {
	return h.onBattery.Load() || h.sleep(ctx, d)
}

// list reads what is installed and tells it when it is another than was told.
func (h *Health) list(ctx context.Context) {
	wait := listAgain
	defer func() {
		h.mu.Lock()
		h.software.reading, h.software.next = false, time.Now().Add(wait)
		h.mu.Unlock()
		if h.rests && h.apart(ctx, leaveAfter) { // until it was sent; a wake after seconds of work
			h.rest()
		}
	}()
	if h.rests {
		h.apart(ctx, listAfter)
	}
	programs, err := h.source.(Lister).Software(ctx)
	if ctx.Err() != nil {
		return
	}
	var m *hmpb.Inventory
	clean := make([]inventory.Program, len(programs))
	for i, p := range programs {
		clean[i] = inventory.Program{Name: p.Name, Version: p.Version}
	}
	clean = inventory.Clean(clean)
	if err == nil {
		m, err = h.packed(clean)
	}
	h.rest() // at once: nothing else takes as much, and telling it does not come on top
	if h.listTrouble(err); err != nil {
		return
	}
	h.mu.Lock()
	h.software.count, h.software.programs = sysinfo.Some(int64(len(clean))), clean
	h.mu.Unlock()
	if m != nil {
		e := h.entry()
		e.SetInventory(m)
		if _, err := h.sink.Append(ctx, e); err != nil {
			h.log.Warn("list of programs was not stored, will be told again", "error", err)
			return
		}
		if err := h.memory.SetInventoryHash(m.GetHash()); err != nil {
			h.log.Warn("not remembered which list of programs was told", "error", err)
		}
	}
	wait = listEvery
}

// doubtList has the list told again, soon, where the collector may not have it.
// Of another store the memory knows that itself.
func (h *Health) doubtList(w *watch, f Facts) {
	lost := f.SpoolLost > w.lost
	moved := len(w.store) > 0 && len(f.Store) > 0 && !bytes.Equal(f.Store, w.store)
	w.lost = f.SpoolLost
	if len(f.Store) > 0 {
		w.store = bytes.Clone(f.Store)
	}
	if !lost && !moved {
		return
	}
	if lost && h.memory.InventoryHash() != nil {
		if err := h.memory.SetInventoryHash(nil); err != nil {
			h.log.Warn("not remembered that the list of programs is to be told again", "error", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if soon := w.lastRead.Add(listMin + spread(h.random, listMax-listMin)); soon.Before(h.software.next) {
		h.software.next = soon
	}
}

// packed is a clean list's message, nil where it is the one that was told: the
// megabyte that packing takes for a moment would be for nothing.
func (h *Health) packed(clean []inventory.Program) (*hmpb.Inventory, error) {
	hash, err := inventory.Hash(clean)
	if err != nil || bytes.Equal(hash, h.memory.InventoryHash()) {
		return nil, err
	}
	return inventory.Pack(clean)
}

// listTrouble logs why there is no list, once per reason.
func (h *Health) listTrouble(err error) {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	h.mu.Lock()
	same := trouble == h.software.trouble
	h.software.trouble = trouble
	h.mu.Unlock()
	if !same && err != nil {
		h.log.Warn("no list of programs", "error", err)
	}
}
