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
// Ways. Over QUIC the session's own streams come first. While the session runs over
// TCP, targets come by HTTPS first, where a school's proxy may keep them. Either
// takes over when the other fails. HTTPS is trusted for nothing: neither for the
// bytes, which are hashed, nor for a word that ends something, unless it looks like
// the collector's own.
//
// A crash leaves a part and its state, which the next call goes on with.
package fetch
