package collector_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/collector"
	"hausmeister/collector/access"
	"hausmeister/collector/admin"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/need"
)

// One port number for everything: devices over UDP and TCP, browsers with
// HTTP/2, with HTTP/1.1, and without ALPN, each with its own certificate.
func TestOnePort(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg collector.Config) {
		r := start(t, cfg)
		for name, client := range map[string]*http.Client{"HTTP/2.0": r.client(), "HTTP/1.1": r.client("http/1.1")} {
			resp, body := r.get(client, "/readyz")
			if resp.StatusCode != http.StatusOK || resp.Proto != name {
				t.Errorf("/readyz = %s by %s, want 200 by %s: %s", resp.Status, resp.Proto, name, body)
			}
		}
		for _, network := range []string{"tcp", "quic"} {
			s := r.session(network, r.deviceTLS())
			cs := s.ConnectionState()
			if cs.NegotiatedProtocol != wire.ALPN || len(cs.PeerCertificates) != 3 {
				t.Errorf("%s: protocol %q with %d certificates, want %s with the device authority's chain of 3",
					network, cs.NegotiatedProtocol, len(cs.PeerCertificates), wire.ALPN)
			}
			// Past the handshake it is the gateway that answers.
			if got := hello(t, s); got != hmpb.Code_CODE_NO_CERTIFICATE {
				t.Errorf("%s: Hello without a certificate = %v, want CODE_NO_CERTIFICATE", network, got)
			}
		}
	})
}

// hello sends a Hello and gives the code of the refusal.
func hello(t *testing.T, s wire.Session) hmpb.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h := &hmpb.Hello{}
	h.SetVersionMin(wire.VersionMin)
	h.SetVersionMax(wire.VersionMax)
	f, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_CONTROL, h)
	if err != nil {
		return wire.CodeOf(err)
	}
	var down hmpb.ControlDown
	if err := f.ReadMsg(&down); err != nil {
		return wire.CodeOf(err)
	}
	return down.GetRefused().GetCode()
}

// A thousand connections that say nothing hold up neither pages nor devices.
func TestStalledHandshakesHoldNobodyUp(t *testing.T) {
	r := start(t, config(t))
	for range 1000 {
		c, err := net.Dial("tcp", r.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	begin := time.Now()
	if resp, _ := r.get(r.client(), "/readyz"); resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz = %s", resp.Status)
	}
	r.session("tcp", r.deviceTLS())
	if took := time.Since(begin); took > 9*time.Second { // each of them may stall for ten
		t.Errorf("with 1000 stalled connections a page and a session took %v", took)
	}
}

// What is no TLS at all ends quietly, and the next connection works.
func TestNonsenseOnThePort(t *testing.T) {
	r := start(t, config(t))
	for _, nonsense := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\x00\x00\x00", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000), ""} {
		c, err := net.Dial("tcp", r.listen)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, nonsense)
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after %.10q the connection = %v, want it closed", nonsense, err)
		}
		c.Close()
	}
	u, err := net.Dial("udp", r.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, n := range []int{0, 1, 20, 1200, 9000} {
		u.Write(make([]byte, n))
	}
	if resp, _ := r.get(r.client(), "/readyz"); resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz = %s", resp.Status)
	}
	r.session("quic", r.deviceTLS())
}

// udpWithFreeTCP takes a UDP port whose number is free on TCP, which the
// collector takes first. Another test's connection has some of the free ones.
func udpWithFreeTCP(t *testing.T) net.PacketConn {
	t.Helper()
	for range 100 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			tcp.Close()
			return udp
		}
		udp.Close()
	}
	t.Fatal("no UDP port whose number is free on TCP")
	return nil
}

