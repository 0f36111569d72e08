// Package wake notices what happens to a machine that travels: it slept and
// woke, its network changed. It also sorts the errors of sending, of which many
// only say that there is no network right now.
package wake
