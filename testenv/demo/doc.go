// Package demo shows a whole Hausmeister on one machine: an ordinary collector
// with invented schools, this machine's real agent, and simulated devices
// beside it. What it finds out (address, password, tokens, process ids) it
// writes to demo.json in its folder, by rename, once all devices are enrolled and
// this machine has reported; while that file is missing the demo is not ready.
//
// The simulated devices bring 30 days of history (testenv/past), which goes the
// way of every device's that was away: spool, wire, ingest, and the merge of days
// that are over. The demo is ready when it is there, or 55 s after the collector
// is up; what is missing then comes while people look.
//
// With a tour the demo ends with a signed update: hausmeister-release makes the keys
// and signs, as installer/release/README.md has it, for two agents that are built to
// trust them; and the second goes over this machine, which runs below the real
// launcher, and over the simulated devices, which have launchers of their own
// (testenv/swarm). Times are shortened by the settings that everybody has; who is on a
// low battery waits as he would anywhere.
//
// Each demo begins anew: what an earlier one left in the folder is removed. It
// ends everything that it started within 3 seconds of being told to, and the
// kernel does it when the demo itself is killed; then demo.json stays, until the
// next demo in the folder begins.
package demo
