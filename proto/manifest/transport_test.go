package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/manifest"
)

func TestAttack10Malformed(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	good := newRig(t).fleet.Files()["timestamp.json"]
	for name, body := range map[string]string{
		"null": "null", "empty object": "{}", "list": "[]", "number": "1", "nul bytes": strings.Repeat("\x00", 300),
		"cut": string(good[:len(good)/2]), "twice": string(good) + string(good), "deep": deep,
		"huge":           `{"signed":"` + strings.Repeat("x", 20_000) + `"}`,
		"signed is null": `{"signed":null,"signatures":[]}`, "float": strings.Replace(string(good), `"version":1`, `"version":1.5`, 1),
		"exponent":          strings.Replace(string(good), `"version":1`, `"version":1e3`, 1),
		"key in other case": strings.Replace(string(good), `"meta":{`, `"META":{"x":null},"meta":{`, 1),
		"key twice":         strings.Replace(string(good), `"meta":{`, `"meta":null,"meta":{`, 1),
		"not UTF-8":         strings.Replace(string(good), `"_type"`, "\"\xff\":1,\"_type\"", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.mustRefresh()
			fs := r.fleet.Files()
			fs["timestamp.json"] = []byte(body)
			r.fleet.SetFiles(fs)
			before := r.store.Copy()
			_, err := r.refresh()
			if !errors.Is(err, manifest.ErrRefused) && !errors.Is(err, manifest.ErrTransport) {
				t.Fatalf("Refresh: got %v, want a refusal", err)
			}
			sameFiles(t, before, r.store.Copy())
		})
	}
	for name, c := range map[string]struct {
		chunk []byte
		every time.Duration
		most  time.Duration
	}{
		"endless":               {bytes.Repeat([]byte(" {"), 500), 0, time.Second},
		"one byte a second":     {[]byte(" "), time.Second, time.Minute},
		"silence":               {nil, time.Hour, time.Minute},
		"just above the lowest": {bytes.Repeat([]byte(" "), 250), time.Second, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Fetch = fetchFunc(func(ctx context.Context, _ string) (io.ReadCloser, error) {
					return &trickle{chunk: c.chunk, every: c.every, closed: make(chan struct{})}, nil
				})
				begun := time.Now()
				r.wantTransport()
				if took := time.Since(begun); took > c.most {
					t.Fatalf("Refresh took %v, want at most %v", took, c.most)
				}
			})
		})
	}
	t.Run("ended by its caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Fetch = fetchFunc(func(ctx context.Context, _ string) (io.ReadCloser, error) {
				return &trickle{every: time.Hour, closed: make(chan struct{})}, nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := r.client().Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Refresh: got %v, want the context's error", err)
			}
		})
	})
}

func TestAttack11SomethingElseAnswers(t *testing.T) {
	page := []byte("<!DOCTYPE html><title>Anmeldung</title>")
	for name, fetch := range map[string]func() (io.ReadCloser, error){
		"captive portal": func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(page)), nil },
		"empty":          func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(nil)), nil },
		"403":            func() (io.ReadCloser, error) { return nil, errors.New("answer 403 Forbidden") },
		"inspected":      func() (io.ReadCloser, error) { return nil, errors.New("tls: failed to verify certificate") },
		"reset in the body": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("{"), broken{})), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.mustRefresh()
			good := r.cfg.Fetch
			// Once for all files, once from the timestamp on.
			for _, from := range []string{"", "timestamp.json"} {
				r.cfg.Fetch = fetchFunc(func(ctx context.Context, file string) (io.ReadCloser, error) {
					if from != "" && file != from {
						return good.Fetch(ctx, file)
					}
					return fetch()
				})
				r.wantKind(manifest.ErrTransport)
			}
			r.cfg.Fetch = good
			r.mustRefresh()
		})
	}
}

