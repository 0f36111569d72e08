package spool

import (
	"bytes"
	"testing"
)

func sample() []byte {
	b := header{generation: 7, epoch: [16]byte{1}, first: 12, acked: 3}.append(nil)
	b = record{atMs: 5, acked: 4, entry: []byte("hello")}.append(b, 7)
	return record{atMs: 6, acked: 4, entry: nil}.append(b, 7)
}

// FuzzSegment: no bytes make the decoder panic, and what it accepts encodes to
// the same bytes again.
func FuzzSegment(f *testing.F) {
	f.Add(sample(), uint64(7))
	f.Add(sample()[:len(sample())-3], uint64(7))
	f.Add([]byte(magic), uint64(0))
	f.Add([]byte{}, uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, generation uint64) {
		h, records, torn, err := decode(b, generation)
		if err != nil {
			return
		}
		again := h.append(nil)
		// Two bytes that are reserved may differ in a file of somebody else's.
		copy(again[10:12], b[10:12])
		for _, r := range records {
			again = r.append(again, generation)
		}
		if !bytes.Equal(again[headerSize:], b[headerSize:len(b)-torn]) {
			t.Errorf("decode(%x) encodes to %x", b, again)
		}
	})
}

func TestStaleBlocks(t *testing.T) {
	// A file system hands out the blocks of a removed segment, records and all.
	b := header{generation: 8, epoch: [16]byte{1}, first: 14}.append(nil)
	b = append(b, sample()[headerSize:]...)
	if _, records, torn, err := decode(b, 8); err != nil || len(records) != 0 || torn == 0 {
		t.Errorf("decode = %d records, torn %d, %v; want none", len(records), torn, err)
	}
}
