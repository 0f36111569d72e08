package need

import "testing"

// Plain skips the test under the race detector, where it takes minutes and runs
// no code that a shorter one beside it does not. make test runs it once more
// without the detector: the Makefile's PLAIN names it, and a test holds that.
func Plain(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("runs without the race detector: see PLAIN in the Makefile")
	}
}

// Shorter is n, or under the race detector the smaller number that shows there
// what n shows without it. PLAIN names such tests too.
func Shorter(n, race int) int {
	if Race {
		return race
	}
	return n
}
