// Package block is the packed form of health over time: the readings of one
// device for a stretch of equal steps, 15 one-minute steps as a rule. The agent
// packs, the wire and the database carry bytes that they need not understand,
// and the collector merges a device's blocks into the one of a day. The agent
// thins old ones when its spool is full.
//
// It owns the bytes and what may be done with blocks: [Encode] and [Decode],
// [Merge], [Thin], [Points]. It does no I/O, knows no clock and starts nothing,
// so that a crash leaves nothing behind. What a number means, its unit and its
// range, is the table's in proto/reading, which this package does not ask: who
// fills a block checks against it, who takes one from a device does so again.
// Who may see a block (it tells when somebody worked) is decided by its owners.
//
// # Invariants
//
//   - A series is sorted in by [Key], and no key comes twice.
//   - A step without a value is absent: its N is 0. Unknown is never 0.
//   - Min <= Mean <= Max. A value as it was read has all three equal and N 1.
//   - Texts are not for blocks. A code is put in as its index in the table
//     (append only, so the index stays), see [Series].Code.
//   - The same block gives the same bytes on every machine (integers only), as
//     long as zstd is of the same release.
//   - Decode needs no trust in the bytes: limits come before allocations, and
//     what is left over, out of order or out of range is an error.
//
// # The bytes, version 1
//
//	"hB"  version  packing  start/step  step/1000  steps  series  body
//	 2       1        1       uvarint    uvarint  uvarint uvarint  to the end
//
// The head stays plain, so that [ReadHead] tells what a block covers without
// unpacking it. Packing 0: the body follows as it is; 1: as one zstd frame
// without checksum (the spool and the database have their own), chosen where
// that is shorter. The body is one stream of bits, least significant first,
// filled up with zeros to a whole byte:
//
//	awake: 1 bit, 1 = some series has a value at each step; else runs(steps)
//	series, in the order of their keys:
//	  rice(1) id minus the id before (0 before the first)
//	  rice(0) instance: 0 none, 1 the one after the last used one (which is a
//	          new one where there is none after), 2+i the i-th; a new one
//	          follows as 6 bits length and its bytes
//	  2 bits  form: +1 a code, +2 thinned
//	  2 bits  where: 0 at each awake step, 1 as the series before, 2 runs(awake)
//	  column of means; thinned ones also mean-min, max-mean, n
//
//	column: 2 bits method, then
//	  0 constant: number
//	  1 delta:    scale, 6 bits k, number first,        rice of each difference
//	  2 change:   scale, 6 bits k, number first, delta, rice of each difference of differences
//	scale:     3 bits, index in a table of common divisors; 7 = number follows
//	runs(n):   1 bit, 1 = begins with a run of steps that have a value; rice
//	           (k 2 at first) of each run's length minus 1, taking turns, up to n
//	number:    6 bits length in bits, the bits below the highest; 63 = 64 bits
//	rice(k):   u>>k zeros, a one, the lowest k bits; from 24 zeros on a number
//	           instead. In columns and runs k follows the mean of the last
//	           values, see rice in bits.go
//
// Signed values are zigzagged; arithmetic wraps at 64 bits, so that every int64
// can be stored. Rice codes instead of varints because 15 noisy values are too
// few for zstd to learn from: a first try on a mix like that of the tests took
// 1.08 bytes per sample as varints, 1.00 with zstd on top, 0.85 so. Over a day
// zstd takes off another 6 %, mostly in what hardly ever changes.
//
// Version 1, December 2026: the first. A decoder refuses versions that it does
// not know; how columns choose among their methods may change without one.
package block
