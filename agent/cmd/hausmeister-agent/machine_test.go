package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/proto/wire"
	"hausmeister/testenv/need"
)

// A send that fails for want of a network is a packet lost on the way: quic-go
// ends a connection at the first error of its socket, and a laptop that changes
// its Wi-Fi gets ENETUNREACH. The test runs itself where there is no network.
func TestSocketOutlivesTheNetwork(t *testing.T) {
	const inside = "HAUSMEISTER_WITHOUT_NETWORK"
	if os.Getenv(inside) == "" {
		need.Root(t)
		unshare := need.Programs(t, "unshare")[0]
		if out, err := exec.Command(unshare, "--net", "true").CombinedOutput(); err != nil {
			need.Skip(t, "the right to make a network namespace: %v: %s", err, out)
		}
		cmd := exec.Command(unshare, "--net", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("without a network: %v\n%s", err, out)
		}
		return
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
		t.Errorf("Dial = %v, want patience until the deadline", err)
	}
}
