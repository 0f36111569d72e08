package db_test

import (
	"runtime"
	"sync"
	"testing"
)

// This program holds SQLite's own code without the race detector (see RACE in
// the Makefile). Where such a package uses a sync.Map, the linker may take its
// copy of the generic code below that for everybody, and the detector no longer
// sees that a sync.Map synchronises: then there are races in whatever keeps one,
// encoding/json or crypto/ecdsa say, that are none.
func TestRaceDetectorSeesSyncMap(t *testing.T) {
	var m sync.Map
	x := 0
	go func() {
		x = 1
		m.Store("written", true)
	}()
	for {
		if _, written := m.Load("written"); written {
			break
		}
		runtime.Gosched()
	}
	if x != 1 {
		t.Errorf("x = %d, want 1", x)
	}
}
