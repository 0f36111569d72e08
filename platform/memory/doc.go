// Package memory gives memory back to the system that a long-running program
// does not need at the moment: what it took for its start, and for work that
// comes a few times a day.
//
// It owns nothing and keeps nothing; whatever was given back comes again when it
// is touched.
package memory
