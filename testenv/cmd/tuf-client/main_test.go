package main

import (
	"bytes"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hausmeister/testenv/tufrepo"
)

// served is a repository, and the address of its metadata.
func served(t *testing.T) (*tufrepo.Fleet, string) {
	f := tufrepo.NewFleet(time.Now)
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s.URL + "/metadata/"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// written is a file of the test.
func written(t *testing.T, path string, data []byte) string {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

// files of a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	all := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		all[e.Name()] = string(b)
	}
	return all
}

// TestInitBeginsAnew: a folder that followed one repository to its second root follows
// another one from init on, and that one alone.
func TestInitBeginsAnew(t *testing.T) {
	t.Setenv("FAKETIME", "")
	a, urlA := served(t)
	b, urlB := served(t)
	first := a.Root()
	a.RotateOnline()
	dir, own := t.TempDir(), filepath.Join(t.TempDir(), "own") // which init makes
	refresh := func(url string) error { return run([]string{"--metadata-dir", own, "--metadata-url", url, "refresh"}) }
	begin := func(path string) error { return run([]string{"--metadata-dir", own, "init", path}) }
	must(t, begin(written(t, filepath.Join(dir, "a.json"), first)))
	must(t, refresh(urlA))
	if got := files(t, own)["root.json"]; got != string(a.Root()) || got == string(first) {
		t.Fatalf("root.json is %.100q, want the second root", got)
	}
	must(t, os.WriteFile(filepath.Join(own, "notes.txt"), []byte("mine"), 0o600))
	given := written(t, filepath.Join(own, "b.json"), b.Root())
	must(t, begin(given))
	want := map[string]string{"root.json": string(b.Root()), "b.json": string(b.Root()), "notes.txt": "mine"}
	if got := files(t, own); !maps.Equal(got, want) {
		t.Errorf("after init the folder holds %d files, want root.json, ROOT and what is not ours", len(got))
	}
	if err := refresh(urlA); err == nil {
		t.Error("after init with another root the old repository is followed")
	}
	if got := files(t, own)["root.json"]; got != string(b.Root()) {
		t.Errorf("root.json is %.100q, want the root of init", got)
	}
	must(t, refresh(urlB))
	must(t, begin(filepath.Join(own, "root.json"))) // its own
	must(t, refresh(urlB))
}

// TestInitOfNoRoot: nothing is begun, and what was trusted stays.
func TestInitOfNoRoot(t *testing.T) {
	t.Setenv("FAKETIME", "")
	a, url := served(t)
	dir, own := t.TempDir(), t.TempDir()
	must(t, run([]string{"--metadata-dir", own, "init", written(t, filepath.Join(dir, "root.json"), a.Root())}))
	must(t, run([]string{"--metadata-dir", own, "--metadata-url", url, "refresh"}))
	before := files(t, own)
	for name, data := range map[string][]byte{
		"empty": nil, "a page": []byte("<html>\n"), "an object": []byte("{}"), "of another role": a.Files()["timestamp.json"],
		"cut": a.Root()[:100], "not signed": bytes.Replace(a.Root(), []byte(`"version":1`), []byte(`"version":2`), 1),
	} {
		if err := run([]string{"--metadata-dir", own, "init", written(t, filepath.Join(dir, "bad.json"), data)}); err == nil {
			t.Errorf("init of a file that is %s succeeds", name)
		}
		if !maps.Equal(files(t, own), before) {
			t.Errorf("init of a file that is %s changed the folder", name)
		}
	}
	if err := run([]string{"--metadata-dir", own, "init", filepath.Join(dir, "none")}); err == nil {
		t.Error("init of no file succeeds")
	}
	must(t, run([]string{"--metadata-dir", own, "--metadata-url", url, "refresh"}))
}
