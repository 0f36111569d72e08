package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"hausmeister/agent/update/fetch"
	"hausmeister/testenv/need"
)

// programs are two versions of something like a program: words that repeat, and a
// few that moved.
func programs(size int) (old, new []byte) {
	r := rand.New(rand.NewPCG(3, 4))
	words := make([][]byte, 2000)
	for i := range words {
		words[i] = random(8 + i%57)
	}
	for len(old) < size {
		old = append(old, words[r.IntN(len(words))]...)
	}
	old = old[:size]
	for at := 0; at < len(old); {
		n := min(1+r.IntN(40_000), len(old)-at)
		new = append(new, old[at:at+n]...)
		new = append(new, random(r.IntN(50))...)
		at += n
	}
	return old, new
}

func want(b []byte) fetch.Want {
	sum := sha256.Sum256(b)
	return fetch.Want{SHA256: sum[:], Length: int64(len(b))}
}

// pack runs the reference tool as the release tool does.
func pack(t testing.TB, base, file []byte, options ...string) []byte {
	t.Helper()
	tool := need.Programs(t, "zstd")[0]
	dir := t.TempDir()
	for name, b := range map[string][]byte{"base": base, "file": file} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{"-q", "-19"}, options...)
	if base != nil {
		args = append(args, "--patch-from=base")
	}
	cmd := exec.Command(tool, append(args, "file", "-o", "out")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("zstd: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the reference tool makes is read: whole and as a patch, small and larger than
// its windows, with and without checksum and size.
func TestUnpackReferenceTool(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 300_000, 6 << 20} {
		old, new := programs(size)
		if len(new) == 0 {
			new = []byte{}
		}
		level := []string{}
		if size > 1<<20 {
			level = []string{"-6"} // the last one counts; the time is the tool's
		}
		for _, options := range [][]string{level, append([]string{"--no-check"}, level...), append([]string{"--no-content-size"}, level...)} {
			full := pack(t, nil, new, options...)
			var out bytes.Buffer
			if err := fetch.Unpack(bytes.NewReader(full), nil, want(new), &out); err != nil || !bytes.Equal(out.Bytes(), new) {
				t.Errorf("%d bytes %v, whole: %v", size, options, err)
			}
			if size == 0 {
				continue // the tool takes no empty base
			}
			patch := pack(t, old, new, options...)
			out.Reset()
			if err := fetch.Unpack(bytes.NewReader(patch), old, want(new), &out); err != nil || !bytes.Equal(out.Bytes(), new) {
				t.Errorf("%d bytes %v, as a patch: %v", size, options, err)
			}
			if size > 1000 && len(patch) > len(full)/2 {
				t.Errorf("%d bytes %v: the patch has %d bytes, whole it has %d", size, options, len(patch), len(full))
			}
		}
	}
}

// A patch against something else, none at all, cut, or with any bit turned gives
// an error and no more bytes than asked for.
func TestAttack21HostilePatch(t *testing.T) {
	old, new := programs(20_000)
	patch := pack(t, old, new)
	try := func(what string, packed, base []byte) {
		t.Helper()
		var out bytes.Buffer
		if err := fetch.Unpack(bytes.NewReader(packed), base, want(new), &out); !errors.Is(err, fetch.ErrBytes) {
			t.Errorf("%s: %v, want ErrBytes", what, err)
		}
		if out.Len() > len(new) {
			t.Errorf("%s: %d bytes written, want at most %d", what, out.Len(), len(new))
		}
	}
	wrong := bytes.Clone(old)
	wrong[len(wrong)/2] ^= 1
	try("wrong base", patch, wrong)
	try("shorter base", patch, old[:len(old)-1])
	try("no base", patch, nil)
	try("nothing", nil, old)
	try("no zstd", random(5000), old)
	for n := range len(patch) {
		try(fmt.Sprintf("cut at %d", n), patch[:n], old)
	}
	survived := 0
	for i := range len(patch) * 8 {
		flipped := bytes.Clone(patch)
		flipped[i/8] ^= 1 << (i % 8)
		var out bytes.Buffer
		err := fetch.Unpack(bytes.NewReader(flipped), old, want(new), &out)
		switch {
		case err == nil && bytes.Equal(out.Bytes(), new):
			survived++ // an unused bit, or the checksum that nobody needs beside our hash
		case !errors.Is(err, fetch.ErrBytes) || out.Len() > len(new):
			t.Fatalf("bit %d turned: %v, %d bytes", i, err, out.Len())
		}
	}
	if survived > 80 {
		t.Errorf("%d turned bits change nothing", survived)
	}
	other := bytes.Clone(new)
	other[0] ^= 1
	try("patch to another program", pack(t, old, other), old)
	try("longer", pack(t, old, append(bytes.Clone(new), 'x')), old)
	try("shorter", pack(t, old, new[:len(new)-1]), old)
	try("two frames", append(bytes.Clone(patch), patch...), old)
}

// A few bytes that unpack to gigabytes, or say that they need a window of such: over
// at the length that was asked for, in little memory.
func TestAttack21Bomb(t *testing.T) {
	bomb := func(options ...zstd.EOption) []byte {
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b, append(options, zstd.WithEncoderConcurrency(1))...)
		if err != nil {
			t.Fatal(err)
		}
		zeros := make([]byte, 1<<20)
		for range 512 {
			e.Write(zeros)
		}
		e.Close()
		return b.Bytes()
	}
	bombs := map[string][]byte{
		"512 MB of zeros":  bomb(),
		"a window of half": bomb(zstd.WithWindowSize(512 << 20)),
		// magic, descriptor: no single segment, 8 bytes of size; window 2^41; size 2^60
		"a header that lies": {0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0},
		"single segment":     {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0},
	}
	for name, packed := range bombs {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out := &counted{}
		err := fetch.Unpack(bytes.NewReader(packed), nil, fetch.Want{SHA256: make([]byte, 32), Length: 1 << 20}, out)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, fetch.ErrBytes) || out.n > 1<<20 {
			t.Errorf("%s (%d bytes): %v, %d bytes written", name, len(packed), err, out.n)
		}
		if took := int64(after.TotalAlloc-before.TotalAlloc) >> 20; took > 32 {
			t.Errorf("%s: %d MB of memory taken", name, took)
		}
	}
	for _, length := range []int64{-1, 1 << 40} {
		if err := fetch.Unpack(bytes.NewReader(nil), nil, fetch.Want{Length: length}, io.Discard); !errors.Is(err, fetch.ErrBytes) {
			t.Errorf("a program of %d bytes: %v", length, err)
		}
	}
}

