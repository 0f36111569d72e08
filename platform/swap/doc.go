// Package swap replaces the program that runs, and puts it back when it is gone
// or damaged. It is the only home of minio/selfupdate, of which it uses two
// steps: PrepareAndCheckBinary writes `.NAME.new` beside the target, and
// CommitBinary renames the target to a path of our own and `.new` into its place.
//
// What that library leaves undone is done here. It syncs nothing: file and folder
// are synced before and after the renames. It ignores what closing a file says:
// the bytes are read and hashed again from the disk, before the swap and after it.
// It leaves half a `.new` on a full disk: that is swept, and space is asked for
// first. It sets a mode that the umask may take from: the target's own mode and
// security attributes (label, capabilities) are given to the new file. It deletes
// what lies at the old path even when the swap fails: that path is new each time
// and never that of a good copy. It gives up when a scanner holds a file: that is
// tried again, from 100 ms up, for a minute.
//
// A crash at any moment leaves the old program, the new one, or, between the two
// renames, none; then `.NAME.new` and `.NAME.old-N` lie beside it. Restore mends
// that from a good copy elsewhere, and Sweep takes away what is left over. Neither
// decides which program it should be: that is the launcher's journal's.
package swap
