package path_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/config"
	"hausmeister/agent/link/path"
	"hausmeister/proto/ident"
	"hausmeister/testenv/netsim"
)

func TestQUICFirst(t *testing.T) {
	in(t, func(w *world) {
		w.quic(w.collector)
		w.tcp()
		w.gets("quic", 200*time.Millisecond)
		if got := w.connected(); len(got) > 0 {
			t.Errorf("TCP connections to %v although QUIC answered", got)
		}
	})
}

func TestUDPBlocked(t *testing.T) {
	in(t, func(w *world) {
		w.quic(w.collector)
		w.tcp()
		network := "school"
		w.config.Network = func() (string, error) { return network, nil }
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.gets("tcp", 800*time.Millisecond)
		// The next time it begins with what works, also after a restart.
		w.dialer, w.config.Networks = nil, config.OpenNetworks(w.files)
		w.gets("tcp", 300*time.Millisecond)
		// Elsewhere nothing is known, and here it is found out when that is over.
		network = "home"
		w.device.Set(netsim.Weather{})
		w.gets("quic", 200*time.Millisecond)
		network = "school"
		s, _, err := w.dial()
		if err != nil || s.Transport() != "tcp" {
			t.Errorf("Dial = %v, %v, want what worked here", s, err)
		}
		s, err = w.dialer.DialQUIC(w.Context(), address, w.conf)
		w.keep(s, err)
		if err != nil || s.Transport() != "quic" {
			t.Fatalf("DialQUIC = %v, %v", s, err)
		}
		w.dialer.Worked(s)
		w.gets("quic", 200*time.Millisecond)
		file, err := w.files.Read("networks")
		if err != nil || strings.Contains(string(file), "school") || strings.Contains(string(file), "home") {
			t.Errorf("stored: %s, %v; want hashes only", file, err)
		}
	})
}

func TestDialAround(t *testing.T) {
	in(t, func(w *world) {
		w.quic(w.collector)
		w.tcp()
		w.dialer = path.New(w.config)
		for _, c := range []struct {
			weather netsim.Weather
			want    string
		}{{netsim.Weather{}, "tcp"}, {netsim.Weather{UDPBlocked: true}, "tcp"}} {
			w.device.Set(c.weather)
			began := time.Now()
			s, err := w.dialer.DialAround(w.Context(), address, w.conf)
			w.keep(s, err)
			if err != nil || s.Transport() != c.want || time.Since(began) > 300*time.Millisecond {
				t.Errorf("DialAround = %v, %v after %v, want %s at once", s, err, time.Since(began), c.want)
			}
		}
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		if s, err := w.dialer.DialQUIC(ctx, address, w.conf); err == nil || len(w.connected()) > 2 {
			t.Errorf("DialQUIC = %v with UDP blocked, TCP to %v", s, w.connected())
		}
	})
}

func TestProxy(t *testing.T) {
	in(t, func(w *world) {
		w.quic(w.collector)
		w.tcp()
		w.device.Set(netsim.Weather{UDPBlocked: true})
		direct := w.config.Connect
		w.config.Connect = func(ctx context.Context, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "192.0.2.2:") { // swallowed by the school's firewall
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return direct(ctx, address)
		}
		// Nor does the school's resolver know names of outside.
		w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
		broken, _ := w.proxy("192.0.2.8", "HTTP/1.1 503 Service Unavailable\r\n\r\n")
		good, asked := w.proxy("192.0.2.9", "")
		good.User = url.UserPassword("anna", "geheim")
		w.proxies(broken, good)
		w.gets("tcp_proxy", 1200*time.Millisecond)
		w.gets("tcp_proxy", 300*time.Millisecond) // the good one first
		if d := cmp.Diff([]string{"CONNECT collector.example:8443 Basic YW5uYTpnZWhlaW0=", "CONNECT collector.example:8443 Basic YW5uYTpnZWhlaW0="}, *asked); d != "" {
			t.Errorf("the proxy was asked (-want +got):\n%s", d)
		}
		file, _ := w.files.Read("networks")
		if !strings.Contains(string(file), "tcp_proxy 192.0.2.9:3128") || strings.Contains(string(file), "geheim") {
			t.Errorf("stored: %s; want the proxy without its password", file)
		}
		// The proxy is gone and the firewall too.
		w.proxies()
		w.config.Connect, w.dialer = direct, nil
		w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.2")}, nil
		}
		w.gets("tcp", 800*time.Millisecond)
	})
}