func TestRefusedStarts(t *testing.T) {
	run := func(cfg collector.Config) error {
		c, err := collector.New(cfg)
		if err != nil {
			return err
		}
		return c.Run(t.Context())
	}
	refused := func(t *testing.T, cfg collector.Config, want error, words ...string) {
		t.Helper()
		err := run(cfg)
		if want != nil && !errors.Is(err, want) {
			t.Errorf("Run = %v, want %v", err, want)
		}
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("Run = %v, want it to say %q", err, w)
			}
		}
		noGoroutines(t)
	}
	t.Run("TCP port taken", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		cfg := config(t)
		cfg.Listen = taken.Addr().String()
		refused(t, cfg, nil, cfg.Listen, "TCP", "another program uses this port")
	})
	t.Run("UDP port taken", func(t *testing.T) {
		taken := udpWithFreeTCP(t)
		defer taken.Close()
		cfg := config(t)
		cfg.Listen = taken.LocalAddr().String()
		refused(t, cfg, nil, cfg.Listen, "UDP", "another program uses this port")
	})
	t.Run("folder in use", func(t *testing.T) {
		r := start(t, config(t))
		err := run(r.cfg)
		if !errors.Is(err, collector.ErrInUse) || !strings.Contains(err.Error(), r.cfg.DataDir) {
			t.Errorf("second Run = %v, want ErrInUse with the folder", err)
		}
		if err := collector.Restore(t.Context(), r.cfg, "x"); !errors.Is(err, collector.ErrInUse) {
			t.Errorf("Restore beside a running collector = %v, want ErrInUse", err)
		}
	})
	t.Run("data of a newer version", func(t *testing.T) {
		onBoth(t, func(t *testing.T, cfg collector.Config) {
			start(t, cfg).stop()
			d, err := db.Open(t.Context(), collector.DatabaseOf(cfg))
			if err != nil {
				t.Fatal(err)
			}
			err = d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) SELECT 20990101000000, is_applied FROM goose_db_version LIMIT 1`)
				return err
			})
			if err := errors.Join(err, d.Close()); err != nil {
				t.Fatal(err)
			}
			refused(t, cfg, db.ErrNewer, cfg.DataDir, "20990101000000", "start the version that wrote it")
		})
	})
	t.Run("folder not writable", func(t *testing.T) {
		cfg := config(t)
		if os.Geteuid() == 0 { // whom permission bits do not bind
			if out, err := exec.Command("mount", "--bind", "-o", "ro", cfg.DataDir, cfg.DataDir).CombinedOutput(); err != nil {
				need.Skip(t, "the right to mount: %v: %s", err, out)
			}
			defer exec.Command("umount", "-l", cfg.DataDir).Run()
		} else if err := os.Chmod(cfg.DataDir, 0o500); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg, nil, "data folder "+cfg.DataDir+" is not writable")
	})
	t.Run("folder is a file", func(t *testing.T) {
		cfg := config(t)
		cfg.DataDir = filepath.Join(cfg.DataDir, "file")
		if err := os.WriteFile(cfg.DataDir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg, nil, "data folder", "not a directory")
	})
	t.Run("transport keys damaged", func(t *testing.T) {
		cfg := config(t)
		if err := os.WriteFile(filepath.Join(cfg.DataDir, "transport.keys"), []byte("?"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg, nil, "transport.keys", "remove it")
	})
	t.Run("certificate missing", func(t *testing.T) {
		cfg := config(t)
		cfg.Certificate, cfg.Key = "/nonexistent/chain.pem", "/nonexistent/key.pem"
		refused(t, cfg, os.ErrNotExist, "browser certificate", "/nonexistent/chain.pem")
	})
	t.Run("database away", func(t *testing.T) {
		cfg := config(t)
		cfg.Database = "host=/nonexistent dbname=x password=geheim"
		refused(t, cfg, db.ErrUnavailable, "PostgreSQL")
		if err := run(cfg); strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error shows the password: %v", err)
		}
	})
	t.Run("path too long for a socket", func(t *testing.T) {
		cfg := config(t)
		cfg.DataDir = filepath.Join(cfg.DataDir, strings.Repeat("x", 100))
		refused(t, cfg, nil, "shorter path")
	})
}

// What a start has refused must be repairable: the same folder serves as soon
// as its fault is gone.
func TestStartAfterRefusal(t *testing.T) {
	cfg := config(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = taken.Addr().String()
	c, err := collector.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err == nil {
		t.Fatal("Run on a taken port = nil")
	}
	taken.Close()
	r := start(t, cfg)
	if resp, _ := r.get(r.client(), "/readyz"); resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz = %s", resp.Status)
	}
}

// A stop ends what is open: devices hear why, a live page and an idle
// connection end, and all of it within the time that an operator waits.
func TestStop(t *testing.T) {
	r := start(t, config(t))
	sessions := []wire.Session{r.session("tcp", r.deviceTLS()), r.session("quic", r.deviceTLS())}
	for _, s := range sessions { // the handshake alone does not mean that it was taken
		hello(t, s)
	}
	fresh := []wire.Session{r.session("tcp", r.deviceTLS()), r.session("quic", r.deviceTLS())}
	r.get(r.client(), "/healthz") // leaves an idle connection
	client, token := r.client(), r.token()
	for r.metric(client, token, "hausmeister_sessions_accepted_total") != "4" {
		runtime.Gosched()
	}
	begin := time.Now()
	r.stop()
	if took := time.Since(begin); took > 9*time.Second { // after ten a part that hangs is given up
		t.Errorf("stopping took %v", took)
	}
	for _, s := range fresh {
		<-s.Context().Done()
		if code := wire.CodeOf(context.Cause(s.Context())); code != hmpb.Code_CODE_SHUTTING_DOWN {
			t.Errorf("%s session ended with %v, want CODE_SHUTTING_DOWN: %v", s.Transport(), code, context.Cause(s.Context()))
		}
	}
	if _, err := net.Dial("tcp", r.listen); err == nil {
		t.Error("the port still answers")
	}
	if err := r.admin.Do(context.Background(), "status", admin.None{}, &admin.Status{}); !isCode(err, admin.CodeNotRunning) {
		t.Errorf("verb after the stop = %v, want CodeNotRunning", err)
	}
}

// metrics is what a scraper with a token reads.
func (r *running) metrics(client *http.Client, token string) string {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url("/metrics"), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("/metrics = %s, %v", resp.Status, err)
	}
	return string(body)
}

// metric reads one number of them.
func (r *running) metric(client *http.Client, token, name string) string {
	r.t.Helper()
	body := r.metrics(client, token)
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	r.t.Fatalf("/metrics without %s:\n%s", name, body)
	return ""
}

func (r *running) token() string {
	r.t.Helper()
	var tok admin.Token
	r.do("token/create", admin.Token{Name: "t" + time.Now().Format("150405.000000000"), Role: access.RoleRead}, &tok)
	return tok.Secret
}

func isCode(err error, code admin.Code) bool {
	var refused *admin.Error
	return errors.As(err, &refused) && refused.Code == code
}

// Restore: what the backup holds is back, what came later is gone, the store
// has a new id, and the collector runs.
func TestBackupAndRestore(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg collector.Config) {
		r := start(t, cfg)
		r.do("user/add", admin.User{Login: "berta", Role: access.RoleRead, Password: "ein langes wort"}, &admin.User{})
		file := filepath.Join(t.TempDir(), "backup.db")
		var done admin.Backup
		r.do("backup", admin.Backup{Path: file}, &done)
		if done.Audited != 1 {
			t.Errorf("backup = %+v, want its one audit entry checked", done)
		}
		if err := r.admin.Do(t.Context(), "backup", admin.Backup{Path: file}, &done); !isCode(err, admin.CodeExists) {
			t.Errorf("backup over a file = %v, want CodeExists", err)
		}
		if err := r.admin.Do(t.Context(), "backup", admin.Backup{Path: "b.db"}, &done); !isCode(err, admin.CodeInvalid) {
			t.Errorf("backup to a relative path = %v, want CodeInvalid", err)
		}
		r.do("user/add", admin.User{Login: "carl", Role: access.RoleRead, Password: "ein langes wort"}, &admin.User{})
		r.stop()
		before := storeID(t, cfg)
		if err := collector.Restore(t.Context(), cfg, file); err != nil {
			t.Fatalf("Restore = %v", err)
		}
		if storeID(t, cfg) == before {
			t.Error("the store kept its id")
		}
		r = start(t, cfg)
		var users []admin.User
		r.do("user/list", admin.None{}, &users)
		if len(users) != 1 || users[0].Login != "berta" {
			t.Errorf("users after the restore = %+v, want berta", users)
		}
		if resp, _ := r.get(r.client(), "/readyz"); resp.StatusCode != http.StatusOK {
			t.Errorf("/readyz = %s", resp.Status)
		}
	})
}

// A backup whose audit record was tampered with is refused, and the database
// stays as it is.
func TestRestoreChecksTheAuditChain(t *testing.T) {
	cfg := config(t)
	r := start(t, cfg)
	r.do("user/add", admin.User{Login: "berta", Role: access.RoleRead, Password: "ein langes wort"}, &admin.User{})
	r.do("user/disable", admin.Named{Name: "berta"}, &admin.None{})
	file := filepath.Join(t.TempDir(), "backup.db")
	r.do("backup", admin.Backup{Path: file}, &admin.Backup{})
	r.stop()
	before := storeID(t, cfg)
	of := collector.DatabaseOf(cfg)
	of.Path = file
	d, err := db.Open(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	err = d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE audit SET actor = 'user:nobody' WHERE seq = 1`)
		return err
	})
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	if err := collector.Restore(t.Context(), cfg, file); err == nil || !strings.Contains(err.Error(), "entry 1 was changed") {
		t.Errorf("Restore = %v, want it to name the changed entry", err)
	}
	if storeID(t, cfg) != before {
		t.Error("the database was replaced all the same")
	}
}

