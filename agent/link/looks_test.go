package link_test

import (
	"slices"
	"testing"
	"time"

	"hausmeister/proto/hmpb"
)

// lookList keeps the ids of what it is told.
type lookList struct {
	w   *world
	ids []string
}

func (l *lookList) Last() (last string) {
	l.w.collector.set(func() {
		if n := len(l.ids); n > 0 {
			last = l.ids[n-1]
		}
	})
	return last
}

func (l *lookList) Take(told []*hmpb.Look) {
	l.w.collector.set(func() {
		for _, m := range told {
			l.ids = append(l.ids, m.GetId())
		}
	})
}

func (w *world) tellLooks(ids ...string) {
	w.Helper()
	var looks []*hmpb.Look
	for _, id := range ids {
		looks = append(looks, hmpb.Look_builder{Id: &id}.Build())
	}
	if err := w.collector.down.WriteMsg(hmpb.ControlDown_builder{Looks: hmpb.Looks_builder{Looks: looks}.Build()}.Build()); err != nil {
		w.Fatal(err)
	}
}

// TestLooksArePassedOn: what the collector tells is taken, and the next Hello
// says what is kept.
func TestLooksArePassedOn(t *testing.T) {
	in(t, func(w *world) {
		list := &lookList{w: w}
		w.config.Looks = list
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		w.tellLooks("a", "b")
		w.tellLooks("c")
		time.Sleep(time.Second)
		if got := list.Last(); got != "c" || !slices.Equal(list.ids, []string{"a", "b", "c"}) {
			t.Errorf("taken %v", list.ids)
		}
		w.collector.stop()
		w.collector.start()
		w.until("connected again", time.Minute, w.connected)
		first, last := w.collector.hellos[0], w.collector.hellos[len(w.collector.hellos)-1]
		if !first.HasLastLook() || first.GetLastLook() != "" || last.GetLastLook() != "c" {
			t.Errorf("the Hellos say %q and %q, want none and c", first.GetLastLook(), last.GetLastLook())
		}
	})
}

// TestNoListOfLooks: a device that keeps none says so by saying nothing, and
// passes over what it is told.
func TestNoListOfLooks(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		w.tellLooks("a")
		time.Sleep(time.Minute)
		if !w.connected() || w.collector.hellos[0].HasLastLook() {
			t.Errorf("connected %v, Hello %v", w.connected(), w.collector.hellos[0])
		}
	})
}
