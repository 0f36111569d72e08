package rollout_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
)

// TestFind finds versions as people type them, each rollout of one and what waits for one.
func TestFind(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, first := w.begun(2, "A3510")
		w.must(w.Abort(t.Context(), person("ada"), first, "not for schools"))
		w.now = w.now.Add(time.Hour)
		again := w.start(t, "1.1.0")
		w.now = w.now.Add(time.Hour)
		w.release("1.10.0")
		for query, want := range map[string][]string{"1.1.0": {again + " running true", first + " aborted true"}, "1.10": {"  false"}, "1": {"  false", again + " running false", first + " aborted false", "  false"},
			"1.1.": nil, "1.1.00": nil, "": nil, "%": nil, "1.1": {again + " running false", first + " aborted false"}, "\x00": nil} {
			found, err := w.Find(t.Context(), person("ada"), query)
			if err != nil || len(found) != len(want) {
				t.Errorf("Find(%q) = %+v, %v, want %v", query, found, err, want)
				continue
			}
			for i, f := range found {
				exact := map[bool]string{true: " true", false: " false"}[f.Exact]
				if got := f.Rollout + " " + string(f.State) + exact; got != want[i] || !strings.HasPrefix(f.Version, query) || f.Release == "" {
					t.Errorf("Find(%q)[%d] = %+v, want %s", query, i, f, want[i])
				}
			}
		}
		if _, err := w.Find(t.Context(), w.caller("x"), "1.1.0"); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Find for a device: %v, want ErrForbidden", err)
		}
	})
}
