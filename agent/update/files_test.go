package update_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"hausmeister/agent/update"
	"hausmeister/platform/layout"
)

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parts")
	f := update.Folder(dir)
	if err := f.Sweep(); err != nil {
		t.Errorf("sweeping nothing: %v", err)
	}
	if _, err := f.Unpacked(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Unpacked of nothing = %v", err)
	}
	sum := []byte{0xab, 1}
	p, err := f.Part(sum)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("bytes"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.SetState([]byte("state")), p.(io.Closer).Close()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first, longer", "second"} {
		w, err := f.Out()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, want)
		w.Close()
		r, err := f.Unpacked()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(r)
		r.Close()
		if string(got) != want {
			t.Errorf("unpacked %q, want %q", got, want)
		}
	}
	if held, err := f.Held(); err != nil || held == 0 {
		t.Errorf("Held = %d, %v", held, err)
	}
	f.Done(sum)
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("after Done there are %v", names)
	}
	if free, err := f.Free(); err != nil || free == 0 {
		t.Errorf("Free = %d, %v", free, err)
	}
	if err := f.Sweep(); err != nil {
		t.Error(err)
	}
	if held, err := f.Held(); err != nil || held != 0 {
		t.Errorf("after Sweep Held = %d, %v", held, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("after Sweep there are %v", names)
	}
}

func TestAttack26_LockOfTheMetadata(t *testing.T) {
	s := update.Trust(filepath.Join(t.TempDir(), "trust"))
	release, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(); !errors.Is(err, layout.ErrLocked) {
		t.Errorf("a second Lock = %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if release, err = s.Lock(); err != nil {
		t.Fatalf("Lock after its release = %v", err)
	}
	defer release()
	if _, err := s.Read("root.json", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of nothing = %v", err)
	}
	if err := s.Write("root.json", []byte("0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Read("root.json", 10); err != nil || string(b) != "0123456789a" {
		t.Errorf("Read = %q, %v", b, err)
	}
	if err := errors.Join(s.Remove("root.json"), s.Remove("root.json")); err != nil {
		t.Errorf("Remove = %v", err)
	}
}
