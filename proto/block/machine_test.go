package block_test

import (
	"math/rand/v2"

	"hausmeister/proto/block"
)

// monday is 2026-11-30 06:00 UTC, in milliseconds since 1970.
const monday = 1_796_018_400_000

// machine is a synthetic notebook, invented: 40 series in the mix of the
// measurements in deps.md section 3 (8 noisy, 8 slow, 8 counters, 16 flags),
// with the units, granularities and instances that Linux has. Nothing is
// rounded more than the operating system does.
func machine(seed uint64, steps int) block.Block {
	r := rand.New(rand.NewPCG(seed, 40))
	b := block.Block{Start: monday, Step: block.Minute, Count: steps}
	var id uint32
	put := func(id uint32, instance string, code bool, f func(i int) int64) {
		for i := range steps {
			if err := b.Set(b.Start+int64(i)*b.Step, block.Key{ID: id, Instance: instance}, code, f(i)); err != nil {
				panic(err)
			}
		}
	}
	single := func(f func(i int) int64) { id++; put(id, "", false, f) }

	// Noisy: what a teacher does, in stretches, with noise on it.
	busy, level := make([]float64, steps), 80.0
	for i := range busy {
		if r.IntN(40) == 0 {
			level = 30 + r.ExpFloat64()*150
		}
		busy[i] = level
	}
	share := func(part float64) func(int) int64 { // permille of a core
		return func(i int) int64 { return bound(busy[i]*(1+part*r.NormFloat64()), 0, 1000) }
	}
	single(share(0.3))
	single(func(i int) int64 { return bound(busy[i]*8*(1+0.2*r.NormFloat64()), 0, 1e6) / 10 * 10 }) // load
	used := 4e9
	single(func(int) int64 { used += 8e6 * r.NormFloat64(); return int64(used) / 1024 * 1024 }) // memory
	id++
	for _, core := range []string{"0", "1", "2"} {
		put(id, core, false, share(0.6))
	}
	single(func(int) int64 { return bound(900+300*r.NormFloat64(), 0, 1e6) }) // own processor use, ppm
	single(func(int) int64 { return bound(650+12*r.NormFloat64(), 0, 1000) }) // radio signal

	// Slow.
	id++
	put(id, "coretemp", false, func(i int) int64 { return bound(45e3+busy[i]*20+1500*r.NormFloat64(), 0, 1e6) / 1000 * 1000 })
	put(id, "nvme", false, func(i int) int64 { return bound(38e3+float64(i%60)*20+300*r.NormFloat64(), 0, 1e6) / 1000 * 1000 })
	free, boot := 120e9, 400e6
	id++
	put(id, "/", false, func(int) int64 {
		if r.IntN(3) == 0 {
			free -= 2e6 * r.ExpFloat64()
		}
		return int64(free) / 4096 * 4096
	})
	put(id, "/boot", false, func(int) int64 { return int64(boot) / 4096 * 4096 })
	charge := 900.0
	single(func(int) int64 {
		if charge -= 2.5; charge < 200 {
			charge = 1000
		}
		return int64(charge) / 10 * 10
	})
	single(func(int) int64 { return 780 }) // battery health
	single(func(i int) int64 { return 2 << 20 * int64(i/50) })
	single(func(int) int64 { return 44<<20 + 40960*int64(r.IntN(8)) }) // own memory

	// Counters: since the start of the system.
	count := func(c float64, unit int64, next func() float64) func(int) int64 {
		return func(int) int64 { c += next(); return int64(c) / unit * unit }
	}
	burst := func(mean float64) func() float64 {
		return func() float64 { return mean * r.ExpFloat64() * r.ExpFloat64() }
	}
	id++
	put(id, "wlan0", false, count(3.1e9, 1, burst(3e6)))
	id++
	put(id, "wlan0", false, count(4.4e8, 1, burst(4e5)))
	id++
	put(id, "nvme0n1", false, count(9.1e10, 4096, burst(2e6)))
	id++
	put(id, "nvme0n1", false, count(6.3e10, 4096, burst(5e6)))
	single(count(0, 1, func() float64 { return 60_000 })) // running since, ms
	single(count(1.2e6, 1, func() float64 { return 40 + 20*r.Float64() }))
	single(count(17, 1, func() float64 { return float64(1 / (1 + r.IntN(300))) })) // errors
	single(count(1e9, 1, func() float64 { return 9e4 + 2e4*r.NormFloat64() }))     // context switches

	// Flags: codes that hardly ever change.
	for i := range 16 {
		v := int64(i % 3)
		id++
		put(id, "", true, func(int) int64 {
			if r.IntN(500) == 0 {
				v = int64(r.IntN(3))
			}
			return v
		})
	}
	return b
}

func bound(v, low, high float64) int64 { return int64(min(max(v, low), high)) }
