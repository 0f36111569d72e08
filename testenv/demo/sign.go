package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"hausmeister/installer/release/build"
	"hausmeister/testenv/child"
	"hausmeister/testenv/swarm"
)

// The release's side of the tour is that of installer/release/README.md, in its own
// commands: hausmeister-release makes the keys, has persons sign, and publishes through
// the process that signs what is the newest. Only the builds are not its own: twice,
// from a commit and for all systems takes minutes.

// walkBlocks of that page are the keys, those of the online process, and the root with
// everything below it, signed.
const walkBlocks = 3

// signScript drafts a version, has two persons sign it, and publishes it. It is packed
// quicker than for a release, since people wait.
const signScript = `
hausmeister-release stage "build/$VERSION" --role stable --begin "$BEGIN" --permille 1000 --soak 0,0,0,0 --deltas 1 --zstd ./quick-zstd --reason "release $VERSION"
digest=$(hausmeister-release digest drafts/stable.json)
for person in karl lena; do
  hausmeister-release --record "sticks/$person.jsonl" sign drafts/stable.json --digest "$digest" --key "sticks/$person.key" --passphrase-file sticks/passphrase --reason "release $VERSION"
done
hausmeister-release publish --platforms "$PLATFORMS" --reason "release $VERSION"
hausmeister-release verify
`

// quickZstd is called as zstd is for a release, with -19 first.
const quickZstd = "#!/bin/sh\nshift\nexec zstd -6 --long=27 \"$@\"\n"

// ceremony makes the keys and the first root, and has the online process trust it.
func (t *tour) ceremony(ctx context.Context, source string) error {
	page, err := os.ReadFile(filepath.Join(source, "installer/release/README.md"))
	if err != nil {
		return err
	}
	script, n := "", 0
	for i, part := range strings.Split(string(page), "```") {
		if block, ok := strings.CutPrefix(part, "sh\n"); ok && i%2 == 1 && n < walkBlocks {
			script, n = script+block, n+1
		}
	}
	if n < walkBlocks {
		return errors.New("installer/release/README.md has no walk-through")
	}
	if err := os.WriteFile(filepath.Join(t.dir, "quick-zstd"), []byte(quickZstd), 0o700); err != nil {
		return err
	}
	return t.sh(ctx, script+"hausmeister-release online trust drafts/root.json --reason 'first root'\ncp drafts/root.json root.json\n")
}

// root is what programs are built with: of its own, since a draft ends when it is
// published.
func (t *tour) root() string { return filepath.Join(t.dir, "root.json") }

// sh runs commands of the walk-through in the tour's folder.
func (t *tour) sh(ctx context.Context, script string, env ...string) error {
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+script)
	cmd.Dir, cmd.Env = t.dir, append(append(os.Environ(), "PATH="+t.bin+":"+os.Getenv("PATH"), "HAUSMEISTER_WHO=desk"), env...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("signing for the tour: %w\n%s", err, out[max(0, len(out)-2000):])
	}
	return ctx.Err()
}

// socket of the online process.
func (t *tour) socket() string { return filepath.Join(t.dir, "online.sock") }

// longestSocket is that of the systems, with something to spare.
const longestSocket = 100

// online runs the process that signs what is the newest.
func (t *tour) online(ctx context.Context, ready func()) error {
	c, err := child.Start(child.Config{
		Program: filepath.Join(t.bin, "hausmeister-release"), Log: filepath.Join(t.dir, "online.log"),
		Args: []string{"online", "serve", "--repo", t.repository(), "--state", filepath.Join(t.dir, "online"), "--socket", t.socket()},
	})
	if err != nil {
		return err
	}
	ready()
	select {
	case <-c.Done():
		return fmt.Errorf("the process that signs ended: %v\n%s", c.Err(), c.LogTail())
	case <-ctx.Done():
		return c.Stop(onlineStop - 100*time.Millisecond)
	}
}

// onlineStop is how long it may take to end.
const onlineStop = 2 * time.Second

// publishRoot publishes the first root and all that is signed below it.
func (t *tour) publishRoot(ctx context.Context) error {
	return t.sh(ctx, "until hausmeister-release online state; do sleep 0.1; done\nhausmeister-release publish --reason 'first root'\n")
}

// release has a version signed for all systems, with a patch from the one before, and
// published.
func (t *tour) release(ctx context.Context, version string) error {
	if err := t.describe(ctx, version); err != nil {
		return err
	}
	var platforms []string
	for _, s := range t.systems() {
		platforms = append(platforms, s[0]+"/"+s[1])
	}
	err := t.sh(ctx, signScript, "VERSION="+version, "PLATFORMS="+strings.Join(platforms, ","), "BEGIN="+time.Now().AddDate(0, 0, -90).Format(time.RFC3339))
	if err != nil {
		return err
	}
	t.out.Packed, t.out.Patch = t.size(version, "*.hausmeister-agent.zst"), t.size(version, "*.hausmeister-agent.from-*.zst")
	return nil
}

// size of a file of this machine's program; 0 = there is none.
func (t *tour) size(version, pattern string) int64 {
	names, err := filepath.Glob(filepath.Join(t.repository(), "targets/agent/stable", version, runtime.GOOS+"-"+runtime.GOARCH, pattern))
	if err != nil || len(names) != 1 {
		return 0
	}
	info, err := os.Stat(names[0])
	if err != nil {
		return 0
	}
	return info.Size()
}

// systems are those of the simulated devices, and this machine's.
func (t *tour) systems() [][2]string {
	out := [][2]string{{runtime.GOOS, runtime.GOARCH}}
	for _, s := range [][2]string{{"windows", "amd64"}, {"darwin", "arm64"}} {
		if s != out[0] {
			out = append(out, s)
		}
	}
	return out
}

// describe completes the folder of a build, in which this machine's agent lies.
func (t *tour) describe(ctx context.Context, version string) error {
	b := build.Build{Format: 1, Version: version, Commit: strings.Repeat("0", 40), Root: 1}
	if out, err := exec.CommandContext(ctx, "git", "rev-parse", "HEAD").Output(); err == nil { // else the source is not from git
		b.Commit = strings.TrimSpace(string(out))
	}
	dir := filepath.Dir(t.program(version))
	for i, s := range t.systems() {
		p := build.Program{File: "hausmeister-agent_" + s[0] + "_" + s[1], Name: "hausmeister-agent", OS: s[0], Arch: s[1]}
		file := filepath.Join(dir, p.File)
		if i > 0 {
			if err := os.WriteFile(file, swarm.StandIn(version, s[0], s[1]), 0o700); err != nil {
				return err
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		p.Size, p.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
		b.Programs = append(b.Programs, p)
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, build.Name), text, 0o600)
}
