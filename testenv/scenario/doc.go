// Package scenario plays whole stories with the real programs: a collector that
// is killed under load, a device with systemd that is rebooted and unplugged, a
// demo from start to end. What the collector keeps is compared with what the
// agents produced, entry by entry.
package scenario
