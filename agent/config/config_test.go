package config_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/config"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fakes"
)

func TestReadSettings(t *testing.T) {
	with := func(change func(*config.Settings)) config.Settings {
		s := config.Defaults
		change(&s)
		return s
	}
	tests := []struct {
		name, text string
		want       config.Settings
		bad        bool
	}{
		{"empty", "", config.Defaults, false},
		{"some", "state_interval_s = 120\nspool_mb = 5\nlog_level = \"debug\"\n", with(func(s *config.Settings) {
			s.StateInterval, s.SpoolBytes, s.LogLevel = 2*time.Minute, 5<<20, slog.LevelDebug
		}), false},
		{"below the bounds", "state_interval_s = 0\nkeep_alive_s = 1\nspool_mb = -1", with(func(s *config.Settings) {
			s.StateInterval, s.KeepAlive, s.SpoolBytes = 10*time.Second, 5*time.Second, 1<<20
		}), false},
		{"above the bounds", "state_interval_battery_s = 4000000000\nspool_mb = 9000000000000000", with(func(s *config.Settings) {
			s.BatteryInterval, s.SpoolBytes = 2*time.Hour, 200<<20
		}), false},
		{"unknown key", "state_intervall_s = 60\nspool_mb = 5", config.Defaults, true},
		{"wrong type", "spool_mb = \"much\"", config.Defaults, true},
		{"proxy and probe", "proxy = \"proxy.schule.example:3128\"\nportal_probe = \"http://probe.example/204\"", with(func(s *config.Settings) {
			s.Proxy, s.PortalProbe = "proxy.schule.example:3128", "http://probe.example/204"
		}), false},
		{"no proxy", "proxy = \"none\"", with(func(s *config.Settings) { s.Proxy = "none" }), false},
		{"proxy that cannot be", "proxy = \"socks5://x:1\"", config.Defaults, true},
		{"probe with a secret", "portal_probe = \"http://a:b@probe.example/\"", config.Defaults, true},
		{"probe over TLS", "portal_probe = \"https://probe.example/\"", config.Defaults, true},
		{"no TOML", "\x00\x01", config.Defaults, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := fakes.NewDisk()
			if err := d.Write(config.SettingsFile, []byte(tt.text)); err != nil {
				t.Fatal(err)
			}
			got, err := config.ReadSettings(d)
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("ReadSettings of %q = %+v, %v; want %+v, error %v", tt.text, got, err, tt.want, tt.bad)
			}
		})
	}
	if got, err := config.ReadSettings(fakes.NewDisk()); got != config.Defaults || err != nil {
		t.Errorf("without a file: %+v, %v", got, err)
	}
	if config.Defaults.Bounded() != config.Defaults {
		t.Error("the defaults are out of bounds")
	}
}

func TestPolicy(t *testing.T) {
	local := config.Defaults
	local.KeepAlive = 40 * time.Second
	got := local.Policy(hmpb.Settings_builder{StateIntervalS: proto.Uint32(1), StateIntervalBatteryS: proto.Uint32(600)}.Build())
	if got.StateInterval != 10*time.Second || got.BatteryInterval != 10*time.Minute || got.KeepAlive != 40*time.Second {
		t.Errorf("policy over file = %+v", got)
	}
	// What a collector does not say any more falls back to the file.
	if got := local.Policy(&hmpb.Settings{}); got != local {
		t.Errorf("empty policy = %+v, want %+v", got, local)
	}
}

// refusing fails to write.
type refusing struct{ *fakes.Disk }

func (refusing) Write(string, []byte) error { return errors.New("no space left") }

