// Package enroll decides which devices are ours: it owns the claims that admit
// them, the authority that signs for them, their credentials and connection
// epochs, renewal and revocation.
//
// What it promises:
//   - A claim's secret is kept as a hash only. Claims that are unknown, used up,
//     expired, revoked or another owner's are all refused by the same frame after
//     the same time.
//   - No claim admits more devices than its cap, however many come at once. The
//     same key with the same claim gets its record again and uses nothing up: its
//     first answer may have been lost.
//   - A certificate is only signed after its credential, the device's record and
//     the audit entry are durable together. A crash before leaves nothing, a
//     crash after it a credential whose device asks again.
//   - A key that was revoked stays refused for good; live sessions hear of it by
//     the bus.
//
// # The authority
//
// The first start makes it in the folder ca, owner-only: root.key and root.crt,
// good for 20 years, and the intermediate that signs, good for 2 years and
// replaced after one. The key of the root is needed at that moment only and is
// best kept elsewhere: move ca/root.key to a medium that lies in a safe. The
// collector runs without it; from a year of age on it asks for it in the log
// each day. Put the file back, restart the collector or wait an hour until the
// log says "intermediate renewed", and take it away again. root.crt must stay.
// Whoever has root.key can make a collector that every device of the fleet
// obeys; whoever loses it must enrol the fleet anew when the intermediate ends.
//
// # After a restore
//
// A restored store knows nothing of the credentials that were issued since the
// backup. One that our authority signed before the restore, for a device that the
// store does know and that is not revoked, is adopted at its next connection and
// audited. Devices first enrolled since then must be enrolled again.
//
// What this package leaves to others: the record itself (collector/fleet, as
// Records), who may open which stream (collector/gateway, by Authenticate), and
// what happens to clones beyond refusal and a log line.
package enroll
