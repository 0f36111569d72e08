package scenario

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hausmeister/testenv/child"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/site"
)

const (
	collectorName = "collector.test"
	collectorPort = 8443
)

// networks is the world outside all places: the collector stands there, at an
// address that only what is between can reach.
type networks struct {
	bin   string
	claim string
	token string // of support, for the API
	site  *site.Site
	count atomic.Int32
}

func isRefused(err error) bool { return errors.Is(err, syscall.EPERM) }

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func newNetworks(t *testing.T) *networks {
	w := &networks{bin: os.Getenv(networksVar)}
	dir := t.TempDir()
	hosts := filepath.Join(dir, "hosts")
	must(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost "+collectorName+"\n"), 0o644))
	run(t, "mount", "--bind", hosts, "/etc/hosts")
	run(t, "ip", "link", "set", "lo", "up")
	s, err := site.New(site.Config{Bin: w.bin, Dir: filepath.Join(dir, "site"), Host: collectorName, Port: collectorPort,
		Args: []string{"--listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(collectorPort))}})
	must(t, err)
	t.Cleanup(func() {
		if err := s.Stop(10 * time.Second); err != nil {
			t.Errorf("stopping the collector: %v", err)
		}
	})
	must(t, s.Start(t.Context()))
	must(t, s.ImportSchools(t.Context(), fakes.SchoolsCSV))
	w.claim, w.site = newClaim(t, s, 20), s
	w.token, err = s.AddToken(t.Context(), "networks", "support")
	must(t, err)
	return w
}

// place is one network with one device in it.
type place struct {
	*testing.T
	w    *networks
	n    int
	dir  string
	pid  string // of the process that holds the device's namespaces
	udp  *udpRelay
	tcp  *tcpRelay
	env  []string
	logs string

	agentPID int
}

// place makes a network in which nothing is in the way.
func (w *networks) place(t *testing.T) *place {
	t.Helper()
	p := &place{T: t, w: w, n: int(w.count.Add(1)), dir: t.TempDir()}
	holder, err := child.Start(child.Config{Program: "unshare", Args: []string{"--net", "--mount", "sleep", "600"}, Log: filepath.Join(p.dir, "holder.log")})
	must(t, err)
	t.Cleanup(holder.Kill)
	p.pid = strconv.Itoa(holder.PID())
	own, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	eventually(t, 10*time.Second, "a namespace", func() (bool, error) {
		theirs, err := os.Readlink("/proc/" + p.pid + "/ns/net")
		comm, _ := os.ReadFile("/proc/" + p.pid + "/comm")
		return theirs != own && strings.HasPrefix(string(comm), "sleep"), err
	})
	here := fmt.Sprintf("place%d", p.n)
	run(t, "ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", p.pid)
	run(t, "ip", "addr", "add", p.gateway()+"/24", "dev", here)
	run(t, "ip", "addr", "add", fmt.Sprintf("fd77:%d::1/64", p.n), "dev", here, "nodad")
	run(t, "ip", "link", "set", here, "up")
	p.ip("link", "set", "lo", "up")
	p.ip("addr", "add", fmt.Sprintf("10.77.%d.2/24", p.n), "dev", "eth0")
	p.ip("addr", "add", fmt.Sprintf("fd77:%d::2/64", p.n), "dev", "eth0", "nodad")
	p.ip("link", "set", "eth0", "up")
	p.ip("route", "add", "default", "via", p.gateway())
	p.bind("/etc/resolv.conf", "nameserver "+p.gateway()+"\noptions timeout:5 attempts:2\n")
	p.bind("/etc/hosts", "")
	p.bind("/etc/environment", "")
	p.hosts(p.gateway() + " " + collectorName + "\n")
	p.udp = newUDPRelay(t, p.addr(collectorPort), fmt.Sprintf("[fd77:%d::1]:%d", p.n, collectorPort))
	p.tcp = newTCPRelay(t, p.addr(collectorPort), fmt.Sprintf("[fd77:%d::1]:%d", p.n, collectorPort))
	p.settings("")
	return p
}

func (p *place) gateway() string { return fmt.Sprintf("10.77.%d.1", p.n) }

func (p *place) addr(port int) string { return net.JoinHostPort(p.gateway(), strconv.Itoa(port)) }

// inside runs a program in the device's namespaces.
func (p *place) inside(args ...string) []string {
	return append([]string{"--target", p.pid, "--net", "--mount", "--"}, args...)
}

func (p *place) ip(args ...string) {
	p.Helper()
	run(p.T, "nsenter", p.inside(append([]string{"ip"}, args...)...)...)
}

// bind lays a file of ours over one of the system's, for the device only.
func (p *place) bind(over, text string) {
	p.Helper()
	name := filepath.Join(p.dir, filepath.Base(over))
	must(p.T, os.WriteFile(name, []byte(text), 0o644))
	if _, err := os.Stat(over); err != nil {
		return // this machine has no such file, so the device has none either
	}
	run(p.T, "nsenter", p.inside("mount", "--bind", name, over)...)
}

// hosts are the names that the device knows beside those of its resolver.
func (p *place) hosts(text string) {
	p.Helper()
	must(p.T, os.WriteFile(filepath.Join(p.dir, "hosts"), []byte("127.0.0.1 localhost\n"+text), 0o644))
}

// closed leaves no direct way, and no name.
func (p *place) closed() {
	p.udp.drop(true)
	p.tcp.shut()
	p.hosts("")
}

func (p *place) settings(more string) {
	p.Helper()
	state := filepath.Join(p.dir, "root", "state")
	must(p.T, os.MkdirAll(state, 0o700))
	must(p.T, os.WriteFile(filepath.Join(state, "settings.toml"), []byte("keep_alive_s = 5\nstate_interval_s = 10\n"+more), 0o600))
}

func (p *place) agent(args ...string) (program string, all []string) {
	return "nsenter", p.inside(append(append([]string{"env", "-u", "HTTPS_PROXY", "-u", "https_proxy"}, p.env...),
		append([]string{filepath.Join(p.w.bin, "hausmeister-agent")}, append(args, "--dir", filepath.Join(p.dir, "root"), "--lang", "en")...)...)...)
}

func (p *place) enroll() {
	p.Helper()
	program, args := p.agent("enroll", p.w.claim)
	if _, err := child.Output(p.Context(), "", program, args...); err != nil {
		p.Fatal(err)
	}
}

// run starts the agent; it is stopped with the test, or before.
func (p *place) run() (stop func()) {
	p.Helper()
	program, args := p.agent("run")
	p.logs = filepath.Join(p.dir, fmt.Sprintf("agent-%d.log", time.Now().UnixNano()))
	a, err := child.Start(child.Config{Program: program, Args: args, Log: p.logs})
	must(p.T, err)
	p.agentPID = a.PID()
	stop = func() {
		if err := a.Stop(10 * time.Second); err != nil {
			p.Error(err)
		}
	}
	p.Cleanup(func() {
		stop()
		if p.Failed() {
			p.Logf("end of the agent's log:\n%s", a.LogTail())
		}
	})
	return stop
}

// line finds a line of the present agent's log.
func (p *place) line(part string) string {
	data, _ := os.ReadFile(p.logs)
	for line := range strings.Lines(string(data)) {
		if strings.Contains(strings.ReplaceAll(line, `"`, ""), part) {
			return line
		}
	}
	return ""
}

func (p *place) logged(part string) {
	p.Helper()
	eventually(p.T, 30*time.Second, "log says "+part, func() (bool, error) { return p.line(part) != "", nil })
}

// at is when the log said so.
func (p *place) at(part string) time.Time {
	p.Helper()
	text, _, _ := strings.Cut(strings.TrimPrefix(p.line(part), "time="), " ")
	at, err := time.Parse(time.RFC3339Nano, text)
	must(p.T, err)
	return at
}

// status is what the agent says to everybody at the machine.
type status struct {
	Device     string `json:"device"`
	State      string `json:"state"`
	Problem    string `json:"problem"`
	Transport  string `json:"transport"`
	Obstacle   string `json:"obstacle"`
	Inspection string `json:"inspection_issuer"`
	Inspected  string `json:"inspected_day"`
	Waiting    uint64 `json:"spool_waiting"`
}

// told is what the collector knows of this device by reading, nil for nothing.
func (p *place) told() (map[string]any, error) {
	data, err := os.ReadFile(filepath.Join(p.dir, "root", "public", "status.json"))
	if err != nil {
		return nil, err
	}
	var s status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	var device struct {
		Readings map[string]struct{ Value any }
	}
	if err := p.w.site.Client().Get(p.Context(), p.w.token, "/api/v1/devices/"+s.Device, &device); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for name, r := range device.Readings {
		if r.Value != nil {
			out[name] = r.Value
		}
	}
	return out, nil
}

// until waits for a status; the file is written at most once a minute after the
// first changes, so a test that needs more of them than that takes them from the log.
func (p *place) until(what string, is func(status) bool) {
	p.Helper()
	var s status
	eventually(p.T, 40*time.Second, what, func() (bool, error) {
		data, err := os.ReadFile(filepath.Join(p.dir, "root", "public", "status.json"))
		if err != nil {
			return false, err
		}
		s = status{}
		if err := json.Unmarshal(data, &s); err != nil {
			return false, err
		}
		return is(s), fmt.Errorf("status is %+v", s)
	})
}

// doctor wants an exit code and findings.
func (p *place) doctor(exit int, want ...string) {
	p.Helper()
	program, args := p.agent("doctor", "--json")
	began := time.Now()
	out, err := exec.CommandContext(p.Context(), program, args...).Output()
	if took := time.Since(began); took > 15*time.Second {
		p.Errorf("doctor took %v", took)
	}
	code := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		code = ended.ExitCode()
	}
	var answer struct {
		Checks []struct{ Check, Code, Text string }
	}
	must(p.T, json.Unmarshal(out, &answer))
	found, checked := map[string]bool{}, map[string]bool{}
	for _, c := range answer.Checks {
		found[c.Code], checked[c.Check] = true, true
		if len(c.Text) < 10 {
			p.Errorf("doctor says of %s only %q", c.Check, c.Text)
		}
	}
	for _, w := range want {
		if !found[w] {
			p.Errorf("doctor does not find %s:\n%s", w, out)
		}
	}
	if code != exit || len(checked) != 10 {
		p.Errorf("doctor: exit %d, %d things checked; want %d and 10:\n%s", code, len(checked), exit, out)
	}
}

// tinyproxy runs Debian's, beside the collector's side of the place.
func (p *place) tinyproxy(more ...string) {
	p.Helper()
	conf := filepath.Join(p.dir, "tinyproxy.conf")
	text := fmt.Sprintf("Port 3128\nListen %s\nTimeout 600\nMaxClients 50\nDisableViaHeader Yes\nLogLevel Info\nConnectPort %d\n%s\n",
		p.gateway(), collectorPort, strings.Join(more, "\n"))
	must(p.T, os.WriteFile(conf, []byte(text), 0o600))
	p.program("tinyproxy", "-d", "-c", conf)
}

// squid runs Debian's. It changes to the user proxy, who must be able to write.
func (p *place) squid() {
	p.Helper()
	dir, err := os.MkdirTemp("", "hausmeister-squid-") // not below a folder of root's
	must(p.T, err)
	p.Cleanup(func() { os.RemoveAll(dir) })
	u, err := user.Lookup("proxy")
	must(p.T, err)
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	must(p.T, os.Chown(dir, uid, gid))
	conf := filepath.Join(dir, "squid.conf")
	text := fmt.Sprintf(`http_port %s
acl collector port %d
http_access allow CONNECT collector
http_access deny all
cache deny all
pid_filename %s/pid
access_log none
cache_log %s/cache.log
coredump_dir %s
shutdown_lifetime 0 seconds
pinger_enable off
`, p.addr(3128), collectorPort, dir, dir, dir)
	must(p.T, os.WriteFile(conf, []byte(text), 0o644))
	p.program("squid", "-N", "-f", conf)
}

// program runs until the end of the test; it listens on the proxy's port.
func (p *place) program(name string, args ...string) {
	p.Helper()
	c, err := child.Start(child.Config{Program: name, Args: args, Log: filepath.Join(p.dir, name+".log")})
	must(p.T, err)
	p.Cleanup(c.Kill)
	eventually(p.T, 20*time.Second, name+" listens", func() (bool, error) {
		conn, err := net.DialTimeout("tcp", p.addr(3128), time.Second)
		if err != nil {
			return false, fmt.Errorf("%w: %s", err, c.LogTail())
		}
		return true, conn.Close()
	})
}

// udpRelay is the way of UDP to the collector, until it drops what comes.
type udpRelay struct {
	dropping atomic.Bool
	first    atomic.Int64 // nanoseconds; of the first datagram dropped that carried something of the agent's
	wg       sync.WaitGroup
}

func newUDPRelay(t *testing.T, addrs ...string) *udpRelay {
	t.Helper()
	r := &udpRelay{}
	var all []io.Closer
	for _, addr := range addrs {
		ln, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		must(t, err)
		r.wg.Go(func() { r.serve(ln) })
		all = append(all, ln)
	}
	closeAll(t, &r.wg, all)
	return r
}

// closeAll closes listeners at the end of the test and waits for who serves them.
func closeAll(t *testing.T, serving *sync.WaitGroup, all []io.Closer) {
	t.Cleanup(func() {
		for _, ln := range all {
			ln.Close()
		}
		serving.Wait()
	})
}

// QUIC's own pings and acknowledgements have about 30 bytes and nobody waits for
// them, its probes of the path's packet size have more than 1,200.
const leastData, mostData = 40, 1200

// drop begins or ends dropping.
func (r *udpRelay) drop(yes bool) {
	r.first.Store(0)
	r.dropping.Store(yes)
}

func (r *udpRelay) firstDropped() (at time.Time, any bool) {
	first := r.first.Load()
	return time.Unix(0, first), first != 0
}

func (r *udpRelay) serve(ln *net.UDPConn) {
	to := map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		for _, up := range to {
			up.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := ln.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if r.dropping.Load() {
			if n >= leastData && n < mostData {
				r.first.CompareAndSwap(0, time.Now().UnixNano())
			}
			continue
		}
		up := to[from]
		if up == nil {
			if up, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: collectorPort}); err != nil {
				continue
			}
			to[from] = up
			r.wg.Go(func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := up.Read(buf)
					if errors.Is(err, net.ErrClosed) {
						return
					}
					if err == nil && !r.dropping.Load() {
						ln.WriteToUDPAddrPort(buf[:n], from)
					}
				}
			})
		}
		up.Write(buf[:n])
	}
}

