package block_test

import (
	"encoding/binary"
	"testing"

	"github.com/klauspost/compress/zstd"

	"hausmeister/proto/block"
)

// raw is what zstd would get without this package: all numbers as they are in
// memory, series by series.
func raw(b block.Block) []byte {
	var out []byte
	for _, s := range b.Series {
		for _, v := range s.Values {
			out = binary.LittleEndian.AppendUint64(out, uint64(v.Mean))
		}
	}
	return out
}

var sizes = []struct {
	name  string
	steps int
}{{"15min", 15}, {"hour", 60}, {"schoolday", 480}, {"day", 1440}}

// Bytes per sample and samples per second, beside bare zstd of the same
// numbers: go test -bench . ./proto/block
func BenchmarkEncode(b *testing.B) {
	for _, size := range sizes {
		m := machine(1, size.steps)
		samples := len(m.Series) * m.Count
		b.Run("block/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			var e block.Encoder
			var out []byte
			var err error
			for b.Loop() {
				if out, err = e.Append(out[:0], m); err != nil {
					b.Fatal(err)
				}
			}
			report(b, samples, len(out))
		})
		plain := raw(m)
		b.Run("zstd/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
			if err != nil {
				b.Fatal(err)
			}
			var out []byte
			for b.Loop() {
				out = z.EncodeAll(plain, out[:0])
			}
			report(b, samples, len(out))
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		m := machine(1, size.steps)
		samples := len(m.Series) * m.Count
		data, err := block.Encode(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("block/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := block.Decode(data); err != nil {
					b.Fatal(err)
				}
			}
			report(b, samples, len(data))
		})
		b.Run("block1/"+size.name, func(b *testing.B) { // one series of 40, as a chart wants it
			b.ReportAllocs()
			for b.Loop() {
				if _, err := block.DecodeKey(data, m.Series[2].Key); err != nil {
					b.Fatal(err)
				}
			}
			report(b, samples, len(data))
		})
		z, err := zstd.NewWriter(nil)
		if err != nil {
			b.Fatal(err)
		}
		packed := z.EncodeAll(raw(m), nil)
		b.Run("zstd/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			var out []byte
			for b.Loop() {
				if out, err = d.DecodeAll(packed, out[:0]); err != nil {
					b.Fatal(err)
				}
			}
			report(b, samples, len(packed))
		})
	}
}

// What the daily job does for a device: 32 blocks of a school day into one.
func BenchmarkMerge(b *testing.B) {
	var packed [][]byte
	for _, m := range quarters(machine(1, 480)) {
		data, err := block.Encode(m)
		if err != nil {
			b.Fatal(err)
		}
		packed = append(packed, data)
	}
	b.ReportAllocs()
	var e block.Encoder
	var out []byte
	for b.Loop() {
		blocks := make([]block.Block, len(packed))
		for i, data := range packed {
			var err error
			if blocks[i], err = block.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
		m, err := block.Merge(blocks...)
		if err != nil {
			b.Fatal(err)
		}
		if out, err = e.Append(out[:0], m); err != nil {
			b.Fatal(err)
		}
	}
	report(b, 40*480, len(out))
}

func report(b *testing.B, samples, size int) {
	b.ReportMetric(float64(size)/float64(samples), "B/sample")
	b.ReportMetric(float64(samples)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Msamples/s")
}