type counted struct{ n int64 }

func (c *counted) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

func TestAttack20UnpackToAFullDisk(t *testing.T) {
	_, new := programs(300_000)
	err := fetch.Unpack(bytes.NewReader(pack(t, nil, new)), nil, want(new), &full{room: 200_000, to: io.Discard, err: errBroken})
	if !errors.Is(err, fetch.ErrDisk) || !errors.Is(err, errBroken) || errors.Is(err, fetch.ErrBytes) {
		t.Errorf("Unpack = %v, want ErrDisk and what the disk said", err)
	}
	// What was written by then is given back, and what it came in too, where that is
	// what the disk lacks.
	old, new := programs(50_000)
	whole := pack(t, nil, new)
	for _, tt := range []struct {
		fails error
		kept  int
	}{{syscall.ENOSPC, 0}, {errBroken, 1}} {
		in(t, func(w *world) {
			w.files = [][]byte{whole}
			p := newPlan(old, new, nil, whole)
			out := p.Out
			p.Out = func() (io.WriteCloser, error) {
				w, err := out()
				return &full{room: 20_000, to: w, err: tt.fails}, err
			}
			if _, err := fetch.New(w.config).Program(w.Context(), p.Plan); !errors.Is(err, fetch.ErrDisk) || !errors.Is(err, tt.fails) {
				w.Errorf("%v: Program = %v", tt.fails, err)
			}
			if p.out.Len() != 0 || len(p.parts) != tt.kept {
				w.Errorf("%v: %d bytes of the program and %d parts stay, want none and %d", tt.fails, p.out.Len(), len(p.parts), tt.kept)
			}
			p.Out = out
			if _, err := fetch.New(w.config).Program(w.Context(), p.Plan); err != nil || !bytes.Equal(p.out.Bytes(), new) {
				w.Errorf("%v: with room again: Program = %v", tt.fails, err)
			}
		})
	}
}

// full has room for some bytes.
type full struct {
	room int
	to   io.Writer
	err  error
}

func (f *full) Write(b []byte) (int, error) {
	n := min(f.room, len(b))
	f.room -= n
	if _, err := f.to.Write(b[:n]); err != nil || n < len(b) {
		return n, f.err
	}
	return n, nil
}
func (f *full) Close() error { return nil }

// plan is one against the files of a repository that w serves by their hashes.
type plan struct {
	fetch.Plan
	parts map[string]*memPart
	done  int
	out   *bytes.Buffer
	outs  int
}

type buffer struct{ *bytes.Buffer }

func (buffer) Close() error { return nil }

func target(b []byte) fetch.Target {
	w := want(b)
	return fetch.Target{SHA256: w.SHA256, Length: w.Length, Lease: "lease"}
}

func newPlan(base, program, patch, whole []byte) *plan {
	p := &plan{parts: map[string]*memPart{}, out: &bytes.Buffer{}}
	p.Plan = fetch.Plan{
		Program: want(program), Full: target(whole),
		Base: func() ([]byte, error) { return base, nil },
		Part: func(sum []byte) (fetch.Part, error) {
			if p.parts[string(sum)] == nil {
				p.parts[string(sum)] = &memPart{}
			}
			return p.parts[string(sum)], nil
		},
		Done: func(sum []byte) { p.done++; delete(p.parts, string(sum)) },
		Out:  func() (io.WriteCloser, error) { p.outs++; p.out.Reset(); return buffer{p.out}, nil },
	}
	if patch != nil {
		p.Delta = &fetch.Delta{Target: target(patch), From: want(base).SHA256}
	}
	return p
}

