package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

var petra = access.Caller{Kind: access.KindUser, ID: "u1", Name: "petra", Role: access.RoleSupport}

func (d *device) looked(reason string) health.Look {
	d.t.Helper()
	l, err := d.w.health.OpenLook(d.t.Context(), petra, d.id, reason)
	if err != nil {
		d.t.Fatal(err)
	}
	return l
}

// keeping is a Hello of an agent that keeps a list of looks.
func (d *device) keeping(last string) *hmpb.Hello {
	h := d.hello()
	h.SetLastLook(last)
	return h
}

// welcomed opens a session with a Hello of its own.
func (d *device) welcomed(transport string, hello *hmpb.Hello) (wire.Session, *wire.Framed) {
	d.t.Helper()
	s, control, down, err := d.open(transport, hello)
	if err != nil || down.WhichKind() != hmpb.ControlDown_Welcome_case {
		d.t.Fatalf("saying hello by %s = %v, %v, want a Welcome", transport, down, err)
	}
	return s, control
}

func next(t *testing.T, control *wire.Framed) *hmpb.ControlDown {
	t.Helper()
	down := &hmpb.ControlDown{}
	control.SetReadDeadline(time.Now().Add(20 * time.Second))
	if err := control.ReadMsg(down); err != nil {
		t.Fatalf("reading the control stream: %v", err)
	}
	return down
}

// pong fails unless the answer to a Ping is what comes next.
func pong(t *testing.T, control *wire.Framed, when string) {
	t.Helper()
	if err := control.WriteMsg(hmpb.ControlUp_builder{Ping: hmpb.Ping_builder{Id: new(uint64(7))}.Build()}.Build()); err != nil {
		t.Fatal(err)
	}
	if down := next(t, control); down.WhichKind() != hmpb.ControlDown_Pong_case {
		t.Errorf("%s comes %v, want nothing but the Pong", when, down)
	}
}

func wantLooks(t *testing.T, down *hmpb.ControlDown, want ...health.Look) {
	t.Helper()
	var text, told []string
	for _, l := range want {
		text = append(text, fmt.Sprint(l.ID, l.Name, l.Role, l.Reason, l.Opened.UnixMilli(), l.Until.UnixMilli()))
	}
	for _, l := range down.GetLooks().GetLooks() {
		told = append(told, fmt.Sprint(l.GetId(), l.GetName(), l.GetRole(), l.GetReason(), l.GetOpenedMs(), l.GetUntilMs()))
	}
	if fmt.Sprint(text) != fmt.Sprint(told) {
		t.Errorf("told %v, want looks %v", down, text)
	}
}

// TestDeviceIsToldWhoLooked: at once when it is there, with its next session when
// it was off, and never what it has; and before it is asked for anything.
func TestDeviceIsToldWhoLooked(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, nil)
		both(t, func(t *testing.T, transport string) {
			dev := w.enrol(t, transport, "DEMO-"+transport)
			off := dev.looked("ticket 17")
			w.later(20 * time.Minute)
			s, control := dev.welcomed(transport, dev.keeping(""))
			wantLooks(t, next(t, control), off)
			there := dev.looked("ticket 18")
			wantLooks(t, next(t, control), there)
			if down := next(t, control); !down.GetWatch().GetFlush() {
				t.Errorf("after the look comes %v, want the Watch", down)
			}
			pong(t, control, "when all is told")
			s.Close(hmpb.Code_CODE_NORMAL, "")

			s, control = dev.welcomed(transport, dev.keeping(there.ID))
			pong(t, control, "to a device that knows all")
			s.Close(hmpb.Code_CODE_NORMAL, "")
			// It was told, and could not store it.
			s, control = dev.welcomed(transport, dev.keeping(off.ID))
			wantLooks(t, next(t, control), there)
			s.Close(hmpb.Code_CODE_NORMAL, "")
			// An agent from before has no list, and is told nothing that it cannot keep.
			s, control = dev.welcomed(transport, dev.hello())
			pong(t, control, "to an older agent")
			dev.looked("ticket 19")
			if down := next(t, control); !down.GetWatch().GetFlush() {
				t.Errorf("an older agent is told %v, want the Watch alone", down)
			}
			s.Close(hmpb.Code_CODE_NORMAL, "")
		})
	})
}

// TestManyLooks: a device that was off for long is told all, in frames within
// their limit, and its session lives.
func TestManyLooks(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	dev := w.enrol(t, "quic", "DEMO000001")
	long := make([]byte, health.MaxReason)
	for i := range long {
		long[i] = 'x'
	}
	const looks = 70
	for range looks {
		dev.looked(string(long))
		w.later(time.Minute)
	}
	_, control := dev.welcomed("quic", dev.keeping(""))
	last, got := int64(0), 0
	for frames := 1; got < looks; frames++ {
		told := next(t, control).GetLooks().GetLooks()
		if len(told) == 0 || len(told) > 32 || frames > 3 {
			t.Fatalf("%d looks in frame %d", len(told), frames)
		}
		for _, l := range told {
			if l.GetOpenedMs() <= last || l.GetReason() != string(long) {
				t.Fatalf("look %v after one of %d", l, last)
			}
			last = l.GetOpenedMs()
		}
		got += len(told)
	}
	pong(t, control, "when all is told")
}
