package path_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"hausmeister/agent/link/path"
	"hausmeister/testenv/netsim"
)

// pages is the collector's TCP port for everything else than sessions; its
// certificate is of an authority that no device knows.
func (w *world) pages() {
	w.listen(w.collector, port, func(conn net.Conn) {
		defer conn.Close()
		tc := tls.Server(conn, &tls.Config{NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return w.certificate() }})
		if tc.Handshake() == nil {
			io.WriteString(tc, tc.ConnectionState().NegotiatedProtocol)
			tc.Close()
		}
	})
}

// page dials and gives what is said there, as it came.
func (w *world) page() (string, time.Duration, error) {
	if w.dialer == nil {
		w.dialer = path.New(w.config)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	begun := time.Now()
	conn, err := w.dialer.DialPage(ctx, address)
	if err != nil {
		return "", time.Since(begun), err
	}
	defer conn.Close()
	b, _ := io.ReadAll(conn)
	return string(b), time.Since(begun), nil
}

func TestDialPage(t *testing.T) {
	in(t, func(w *world) {
		w.pages()
		if got, took, err := w.page(); got != "http/1.1" || took > time.Second {
			t.Errorf("DialPage = %q after %v, %v; want a connection for http/1.1", got, took, err)
		}
	})
}

// Where only the proxy gets out, the pages are reached through it; the next time
// without a try of the direct way first, once a session came so.
func TestDialPageThroughAProxy(t *testing.T) {
	in(t, func(w *world) {
		w.pages()
		proxy, asked := w.proxy("192.0.2.3", "")
		w.proxies(proxy)
		collector := w.collector
		connect := w.config.Connect
		w.config.Connect = func(ctx context.Context, to string) (net.Conn, error) {
			if to == collector.Addr(port).String() {
				<-ctx.Done() // the firewall drops it
				return nil, context.Cause(ctx)
			}
			return connect(ctx, to)
		}
		got, took, err := w.page()
		if got != "http/1.1" || took < 5*time.Second || len(*asked) != 1 {
			t.Errorf("DialPage = %q after %v, %v, proxy asked %q; want it by the proxy", got, took, err, *asked)
		}
	})
}

func TestDialPageWithoutAWay(t *testing.T) {
	in(t, func(w *world) {
		w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
		if got, took, err := w.page(); err == nil || took > 30*time.Second {
			t.Errorf("DialPage on a cut line = %q after %v", got, took)
		}
		w.config.Connect = nil
		if _, err := path.New(w.config).DialPage(context.Background(), address); err == nil {
			t.Error("DialPage without TCP works")
		}
		if _, err := w.dialer.DialPage(context.Background(), "nonsense"); err == nil {
			t.Error("DialPage of nonsense works")
		}
	})
}
