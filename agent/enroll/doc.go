// Package enroll is the agent's identity: it turns a claim into a device
// certificate, keeps that, renews it, and gives the TLS configuration and the
// connection epoch with which the agent meets its collector.
//
// Files in the state folder, each replaced crash-safely and never edited:
//
//	identity    device id, collector, certificate chain, roots; name of the key
//	connection  connection epoch and the highest trusted time
//	install     random id of this installation, for machines without a serial
//
// A key is made and kept before anything is asked for it, under a name that
// follows from the claim (or, to renew, from the certificate). So an answer that
// got lost, or a crash at any point, leads at the next try to the same request by
// the same key, which the collector answers with the same record. Only when the
// answer is in order does the identity change, in one step; keys that it does not
// name are deleted after that.
//
// A running agent and `enroll --replace` may have the state folder open at once.
// What is stored is never replaced by who did not see it: the agent finds another
// identity by Reload, and a Keeper that is about to write first makes sure that it
// knows what is there. Counters in the connection file are merged, they only rise.
//
// The highest trusted time never goes back: it begins with the time of the build
// and rises by what the collector says. The clock of the machine only bounds that: see Trust.
//
// What this package leaves to others: when to connect and when to renew
// (agent/link asks NeedsRenewal), and the words for people, which come from the
// Word of an Error.
package enroll
