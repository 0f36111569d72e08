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
const (
	magic         = "HMSPOOL\n"
	version       = 1
	headerSize    = 8 + 2 + 2 + 8 + 16 + 8 + 8 + 4 + 4
	recordSize    = 4 + 4 + 8 + 8 // before the entry
	segmentSuffix = ".seg"

	// MaxEntry is the longest encoded entry.
	MaxEntry = 64 << 10
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
}

type record struct {
	atMs  int64 // device clock at Append
	acked uint64
	entry []byte
}

func (h header) append(b []byte) []byte {
	n := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, h.generation)
	b = append(b, h.epoch[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = binary.LittleEndian.AppendUint64(b, h.acked)
	b = binary.LittleEndian.AppendUint32(b, h.carried)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// parseHeader reads what append wrote for the file of that generation.
func parseHeader(b []byte, generation uint64) (header, error) {
	var h header
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return h, errDamaged
	}
	// Before the checksum: a newer version may have a longer header.
	if v := binary.LittleEndian.Uint16(b[8:]); v > version {
		return h, fmt.Errorf("%w (%d, this program knows %d)", ErrNewer, v, version)
	}
	if crc32.Checksum(b[:headerSize-4], castagnoli) != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return h, errDamaged
	}
	h.generation = binary.LittleEndian.Uint64(b[12:])
	copy(h.epoch[:], b[20:])
	h.first = binary.LittleEndian.Uint64(b[36:])
	h.acked = binary.LittleEndian.Uint64(b[44:])
	h.carried = binary.LittleEndian.Uint32(b[52:])
	if h.generation != generation || h.first == 0 {
		return h, errDamaged
	}
	return h, nil
}

func (r record) append(b []byte, generation uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.entry)))
	n := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.atMs))
	b = binary.LittleEndian.AppendUint64(b, r.acked)
	b = append(b, r.entry...)
	binary.LittleEndian.PutUint32(b[n:], recordSum(b[n-4:n], b[n+4:], generation))
	return b
}

// recordSum covers everything of a record but the sum itself.
func recordSum(length, rest []byte, generation uint64) uint32 {
	var g [8]byte
	binary.LittleEndian.PutUint64(g[:], generation)
	sum := crc32.Update(0, castagnoli, g[:])
	sum = crc32.Update(sum, castagnoli, length)
	return crc32.Update(sum, castagnoli, rest)
}

// entryLength reads the length at the begin of a record; false if no record
// can begin so.
func entryLength(head []byte) (int, bool) {
	n := binary.LittleEndian.Uint32(head)
	return int(n), n <= MaxEntry
}

// parseRecord takes a whole record apart; its entry is part of b.
func parseRecord(b []byte, generation uint64) (record, bool) {
	if recordSum(b[:4], b[8:], generation) != binary.LittleEndian.Uint32(b[4:]) {
		return record{}, false
	}
	return record{
		atMs:  int64(binary.LittleEndian.Uint64(b[8:])),
		acked: binary.LittleEndian.Uint64(b[16:]),
		entry: b[recordSize:],
	}, true
}

// decode takes a segment file apart: its records up to the first that is not
// whole, and how many bytes come from there on. It looks at each byte once and
// allocates nothing by a length it read.
func decode(b []byte, generation uint64) (h header, records []record, torn int, err error) {
	if h, err = parseHeader(b, generation); err != nil {
		return header{}, nil, 0, err
	}
	rest := b[headerSize:]
	for len(rest) >= recordSize {
		n, ok := entryLength(rest)
		if !ok || len(rest)-recordSize < n {
			break
		}
		r, ok := parseRecord(rest[:recordSize+n], generation)
		if !ok {
			break
		}
		records = append(records, r)
		rest = rest[recordSize+n:]
	}
	return h, records, len(rest), nil
}

func segmentName(generation uint64) string {
	return fmt.Sprintf("%016x%s", generation, segmentSuffix)
}

// segmentGeneration is the reverse; false for other files, which are not ours.
func segmentGeneration(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && segmentName(n) == name
}