// tcpRelay is the way of TCP, or what is there in its stead.
type tcpRelay struct {
	handle atomic.Pointer[func(net.Conn)]
	wg     sync.WaitGroup
}

func newTCPRelay(t *testing.T, addrs ...string) *tcpRelay {
	t.Helper()
	r := &tcpRelay{}
	r.open()
	var all []io.Closer
	for _, addr := range addrs {
		ln, err := net.Listen("tcp", addr)
		must(t, err)
		r.wg.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				r.wg.Go(func() { (*r.handle.Load())(conn) })
			}
		})
		all = append(all, ln)
	}
	closeAll(t, &r.wg, all)
	return r
}

func (r *tcpRelay) serve(f func(net.Conn)) { r.handle.Store(&f) }

// shut refuses all, as on a machine so busy that a handshake over QUIC takes more
// than TCP's handicap a test needs that is about UDP.
func (r *tcpRelay) shut() { r.serve(func(conn net.Conn) { conn.Close() }) }

// open lets all through to the collector.
func (r *tcpRelay) open() {
	r.serve(func(conn net.Conn) {
		up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", collectorPort))
		if err != nil {
			conn.Close()
			return
		}
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(up, conn); up.Close() })
		wg.Go(func() { io.Copy(conn, up); conn.Close() })
		wg.Wait()
	})
}

