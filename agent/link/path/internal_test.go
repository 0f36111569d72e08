package path

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArrange(t *testing.T) {
	var ips []netip.Addr
	for _, s := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "::ffff:192.0.2.3", "2001:db8::2"} {
		ips = append(ips, netip.MustParseAddr(s))
	}
	all := func(netip.Addr) bool { return true }
	text := func(ips []netip.Addr) (s []string) {
		for _, ip := range ips {
			s = append(s, ip.String())
		}
		return s
	}
	if d := cmp.Diff([]string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"}, text(arrange(ips, all))); d != "" {
		t.Errorf("both kinds routed (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}, text(arrange(ips, netip.Addr.Is4))); d != "" {
		t.Errorf("IPv4 only (-want +got):\n%s", d)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n")
	f.Add("HTTP/1.0 302\r\nLocation: //x\r\n\r\n")
	f.Fuzz(func(t *testing.T, head string) {
		a, err := parseAnswer(head)
		if err == nil && (a.status < 100 || a.status > 999) {
			t.Errorf("status %d of %q", a.status, head)
		}
		a.isPortal("host")
		a.scheme()
	})
}
