package sysinfo

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// These run on Windows, and in Wine by testenv/scenario.

func TestWMI(t *testing.T) {
	rows, err := wmi(nsCIM, "Win32_OperatingSystem", "Version", "OSType", "NoSuchProperty")
	if err != nil && why(err) == NotSupported { // Windows refuses the query for the last of them, Wine does not
		rows, err = wmi(nsCIM, "Win32_OperatingSystem", "Version", "OSType")
	}
	if err != nil || len(rows) != 1 || rows[0].text("Version") == "" {
		t.Fatalf("the operating system: %v, %v", rows, err)
	}
	if n, ok := rows[0].number("OSType"); !ok || n != 18 { // WINNT
		t.Errorf("OSType = %d, %v", n, ok)
	}
	if _, there := rows[0]["NoSuchProperty"]; there {
		t.Error("a property that does not exist has a value")
	}
	if _, err := wmi(`root\nothing\here`, "Win32_OperatingSystem", "Version"); why(err) != NotSupported {
		t.Errorf("no such namespace: %v", err)
	}
	if rows, err := wmi(nsCIM, "Win32_NothingHere", "Version"); err == nil && len(rows) > 0 || err != nil && why(err) != NotSupported {
		t.Errorf("no such class: %v, %v", rows, err)
	}
}

// Groups ask side by side, and again and again.
func TestWMIAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if rows, err := wmi(nsCIM, "Win32_OperatingSystem", "Version"); err != nil || len(rows) != 1 {
					t.Errorf("%v, %v", rows, err)
				}
			}
		})
	}
	wg.Wait()
}

// ownPrefix skips what writes to the registry, unless it is one made for the test.
func ownPrefix(t *testing.T) {
	if os.Getenv("HAUSMEISTER_OWN_REGISTRY") == "" {
		t.Skip("would write to this machine's registry")
	}
}

func putKey(t *testing.T, path string, values map[string]any) {
	t.Helper()
	k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.ALL_ACCESS|registry.WOW64_64KEY)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for name, v := range values {
		switch v := v.(type) {
		case string:
			err = errors.Join(err, k.SetStringValue(name, v))
		case int:
			err = errors.Join(err, k.SetDWordValue(name, uint32(v)))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.DeleteKey(registry.LOCAL_MACHINE, path); err != nil && !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
			t.Error(err)
		}
	})
}

func TestRegistrySoftware(t *testing.T) {
	ownPrefix(t)
	const list = currentVersion + `Uninstall\`
	putKey(t, list+"Hausmeister test", map[string]any{"DisplayName": " GeoGebra  6 ", "DisplayVersion": "6.0.848"})
	putKey(t, list+"Hausmeister part", map[string]any{"DisplayName": "Part", "SystemComponent": 1})
	got, err := newSource(Config{}).software(t.Context())
	if err != nil || !slices.Contains(got, Program{"GeoGebra 6", "6.0.848"}) || slices.Contains(got, Program{"Part", ""}) {
		t.Errorf("software = %v, %v", got, err)
	}
}

func TestRegistryRestart(t *testing.T) {
	ownPrefix(t)
	src := newSource(Config{})
	if got, err := src.restart(t.Context()); got || err != nil {
		t.Errorf("restart = %v, %v before one is due", got, err)
	}
	putKey(t, currentVersion+`WindowsUpdate\Auto Update\RebootRequired`, nil)
	if got, err := src.restart(t.Context()); !got || err != nil {
		t.Errorf("restart = %v, %v when one is due", got, err)
	}
}

func TestRegistrySecureBoot(t *testing.T) {
	ownPrefix(t)
	src := newSource(Config{})
	if _, err := src.secureBoot(t.Context()); why(err) != NoHardware {
		t.Errorf("a machine that started by BIOS: %v", err)
	}
	putKey(t, `SYSTEM\CurrentControlSet\Control\SecureBoot\State`, map[string]any{"UEFISecureBootEnabled": 1})
	if got, err := src.secureBoot(t.Context()); got != On || err != nil {
		t.Errorf("secure boot = %q, %v", got, err)
	}
}
