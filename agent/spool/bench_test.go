package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
)

// BenchmarkAppend against the least that durability costs: a write and an fsync.
func BenchmarkAppend(b *testing.B) {
	e := entry("state", 500)
	b.Run("spool", func(b *testing.B) {
		s, err := spool.Open(spool.Config{Disk: spool.Dir(b.TempDir())})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Append(b.Context(), e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		data, err := proto.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := f.Write(data); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
