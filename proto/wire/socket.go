package wire

import "net"

// TolerantSocket wraps a UDP socket so that a send which fails for an error
// that swallow accepts counts as sent and lost on the way. quic-go ends a
// connection at the first failed send, and ENETUNREACH is what a laptop gets
// while it changes its Wi-Fi; loss it knows how to mend. Which errors these
// are differs by operating system, so the caller brings the predicate.
func TolerantSocket(c net.PacketConn, swallow func(error) bool) net.PacketConn {
	if udp, ok := c.(*net.UDPConn); ok {
		return &tolerantUDP{udp, swallow}
	}
	return &tolerantSocket{c, swallow}
}

// tolerantUDP embeds *net.UDPConn, not net.PacketConn: by its methods quic-go
// finds segmentation offload, batched reads and the DF bit.
type tolerantUDP struct {
	*net.UDPConn
	swallow func(error) bool
}

func (s *tolerantUDP) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := s.UDPConn.WriteTo(b, addr)
	if err != nil && s.swallow(err) {
		return len(b), nil
	}
	return n, err
}

func (s *tolerantUDP) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, addr)
	if err != nil && s.swallow(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// tolerantSocket wraps what is no kernel socket: simulated networks.
type tolerantSocket struct {
	net.PacketConn
	swallow func(error) bool
}

func (s *tolerantSocket) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := s.PacketConn.WriteTo(b, addr)
	if err != nil && s.swallow(err) {
		return len(b), nil
	}
	return n, err
}
