package netsim_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	agentpath "hausmeister/agent/link/path"
	"hausmeister/agent/update/fetch"
	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/pace"
	"hausmeister/collector/web"
	"hausmeister/proto/ident"
	"hausmeister/testenv/netsim"
)

// The pages that are not asked for here have no data.
type (
	noClaims    struct{ web.Claims }
	noFleet     struct{ web.Fleet }
	noHealth    struct{ web.Health }
	noQuestions struct{ web.Questions }
	noRollouts  struct{ web.Rollouts }
)

type accounts struct{ web.Accounts }

func (accounts) House(context.Context) (access.House, error) { return access.House{}, nil }

// onePublished is a rollout of one file.
type onePublished struct {
	file []byte
	line pace.Line
}

func (p *onePublished) Metadata(_ context.Context, name string, nonce []byte, root uint64) (data, fresh []byte, err error) {
	if name != "timestamp.json" {
		return nil, nil, access.ErrNotFound
	}
	return []byte("{}"), nonce, nil
}

func (p *onePublished) Published(_ context.Context, sum []byte) (pace.Content, error) {
	if want := sha256.Sum256(p.file); !bytes.Equal(sum, want[:]) {
		return pace.Content{}, access.ErrNotFound
	}
	return pace.Content{ReaderAt: bytes.NewReader(p.file), Size: int64(len(p.file)), Line: p.line}, nil
}

// A school that lets nothing out but what its proxy carries, which cuts each
// connection after a while: the update comes by HTTPS in pieces, each byte once, at
// the pace of the school's address.
func TestAttack19HTTPSThroughAProxyThatCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, rate, cut = 1 << 20, 100_000, 300_000
		network := netsim.New(netsim.Config{Seed: 19, Latency: 10 * time.Millisecond})
		defer network.Close()
		collector, device, school := network.Host("192.0.2.1"), network.Host("10.0.0.5"), network.Host("192.0.2.7")
		ca, err := ident.NewAuthority(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := ca.IssueServer([]string{"somebody.else.example"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p := &onePublished{file: bytes.Repeat([]byte("program "), size/8), line: pace.Line{Rate: rate}}
		log := slog.New(slog.DiscardHandler)
		pages, err := web.New(web.Config{Access: accounts{}, Claims: noClaims{}, Fleet: noFleet{}, Health: noHealth{}, Questions: noQuestions{}, Rollouts: noRollouts{},
			Bus: bus.New(), Now: time.Now, Log: log, Ready: func(context.Context) error { return nil }, Updates: p})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := collector.ListenTCP(port)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		var serving sync.WaitGroup
		serving.Go(func() {
			pages.Serve(ctx, tls.NewListener(ln, &tls.Config{NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*certificate}}))
		})

		proxies, err := school.ListenTCP(3128)
		if err != nil {
			t.Fatal(err)
		}
		carried := 0
		serving.Go(func() {
			for {
				conn, err := proxies.Accept()
				if err != nil {
					return
				}
				carried++
				serving.Go(func() { carry(conn, school, collector.Addr(port).AddrPort(), cut) })
			}
		})
		proxy, _ := url.Parse("http://192.0.2.7:3128")
		dialer := agentpath.New(agentpath.Config{
			Connect: func(ctx context.Context, address string) (net.Conn, error) {
				to := netip.MustParseAddrPort(address)
				if to.Addr() == netip.MustParseAddr("192.0.2.1") {
					return nil, errors.New("refused by the firewall")
				}
				return device.DialTCP(ctx, to)
			},
			Lookup: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			},
			Proxies: func(context.Context, string) ([]*url.URL, error) { return []*url.URL{proxy}, nil },
			Log:     log,
		})
		const address = "collector.example:8443"
		client := fetch.New(fetch.Config{Log: log, Page: func(ctx context.Context) (net.Conn, string, error) {
			conn, err := dialer.DialPage(ctx, address)
			return conn, address, err
		}})
		m, err := client.Metadata(ctx, "timestamp.json", make([]byte, 32), 1)
		if err != nil || string(m.Data) != "{}" || len(m.Freshness) != 32 {
			t.Errorf("Metadata = %q, %d bytes of freshness, %v", m.Data, len(m.Freshness), err)
		}
		if _, err := client.Metadata(ctx, "2.root.json", nil, 1); !errors.Is(err, fetch.ErrNotFound) {
			t.Errorf("Metadata of a root that is not there = %v, want ErrNotFound", err)
		}
		part, begun, sum := &bytesPart{}, time.Now(), sha256.Sum256(p.file)
		n, err := client.Target(ctx, fetch.Target{SHA256: sum[:], Length: size}, part)
		took := time.Since(begun)
		if err != nil || n != size || !bytes.Equal(part.data, p.file) {
			t.Errorf("Target = %d, %v; want each byte once", n, err)
		}
		if carried < 2+size/cut {
			t.Errorf("the proxy carried %d connections, want more than %d", carried, 1+size/cut)
		}
		if least := time.Duration(size*17/16/rate) * time.Second; took < least || took > 2*least {
			t.Errorf("%d bytes took %v, the line needs %v", size, took, least)
		}
		proxies.Close()
		stop()
		serving.Wait()
	})
}

// carry is a proxy's CONNECT that ends after some bytes down.
func carry(conn net.Conn, from *netsim.Host, to netip.AddrPort, most int64) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if req, err := http.ReadRequest(r); err != nil || req.Method != http.MethodConnect {
		return
	}
	there, err := from.DialTCP(context.Background(), to)
	if err != nil {
		return
	}
	defer there.Close()
	io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	var up sync.WaitGroup
	up.Go(func() { io.Copy(there, r); there.Close() })
	io.CopyN(conn, there, most)
	conn.Close()
	there.Close()
	up.Wait()
}
