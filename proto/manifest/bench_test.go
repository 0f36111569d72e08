package manifest_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// counting tells what a refresh costs the network.
type counting struct {
	manifest.Fetcher
	requests, bytes int
}

func (c *counting) Fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	c.requests++
	r, err := c.Fetcher.Fetch(ctx, name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	c.bytes += len(data)
	return io.NopCloser(strings.NewReader(string(data))), err
}

// BenchmarkLookup: of a device that is new, and of one that knows all but has to
// ask. The role has as many targets as the last three releases for six systems.
func BenchmarkLookup(b *testing.B) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	fleet := tufrepo.NewFleet(func() time.Time { return now })
	var path string
	for v := range 3 {
		for _, system := range []string{"linux amd64", "linux arm64", "windows amd64", "windows arm64", "darwin amd64", "darwin arm64"} {
			os, arch, _ := strings.Cut(system, " ")
			r := fleet.Release("stable", manifest.Release{Version: fmt.Sprintf("1.%d.0", v), OS: os, Arch: arch}, []byte(system))
			for d := range 3 {
				fleet.File("stable", fmt.Sprintf("%sfrom-%d.zst", r.Dir(), d), []byte(system))
			}
			path = r.Path
		}
	}
	lookup := func(b *testing.B, f manifest.Fetcher, store manifest.Store) {
		c, err := manifest.New(manifest.Config{Fetch: f, Store: store, Root: fleet.Root(), Now: func() time.Time { return now }})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.Lookup(b.Context(), path); err != nil {
			b.Fatal(err)
		}
	}
	run := func(b *testing.B, store func() manifest.Store) {
		count := &counting{Fetcher: fleet}
		b.ReportAllocs()
		for b.Loop() {
			lookup(b, count, store())
		}
		b.ReportMetric(float64(count.requests)/float64(b.N), "requests/op")
		b.ReportMetric(float64(count.bytes)/float64(b.N), "fetched_B/op")
	}
	b.Run("cold", func(b *testing.B) { run(b, func() manifest.Store { return tufrepo.NewMem() }) })
	b.Run("warm", func(b *testing.B) {
		store := tufrepo.NewMem()
		lookup(b, fleet, store)
		run(b, func() manifest.Store { return store })
	})
}
