// Package finding decides on the device what is wrong with it: from the
// readings of each minute, the installed programs and how the agent itself is,
// it raises and clears the findings of proto/finding.
//
// The rules are data (rules.go): what is looked at, from where on it is raised
// and up to where it is cleared, and how long either must hold. Promises, for
// each code and instance:
//
//   - raises and clears alternate, and each change is given once. What is raised
//     is raised again only because its arguments moved, or because the collector may
//     not have it: its store is another one, or the spool gave up findings. What was
//     cleared and lost so is not cleared again;
//   - at most one raise in 24 hours, whatever the values do, and beside it one to a
//     higher level for the first time in that time, which does not wait. A lower level is
//     told when the values have been better for 24 hours, so that at the edge between two
//     the higher one stands. What gets worse or better by a level is a clear and a raise
//     at once;
//   - what a boot causes is not judged within 10 minutes of a boot;
//   - a value that is absent neither raises nor clears. When it has been away for
//     a day, the finding is cleared for that reason;
//   - the device's clock decides nothing. Durations are monotonic; dates are held
//     against the collector's time, and until that is known they are not judged.
//
// It is pure: no goroutines, no files, no clock of its own. Who calls it keeps
// Snapshot's bytes; after a restart that restores them nothing is raised again.
// A crash between telling and keeping raises again what the collector takes for
// the same. Without or with damaged bytes the Watcher starts anew: what still
// holds is raised once more, and what was over by then is never cleared by it.
// After a device was set up anew that is the collector's to do: it closes what is
// open when the device enrols again.
//
// What findings are called and how they read is proto/finding's.
package finding