func TestMemory(t *testing.T) {
	d := fakes.NewDisk()
	m := config.OpenMemory(d)
	if m.StoreID() != nil {
		t.Errorf("store id %x at first", m.StoreID())
	}
	if err := m.SetStoreID([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if got := config.OpenMemory(d).StoreID(); string(got) != "abc" {
		t.Errorf("store id %q after reopening", got)
	}
	for _, bad := range []string{"", "hausmeister store 9\n{}", "hausmeister store 1\n{"} {
		if err := d.Write("store", []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if got := config.OpenMemory(d).StoreID(); got != nil {
			t.Errorf("store id %q of file %q, want none", got, bad)
		}
	}
	full := config.OpenMemory(refusing{d})
	if err := full.SetStoreID([]byte("x")); err == nil || string(full.StoreID()) != "x" {
		t.Errorf("SetStoreID on a full disk: %v, remembers %q; want an error, and this run knows", err, full.StoreID())
	}
}

func TestBootID(t *testing.T) {
	d := fakes.NewDisk()
	boot := time.Date(2026, 11, 24, 7, 40, 0, 0, time.UTC)
	id := func(boot time.Time) []byte {
		t.Helper()
		id, err := config.OpenMemory(d).BootID(boot)
		if err != nil || len(id) != 16 {
			t.Fatalf("BootID = %x, %v", id, err)
		}
		return id
	}
	first := id(boot)
	if got := id(boot.Add(-90 * time.Second)); !bytes.Equal(got, first) {
		t.Error("another id for the same boot, reckoned from a clock that was set")
	}
	if got := id(boot.Add(8 * time.Hour)); bytes.Equal(got, first) {
		t.Error("the same id for the next boot")
	}
	if id, err := config.OpenMemory(refusing{fakes.NewDisk()}).BootID(boot); err == nil || len(id) != 16 {
		t.Errorf("BootID on a full disk = %x, %v; want an id and an error", id, err)
	}
}

// TestClockOffset: it holds in the boot in which it was heard, and follows a
// clock that is set, which moves the time of boot.
func TestClockOffset(t *testing.T) {
	d := fakes.NewDisk()
	boot := time.Date(2026, 11, 24, 7, 40, 0, 0, time.UTC)
	m := config.OpenMemory(d)
	if err := m.SetClockOffset(boot, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.ClockOffset(boot); ok {
		t.Error("an offset without a boot that it belongs to")
	}
	if _, err := m.BootID(boot); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.ClockOffset(boot); ok {
		t.Error("an offset before one was heard")
	}
	if err := m.SetClockOffset(boot.Add(time.Second), time.Hour); err != nil {
		t.Fatal(err)
	}
	again := config.OpenMemory(d)
	for _, c := range []struct {
		boot time.Time
		want time.Duration
		ok   bool
	}{
		{boot.Add(time.Second), time.Hour, true},
		{boot.Add(61 * time.Second), time.Hour - time.Minute, true},
		{boot.Add(8 * time.Hour), 0, false},
	} {
		if got, ok := again.ClockOffset(c.boot); got != c.want || ok != c.ok {
			t.Errorf("ClockOffset of a boot at %v = %v, %v; want %v, %v", c.boot, got, ok, c.want, c.ok)
		}
	}
	if _, err := again.BootID(boot.Add(8 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.ClockOffset(boot.Add(8 * time.Hour)); ok {
		t.Error("the offset outlived its boot")
	}
}

// TestInventoryHash: another store of the collector's was told nothing.
func TestInventoryHash(t *testing.T) {
	d := fakes.NewDisk()
	m := config.OpenMemory(d)
	for _, err := range []error{m.SetStoreID([]byte("one")), m.SetInventoryHash([]byte("hash")), m.SetFindings([]byte("snapshot"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	again := config.OpenMemory(d)
	if got := again.InventoryHash(); string(got) != "hash" {
		t.Errorf("InventoryHash = %q", got)
	}
	if got := again.Findings(); string(got) != "snapshot" {
		t.Errorf("Findings = %q", got)
	}
	if err := again.SetStoreID([]byte("two")); err != nil {
		t.Fatal(err)
	}
	if got := again.InventoryHash(); got != nil {
		t.Errorf("InventoryHash of another store = %q", got)
	}
}

func TestStandard(t *testing.T) {
	software := func(least string, names ...string) *hmpb.StandardSoftware {
		return hmpb.StandardSoftware_builder{Names: names, LeastVersion: &least}.Build()
	}
	nine := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
	p := hmpb.Settings_builder{StandardSoftware: []*hmpb.StandardSoftware{
		software("140", "Firefox", "firefox-esr"), software("", nine...), software("1", ""), software("1"), software("1\n", "x"), software("1", "evil\u202e", "good"),
	}}.Build()
	got := config.Standard(p)
	if len(got) != 3 || len(got[1].GetNames()) != 8 || got[2].GetNames()[0] != "good" {
		t.Errorf("Standard = %v", got)
	}
	many := &hmpb.Settings{}
	for range 100 {
		many.SetStandardSoftware(append(many.GetStandardSoftware(), software("", "x")))
	}
	if got := config.Standard(many); len(got) != 64 {
		t.Errorf("%d programs of 100, want 64", len(got))
	}
	if config.Standard(nil) == nil {
		t.Error("nothing asked for is not the same as nothing heard")
	}
	d := fakes.NewDisk()
	m := config.OpenMemory(d)
	if m.Standard() != nil {
		t.Error("standard software before one was heard")
	}
	if err := m.SetStandard(got); err != nil {
		t.Fatal(err)
	}
	if again := config.OpenMemory(d).Standard(); len(again) != 3 || again[0].GetLeastVersion() != "140" {
		t.Errorf("remembered %v", again)
	}
	if err := m.SetStandard([]*hmpb.StandardSoftware{}); err != nil {
		t.Fatal(err)
	}
	if again := config.OpenMemory(d).Standard(); again == nil || len(again) != 0 {
		t.Errorf("remembered %v, want that nothing is asked for", again)
	}
}
