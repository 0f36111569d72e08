package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hausmeister/platform/layout"
	"hausmeister/proto/wire"
	"hausmeister/testenv/need"
)

// A send that fails for want of a network is a packet lost on the way: quic-go
// ends a connection at the first error of its socket, and a laptop that changes
// its Wi-Fi gets ENETUNREACH.
func TestSocketOutlivesTheNetwork(t *testing.T) {
	need.Root(t)
	// A network namespace without any network, for this thread, which ends with
	// the goroutine because that stays locked to it.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		need.Skip(t, "the right to make a network namespace: %v", err)
	}
	m, err := openMachine(layout.Layout{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = m.endpoint.Dial(ctx, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:8443")), &tls.Config{NextProtos: []string{wire.ALPN}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial without a network = %v, want patience until the deadline", err)
	}
}
