// Package inventory packs the list of what is installed on a device, for the
// wire and for the database, and tells two such lists apart. It is pure.
//
// A list is sorted by name and then version, holds no pair twice, and each text
// passes the rules that proto/reading has for texts; what does not is left out,
// by the device before it is told and by the collector before it is kept. The
// hash is over the list's encoding before compression, so that equal lists have
// equal hashes whichever compressor packed them.
package inventory

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

const (
	// MaxPrograms is how many a list may hold: a Debian with everything has 4,000.
	MaxPrograms = 10_000
	// MaxPacked is the longest packed list in bytes, MaxPlain the same unpacked.
	MaxPacked, MaxPlain = 60 << 10, 1 << 20
)

var (
	// ErrDamaged: not a packed list, or one that breaks the rules above.
	ErrDamaged = errors.New("damaged inventory")
	// ErrTooLong: more than a list may hold.
	ErrTooLong = errors.New("inventory too long")
)

// A Program is one that is installed, as the system's package list names it.
type Program struct {
	Name, Version string
}

// Clean sorts programs and leaves out what may not be told or is there twice.
func Clean(programs []Program) []Program {
	out := make([]Program, 0, len(programs))
	for _, p := range programs {
		if sound(p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

func sound(p Program) bool {
	return p.Name != "" && reading.Printable(p.Name, reading.MaxText) && reading.Printable(p.Version, reading.MaxText)
}

func compare(a, b Program) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
}

// Hash is the Hash that Pack gives a clean list, without its work.
func Hash(programs []Program) ([]byte, error) {
	plain, err := encode(programs)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(plain)
	return hash[:], nil
}

// Pack makes the message for a clean list.
func Pack(programs []Program) (*hmpb.Inventory, error) {
	plain, err := encode(programs)
	if err != nil {
		return nil, err
	}
	packed, err := compress(plain)
	if err != nil {
		return nil, fmt.Errorf("packing an inventory: %w", err)
	}
	if len(programs) > MaxPrograms || len(plain) > MaxPlain || len(packed) > MaxPacked {
		return nil, fmt.Errorf("%w: %d programs in %d bytes", ErrTooLong, len(programs), len(packed))
	}
	hash := sha256.Sum256(plain)
	return hmpb.Inventory_builder{Hash: hash[:], Packed: packed, Programs: proto.Uint32(uint32(len(programs)))}.Build(), nil
}

func encode(programs []Program) ([]byte, error) {
	list := make([]*hmpb.Program, len(programs))
	for i, p := range programs {
		list[i] = hmpb.Program_builder{Name: &p.Name, Version: &p.Version}.Build()
	}
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(hmpb.Software_builder{Programs: list}.Build())
	if err != nil {
		return nil, fmt.Errorf("encoding an inventory: %w", err)
	}
	return plain, nil
}

// Unpack gives the list of a message from elsewhere. It is strict: a list that
// Pack would not have made is ErrDamaged.
func Unpack(m *hmpb.Inventory) ([]Program, error) {
	packed := m.GetPacked()
	if len(packed) > MaxPacked {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLong, len(packed))
	}
	plain, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if hash := sha256.Sum256(plain); !bytes.Equal(hash[:], m.GetHash()) {
		return nil, fmt.Errorf("%w: another hash than it says", ErrDamaged)
	}
	if n := count(plain); n > MaxPrograms || uint32(n) != m.GetPrograms() {
		return nil, fmt.Errorf("%w: %d programs", ErrTooLong, n)
	}
	var list hmpb.Software
	if err := proto.Unmarshal(plain, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	programs := make([]Program, len(list.GetPrograms()))
	for i, p := range list.GetPrograms() {
		programs[i] = Program{p.GetName(), p.GetVersion()}
		if !sound(programs[i]) || i > 0 && compare(programs[i-1], programs[i]) >= 0 {
			return nil, fmt.Errorf("%w: program %d", ErrDamaged, i)
		}
	}
	return programs, nil
}

// count is how many programs an encoding announces, without decoding them: each
// may be two bytes and become a hundred.
func count(plain []byte) (n int) {
	for len(plain) > 0 {
		_, _, size := protowire.ConsumeField(plain)
		if size < 0 {
			return n
		}
		plain = plain[size:]
		n++
	}
	return n
}

// A Change is one difference between two lists. From is empty for what was
// added, To for what was removed; both are versions.
type Change struct {
	Name, From, To string
	Added, Removed bool
}

// Diff says how b differs from a; both are clean. Of a name that is there
// several times only the versions that came and went count.
func Diff(a, b []Program) []Change {
	var out []Change
	gone, came := missing(a, b), missing(b, a)
	for _, p := range came {
		i := slices.IndexFunc(gone, func(g Program) bool { return g.Name == p.Name })
		if i < 0 {
			out = append(out, Change{Name: p.Name, To: p.Version, Added: true})
			continue
		}
		out = append(out, Change{Name: p.Name, From: gone[i].Version, To: p.Version})
		gone = slices.Delete(gone, i, i+1)
	}
	for _, p := range gone {
		out = append(out, Change{Name: p.Name, From: p.Version, Removed: true})
	}
	slices.SortStableFunc(out, func(x, y Change) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// missing gives what is in a and not in b; both are sorted.
func missing(a, b []Program) (out []Program) {
	for _, p := range a {
		if _, found := slices.BinarySearchFunc(b, p, compare); !found {
			out = append(out, p)
		}
	}
	return out
}

// compress makes its encoder anew: a device packs a list four times a day. The
// fastest level has tables of 256 kB, the next one of 1.3 MB, which would be the
// agent's largest piece of memory at all.
func compress(plain []byte) ([]byte, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10))
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(plain, nil), nil
}

// decoder is shared and holds nothing between calls. It is made when the
// program starts: made later inside a synctest bubble, its channels would
// belong to that bubble.
var decoder = newDecoder()

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxPlain))
	if err != nil {
		panic(fmt.Sprintf("inventory: zstd refuses its options: %v", err))
	}
	return d
}