// inspectingBox opens TLS with a certificate of its own, as a school's filter
// does, and speaks HTTP behind it.
func inspectingBox(t *testing.T) func(net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Schulfilter CA"}, IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: collectorName}, DNSNames: []string{collectorName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	must(t, err)
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"http/1.1"}}
	return func(conn net.Conn) {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		tc := tls.Server(conn, conf)
		if tc.Handshake() != nil {
			return
		}
		b := make([]byte, 1)
		if n, _ := tc.Read(b); n > 0 {
			t.Error("something was sent through the inspecting box")
		}
	}
}

// resolver answers questions for IPv4 addresses with the place's gateway and
// swallows all others.
func (p *place) resolver() {
	p.Helper()
	ln, err := net.ListenPacket("udp", p.addr(53))
	must(p.T, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := ln.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := answerA(buf[:n], netip.MustParseAddr(p.gateway())); answer != nil {
				ln.WriteTo(answer, from)
			}
		}
	})
	p.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
}

// answerA answers a DNS question (RFC 1035 section 4) of type A, else it is nil.
func answerA(question []byte, ip netip.Addr) []byte {
	const header = 12
	end := header
	for end < len(question) && question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 5 // the root, type, class
	if end > len(question) || binary.BigEndian.Uint16(question[end-4:]) != 1 {
		return nil
	}
	answer := append([]byte{}, question[:end]...)
	binary.BigEndian.PutUint16(answer[2:], 0x8180) // answer, recursion
	for i, count := range []uint16{1, 1, 0, 0} {
		binary.BigEndian.PutUint16(answer[4+2*i:], count)
	}
	answer = append(answer, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	return append(answer, ip.AsSlice()...)
}
