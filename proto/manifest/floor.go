package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"time"
)

// floor is what was accepted before, by number: nothing may fall below it. It is
// a file of its own, in two copies, because the metadata files that also tell it
// may be torn or put back by somebody.
type floor struct {
	Sequence  int64             `json:"sequence"` // which of two copies is newer
	Root      int64             `json:"root"`
	Timestamp int64             `json:"timestamp"`
	Snapshot  int64             `json:"snapshot"`
	Roles     map[string]int64  `json:"roles,omitempty"`    // as the snapshot named them
	Products  map[string]string `json:"products,omitempty"` // lowest version that may run
	TimeMS    int64             `json:"time_ms"`            // highest time that a timestamp key has signed

	// The online keys under which the numbers were reached.
	TimestampKeys []string `json:"timestamp_keys,omitempty"`
	SnapshotKeys  []string `json:"snapshot_keys,omitempty"`
}

const (
	floorMagic = "hausmeister-floor 1\n"
	floorName  = "floor" // no role's file is called so: those have an ending
	floorCopy  = "floor-copy"
	floorMax   = 1 << 20
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func (f floor) encode() ([]byte, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf([]byte(floorMagic), "%s\n%08x\n", body, crc32.Checksum(body, crcTable)), nil
}

func parseFloor(data []byte) (floor, error) {
	rest, ok := bytes.CutPrefix(data, []byte(floorMagic))
	if !ok {
		return floor{}, errors.New("no floor")
	}
	body, sum, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || len(sum) != 9 {
		return floor{}, errors.New("floor is cut")
	}
	want, err := strconv.ParseUint(string(sum[:8]), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(body, crcTable) {
		return floor{}, errors.New("floor is damaged")
	}
	var f floor
	if err := json.Unmarshal(body, &f); err != nil {
		return floor{}, err
	}
	return f, nil
}

// loadFloor takes the newer of the whole copies. None is what a new device has.
func loadFloor(s Store) floor {
	var best floor
	for _, name := range []string{floorName, floorCopy} {
		data, err := s.Read(name, floorMax)
		if err != nil {
			continue
		}
		if f, err := parseFloor(data); err == nil && f.Sequence > best.Sequence {
			best = f
		}
	}
	return best
}

func (f floor) clone() floor {
	f.Roles, f.Products = maps.Clone(f.Roles), maps.Clone(f.Products)
	return f
}

func (f floor) equal(g floor) bool {
	f.Sequence, g.Sequence = 0, 0
	a, errA := f.encode()
	b, errB := g.encode()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func (f *floor) save(s Store) error {
	f.Sequence++
	data, err := f.encode()
	if err != nil {
		return err
	}
	for _, name := range []string{floorName, floorCopy} {
		if err := s.Write(name, data); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrStore, name, err)
		}
	}
	return nil
}

// rotated lowers the floor where the root took a key away from an online role:
// whoever had it may have raised the numbers as far as they go, and the root's
// owners say so by rotating it (specification 5.3.11). Adding a key lowers nothing.
func (f *floor) rotated(timestampKeys, snapshotKeys []string) {
	if lost(f.TimestampKeys, timestampKeys) {
		f.Timestamp, f.Snapshot, f.TimeMS = 0, 0, 0
	}
	if lost(f.SnapshotKeys, snapshotKeys) {
		f.Snapshot, f.Roles = 0, nil
	}
	f.TimestampKeys, f.SnapshotKeys = slices.Sorted(slices.Values(timestampKeys)), slices.Sorted(slices.Values(snapshotKeys))
}

func lost(before, now []string) bool {
	return slices.ContainsFunc(before, func(k string) bool { return !slices.Contains(now, k) })
}

func (f floor) time() time.Time {
	if f.TimeMS == 0 {
		return time.Time{}
	}
	return time.UnixMilli(f.TimeMS)
}

// raise keeps the highest floor of each product; what is no version is not there.
func (f *floor) raise(products map[string]string) {
	for p, v := range products {
		if old, ok := f.Products[p]; ok && Compare(v, old) <= 0 {
			continue
		}
		if f.Products == nil {
			f.Products = map[string]string{}
		}
		f.Products[p] = v
	}
}
