// Package link keeps the device's session with its collector: it dials, says
// Hello, sends what the spool holds, and takes what the collector says.
//
// Promises. There is one session at a time, and a second only for the moment in
// which it replaces the first. The connection epoch is raised and stored before
// each Hello. Nothing counts as told before the collector
// acknowledged it. Every step has a deadline and every wait ends with the
// context, so that a silent network costs time and never a hang. All retries
// have full jitter and a ceiling; "come back in n seconds" is obeyed. While power is
// short they wait for the pulse and take few seconds, so that nobody's absence
// wakes the machine more than once a minute.
//
// When the network changes or the machine woke, a live session is probed: the
// last report is sent once more, which the collector knows and acknowledges, or
// where the spool has none a Ping, if this collector answers those.
// Silence ends the session at once instead of after the idle timeout. A change
// of the device's address needs nothing: QUIC's connection survives it.
//
// Paths. A session over QUIC that goes silent is left within 5 s for one over
// TCP, and while the session is over TCP, QUIC is tried again now and then; both
// make the new session before they let the old one go (move.go). Which ways there
// are, and in which order they are tried, is agent/link/path's.
//
// The link itself keeps nothing on disk but the collector's store id. A crash
// at any moment costs a new session and perhaps a batch sent twice, which the
// collector stores once.
//
// Whom to dial and how belongs to the Dialer, who we are to the Identity, and
// words for people to the programs: a Problem is a code.
package link
