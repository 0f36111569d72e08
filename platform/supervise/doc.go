// Package supervise is the only home of long-lived goroutines. It runs named
// parts: each starts when the one before it is ready, all stop in reverse, each
// within its deadline, and the log names whoever failed or is late. A panic in
// a part is a failure like any other.
//
// What a part holds (files, sockets) is its own to close before its Run
// returns. A goroutine cannot be killed: a part that ignores the end of its
// context is named, given up after StopWithin, and keeps its goroutine; that
// ends the whole Run, since nobody knows what such a part still does.
//
// For shorter lives there are two more forms: Crew, the bounded goroutines of
// one function that waits for them, and Cutoff, for calls into the operating
// system that may hang for good.
package supervise
