// Package ident says who is who: what a claim looks like, what stands in a
// certificate, what a certificate request must prove, and how each end judges
// the other. Both ends use the same functions, so they cannot disagree.
//
// Everything here is pure: no disk, no network, and time is an argument, because
// a device whose clock says 1970 and a collector that was restored last night
// must be judged by a time that their callers choose. Randomness is crypto/rand;
// tests own it through testing/cryptotest.
//
// What this package leaves to others: where keys and certificates are kept
// (platform/keystore, agent/enroll, collector/enroll), who was revoked
// (collector/enroll), and when one connects (agent/link).
package ident
