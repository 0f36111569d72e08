// Package port finds numbers of ports for programs that a test starts by name: what
// listens for itself asks for port 0 and keeps what it gets.
package port

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Numbers are taken from below those that a system gives to whoever asks for none
// (Linux: ip_local_port_range, 32768 and more), and from above what services have: of
// the others each connection and each socket of another test may have one of them
// before the program begins, or while it is started anew.
const first, last = 20000, 32000

// Free finds a number that is free for TCP and UDP.
func Free() (int, error) {
	for range 1000 {
		n := first + rand.IntN(last-first)
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{Port: n})
		if err != nil {
			continue
		}
		udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: n})
		if err := errors.Join(err, tcp.Close()); err != nil {
			continue
		}
		return n, udp.Close()
	}
	return 0, fmt.Errorf("of a thousand ports from %d to %d none is free for both TCP and UDP", first, last)
}