func TestProxySaysNo(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         path.Obstacle
	}{
		{"login", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n", path.ProxyLogin},
		{"forbidden", "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>", path.ProxyRefused},
		{"portal says so", "HTTP/1.1 511 Network Authentication Required\r\n\r\n", path.Portal},
		{"portal redirects", "HTTP/1.0 302 Found\r\nLocation: http://login.hotel.example/\r\n\r\n", path.Portal},
		{"portal lets through and answers", "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 302 Found\r\n\r\n", path.Portal},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", path.NoName},
		{"endless", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Long: y\r\n", 3000), path.NoName},
		{"hangs up", " ", path.NoName},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(w *world) {
				w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, nil }
				proxy, _ := w.proxy("192.0.2.9", c.answer)
				w.proxies(proxy)
				if err := w.fails(); path.ObstacleIn(err) != c.want {
					t.Errorf("obstacle %q in %v, want %q", path.ObstacleIn(err), err, c.want)
				}
			})
		})
	}
}

// box opens TLS connections as a school's filter does. It gives what it sent
// through: nothing should be.
func box(w *world, change func(*tls.Config)) (seen *[]tls.ConnectionState) {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Schulfilter CA", Organization: []string{"Filter GmbH"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "collector.example"}, DNSNames: []string{"collector.example"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequestClientCert}
	change(conf)
	seen = new([]tls.ConnectionState)
	w.listen(w.collector, port, func(conn net.Conn) {
		defer conn.Close()
		tc := tls.Server(conn, conf)
		if tc.Handshake() == nil {
			b := make([]byte, 1)
			tc.SetReadDeadline(time.Now().Add(time.Second))
			if n, _ := tc.Read(b); n > 0 {
				w.Error("something was sent through the box")
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		*seen = append(*seen, tc.ConnectionState())
	})
	return seen
}

// boxes are ways in which what inspects connections treats them.
var boxes = map[string]func(*tls.Config){
	"speaks as we do":    func(c *tls.Config) { c.NextProtos = []string{ident.ALPN} },
	"knows no protocols": func(*tls.Config) {},
	"knows HTTP only":    func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} },
	"speaks TLS 1.2":     func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
	"is old in both":     func(c *tls.Config) { c.MaxVersion, c.NextProtos = tls.VersionTLS12, []string{"http/1.1"} },
}

// A port behind which a box sits is not a port that is shut, nor is a proxy one
// that is not there: their owners would look for the wrong thing.
func TestExamineBehindABox(t *testing.T) {
	for name, change := range boxes {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				w.quic(w.collector)
				w.device.Set(netsim.Weather{UDPBlocked: true})
				box(w, change)
				through, _ := w.proxy("192.0.2.3", "")
				gone := &url.URL{Scheme: "http", Host: "192.0.2.9:3128"}
				w.proxies(through, gone)
				x, err := path.New(w.config).Examine(w.Context(), address, w.conf)
				if err != nil || x.Session != nil || x.Issuer != "CN=Schulfilter CA,O=Filter GmbH" {
					t.Fatalf("Examine = %+v, %v, want no session, and who opened it", x, err)
				}
				for way, opened := range map[string]bool{"TCP": x.TCP.Opened, "the proxy": x.Proxies[through.Host].Opened} {
					if !opened {
						t.Errorf("%s does not count as opened by the box", way)
					}
				}
				for way, opened := range map[string]bool{"UDP": x.UDP.Opened, "a proxy that is gone": x.Proxies[gone.Host].Opened} {
					if opened {
						t.Errorf("%s counts as opened by the box", way)
					}
				}
			})
		})
	}
}

