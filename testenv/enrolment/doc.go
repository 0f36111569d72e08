// Package enrolment tests the whole way from a claim to a session with both ends
// real: agent/enroll on one side, enroll, fleet, health and gateway of a collector
// on the other, over QUIC and over TCP. It also measures what an enrolment costs
// beside a bare handshake. There is nothing in it but tests.
package enrolment
