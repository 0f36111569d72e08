package inventory_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

func programs(n int) (out []inventory.Program) {
	for i := range n {
		out = append(out, inventory.Program{Name: fmt.Sprintf("libexample-%04d", i), Version: fmt.Sprintf("1.%d-%d+deb12u1", i%7, i)})
	}
	return out
}

func TestPackUnpack(t *testing.T) {
	for _, n := range []int{0, 1, 2500} {
		m, err := inventory.Pack(programs(n))
		if err != nil {
			t.Fatal(err)
		}
		if hash, err := inventory.Hash(programs(n)); err != nil || !bytes.Equal(hash, m.GetHash()) {
			t.Errorf("Hash of %d programs = %x, %v, want Pack's %x", n, hash, err, m.GetHash())
		}
		got, err := inventory.Unpack(m)
		if err != nil || len(got) != n {
			t.Fatalf("Unpack of %d programs = %d, %v", n, len(got), err)
		}
		if n > 0 && cmp.Diff(programs(n), got) != "" {
			t.Errorf("%d programs changed on the way", n)
		}
		t.Logf("%d programs in %d bytes", n, len(m.GetPacked()))
	}
}

func TestClean(t *testing.T) {
	got := inventory.Clean([]inventory.Program{
		{"b", "2"}, {"a", ""}, {"", "1"}, {"b", "1"}, {"b", "2"}, {"evil\x1b[31m", "1"}, {"long", strings.Repeat("x", 200)}, {"\u202eoverride", "1"},
	})
	if d := cmp.Diff([]inventory.Program{{"a", ""}, {"b", "1"}, {"b", "2"}}, got); d != "" {
		t.Errorf("Clean (-want +got):\n%s", d)
	}
}

func TestUnpackRefuses(t *testing.T) {
	pack := func(list ...inventory.Program) *hmpb.Inventory {
		m, err := inventory.Pack(list)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	bomb, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*hmpb.Inventory{
		"nothing":       {},
		"no zstd":       hmpb.Inventory_builder{Packed: []byte("hello")}.Build(),
		"unsorted":      pack(inventory.Program{Name: "b"}, inventory.Program{Name: "a"}),
		"twice":         pack(inventory.Program{Name: "a"}, inventory.Program{Name: "a"}),
		"unprintable":   pack(inventory.Program{Name: "a\x00"}),
		"no name":       pack(inventory.Program{Version: "1"}),
		"bomb":          hmpb.Inventory_builder{Packed: bomb.EncodeAll(make([]byte, 50<<20), nil)}.Build(),
		"another hash":  hmpb.Inventory_builder{Packed: pack(programs(3)...).GetPacked(), Hash: make([]byte, 32), Programs: proto.Uint32(3)}.Build(),
		"another count": hmpb.Inventory_builder{Packed: pack(programs(3)...).GetPacked(), Hash: pack(programs(3)...).GetHash(), Programs: proto.Uint32(4)}.Build(),
	} {
		if _, err := inventory.Unpack(m); !errors.Is(err, inventory.ErrDamaged) && !errors.Is(err, inventory.ErrTooLong) {
			t.Errorf("%s: Unpack = %v, want a refusal", name, err)
		}
	}
	if _, err := inventory.Pack(programs(inventory.MaxPrograms + 1)); !errors.Is(err, inventory.ErrTooLong) {
		t.Errorf("Pack of too many = %v", err)
	}
}

func TestDiff(t *testing.T) {
	a := inventory.Clean([]inventory.Program{{"firefox", "144"}, {"gone", "1"}, {"kernel", "6.1.1"}, {"kernel", "6.1.2"}, {"same", "3"}})
	b := inventory.Clean([]inventory.Program{{"firefox", "145"}, {"kernel", "6.1.2"}, {"kernel", "6.1.3"}, {"new", ""}, {"same", "3"}})
	want := []inventory.Change{
		{Name: "firefox", From: "144", To: "145"},
		{Name: "gone", From: "1", Removed: true},
		{Name: "kernel", From: "6.1.1", To: "6.1.3"},
		{Name: "new", Added: true},
	}
	if d := cmp.Diff(want, inventory.Diff(a, b)); d != "" {
		t.Errorf("Diff (-want +got):\n%s", d)
	}
	if got := inventory.Diff(a, a); len(got) != 0 {
		t.Errorf("Diff with itself = %v", got)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, n := range []int{0, 3} {
		m, err := inventory.Pack(programs(n))
		if err != nil {
			f.Fatal(err)
		}
		raw, _ := proto.Marshal(m)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m hmpb.Inventory
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		list, err := inventory.Unpack(&m)
		if err != nil {
			return
		}
		again, err := inventory.Pack(list)
		if err != nil || string(again.GetHash()) != string(m.GetHash()) {
			t.Fatalf("packed again: %v", err)
		}
	})
}
