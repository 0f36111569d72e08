// Package health watches this machine and tells how it is: it reads at an
// interval, and when something moved by more than its dead band, it appends one
// State with all readings to the spool. Nothing leaves that the table in
// proto/reading does not hold.
//
// When: the first State comes some seconds after the start, later ones at most
// each Settings.Interval (Settings.BatteryInterval on battery), and one at
// least each 30 minutes (or each interval, where that is longer) though nothing
// moved, so that the desk can tell a quiet device from a broken agent.
//
// It keeps nothing on disk: after a crash the first State is simply told again.
package health
