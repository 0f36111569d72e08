package demo_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/testenv/demo"
	"hausmeister/testenv/port"
)

// TestCollectorCannotStart: the demo ends and says why, once.
func TestCollectorCannotStart(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\necho 'no collector on Sundays' >&2\nexit 7\n"
	if err := os.WriteFile(filepath.Join(bin, "hausmeister-collector"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var log bytes.Buffer
	err = demo.Run(ctx, demo.Config{Bin: bin, Dir: filepath.Join(t.TempDir(), "demo"), Port: free, Out: io.Discard, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if ctx.Err() != nil || err == nil {
		t.Fatalf("Run = %v after a minute, want an error at once; log:\n%s", err, log.String())
	}
	if n := strings.Count(err.Error()+log.String(), "no collector on Sundays"); n != 1 {
		t.Errorf("the reason is told %d times, want once: %v\nlog: %s", n, err, log.String())
	}
	if !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("Run = %v, want the exit status", err)
	}
}
