// Package spool owns what the device still has to tell: a bounded queue on
// disk, from which the collector is told each entry exactly once.
//
// Promises. An entry whose Append returned is still there, in its order, after
// kill -9 and power cut at any moment, until space or age needs its place. A
// sequence that anybody saw is never given to another entry. What is missing
// between two entries is named as a dropped range.
//
// Full means full: when the bound is reached the oldest segment goes, so
// acknowledged entries first, then the oldest of the others. When the disk
// itself is full, Append says so, frees what is acknowledged and goes on when
// there is space; entries that the collector lacks are not given up for it.
//
// A crash in the middle leaves at most one torn record at the end of the
// newest segment. Open cuts it off and skips as many sequences as could have
// been in the torn bytes.
//
// Sending is agent/link's work. Which entries matter more than others is
// decided by their makers; the spool knows ages and sizes only.
package spool