func storeID(t *testing.T, cfg collector.Config) string {
	t.Helper()
	d, err := db.OpenReadOnly(t.Context(), collector.DatabaseOf(cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return string(d.StoreID())
}

// A collector that was killed leaves its socket's file and its lock's.
func TestStartAfterCrash(t *testing.T) {
	cfg := config(t)
	start(t, cfg).stop()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: cfg.SocketPath(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if err := admin.NewClient(cfg.SocketPath()).Do(t.Context(), "status", admin.None{}, &admin.Status{}); !isCode(err, admin.CodeNotRunning) {
		t.Errorf("verb at a socket that nobody listens on = %v, want CodeNotRunning", err)
	}
	var status admin.Status
	start(t, cfg).do("status", admin.None{}, &status)
	if status.PID != os.Getpid() || status.Version != "test" {
		t.Errorf("status = %+v", status)
	}
}

// Verbs at once with a stop: each is answered or refused, none hangs.
func TestVerbsDuringStop(t *testing.T) {
	r := start(t, config(t))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for {
				var list []admin.User
				if err := r.admin.Do(context.Background(), "user/list", admin.None{}, &list); err != nil {
					return
				}
			}
		})
	}
	r.stop()
	wg.Wait()
}

// A collector that died and came back is noticed at the device's next packet, by
// the keys that it kept, and not after a minute of silence.
func TestRestartIsNoticed(t *testing.T) {
	cfg := config(t)
	r := start(t, cfg)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	far := &deafSocket{PacketConn: socket}
	endpoint := wire.NewEndpoint(far, wire.EndpointConfig{})
	defer endpoint.Close()
	addr, err := net.ResolveUDPAddr("udp", r.listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := endpoint.Dial(ctx, addr, r.deviceTLS())
	if err != nil {
		t.Fatal(err)
	}
	far.deaf.Store(true) // the goodbye is lost, as if it was killed
	r.cancel()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	r.cancel = nil
	cfg.Listen = r.listen
	start(t, cfg)
	far.deaf.Store(false)
	// As long as a StillHere: the answer must be shorter than what it answers.
	f, err := wire.Open(ctx, s, hmpb.StreamType_STREAM_TYPE_ENROLL, &hmpb.EnrollHeader{})
	if err == nil {
		err = f.WriteMsg(hmpb.EnrollRequest_builder{Csr: make([]byte, 16)}.Build())
	}
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	select {
	case <-s.Context().Done():
		if code := wire.CodeOf(context.Cause(s.Context())); code != hmpb.Code_CODE_LOST {
			t.Errorf("session ended with %s, want CODE_LOST by a stateless reset", code)
		}
		if took := time.Since(begin); took > time.Minute { // its own silence ends it after 150 s
			t.Errorf("noticed after %v, want a round trip", took)
		}
	case <-time.After(2 * time.Minute):
		t.Error("not noticed within two minutes")
	}
}

// deafSocket drops what it receives while it is deaf.
type deafSocket struct {
	net.PacketConn
	deaf atomic.Bool
}

func (s *deafSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(b)
		if err != nil || !s.deaf.Load() {
			return n, from, err
		}
	}
}
