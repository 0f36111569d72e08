// Package agent puts the parts of the agent together; it is the only place
// that knows all of them. Health tells the spool, the link tells the collector
// what the spool holds, and the public folder shows everybody at this machine
// how that goes and what was told last.
//
// A device without an identity waits until it gets one and reads nothing
// before. Run ends only with its context or when the spool cannot be opened;
// parts that fail are started again.
//
// Nothing here knows where files lie, how packets travel or what the machine
// is: that comes in through Config, so that a simulated device runs this same
// code, thousands of them in one process.
package agent