func TestAttack12TornFiles(t *testing.T) {
	spoil := map[string]func([]byte) []byte{
		"empty": func([]byte) []byte { return []byte{} },
		"cut":   func(b []byte) []byte { return b[:len(b)/2] },
		"zeros": func(b []byte) []byte { return make([]byte, len(b)) },
		"null":  func([]byte) []byte { return []byte("null") },
		"html":  func([]byte) []byte { return []byte("<html>") },
		"flip":  func(b []byte) []byte { c := bytes.Clone(b); c[bytes.Index(c, []byte(`"sig":"`))+8] ^= 1; return c },
		"huge":  func(b []byte) []byte { return bytes.Repeat([]byte(" "), 6_000_000) },
	}
	for how, f := range spoil {
		for _, both := range []bool{false, true} {
			for _, role := range []string{root, timestamp, snapshot, targets, "stable", "floor"} {
				t.Run(fmt.Sprintf("%s %s both=%t", role, how, both), func(t *testing.T) {
					r := newRig(t)
					rel := r.release("stable", "1.3.0", nil)
					r.fleet.Publish(root)
					if _, err := r.lookup(rel.Path); err != nil {
						t.Fatal(err)
					}
					before := r.store.Copy()
					old := r.fleet.Files()
					name, spare := role+".json", role+".copy"
					if role == "floor" {
						name, spare = "floor", "floor-copy"
						if how == "flip" {
							return
						}
					}
					r.store.Files[name] = f(before[name])
					if both {
						r.store.Files[spare] = f(before[name])
					}
					if _, err := r.lookup(rel.Path); err != nil {
						t.Fatalf("one cycle later: %v", err)
					}
					after := r.store.Copy()
					maps.DeleteFunc(after, func(n string, _ []byte) bool { return strings.HasSuffix(n, ".bad") || strings.HasPrefix(n, "floor") })
					maps.DeleteFunc(before, func(n string, _ []byte) bool { return strings.HasPrefix(n, "floor") })
					sameFiles(t, before, after)
					// The floor is as high as it was.
					r.fleet.Publish("stable")
					if _, err := r.lookup(rel.Path); err != nil {
						t.Fatal(err)
					}
					r.fleet.SetFiles(old)
					if _, err := r.lookup(rel.Path); !errors.Is(err, manifest.ErrRollback) {
						t.Fatalf("an older repository: got %v, want ErrRollback", err)
					}
				})
			}
		}
	}
	t.Run("all at once, and the old repository", func(t *testing.T) {
		r := newRig(t)
		old := r.fleet.Files()
		r.fleet.Publish()
		r.mustRefresh()
		for name := range r.store.Files {
			if !strings.HasPrefix(name, "floor") {
				r.store.Files[name] = nil
			}
		}
		r.fleet.SetFiles(old)
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRollback) {
			t.Fatalf("Refresh: got %v, want ErrRollback: the floor is all that is left", err)
		}
	})
	t.Run("a torn timestamp, and an older one comes", func(t *testing.T) {
		r := newRig(t)
		r.mustRefresh()
		old := r.fleet.Files()
		ts := r.fleet.Drafts[timestamp] // a newer one of the same snapshot
		must(t, ts.SetVersion(ts.Version()+1))
		r.serveAgain(timestamp)
		r.mustRefresh()
		r.store.Files["timestamp.json"], r.store.Files["timestamp.copy"] = []byte("{"), nil
		r.fleet.SetFiles(old)
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRollback) {
			t.Fatalf("Refresh: got %v, want ErrRollback", err)
		}
	})
	t.Run("torn, and nothing can be written", func(t *testing.T) {
		r := newRig(t)
		r.mustRefresh()
		r.store.Files["timestamp.json"], r.store.Files["root.json"] = nil, []byte("null")
		r.store.Full = errors.New("read-only file system")
		st, err := r.refresh()
		if err != nil && !errors.Is(err, manifest.ErrStore) {
			t.Fatalf("Refresh: got %v, want success or ErrStore", err)
		}
		if diff := cmp.Diff([]string{root}, st.Healed[:1]); diff != "" {
			t.Fatalf("Healed (-want +got):\n%s", diff)
		}
		r.store.Full = nil
		r.mustRefresh()
	})
	t.Run("nothing can be written", func(t *testing.T) {
		r := newRig(t)
		r.mustRefresh()
		r.fleet.Publish()
		r.store.Full = errors.New("read-only file system")
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrStore) {
			t.Fatalf("Refresh: got %v, want ErrStore", err)
		}
		r.store.Full = nil
		r.mustRefresh()
	})
	t.Run("each write cut off", func(t *testing.T) {
		// A power cut after every write in turn: the next start goes on.
		for cut := 1; ; cut++ {
			r := newRig(t)
			r.release("stable", "1.3.0", nil)
			r.mustRefresh()
			rel := r.release("stable", "1.4.0", nil)
			r.fleet.Publish(root)
			c := &cutStore{Mem: r.store, left: cut}
			r.cfg.Store = c
			_, err := r.lookup(rel.Path)
			if err == nil && c.left > 0 {
				break
			}
			r.cfg.Store = r.store
			if _, err := r.lookup(rel.Path); err != nil {
				t.Fatalf("after a cut at write %d: %v", cut, err)
			}
		}
	})
}
