package config

import (
	"cmp"
	"slices"
	"time"
)

const (
	looksFile = "looks"
	// keepLooks is how long the device keeps a look in its list, as long as its
	// collector does; maxLooks bounds the list too.
	keepLooks = 365 * 24 * time.Hour
	maxLooks  = 500
)

// Look is one person's or program's access, at the collector, to what is finer
// than a day. Times are the collector's.
type Look struct {
	ID       string `json:"id"` // UUIDv7 of its opening
	Name     string `json:"name"`
	Role     string `json:"role"`
	Reason   string `json:"reason"`
	OpenedMS int64  `json:"opened_ms"`
	UntilMS  int64  `json:"until_ms"`
}

// Looks are who looked at this device, the latest first.
func (m *Memory) Looks() []Look {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.looksLocked())
}

// looksLocked reads the list once: it is asked for at each Hello.
func (m *Memory) looksLocked() []Look {
	if !m.looksRead {
		m.looksRead = true
		load(m.files, looksFile, &m.looks)
	}
	return m.looks
}

// AddLooks takes looks into the list that are not in it yet, and drops what is
// older than two years before the newest or beyond 500. It says whether the list
// is another one now. After an error it is not: the collector will tell again.
func (m *Memory) AddLooks(looks []Look) (changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.looksLocked())
	for _, l := range looks {
		if !slices.ContainsFunc(list, func(o Look) bool { return o.ID == l.ID }) {
			list = append(list, l)
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	slices.SortFunc(list, func(a, b Look) int {
		return cmp.Or(cmp.Compare(b.OpenedMS, a.OpenedMS), cmp.Compare(b.ID, a.ID))
	})
	// By the newest one's time and not by a clock: this device's may be wrong.
	oldest := list[0].OpenedMS - keepLooks.Milliseconds()
	list = slices.DeleteFunc(list, func(l Look) bool { return l.OpenedMS < oldest })
	list = list[:min(len(list), maxLooks)]
	if err := save(m.files, looksFile, list); err != nil {
		return false, err
	}
	m.looks = list
	return true, nil
}
