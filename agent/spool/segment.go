package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A segment file, little endian:
//
//	header  magic "HMSPOOL\n" | version u16 | 0 u16 | generation u64 | epoch [16] |
//	        first u64 | acked u64 | carried u32 | crc u32
//	record  length u32 | crc u32 | at_ms i64 | acked u64 | entry [length]
//
// Records have no number of their own: the first is `first`, each next is one
// higher. acked is how far the collector had got when the record was written;
// it costs no write of its own. The crc (Castagnoli) begins with the
// generation, so that blocks of a removed segment that a file system hands out
// again never pass for records of this one.
//
// Version 2 is a squeezed segment: what is left of one or more older ones, of
// which some records were given up. It is written whole and never appended to,
// and its name ends otherwise, so that a file whose header is torn is known not
// to hold sequences that are in no other file.
//
//	header  as above, but before the crc: last u64 | level u32
//	record  as above, but before the entry, and within length: runs uvarint |
//	        length of each run, uvarint
//
// It speaks for all sequences from first to last. A record is as many above the
// one before as its runs say: of sequences that are dropped, thinned, dropped,
// and so on, a run of none where one begins with thinned ones. What is missing
// at the end was dropped. carried is the number of records: only with so many
// does it stand for the segments it was made of, see load.go.
const (
	magic           = "HMSPOOL\n"
	version         = 1
	squeezedVersion = 2
	headerSize      = 8 + 2 + 2 + 8 + 16 + 8 + 8 + 4 + 4
	squeezedSize    = headerSize + 8 + 4 // of a squeezed segment's header
	recordSize      = 4 + 4 + 8 + 8      // before the entry
	segmentSuffix   = ".seg"
	squeezedSuffix  = ".sqz"

	// MaxEntry is the longest encoded entry.
	MaxEntry = 64 << 10
	// maxRuns before one record; more are written as one of dropped ones.
	maxRuns = 256
	maxGap  = 1 + 2 + maxRuns*binary.MaxVarintLen64
)

// ErrNewer: the spool was written by a newer version. It is left alone.
var ErrNewer = errors.New("spool is of a newer version")

var errDamaged = errors.New("damaged segment")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	generation uint64
	epoch      [16]byte
	first      uint64 // sequence of the first record
	acked      uint64
	// carried is how many records an interrupted Resume would have missed:
	// a segment that begins a new epoch counts only when it has that many.
	carried uint32

	// Of a squeezed segment only.
	squeezed bool
	last     uint64
	level    level
}

func (h header) size() int64 {
	if h.squeezed {
		return squeezedSize
	}
	return headerSize
}

type record struct {
	atMs  int64 // device clock at Append
	acked uint64
	gap   []run // missing directly before it; squeezed segments only
	entry []byte
}

// run is some sequences in a row that have no record.
type run struct {
	n       uint64
	thinned bool // their content lives on in a later record
}

// skipped is how many sequences are missing before the record.
func (r record) skipped() (n uint64) {
	for _, g := range r.gap {
		n += g.n
	}
	return n
}

func (h header) append(b []byte) []byte {
	n := len(b)
	b = append(b, magic...)
	if h.squeezed {
		b = binary.LittleEndian.AppendUint16(b, squeezedVersion)
	} else {
		b = binary.LittleEndian.AppendUint16(b, version)
	}
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, h.generation)
	b = append(b, h.epoch[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = binary.LittleEndian.AppendUint64(b, h.acked)
	b = binary.LittleEndian.AppendUint32(b, h.carried)
	if h.squeezed {
		b = binary.LittleEndian.AppendUint64(b, h.last)
		b = binary.LittleEndian.AppendUint32(b, uint32(h.level))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// parseHeader reads what append wrote for that file.
func parseHeader(b []byte, id fileID) (header, error) {
	h := header{squeezed: id.squeezed}
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return h, errDamaged
	}
	// Before the checksum: a newer version may have a longer header.
	v := binary.LittleEndian.Uint16(b[8:])
	if v > squeezedVersion {
		return h, fmt.Errorf("%w (%d, this program knows %d)", ErrNewer, v, squeezedVersion)
	}
	size := int(h.size())
	if (v == squeezedVersion) != id.squeezed || len(b) < size ||
		crc32.Checksum(b[:size-4], castagnoli) != binary.LittleEndian.Uint32(b[size-4:]) {
		return h, errDamaged
	}
	h.generation = binary.LittleEndian.Uint64(b[12:])
	copy(h.epoch[:], b[20:])
	h.first = binary.LittleEndian.Uint64(b[36:])
	h.acked = binary.LittleEndian.Uint64(b[44:])
	h.carried = binary.LittleEndian.Uint32(b[52:])
	if h.squeezed {
		h.last = binary.LittleEndian.Uint64(b[56:])
		h.level = level(binary.LittleEndian.Uint32(b[64:]))
	}
	if h.generation != id.gen || h.first == 0 || h.squeezed && (h.last < h.first || h.last > 1<<62 || h.level > nothing) {
		return h, errDamaged
	}
	return h, nil
}

func (r record) append(b []byte, id fileID) []byte {
	n := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.atMs))
	b = binary.LittleEndian.AppendUint64(b, r.acked)
	if id.squeezed {
		b = appendGap(b, r.gap)
	}
	b = append(b, r.entry...)
	binary.LittleEndian.PutUint32(b[n:], uint32(len(b)-n-recordSize))
	binary.LittleEndian.PutUint32(b[n+4:], recordSum(b[n:n+4], b[n+8:], id.gen))
	return b
}

