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
	storeFile     = "store"
	bootFile      = "boot"
	inventoryFile = "inventory"
	findingsFile  = "findings"
	standardFile  = "standard"
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
	store     []byte
	looks     []Look // the latest first, as the file has them
	looksRead bool
}

type storeState struct {
	ID []byte `json:"id"`
}

type bootState struct {
	ID     []byte `json:"id"`
	BootMS int64  `json:"boot_ms"`
	// OffsetMS is the collector's clock minus this machine's; nil while it was
	// not heard in this boot.
	OffsetMS *int64 `json:"offset_ms,omitempty"`
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
	s, known := m.bootLocked(boot)
	if known {
		return s.ID, nil
	}
	s = bootState{ID: make([]byte, 16), BootMS: boot.UnixMilli()}
	rand.Read(s.ID) // never fails (Go 1.24)
	return s.ID, save(m.files, bootFile, s)
}

// bootLocked reads what is remembered of the boot that began at boot.
func (m *Memory) bootLocked(boot time.Time) (s bootState, known bool) {
	known = load(m.files, bootFile, &s) && len(s.ID) == 16 && boot.Sub(time.UnixMilli(s.BootMS)).Abs() <= sameBoot
	return s, known
}

// ClockOffset is the collector's clock minus this machine's as it was last heard
// in the boot that began at boot; false if it was not heard in that. A clock that
// was set meanwhile moved the time of boot by as much, which is reckoned in.
func (m *Memory) ClockOffset(boot time.Time) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, known := m.bootLocked(boot)
	if !known || s.OffsetMS == nil {
		return 0, false
	}
	return time.Duration(*s.OffsetMS-(boot.UnixMilli()-s.BootMS)) * time.Millisecond, true
}

// SetClockOffset remembers the offset for this boot, which by now seems to have
// begun at boot. Without a BootID there is no boot to remember it for.
func (m *Memory) SetClockOffset(boot time.Time, offset time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s bootState
	if !load(m.files, bootFile, &s) || len(s.ID) != 16 {
		return nil
	}
	s.BootMS, s.OffsetMS = boot.UnixMilli(), new(offset.Milliseconds())
	return save(m.files, bootFile, s)
}

type inventoryState struct {
	Hash  []byte `json:"hash"`
	Store []byte `json:"store"`
}

// InventoryHash names the list of programs that this collector's store was told
// last; nil if none.
func (m *Memory) InventoryHash() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s inventoryState
	if !load(m.files, inventoryFile, &s) || !bytes.Equal(s.Store, m.store) {
		return nil // a collector whose store is another one knows nothing of it
	}
	return s.Hash
}

// SetInventoryHash remembers which list was told.
func (m *Memory) SetInventoryHash(hash []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return save(m.files, inventoryFile, inventoryState{Hash: hash, Store: m.store})
}

// Findings is what the rules of the findings had to remember, as they wrote it;
// nil if nothing.
func (m *Memory) Findings() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s []byte
	load(m.files, findingsFile, &s)
	return s
}

// SetFindings remembers it.
func (m *Memory) SetFindings(snapshot []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return save(m.files, findingsFile, snapshot)
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
