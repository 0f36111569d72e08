package rollsim_test

import (
	"crypto/sha256"

	"hausmeister/agent/update/journal"
)

// behaviour is what a build does on a device.
type behaviour string

const (
	well   behaviour = "well"
	crash  behaviour = "crash"    // at its start
	hang   behaviour = "hang"     // lives and gets nowhere
	deaf   behaviour = "deaf"     // does not find the collector, which the old one does
	greedy behaviour = "greedy"   // takes a core
	unfit  behaviour = "selftest" // says itself that it cannot run there
)

const oldVersion, newVersion = "1.0.0", "1.1.0"

// program is a version's; its text stands for its bytes.
func program(version string) journal.Program {
	return journal.Program{Version: version, Sum: sha256.Sum256(text(version))}
}

func text(version string) []byte { return []byte("program " + version) }

var v1, v2 = program(oldVersion), program(newVersion)

// Sizes of what is fetched, as measured of two versions of an agent of 9 MB.
const (
	packedSize = 2_940_000
	patchSize  = 610_000
)

// does is what a build does on this device: a property of both, whoever asks and how
// often he does.
func (s scenario) does(version string, device int) behaviour {
	switch {
	case version != newVersion:
		return well
	case s.model != "" && modelOf(device) != s.model:
		return well
	case s.model == "" && share("bad", s.seed, device) >= s.rate:
		return well
	}
	x := share("how", s.seed, device)
	for _, k := range []struct {
		does  behaviour
		until float64
	}{{crash, .4}, {hang, .6}, {deaf, .8}, {greedy, .9}, {unfit, 1}} {
		if x < k.until {
			return k.does
		}
	}
	return crash
}
