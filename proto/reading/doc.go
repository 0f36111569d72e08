// Package reading is the one table of what a device may tell about itself:
// number, name, unit, range, dead band, purpose and words of each reading. Wire,
// SQL, API and pages take their names from here, and what is not in the table
// is neither sent nor stored. Nothing in it names or follows a person; what
// must never be here stands in requirements.md TE-2 (user and host names,
// addresses, network names, what is run and when somebody works).
//
// The table is append only: a number or a name, once released, is never
// changed, reused or given another unit. The golden test holds that.
package reading