func TestInspection(t *testing.T) {
	const want = "CN=Schulfilter CA,O=Filter GmbH"
	for name, change := range boxes {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				network := "school"
				w.config.Network = func() (string, error) { return network, nil }
				w.quic(w.collector)
				w.device.Set(netsim.Weather{UDPBlocked: true})
				seen := box(w, change)
				err := w.fails()
				if got := issuerOf(err); got != want {
					t.Fatalf("issuer %q in %v, want %q", got, err, want)
				}
				for _, s := range *seen {
					if len(s.PeerCertificates) > 0 {
						t.Error("the box got to see our certificate")
					}
				}
				// At home it is told, and stays known: the school's is not over.
				network = "home"
				w.device.Set(netsim.Weather{})
				w.dialer, w.config.Networks = nil, config.OpenNetworks(w.files)
				w.gets("quic", time.Second)
				if got := w.dialer.Inspection(); got.Issuer != want || got.Day != time.Now().Format(time.DateOnly) {
					t.Errorf("Inspection = %+v", got)
				}
			})
		})
	}
	t.Run("is over", func(t *testing.T) {
		in(t, func(w *world) {
			w.config.Network = func() (string, error) { return "school", nil }
			box(w, func(*tls.Config) {})
			w.fails()
			if w.dialer.Inspection().Issuer != want {
				t.Fatal("not remembered")
			}
			w.closers[0]()
			w.closers = nil
			w.tcp()
			w.gets("tcp", time.Second)
			if got := w.dialer.Inspection(); got != (config.Inspection{}) {
				t.Errorf("Inspection = %+v after the school let us through", got)
			}
		})
	})
	t.Run("QUIC is not", func(t *testing.T) {
		in(t, func(w *world) {
			w.config.Network = func() (string, error) { return "school", nil }
			box(w, func(*tls.Config) {})
			w.device.Set(netsim.Weather{UDPBlocked: true})
			w.fails()
			w.device.Set(netsim.Weather{})
			w.quic(w.collector)
			w.gets("quic", time.Second)
			if w.dialer.Inspection().Issuer != want {
				t.Error("forgotten, although TCP is still inspected")
			}
		})
	})
}

