// Package fetch brings the bytes of updates to the device: files of signed
// metadata, and the files of targets, over the session that there is or by HTTPS
// with ranges. It judges nothing but lengths and hashes; what may be installed is
// proto/manifest's and agent/update's.
//
// Promises. A target that it calls whole has the length and the hash that were
// asked for. What has come is on disk and counts after a cut, a restart or a power
// cut: it is hashed anew before it is used, and what does not fit is fetched again,
// at most once for the whole file. Nothing takes more memory or disk than was asked
// for, whoever sends it, and nothing lasts longer than the least rate allows. Who
// is told when to come back does not come before.
//
// Ways. The session's own streams come first, also over TCP: there the collector
// knows the device, so that the bytes go at the pace of its school and outside of its
// lessons. Who is told on a session to come back does so there. HTTPS takes over
// when the session fails several times in a row, and never for a target without a
// lease. It is trusted for nothing: neither for the bytes, which are hashed, nor for
// a word that ends something, unless it looks like the collector's own. Where there are
// sessions, what turned out to be other bytes comes anew by these alone, so that nobody
// in the middle makes a file one that is refused.
//
// Limits. Nobody signs in by HTTPS, since whoever opens connections on the way would
// hear it; so what comes there counts for the line of the address, not for the
// school's, and agent/update holds the lessons that its offer named. A school's cap
// is kept for all devices that have a session.
//
// A crash leaves a part and its state, which the next call goes on with.
package fetch