// A patch that is of no use costs the whole file once; what the network or the disk
// has against it costs nothing more.
func TestAttack21FallbackToFullOnce(t *testing.T) {
	old, new := programs(50_000)
	patch, whole := pack(t, old, new), pack(t, nil, new)
	evil := pack(t, old, new[:len(new)-1]) // signed by mistake: it gives another program
	tests := []struct {
		name    string
		change  func(*plan)
		files   [][]byte
		fetched int
		patched bool
		err     error
	}{
		{"patch", func(*plan) {}, [][]byte{patch, whole}, len(patch), true, nil},
		{"no patch from here", func(p *plan) { p.Delta = nil }, [][]byte{whole}, len(whole), false, nil},
		{"another program is here", func(p *plan) { p.Base = func() ([]byte, error) { return old[1:], nil } }, [][]byte{patch, whole}, len(whole), false, nil},
		{"it cannot be read", func(p *plan) { p.Base = func() ([]byte, error) { return nil, errBroken } }, [][]byte{patch, whole}, len(whole), false, nil},
		{"patch gives something else", func(p *plan) { p.Delta.Target = target(evil) }, [][]byte{evil, whole}, len(evil) + len(whole), false, nil},
		{"patch is not there", func(*plan) {}, [][]byte{whole}, len(whole), false, nil},
		{"both give something else", func(p *plan) { p.Delta.Target, p.Full = target(evil), target(pack(t, nil, old)) }, [][]byte{evil, pack(t, nil, old)}, -1, false, fetch.ErrBytes},
		{"neither is there", func(*plan) {}, [][]byte{old}, 0, false, fetch.ErrNotFound},
		{"full disk", func(p *plan) {
			p.Out = func() (io.WriteCloser, error) { return &full{room: 100, to: io.Discard, err: errBroken}, nil }
		}, [][]byte{patch, whole}, len(patch), false, fetch.ErrDisk},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlan(old, new, patch, whole)
			tt.change(p)
			in(t, func(w *world) {
				w.files = tt.files
				s, err := fetch.New(w.config).Program(context.Background(), p.Plan)
				if !errors.Is(err, tt.err) || s.Patched != tt.patched || tt.fetched >= 0 && s.Fetched != int64(tt.fetched) {
					w.Errorf("Program = %+v, %v; want %d bytes fetched, patched %v, %v", s, err, tt.fetched, tt.patched, tt.err)
				}
				if err == nil && (!bytes.Equal(p.out.Bytes(), new) || len(p.parts) != 0) {
					w.Errorf("%d bytes written, %d parts left", p.out.Len(), len(p.parts))
				}
				if (s.Why != nil) != (!tt.patched && p.Delta != nil && tt.err == nil || errors.Is(tt.err, fetch.ErrBytes) || errors.Is(tt.err, fetch.ErrNotFound)) {
					w.Errorf("why there was no patch: %v", s.Why)
				}
			})
		})
	}
}

func FuzzUnpack(f *testing.F) {
	old, new := programs(3000)
	f.Add(pack(f, old, new), true)
	f.Add(pack(f, nil, new), false)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0}, false)
	f.Fuzz(func(t *testing.T, packed []byte, against bool) {
		base := old
		if !against {
			base = nil
		}
		out := &counted{}
		err := fetch.Unpack(bytes.NewReader(packed), base, want(new), out)
		if err == nil && out.n != int64(len(new)) || err != nil && !errors.Is(err, fetch.ErrBytes) || out.n > int64(len(new)) {
			t.Errorf("Unpack = %v, %d bytes", err, out.n)
		}
	})
}

// FuzzState: whatever lies beside a part, the file comes out right.
func FuzzState(f *testing.F) {
	f.Add([]byte("HMpart1\n"), []byte("x"))
	f.Add([]byte{}, []byte{})
	file := random(500)
	f.Fuzz(func(t *testing.T, state, data []byte) {
		w := &world{T: t, file: file}
		w.serve = func(_ int, offset int64, r *reply) { w.good(offset, r) }
		w.config = fetch.Config{Page: w.page}
		p := &memPart{data: data, state: state}
		n, _, err := w.get(t.Context(), p)
		w.serving.Wait()
		if err != nil || !bytes.Equal(p.data, file) || n > 500 {
			t.Errorf("Target = %d, %v", n, err)
		}
	})
}

func BenchmarkUnpackPatch(b *testing.B) {
	old, new := programs(12 << 20)
	patch := pack(b, old, new, "-6")
	b.SetBytes(int64(len(new)))
	b.ReportAllocs()
	for b.Loop() {
		if err := fetch.Unpack(bytes.NewReader(patch), old, want(new), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
