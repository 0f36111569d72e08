// Package config owns what may be set at an agent and the little that it must
// remember between its runs.
//
// Settings: built-in defaults, then the signed policy of the whole fleet, then the
// settings file of this device, then the collector's policy, each value within bounds. A value out of bounds is moved
// to the nearest bound; a file that cannot be read as settings is named in the
// log and passed over, because an agent that does not start cannot be mended
// from afar.
//
// Memory: the collector's store id; the id of the machine's present boot, with
// the offset of its clock; which list of programs was told; what the findings'
// rules remember; the standard software. Networks: what worked in which network
// and who inspected connections. Each has a file of its own that is replaced
// crash-safely. Losing them costs a question or a report told twice, never data,
// so that a damaged file counts as none. The connection epoch and the trusted
// time, which must not be lost, are agent/enroll's.
package config
