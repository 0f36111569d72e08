// Package finding is the one table of what a device may find wrong with itself:
// stable code, severity, arguments with their units, and what people read: what
// it is, why, what the teacher can do and what support does, in German and
// English. The wire carries codes and arguments, never sentences.
//
// When a finding is raised and cleared is decided on the device, by the rules
// in agent/finding. How a number is written is for who shows it: Render asks
// back.
//
// The table is append only: a code, once released, is never changed, reused or
// given other arguments. The golden test holds that.
package finding
