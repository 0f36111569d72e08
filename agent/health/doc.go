// Package health watches this machine and tells how it is: it looks once a
// minute, with one wake of the machine, and from each look it makes
//
//   - a State: all readings, when something moved by more than its dead band.
//     The first comes some seconds after the start, later ones at most each
//     Settings.Interval (Settings.BatteryInterval on battery), and one at least
//     each 30 minutes (or each interval, where that is longer) though nothing
//     moved, so that the desk can tell a quiet device from a broken agent;
//   - minutes of a block: what the table keeps by the minute. A block ends with
//     the quarter of an hour, with the agent, when somebody looks (Flush), and
//     when the clock jumps. No minute is told twice;
//   - findings, raised and cleared at once;
//   - the list of what is installed, when it is another than was told.
//
// Nothing leaves that the tables in proto do not hold.
//
// Times of blocks are the device's clock put right by the collector's as it was
// last heard; what an entry says of the device's own clock is not put right.
//
// What the sink does not take is told anew at the next look: the State as it is
// then, the newest 4 blocks, findings, and the list an hour later.
//
// It keeps no files but what Memory and KeepFindings do. A crash loses the
// minutes of the running block; the first State is told again, the list and
// findings perhaps.
package health
