// Package fakes invents what a fleet is made of: schools, devices, how they are
// from minute to minute, and the disks that they have instead of ours. Nothing
// in it is a real person, school or authority (serials begin with DEMO), and
// everything follows from the number of a device, so that two runs show the
// same fleet. Most devices are well; some have a story (a disk that fills, a
// battery that wears, a clock that is wrong), in the past as in the present.
package fakes
