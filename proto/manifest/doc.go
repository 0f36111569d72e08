// Package manifest says which bytes a device may run: it follows the signed
// metadata of The Update Framework (TUF) from the root that a program was built
// with to the length and hash of one file, and reads what is signed beside them
// about product, version, channel and pace.
//
// It wraps go-tuf, whose types stay inside. Of that library only the judge
// (trustedmetadata) is used, not its updater: that one writes without fsync,
// puts an older root over a newer one, cannot get past a torn local file and
// talks to http.DefaultClient. Here every file is checked for its shape before
// the library parses it, each call into it is caught should it panic, and the
// order of the workflow (specification 1.0.34, section 5) is our own.
//
// It promises that what it accepts is signed by the threshold of the right
// role, not expired, and not older than anything it accepted before: versions
// are kept in a floor with a checksum, which only the rotation of an online key
// by the root lowers (5.3.11). Expired metadata is ErrStale and nothing else:
// it ends updating, never the program.
//
// All I/O comes through Fetcher and Store. Trust decisions are pure functions
// of bytes and a time: Release.Match, Ramp.Earliest, VerifyFresh, Check. Left to
// others: the lock that keeps two processes from one Store (whoever makes the
// Client holds it), transport and retries, when to refresh, and what is done
// with a target's bytes.
//
// A crash in the middle leaves files that were each accepted whole; the next
// refresh goes on from them. A torn, empty or foreign file is put aside, its
// second copy or the repository's takes its place in the same refresh.
package manifest
