// Package path chooses the way to a collector: over QUIC, over TCP, or over TCP
// through a proxy; and it names what is in the way.
//
//	          t = 0            0.5 s
//	QUIC      address 1, 2 ... every 250 ms
//	TCP                        address 1, 2 ...
//	proxy                      as the settings or the system name them
//
// Whoever completes a TLS handshake with our collector first wins, the others
// are closed. Where a way has failed the next begins at once. What got a Welcome
// in a network begins first there the next time, the others half a second later.
// A name that cannot be found stops only the direct ways: where all goes through
// a proxy, the proxy knows the names.
//
// What is said on the way. To a proxy: host and port of the collector, and name
// and password only if the settings hold some. To a box that opens the
// connection: what TLS says before the server is known, so neither our
// certificate nor a byte of ours. To see whether a captive portal answers in the
// collector's place: a plain GET without anything that names us or this program,
// at most one a minute and only when nothing else works.
//
// Who inspected a connection is remembered (config.Networks) and told later over
// whatever works, until that network lets us through uninspected. Losing that
// memory costs half a second or a name, never a connection.
package path
