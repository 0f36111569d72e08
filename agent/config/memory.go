package config

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Files is where settings and memory lie: small files, each replaced as a whole.
type Files interface {
	// Read returns an error that is fs.ErrNotExist when there is no such file.
	Read(name string) ([]byte, error)
	// Write is durable when it returns; a crash leaves the old or the new content.
	Write(name string, data []byte) error
}

const (
	storeFile = "store"
	bootFile  = "boot"
	// magicFormat begins each file; JSON follows.
	magicFormat = "hausmeister %s 1\n"
	// sameBoot is how far two reckonings of one boot may lie apart: the time
	// of boot is reckoned from the clock, which is set now and then.
	sameBoot = 2 * time.Minute
)

// Memory is what the agent remembers between its runs. Its methods may be
// called by several goroutines.
type Memory struct {
	files Files

	mu sync.Mutex
	// below is guarded by mu
	store []byte
}

type storeState struct {
	ID []byte `json:"id"`
}

type bootState struct {
	ID     []byte `json:"id"`
	BootMS int64  `json:"boot_ms"`
}

// OpenMemory reads what is there. What cannot be read counts as forgotten.
func OpenMemory(files Files) *Memory {
	m := &Memory{files: files}
	var s storeState
	if load(files, storeFile, &s) {
		m.store = s.ID
	}
	return m
}

// StoreID is the collector's store as last seen; nil at first.
func (m *Memory) StoreID() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.store)
}

// SetStoreID remembers another store; the same one is not written again.
func (m *Memory) SetStoreID(id []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if bytes.Equal(id, m.store) {
		return nil
	}
	m.store = slices.Clone(id) // also when the disk does not take it: this run knows it
	return save(m.files, storeFile, storeState{ID: m.store})
}

// BootID names the boot of the machine that began at boot: 16 random bytes, the
// same for each run of the agent during that boot. A clock that is set by more
// than two minutes while no agent runs looks like a new boot, which harms nobody.
func (m *Memory) BootID(boot time.Time) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s bootState
	known := load(m.files, bootFile, &s) && len(s.ID) == 16
	if known && boot.Sub(time.UnixMilli(s.BootMS)).Abs() <= sameBoot {
		return s.ID, nil
	}
	s = bootState{ID: make([]byte, 16), BootMS: boot.UnixMilli()}
	rand.Read(s.ID) // never fails (Go 1.24)
	return s.ID, save(m.files, bootFile, s)
}

// load reads a file into v and says whether that worked.
func load(files Files, name string, v any) bool {
	data, err := files.Read(name)
	if err != nil {
		return false
	}
	body, ok := bytes.CutPrefix(data, fmt.Appendf(nil, magicFormat, name))
	return ok && json.Unmarshal(body, v) == nil
}

func save(files Files, name string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := files.Write(name, append(fmt.Appendf(nil, magicFormat, name), body...)); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
