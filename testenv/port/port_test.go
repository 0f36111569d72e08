package port_test

import (
	"net"
	"testing"

	"hausmeister/testenv/port"
)

// TestFree: both may be listened on at once.
func TestFree(t *testing.T) {
	n, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{Port: n})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: n})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
}
