package scenario

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/tufrepo"
)

// walkPrefix stands in for what the walk-through leaves to life: fewer systems, so
// that a test does not build for all, and the end of what runs in the background.
const walkPrefix = `set -eu
export SOURCE=%q BUILD='--platforms linux/amd64,linux/arm64 --program agent/cmd/hausmeister-agent' PLATFORMS='--platforms linux/amd64,linux/arm64' BEGIN=''
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
`

// TestReleaseWalkThrough runs installer/release/README.md as it is written, from
// no keys to the answer to a break-in, and looks at the repository that it leaves
// as a device does and as the program for the public TUF suite does.
func TestReleaseWalkThrough(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two versions twice for two systems")
	}
	for _, tool := range []string{"bash", "zstd", "git", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not here", tool)
		}
	}
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./installer/cmd/hausmeister-release", "./testenv/cmd/tuf-client")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	blocks := shellBlocks(t, filepath.Join(root, "installer/release/README.md"))
	script := fmt.Sprintf(walkPrefix, root) + strings.Join(blocks, "\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the walk-through: %v\n%s", err, out[max(0, len(out)-6000):])
	}
	if !bytes.Contains(out, []byte("unaltered")) || !bytes.Contains(out, []byte("a device believes it, from root 1 as from root 2")) {
		t.Errorf("the walk-through does not end as it should:\n%s", out[max(0, len(out)-6000):])
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "repository"))))
	defer server.Close()
	walkedDevice(t, dir, server.URL)
	walkedClient(t, dir, bin, server.URL)
}

// shellBlocks are the blocks of a page that are marked sh.
func shellBlocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, part := range strings.Split(string(text), "```") {
		if code, ok := strings.CutPrefix(part, "sh\n"); ok && i%2 == 1 {
			blocks = append(blocks, code)
		}
	}
	if len(blocks) < 10 {
		t.Fatalf("%s has %d blocks of sh", page, len(blocks))
	}
	return blocks
}

// walkedDevice was built with the first root, comes after everything, and finds
// the way back from 1.1.0, which is blocked.
func walkedDevice(t *testing.T, dir, url string) {
	t.Helper()
	first, err := os.ReadFile(filepath.Join(dir, "repository/metadata/1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := manifest.New(manifest.Config{
		Fetch: tufrepo.HTTP{Base: url + "/metadata/", Client: http.DefaultClient}, Store: tufrepo.NewMem(), Root: first, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	targets, state, err := c.List(t.Context())
	if err != nil || state.Root != 2 || state.Floors["agent"] != "1.0.0" || len(state.Rules.Blocked) != 1 {
		t.Fatalf("a device: %v; root %d, floors %v, blocked %v", err, state.Root, state.Floors, state.Rules.Blocked)
	}
	var way []string
	for _, x := range targets {
		r, err := x.Release()
		if err != nil {
			continue
		}
		me := manifest.Device{Product: "agent", Version: "1.1.0", OS: "linux", Arch: "amd64", Channel: "stable", Floor: state.Floors["agent"]}
		if r.Match(me) == nil && r.Version != me.Version {
			way = append(way, r.Version+" in place of "+r.RollbackOf)
		}
	}
	if want := []string{"1.0.0 in place of 1.1.0"}; !slices.Equal(way, want) {
		t.Errorf("a device with 1.1.0 finds %v, want %v", way, want)
	}
}

// walkedClient is the program that the public suite drives.
func walkedClient(t *testing.T, dir, bin, url string) {
	t.Helper()
	own := filepath.Join(dir, "client")
	if err := os.MkdirAll(filepath.Join(own, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "repository/targets/agent/stable/1.0.0/linux-amd64/*.hausmeister-agent"))
	if err != nil || len(names) != 1 {
		t.Fatalf("programs of 1.0.0: %v, %v", names, err)
	}
	want, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", filepath.Join(dir, "repository/metadata/1.root.json")},
		{"--metadata-url", url + "/metadata/", "refresh"},
		{"--metadata-url", url + "/metadata/", "--target-name", "agent/stable/1.0.0/linux-amd64/hausmeister-agent", "--target-base-url", url + "/targets/", "--target-dir", filepath.Join(own, "files"), "download"},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "tuf-client"), append([]string{"--metadata-dir", own}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tuf-client %v: %v\n%s", args, err, out)
		}
	}
	found := false
	err = filepath.WalkDir(filepath.Join(own, "files"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		found = found || bytes.Equal(data, want)
		return err
	})
	if err != nil || !found {
		t.Errorf("tuf-client fetched 1.0.0: %v, %v", found, err)
	}
}
