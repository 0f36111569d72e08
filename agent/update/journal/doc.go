// Package journal is the memory of an update and its rules: in which state it
// is, what may happen in that state, and what is done then. machine.go holds all
// of that in one pure function, clock.go what of it goes by the clock; store.go keeps the
// journal on the disk.
//
// Invariants: Good is a program that was settled here (or came with a package),
// and a copy of it is kept until another one is settled and was for a week and a
// restart of the machine. A state is on the disk before what it calls for is
// done, so that whoever finds it there after a crash does that again; all effects
// may be repeated. Nothing in the journal can keep the agent from running: one
// that is torn, or was written by a newer version, is as good as none, and the
// launcher then keeps every program that it finds. Where one of its two copies cannot be
// read the launcher goes on from the other one, and the agent waits until it has.
//
// It knows no metadata and no wire: the launcher links it and stays small. States
// and reasons have the wire's numbers. Who has written last counts: agent and
// launcher write in turn, the agent up to Armed and the launcher from there on,
// and the rest through Update, which reads, changes and writes under one lock.
package journal
