// Package spool owns what the device still has to tell: a bounded queue on
// disk, from which the collector is told each entry exactly once.
//
// Promises. An entry whose Append returned is still there, in its order, after
// kill -9 and power cut at any moment, until space or age needs its place, or it
// is a State that its day has outlived. A sequence that anybody saw is never
// given to another entry. What is missing between two entries is named, as a
// dropped range or as a thinned one.
//
// A day over means its States are too. Each day (UTC, by the device's clock)
// begins a segment, and then of the segments of earlier days of which nothing
// was told the States go, but for the newest of each day: blocks hold the
// minutes, and the collector's row of the day is made of them and of the day's
// last State. Six weeks of holidays are so a third of the bytes to tell.
//
// Full means full. When the bound would be passed, what is worth least goes
// first, and of that the oldest:
//
//  1. what is acknowledged;
//  2. States, but for the newest of each day (UTC, by the device's clock; where
//     two segments meet, one more may stay);
//  3. minutes: the blocks of an hour become one block with one step of means,
//     minima and maxima. It bears the highest of their sequences, and the lower
//     ones are named as thinned. An hour at the edge of what is thinned at once
//     stays fine, since a part of it may be told already or not made yet;
//  4. blocks, and the States that step 2 left;
//  5. inventories but the newest;
//  6. findings, whatever a newer version made, and last the newest inventory.
//
// Only the newest segment is left alone. The files take no more than the bound,
// and for the moment of rewriting one segment more. When the disk itself is
// full, Append says so, frees what is acknowledged and goes on when there is
// space; entries that the collector lacks are not given up for it. Age (44
// days) takes whole segments, whatever is in them.
//
// Giving up less than a segment rewrites it ("squeezing"): a new file is
// written whole and made durable, and then the old ones are removed. A crash in
// the middle leaves the old ones with a file that is not whole and does not
// count, or a whole one that stands for those of the old ones that are still
// there. Told entries are not told again either way, because a thinned block
// bears a sequence that its parts lie below and the collector's cursor is
// cumulative.
//
// Otherwise a crash leaves at most one torn record at the end of the newest
// segment. Open cuts it off and skips as many sequences as could have been in
// the torn bytes.
//
// Sending is agent/link's work. What entries say is their makers' and proto's:
// the spool looks at their kind, and into blocks only to thin them.
package spool
