package ident_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

func TestALPNIsThatOfTheWire(t *testing.T) {
	if ident.ALPN != wire.ALPN {
		t.Errorf("ident.ALPN %q, wire.ALPN %q", ident.ALPN, wire.ALPN)
	}
}

func TestIDs(t *testing.T) {
	now := time.Date(2026, 11, 24, 7, 45, 0, 123e6, time.UTC)
	seen := map[string]bool{}
	var ids []string
	for i := range 1000 {
		id := ident.NewID(now.Add(time.Duration(i) * time.Millisecond))
		if !ident.ValidID(id) || id[14] != '7' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatalf("NewID gave %q", id)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Error("ids do not sort by time")
	}
	id := ids[0]
	for _, bad := range []string{"", id[1:], id + "0", strings.ToUpper(id), strings.ReplaceAll(id, "-", "0"), "g" + id[1:], id[:35] + "\n", "{" + id[1:35] + "}"} {
		if ident.ValidID(bad) {
			t.Errorf("ValidID(%q)", bad)
		}
	}
}

func TestWhichSerialsNameAMachine(t *testing.T) {
	for _, test := range []struct {
		manufacturer, model, serial string
		want                        bool
	}{
		{"FUJITSU CLIENT COMPUTING LIMITED", "LIFEBOOK A3510", "YMFH012345", true},
		{"LENOVO", "20Y5", "PF3ABCDE", true},
		{"Apple Inc.", "MacBookAir10,1", "C02FG1ABQ6L4", true},
		{"HP", "ProBook", "5CD1234XYZ", true},
		{"ASUSTeK", "X", "To be filled by O.E.M.", false},
		{"ASUSTeK", "X", "to be filled by o.e.m", false},
		{"Acme", "X", "Default string", false},
		{"Acme", "X", "System Serial Number", false},
		{"Acme", "X", "Not Specified", false},
		{"Acme", "X", "N/A", false},
		{"Acme", "X", "", false},
		{"Acme", "X", "   ", false},
		{"Acme", "X", "00000000", false},
		{"Acme", "X", "----------", false},
		{"Acme", "X", "FFFF-FFFF", false},
		{"Acme", "X", "0123456789", false},
		{"Acme", "X", "123", false},
		{"QEMU", "Standard PC (Q35 + ICH9, 2009)", "PF3ABCDE", false},
		{"VMware, Inc.", "VMware7,1", "VMware-56 4d 8f 2e", false},
		{"Microsoft Corporation", "Virtual Machine", "1234-5678-9012", false},
		{"Microsoft Corporation", "Surface Pro 7", "012345678953", true},
	} {
		h := ident.Hardware{Manufacturer: test.manufacturer, Model: test.model, Serial: test.serial}
		if got := h.UsableSerial(); got != test.want {
			t.Errorf("UsableSerial of %+v: got %v", h, got)
		}
		if got := h.Key() != ""; got != test.want {
			t.Errorf("Key of %+v without install id: got %q", h, h.Key())
		}
		h.InstallID[3] = 9
		if key := h.Key(); strings.HasPrefix(key, "serial:") != test.want || key == "" {
			t.Errorf("Key of %+v: got %q", h, key)
		}
		if sent := h.Message().GetSerial() != ""; sent != test.want {
			t.Errorf("Message of %+v sends serial %q", h, h.Message().GetSerial())
		}
	}
}

func TestKeyIsTheSameInOtherSpelling(t *testing.T) {
	a := ident.Hardware{Manufacturer: "Fujitsu  Client", Serial: "ymfh 01 2345", InstallID: [16]byte{1}}
	b := ident.Hardware{Manufacturer: " FUJITSU client", Serial: "YMFH012345 ", InstallID: [16]byte{2}}
	if a.Key() != b.Key() {
		t.Errorf("keys differ: %q, %q", a.Key(), b.Key())
	}
}

func TestHardwareFromAStranger(t *testing.T) {
	s := func(v string) *string { return &v }
	h := ident.HardwareOf(hmpb.Hardware_builder{
		Manufacturer: s("A\x00B\u202e\n" + strings.Repeat("ü", 200)),
		Serial:       s(" PF3\x1bABCDE "),
		InstallId:    []byte(strings.Repeat("x", 40)),
	}.Build())
	if len(h.Manufacturer) > 128 || strings.ContainsAny(h.Manufacturer, "\x00\n") || !strings.HasSuffix(h.Manufacturer, "ü") {
		t.Errorf("manufacturer: got %q", h.Manufacturer)
	}
	if h.Serial != "PF3ABCDE" {
		t.Errorf("serial: got %q", h.Serial)
	}
	if h := ident.HardwareOf(nil); h != (ident.Hardware{}) {
		t.Errorf("HardwareOf(nil) = %+v", h)
	}
}

func FuzzHardware(f *testing.F) {
	f.Add("LENOVO", "20Y5", "PF3ABCDE", []byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, manufacturer, model, serial string, install []byte) {
		os := "linux"
		m := hmpb.Hardware_builder{Manufacturer: &manufacturer, Model: &model, Serial: &serial, InstallId: install, Os: &os}.Build()
		h := ident.HardwareOf(m)
		if again := ident.HardwareOf(h.Message()); again.Key() != h.Key() {
			t.Fatalf("%+v has key %q here and %q at the other end", h, h.Key(), again.Key())
		}
	})
}
