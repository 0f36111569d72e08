package spool

import (
	"bytes"
	"testing"
)

func sample() []byte {
	b := header{generation: 7, epoch: [16]byte{1}, first: 12, acked: 3}.append(nil)
	b = record{atMs: 5, acked: 4, entry: []byte("hello")}.append(b, fileID{gen: 7})
	return record{atMs: 6, acked: 4, entry: nil}.append(b, fileID{gen: 7})
}

// squeezedSample has gaps of every form.
func squeezedSample() []byte {
	id := fileID{7, true}
	b := header{generation: 7, epoch: [16]byte{1}, first: 12, acked: 3, carried: 3, squeezed: true, last: 40, level: hourly}.append(nil)
	b = record{atMs: 5, acked: 4, entry: []byte("hello")}.append(b, id)
	b = record{atMs: 6, acked: 4, gap: []run{{2, true}, {9, false}, {1, true}}}.append(b, id)
	return record{atMs: 6, acked: 4, gap: []run{{5, false}}, entry: []byte("world")}.append(b, id)
}

// FuzzSegment: no bytes make the decoder panic, and what it accepts encodes to
// the same bytes again.
func FuzzSegment(f *testing.F) {
	f.Add(sample(), uint64(7), false)
	f.Add(sample()[:len(sample())-3], uint64(7), false)
	f.Add([]byte(magic), uint64(0), false)
	f.Add([]byte{}, uint64(1), false)
	f.Add(squeezedSample(), uint64(7), true)
	f.Add(squeezedSample()[:len(squeezedSample())-3], uint64(7), true)
	f.Add(sample(), uint64(7), true)
	f.Fuzz(func(t *testing.T, b []byte, generation uint64, squeezed bool) {
		id := fileID{generation, squeezed}
		h, records, torn, err := decode(b, id)
		if err != nil {
			return
		}
		again := h.append(nil)
		// Two bytes that are reserved may differ in a file of somebody else's.
		copy(again[10:12], b[10:12])
		for _, r := range records {
			again = r.append(again, id)
		}
		if !bytes.Equal(again[h.size():], b[h.size():len(b)-torn]) {
			t.Errorf("decode(%x) encodes to %x", b, again)
		}
	})
}

func TestSqueezedForm(t *testing.T) {
	id := fileID{7, true}
	h, records, torn, err := decode(squeezedSample(), id)
	if err != nil || torn != 0 || len(records) != 3 || h.last != 40 || h.level != hourly {
		t.Fatalf("decode = %+v, %d records, torn %d, %v", h, len(records), torn, err)
	}
	for i, want := range []uint64{0, 12, 5} {
		if got := records[i].skipped(); got != want {
			t.Errorf("record %d skips %d, want %d", i, got, want)
		}
	}
	// A record that lies beyond what the segment speaks for is none.
	b := record{gap: []run{{100, false}}}.append(squeezedSample(), id)
	if _, records, torn, err = decode(b, id); err != nil || torn == 0 || len(records) != 3 {
		t.Errorf("decode = %d records, torn %d, %v; want 3 and the rest torn", len(records), torn, err)
	}
	for _, name := range []string{"00000000000000ff.seg", "00000000000000ff.sqz"} {
		if id, ok := parseName(name); !ok || id.name() != name || id.gen != 255 {
			t.Errorf("parseName(%s) = %+v, %v", name, id, ok)
		}
	}
	for _, name := range []string{"00000000000000FF.seg", "ff.sqz", "00000000000000ff.tmp", "00000000000000ff"} {
		if id, ok := parseName(name); ok {
			t.Errorf("parseName(%s) = %+v", name, id)
		}
	}
}

func TestStaleBlocks(t *testing.T) {
	// A file system hands out the blocks of a removed segment, records and all.
	b := header{generation: 8, epoch: [16]byte{1}, first: 14}.append(nil)
	b = append(b, sample()[headerSize:]...)
	if _, records, torn, err := decode(b, fileID{gen: 8}); err != nil || len(records) != 0 || torn == 0 {
		t.Errorf("decode = %d records, torn %d, %v; want none", len(records), torn, err)
	}
}
