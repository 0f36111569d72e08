package sysinfo_test

import (
	"syscall"
	"testing"

	"hausmeister/platform/sysinfo"
)

// BenchmarkRead is what one look costs on this machine.
func BenchmarkRead(b *testing.B) {
	r := sysinfo.New(sysinfo.Config{})
	r.Read(b.Context())
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Read(b.Context())
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/float64(b.N)/1e3, "cpu-µs/op")
}

// BenchmarkFirstRead is what the first look after the agent's start costs, with
// the programs that it asks.
func BenchmarkFirstRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sysinfo.New(sysinfo.Config{}).Read(b.Context())
	}
}

// BenchmarkSoftware is what the list of programs costs.
func BenchmarkSoftware(b *testing.B) {
	r := sysinfo.New(sysinfo.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Software(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
