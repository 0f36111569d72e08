package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	agentupdate "hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
)

// TestSelftestOf: what a new program says of itself can only keep it away, and what
// keeps it from being asked says nothing about it.
func TestSelftestOf(t *testing.T) {
	t.Setenv(journal.EnvLauncher, "1.0.0")
	for name, c := range map[string]struct {
		script string
		bad    bool
	}{
		"good":                {`echo '{"ok": true}'`, false},
		"of itself not good":  {`echo '{"ok": false, "state": "newer"}'`, true},
		"ends badly":          {`echo '{"ok": true}'; exit 1`, true},
		"says nothing":        {`true`, true},
		"says too much":       {`head -c 1000000 /dev/zero`, true},
		"hangs":               {`sleep 60`, true},
		"has the right words": {`[ "$1 $2 $3 $4" = "selftest --dir /hm --json" ] && echo '{"ok": true}'`, false},
		"has no launcher":     {`[ -z "$HAUSMEISTER_LAUNCHER" ] && echo '{"ok": true}'`, false},
	} {
		path := filepath.Join(t.TempDir(), "program")
		if err := layout.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		within := time.Minute // a shell may begin late
		if name == "hangs" {
			within = 100 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		err := selftestOf(ctx, path, "/hm")
		cancel()
		if errors.Is(err, agentupdate.ErrSelftest) != c.bad || err != nil != c.bad {
			t.Errorf("a program that %s: %v", name, err)
		}
	}
	err := selftestOf(t.Context(), filepath.Join(t.TempDir(), "none"), "/hm")
	if err == nil || errors.Is(err, agentupdate.ErrSelftest) {
		t.Errorf("a program that is not there: %v", err)
	}
}
