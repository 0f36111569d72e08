package config

import (
	"slices"
	"sync"
	"time"
)

const (
	networksFile = "networks"
	// maxNetworks is how many are remembered: home, school, a few trains. The
	// one not used for longest goes first.
	maxNetworks = 32
	// inspectionKept is how long an inspection is told of after it was seen
	// last: most likely somebody has exempted us by then, or the device has moved on.
	inspectionKept = 90 * 24 * time.Hour
)

// Networks is what is remembered of the networks that the device was in. It
// stays on the device. A network is named by a hash that its user makes.
// Methods may be called by several goroutines.
type Networks struct {
	files Files

	mu sync.Mutex
	// below is guarded by mu
	state networksState
}

type networksState struct {
	Known      []knownNetwork `json:"known"` // used last comes first
	Inspection Inspection     `json:"inspection,omitzero"`
}

type knownNetwork struct {
	Network string `json:"network"`
	Way     string `json:"way"` // what worked
}

// Inspection is who opened our connections in some network.
type Inspection struct {
	Issuer  string `json:"issuer"`
	Day     string `json:"day"` // last seen, YYYY-MM-DD by the device's clock
	Network string `json:"network"`
}

// OpenNetworks reads what is there. What cannot be read counts as forgotten.
func OpenNetworks(files Files) *Networks {
	n := &Networks{files: files}
	if !load(files, networksFile, &n.state) {
		n.state = networksState{}
	}
	n.state.Known = n.state.Known[:min(len(n.state.Known), maxNetworks)]
	return n
}

// Way is what worked in a network last; "" for one that is not known.
func (n *Networks) Way(network string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.state.Known {
		if k.Network == network {
			return k.Way
		}
	}
	return ""
}

// Worked remembers what worked. The disk is written only for what is new: that
// a network was used again is remembered with the next change.
func (n *Networks) Worked(network, way string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := knownNetwork{network, way}
	known := slices.Contains(n.state.Known, now)
	all := slices.DeleteFunc(n.state.Known, func(k knownNetwork) bool { return k.Network == network })
	all = slices.Insert(all, 0, now)
	n.state.Known = all[:min(len(all), maxNetworks)]
	if known {
		return nil
	}
	return save(n.files, networksFile, n.state)
}

// Inspected remembers who opened our connections; once a day on the disk.
func (n *Networks) Inspected(network, issuer string, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := Inspection{Issuer: issuer, Day: now.Format(time.DateOnly), Network: network}
	if n.state.Inspection == seen {
		return nil
	}
	n.state.Inspection = seen
	return save(n.files, networksFile, n.state)
}

// NotInspected forgets an inspection in a network in which there is none now.
func (n *Networks) NotInspected(network string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := n.state.Inspection; i.Issuer == "" || i.Network != network {
		return nil
	}
	n.state.Inspection = Inspection{}
	return save(n.files, networksFile, n.state)
}

// Inspection is the last one, wherever it was; zero when there was none lately.
func (n *Networks) Inspection(now time.Time) Inspection {
	n.mu.Lock()
	defer n.mu.Unlock()
	day, err := time.Parse(time.DateOnly, n.state.Inspection.Day)
	if err != nil || now.Sub(day) > inspectionKept {
		return Inspection{}
	}
	return n.state.Inspection
}