// TestPortal: a page answers at the collector's place. It is named, asked at most
// once a minute, and told nothing.
func TestPortal(t *testing.T) {
	const redirect = "HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/?u=x\r\nContent-Length: 0\r\n\r\n"
	const page = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html>Willkommen</html>"
	// serve answers HTTP and keeps what was asked.
	serve := func(w *world, host *netsim.Host, port uint16, answer string) *[]string {
		var asked []string
		w.listen(host, port, func(conn net.Conn) {
			defer conn.Close()
			b := make([]byte, 4096)
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, _ := conn.Read(b)
			w.mu.Lock()
			asked = append(asked, string(b[:n]))
			w.mu.Unlock()
			conn.Write([]byte(answer))
		})
		return &asked
	}
	gets := func(asked []string) (got []string) {
		return slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return !strings.HasPrefix(s, "GET ") })
	}
	for name, answer := range map[string]string{"redirect": redirect, "page": page, "511": "HTTP/1.1 511 X\r\n\r\n"} {
		t.Run("answers TLS with a "+name, func(t *testing.T) {
			in(t, func(w *world) {
				asked := serve(w, w.collector, port, answer)
				if err := w.fails(); path.ObstacleIn(err) != path.Portal {
					t.Errorf("obstacle %q in %v", path.ObstacleIn(err), err)
				}
				if got := gets(*asked); len(got) > 0 {
					t.Errorf("asked %q although it had shown itself", got)
				}
			})
		})
	}
	t.Run("only on port 80", func(t *testing.T) {
		in(t, func(w *world) {
			asked := serve(w, w.collector, 80, redirect)
			began, named := time.Now(), 0
			for time.Since(began) < time.Hour {
				if err := w.fails(); path.ObstacleIn(err) == path.Portal {
					named++
				}
				time.Sleep(5 * time.Second)
			}
			got := gets(*asked)
			// Each second probe is to port 80, the others to the collector's own.
			if len(got) < 20 || len(got) > 31 || named < 100 {
				t.Errorf("%d probes, portal named %d times in an hour", len(got), named)
			}
			for _, s := range got {
				if s != "GET / HTTP/1.1\r\nHost: collector.example\r\nConnection: close\r\n\r\n" {
					t.Fatalf("the probe says %q", s)
				}
			}
			probes := 0
			for _, c := range w.connected() {
				if strings.HasSuffix(c, ":80") {
					probes++
				}
			}
			if probes != len(got) {
				t.Errorf("%d connections to port 80, %d probes", probes, len(got))
			}
		})
	})
	t.Run("opens TLS", func(t *testing.T) {
		in(t, func(w *world) {
			box(w, func(*tls.Config) {})
			probe := w.net.Host("192.0.2.80")
			serve(w, probe, 80, page)
			w.config.PortalProbe = "http://192.0.2.80/generate_204"
			err := w.fails()
			if path.ObstacleIn(err) != path.Portal {
				t.Errorf("obstacle %q in %v", path.ObstacleIn(err), err)
			}
			if got := w.dialer.Inspection(); got != (config.Inspection{}) {
				t.Errorf("a hotel's portal counts as inspection: %+v", got)
			}
		})
	})
	t.Run("none", func(t *testing.T) {
		in(t, func(w *world) {
			// The collector's host redirects to itself as many do, and its port
			// is closed just now.
			serve(w, w.collector, 80, "HTTP/1.1 301 Moved\r\nLocation: https://collector.example/\r\n\r\n")
			for range 4 {
				if err := w.fails(); path.ObstacleIn(err) != "" {
					t.Errorf("obstacle %q in %v", path.ObstacleIn(err), err)
				}
				time.Sleep(time.Minute)
			}
		})
	})
	t.Run("configured probe is content", func(t *testing.T) {
		in(t, func(w *world) {
			asked := serve(w, w.net.Host("192.0.2.80"), 80, "HTTP/1.1 204 No Content\r\n\r\n")
			w.config.PortalProbe = "http://192.0.2.80/generate_204"
			if err := w.fails(); path.ObstacleIn(err) != "" || len(*asked) != 1 {
				t.Errorf("obstacle %q in %v, %d probes", path.ObstacleIn(err), err, len(*asked))
			}
		})
	})
}

// TestAddresses: IPv6 that leads nowhere costs a quarter of a second, over
// either transport; and a device that has only IPv6 gets in too.
func TestAddresses(t *testing.T) {
	in(t, func(w *world) {
		w.quic(w.collector)
		w.tcp()
		w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("192.0.2.2")}, nil
		}
		w.gets("quic", 500*time.Millisecond)
		w.device.Set(netsim.Weather{UDPBlocked: true})
		w.gets("tcp", 1200*time.Millisecond)
	})
	in(t, func(w *world) {
		six := w.net.Host("2001:db8::2")
		w.quic(six)
		w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("2001:db8::2")}, nil
		}
		w.gets("quic", 500*time.Millisecond)
	})
}

// TestErrors: what cannot be is an error and no hang.
func TestErrors(t *testing.T) {
	in(t, func(w *world) {
		d := path.New(w.config)
		for _, address := range []string{"", "host", "host:port:x", "[::1", "host:99999", "host:0"} {
			if _, err := d.Dial(context.Background(), address, w.conf); err == nil {
				t.Errorf("Dial(%q) works", address)
			}
		}
		w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, nil }
		if err := w.fails(); path.ObstacleIn(err) != path.NoName {
			t.Errorf("without an address: %v", err)
		}
		w.dialer = nil
		w.config.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("192.0.2.78")}, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := path.New(w.config).Dial(ctx, "host:443", w.conf); err == nil || time.Since(began) > 4*time.Second {
			t.Errorf("Dial of dead addresses = %v after %v", err, time.Since(began))
		}
	})
}