// appendGap writes runs, of which no two neighbours are of one kind.
func appendGap(b []byte, gap []run) []byte {
	n := len(gap)
	if n > 0 && gap[0].thinned {
		b = binary.AppendUvarint(b, uint64(n+1))
		b = binary.AppendUvarint(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, g := range gap {
		b = binary.AppendUvarint(b, g.n)
	}
	return b
}

// parseGap takes the runs from before an entry. Only what appendGap writes is
// one: a number in its shortest form, a run of none at the begin at most.
func parseGap(b []byte) (gap []run, rest []byte, ok bool) {
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		ok = size > 0 && (size == 1 || b[size-1] != 0)
		b = b[max(size, 0):]
		return n
	}
	runs := number()
	if !ok || runs > maxRuns+1 {
		return nil, nil, false
	}
	sum := uint64(0)
	for i := range runs {
		n := number()
		if !ok || n > 1<<62 || sum+n > 1<<62 || n == 0 && (i > 0 || runs == 1) {
			return nil, nil, false
		}
		sum += n
		if n > 0 {
			gap = append(gap, run{n, i%2 == 1})
		}
	}
	return gap, b, true
}

// recordSum covers everything of a record but the sum itself.
func recordSum(length, rest []byte, generation uint64) uint32 {
	var g [8]byte
	binary.LittleEndian.PutUint64(g[:], generation)
	sum := crc32.Update(0, castagnoli, g[:])
	sum = crc32.Update(sum, castagnoli, length)
	return crc32.Update(sum, castagnoli, rest)
}

// entryLength reads how much follows the fixed part of a record; false if no
// record can begin so.
func entryLength(head []byte, id fileID) (int, bool) {
	most := uint32(MaxEntry)
	if id.squeezed {
		most += maxGap
	}
	n := binary.LittleEndian.Uint32(head)
	return int(n), n <= most
}

// parseRecord takes a whole record apart; its entry is part of b.
func parseRecord(b []byte, id fileID) (record, bool) {
	if recordSum(b[:4], b[8:], id.gen) != binary.LittleEndian.Uint32(b[4:]) {
		return record{}, false
	}
	r := record{
		atMs:  int64(binary.LittleEndian.Uint64(b[8:])),
		acked: binary.LittleEndian.Uint64(b[16:]),
		entry: b[recordSize:],
	}
	ok := true
	if id.squeezed {
		r.gap, r.entry, ok = parseGap(r.entry)
	}
	return r, ok
}

// decode takes a segment file apart: its records up to the first that is not
// whole, and how many bytes come from there on. It looks at each byte once and
// allocates nothing by a length it read.
func decode(b []byte, id fileID) (h header, records []record, torn int, err error) {
	if h, err = parseHeader(b, id); err != nil {
		return header{}, nil, 0, err
	}
	rest := b[h.size():]
	next := h.first
	for len(rest) >= recordSize {
		n, ok := entryLength(rest, id)
		if !ok || len(rest)-recordSize < n {
			break
		}
		r, ok := parseRecord(rest[:recordSize+n], id)
		if !ok {
			break
		}
		next += r.skipped() + 1
		if h.squeezed && next-1 > h.last {
			break
		}
		records = append(records, r)
		rest = rest[recordSize+n:]
	}
	return h, records, len(rest), nil
}

// fileID is what a segment's name says. No generation is given to two files.
type fileID struct {
	gen      uint64
	squeezed bool
}

func (id fileID) name() string {
	if id.squeezed {
		return fmt.Sprintf("%016x%s", id.gen, squeezedSuffix)
	}
	return fmt.Sprintf("%016x%s", id.gen, segmentSuffix)
}

// parseName is the reverse; false for other files, which are not ours.
func parseName(name string) (fileID, bool) {
	hex, squeezed := strings.CutSuffix(name, squeezedSuffix)
	if !squeezed {
		var ok bool
		if hex, ok = strings.CutSuffix(name, segmentSuffix); !ok {
			return fileID{}, false
		}
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	id := fileID{n, squeezed}
	return id, err == nil && id.name() == name
}
