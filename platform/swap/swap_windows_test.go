package swap_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"hausmeister/platform/layout"
	"hausmeister/platform/swap"
)

// hold opens a file as a scanner does that lets nobody else have it.
func hold(t *testing.T, name string) (release func()) {
	t.Helper()
	p, err := windows.UTF16PtrFromString(name)
	must(t, err)
	h, err := windows.CreateFile(p, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	must(t, err)
	return func() { windows.CloseHandle(h) }
}

// TestAttack24_WindowsHeld: the file is tried again until it is let go, and the old
// program stays when it is not.
func TestAttack24_WindowsHeld(t *testing.T) {
	r := newReal(t, swap.Config{HeldFor: 2 * time.Second})
	release := hold(t, r.target)
	if err := r.swap(t.Context()); !errors.Is(err, swap.ErrHeld) {
		t.Errorf("Swap of a held file = %v", err)
	}
	release()
	r.want(t, oldText)
	r.onlyTarget(t)

	r = newReal(t, swap.Config{HeldFor: 30 * time.Second})
	release = hold(t, r.target)
	go func() {
		time.Sleep(time.Second)
		release()
	}()
	must(t, r.swap(t.Context()))
	r.want(t, newText)
	r.onlyTarget(t)
}

func TestMain(m *testing.M) {
	if os.Getenv("SWAP_TEST_WAIT") != "" { // to be the program that runs
		_, _ = io.ReadAll(os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestAttack24_WindowsRunning: a program that runs is renamed away; what is left of
// it goes with the sweep after its end.
func TestAttack24_WindowsRunning(t *testing.T) {
	r := newReal(t, swap.Config{HeldFor: time.Second})
	self, err := os.ReadFile(os.Args[0])
	must(t, err)
	target := filepath.Join(r.dir, "agent.exe")
	must(t, os.Rename(r.target, target))
	must(t, os.WriteFile(target, self, 0o755))
	s, err := swap.New(swap.Config{Target: target, Disk: layout.Plain(), HeldFor: time.Second})
	must(t, err)
	cmd := exec.Command(target)
	cmd.Env = append(os.Environ(), "SWAP_TEST_WAIT=1")
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	must(t, s.Swap(t.Context(), r.open, 10, sum(newText)))
	if b, err := os.ReadFile(target); err != nil || string(b) != newText {
		t.Errorf("the target holds %d bytes, %v", len(b), err)
	}
	must(t, in.Close())
	must(t, cmd.Wait())
	must(t, s.Sweep())
	if entries, _ := os.ReadDir(r.dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}
