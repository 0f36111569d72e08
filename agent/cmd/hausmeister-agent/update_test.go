package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
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

// TestAttack18_NoProgramOfThisSystem: what the system cannot start, whatever its label
// says, has failed its test. One that is held, or must not be started, has not.
func TestAttack18_NoProgramOfThisSystem(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(whole)
	copy(other[18:20], "\xee\xee") // the processor of an ELF file; nobody's
	for name, c := range map[string]struct {
		data []byte
		mode os.FileMode
		bad  bool
	}{
		"of another processor": {other, 0o755, true},
		"that is cut":          {whole[:1000], 0o755, true},
		"of which little came": {whole[:10], 0o755, true},
		"that is a page":       {[]byte("<html>no such file</html>\n"), 0o755, true},
		"that is empty":        {nil, 0o755, true},
		"that must not run":    {whole, 0o644, false},
	} {
		path := filepath.Join(t.TempDir(), "program")
		if err := layout.WriteFile(path, c.data, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := selftestOf(t.Context(), path, "/hm"); err == nil || errors.Is(err, agentupdate.ErrSelftest) != c.bad {
			t.Errorf("a program %s: %v", name, err)
		}
	}
}

// TestUpdateSaysWhatIsSo: what the person at the device reads is true in each case: with
// and without an agent that runs, and with as many wishes left.
func TestUpdateSaysWhatIsSo(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"public", "wishes", "state"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	state, until := "offered", 48*time.Hour
	var putOff time.Time
	begins := time.Now().Add(20 * time.Hour).UTC().Truncate(time.Minute)
	say := func(left int, verb, lang string) string {
		t.Helper()
		b, err := json.Marshal(map[string]any{"state": "connected", "version": "1.0.0", "as_of": begins.Add(-21 * time.Hour), "update": agentupdate.Status{
			State: state, Version: "1.1.0", Waits: "postponed", Begins: begins, Until: begins.Add(until), PutOff: putOff, Postponable: left}})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "public/status.json"), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		p := &program{args: []string{"update", verb, "--lang", lang, "--dir", dir}, env: func(string) string { return "" }, in: strings.NewReader(""), out: &out, errs: &out}
		p.main(t.Context())
		return out.String()
	}
	count := map[string][4]string{
		"de": {"öfter geht es nicht", "noch einmal verschieben", "noch 2-mal verschieben", "noch 3-mal verschieben"},
		"en": {"it cannot be any more", "once more", "2 more times", "3 more times"},
	}
	stopped := map[string]string{"de": "Der Agent läuft nicht.", "en": "The agent is not running."}
	soon := map[string]string{"de": "in wenigen Minuten", "en": "within minutes"}
	for _, runs := range []bool{false, true} {
		if runs {
			lock, err := layout.Lock(filepath.Join(dir, "state/lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
		}
		for lang, counts := range count {
			for left, want := range counts {
				got := say(left, "status", lang)
				if !strings.Contains(got, want) || strings.Contains(got, stopped[lang]) == runs || !strings.Contains(got, wordsFor(lang).when(begins)) {
					t.Errorf("agent runs %t, %d wishes left: %s", runs, left, got)
				}
				got = say(left, "postpone", lang)
				switch {
				case left == 0 && (!strings.Contains(got, want) || strings.Contains(got, soon[lang])):
					t.Errorf("agent runs %t, the fourth wish: %s", runs, got)
				case left > 0 && (strings.Contains(got, soon[lang]) != runs || strings.Contains(got, stopped[lang]) == runs):
					t.Errorf("agent runs %t, a wish: %s", runs, got)
				}
				got = say(left, "status", lang)
				if left > 0 && (strings.Contains(got, want) || strings.Contains(got, soon[lang]) != runs) {
					t.Errorf("agent runs %t, a wish waits: %s", runs, got)
				}
				if err := os.RemoveAll(filepath.Join(dir, "wishes/postpone-update-1.1.0")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// A deadline only where it lies behind the beginning, and at rest what is put off.
	for lang, deadline := range map[string]string{"de": "neue Freigabe", "en": "new approval"} {
		for _, until = range []time.Duration{-time.Hour, 0, time.Hour} {
			if got := say(2, "status", lang); strings.Contains(got, deadline) != (until > 0) {
				t.Errorf("the lease ends %v after the beginning: %s", until, got)
			}
		}
	}
	state = "idle"
	for lang, again := range map[string]string{"de": "kommt nicht vor", "en": "not come before"} {
		for _, putOff = range []time.Time{{}, begins} {
			if got := say(0, "status", lang); strings.Contains(got, again) == putOff.IsZero() || strings.Contains(got, wordsFor(lang).when(begins)) == putOff.IsZero() {
				t.Errorf("at rest, put off until %v: %s", putOff, got)
			}
		}
	}
}

// TestUpdateSaysOnlyWhatIsKnown: at rest nobody here knows whether there is a newer
// version, but how the last update failed; and what is not under way yet is not said to be.
func TestUpdateSaysOnlyWhatIsKnown(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		status agentupdate.Status
		de, en string
	}{
		"settled":        {agentupdate.Status{State: "committed"}, "kein Update unterwegs", "no update under way"},
		"pruned":         {agentupdate.Status{State: "pruned"}, "kein Update unterwegs", "no update under way"},
		"never any":      {agentupdate.Status{State: "idle"}, "kein Update unterwegs", "no update under way"},
		"refused":        {agentupdate.Status{State: "committed", Failed: "1.4.0", Why: "selftest"}, "kein Update unterwegs; das auf 1.4.0 ist misslungen: der Selbsttest der Version schlägt fehl", "no update under way; the one to 1.4.0 failed: the release fails its self-test"},
		"undone":         {agentupdate.Status{State: "rolled_back", Failed: "1.4.0", Why: "crashed"}, "1.4.0 ist misslungen (abgestürzt); die vorige Version läuft wieder", "1.4.0 failed (crashed); the previous version runs again"},
		"undone once":    {agentupdate.Status{State: "rolled_back"}, "misslungen; die vorige Version läuft wieder", "failed; the previous version runs again"},
		"why is newer":   {agentupdate.Status{State: "idle", Failed: "1.4.0", Why: "unknown"}, "kein Update unterwegs; das auf 1.4.0 ist misslungen: aus einem Grund, den dieses Programm nicht kennt", "no update under way; the one to 1.4.0 failed: for a reason that this program does not know"},
		"bytes come":     {agentupdate.Status{State: "offered", Version: "1.4.0"}, "1.4.0: wird geladen", "1.4.0: being fetched"},
		"waits":          {agentupdate.Status{State: "offered", Version: "1.4.0", Waits: "lesson"}, "1.4.0: angekündigt; wartet auf das Ende des Unterrichts", "1.4.0: announced; waits for the end of the lesson"},
		"not before":     {agentupdate.Status{State: "offered", Version: "1.4.0", Begins: soon}, "1.4.0: angekündigt; nicht vor " + wordsFor("de").when(soon), "1.4.0: announced; not before " + wordsFor("en").when(soon)},
		"on trial":       {agentupdate.Status{State: "trial", Version: "1.4.0"}, "1.4.0: eingesetzt, auf Probe", "1.4.0: put in place, on trial"},
		"being prepared": {agentupdate.Status{State: "downloaded", Version: "1.4.0"}, "1.4.0: geladen, wird vorbereitet", "1.4.0: fetched, being prepared"},
	} {
		for lang, want := range map[string]string{"de": c.de, "en": c.en} {
			if got := wordsFor(lang).update(c.status); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}
