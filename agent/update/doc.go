// Package update is the agent's side of updates: from an offer of the collector to
// an armed program, which the launcher then swaps in, and, when the new program
// runs, what it tells the launcher of itself.
//
// Promises. An offer says only when: what may run is said by signed metadata
// (proto/manifest), which is asked twice, before anything is fetched and again right
// before arming, and by nothing that the collector says. Whatever is in the way before
// Armed leaves the program that runs alone: it waits and says for what, or refuses, which
// ends the lease. A lease that was refused is not begun again. Each state is in the
// journal before what follows from it; a crash anywhere leaves a journal, a note and
// parts that the next run goes on with; only on a full disk nothing of a download stays.
// What became of an update is told through the spool in the journal's order: once, but
// for a crash between the spool's write and the journal's, after which one step comes
// twice. What the person at the device wishes lies in its folder until the journal has it
// (wish.go).
//
// Times are the device's, which may be wrong, and may be set at any moment: a lease and
// a wish last as long as they were given for all the same, within a start or a day.
// Lessons go by the time that was signed, asked anew whenever the device slept.
//
// An agent that was started by hand has no launcher, and a program that was built
// without a root (proto/manifest/root.json) and finds none in state/update/trust trusts nobody:
// both take no updates, and the public status says so.
//
// Beside that, and only while no update goes on, it takes what needs no offer, at the
// pace that was signed (beside.go): newer launchers (launchers.go, agent/update/train) for
// the next start of the service, and settings of all agents (agent/config, Policies) for the
// agent's own.
//
// The end of the launcher is the end of the agent, which would otherwise run twice
// when the service comes back. Bytes are agent/update/fetch's, the machine is
// agent/update/journal's.
package update
