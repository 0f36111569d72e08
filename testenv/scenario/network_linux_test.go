package scenario

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
)

// TestNetworks puts the real agent into networks as schools, hotels and homes
// have them: each a network namespace, with tinyproxy and squid from Debian and
// boxes in between that are written here. One real collector serves them all.
func TestNetworks(t *testing.T) {
	if os.Getenv(networksVar) == "" {
		t.Parallel()
		outsideNamespace(t)
		return
	}
	w := newNetworks(t)
	for name, f := range map[string]func(*testing.T, *networks){
		"UDP dropped from the start": droppedFromTheStart,
		"UDP dies":                   udpDies,
		"tinyproxy":                  throughTinyproxy,
		"squid":                      throughSquid,
		"proxy wants a login":        proxyLogin,
		"TLS inspection":             inspection,
		"captive portal":             captivePortal,
		"IPv6 only":                  sixOnly,
		"dead IPv6":                  deadSix,
		"DNS without AAAA":           halfDNS,
		"on battery":                 onBattery,
		"on battery, alone":          onBatteryAlone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, w)
		})
	}
}

const networksVar = "HAUSMEISTER_TEST_NETWORKS"

// outsideNamespace runs the test again as a process with networks and mounts of
// its own, so that this machine's stay what they are.
func outsideNamespace(t *testing.T) {
	need.Root(t)
	need.Programs(t, "ip", "unshare", "nsenter", "mount", "tinyproxy", "squid")
	cmd := exec.Command(os.Args[0], "-test.run=^TestNetworks$", "-test.v", "-test.parallel=14", "-test.timeout=400s")
	cmd.Env = append(os.Environ(), networksVar+"="+programs.Build(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if isRefused(err) {
		need.Skip(t, "network namespaces")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNetworks") {
		t.Fatalf("in a namespace: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "measured: ") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("all networks in %v", time.Since(began).Round(100*time.Millisecond))
}

func droppedFromTheStart(t *testing.T, w *networks) {
	p := w.place(t)
	p.udp.drop(true)
	began := time.Now()
	p.enroll()
	t.Logf("measured: UDP dropped from the start: enrolled over TCP in %.1f s", time.Since(began).Seconds())
	began = time.Now()
	p.run()
	p.logged("connected transport=tcp ")
	t.Logf("measured: UDP dropped from the start: in over TCP %.1f s after the agent's start", time.Since(began).Seconds())
	p.until("status names the path", func(s status) bool { return s.Transport == "tcp" && s.Obstacle == "udp_blocked" })
	p.doctor(0, "udp_blocked", "tcp_ok", "inspection_none", "clock_ok", "agent_runs", "rights_ok", "spool_ok")
}

func udpDies(t *testing.T, w *networks) {
	p := w.place(t)
	p.enroll()
	p.tcp.shut()
	stop := p.run()
	p.logged("connected transport=quic ")
	p.tcp.open()
	p.doctor(0, "name_ok", "udp_ok", "tcp_ok", "proxy_none", "inspection_none", "clock_ok")
	p.udp.drop(true)
	p.logged("connected transport=tcp ")
	first, dropped := p.udp.firstDropped()
	if !dropped {
		t.Fatal("the session left UDP, and nothing of it was dropped")
	}
	took := p.at("connected transport=tcp ").Sub(first)
	t.Logf("measured: UDP died: session moved to TCP in %.1f s", took.Seconds())
	if took > 5*time.Second {
		t.Errorf("UDP died, and the session moved to TCP only after %v", took)
	}
	// It was for a while only. A change of the network asks for QUIC soon.
	p.udp.drop(false)
	began := time.Now()
	p.ip("addr", "add", fmt.Sprintf("10.77.%d.77/24", p.n), "dev", "eth0")
	p.logged("moved back to QUIC")
	t.Logf("measured: UDP let through again: back on QUIC %.1f s after the network changed", time.Since(began).Seconds())
	stop()
	p.until("all told", func(s status) bool { return s.State == "stopped" && s.Waiting == 0 })
}

// throughTinyproxy: there is no way but the proxy, which the environment names,
// and no name is known but by the proxy.
func throughTinyproxy(t *testing.T, w *networks) {
	p := w.place(t)
	p.closed()
	p.tinyproxy()
	p.env = append(p.env, "HTTPS_PROXY=http://"+p.addr(3128))
	p.enroll()
	p.run()
	p.logged("connected transport=tcp_proxy ")
	p.until("told", func(s status) bool { return s.Transport == "tcp_proxy" && s.Waiting == 0 })
	p.doctor(0, "name_not_found", "proxy_ok", "clock_ok")
}

// throughSquid: likewise, named by the settings.
func throughSquid(t *testing.T, w *networks) {
	p := w.place(t)
	p.closed()
	p.squid()
	p.settings(fmt.Sprintf("proxy = %q\n", p.addr(3128)))
	p.enroll()
	p.run()
	p.logged("connected transport=tcp_proxy ")
	p.until("told", func(s status) bool { return s.Transport == "tcp_proxy" && s.Waiting == 0 })
}

func proxyLogin(t *testing.T, w *networks) {
	p := w.place(t)
	p.enroll()
	p.closed()
	p.tinyproxy("BasicAuth anna geheim")
	p.settings(fmt.Sprintf("proxy = %q\n", p.addr(3128)))
	stop := p.run()
	p.until("407 is named", func(s status) bool { return s.Problem == "proxy_needs_login" && s.Obstacle == "proxy_needs_login" })
	p.doctor(1, "proxy_needs_login")
	stop()
	p.settings(fmt.Sprintf("proxy = %q\n", "http://anna:geheim@"+p.addr(3128)))
	p.run()
	p.logged("connected transport=tcp_proxy ")
	for _, name := range []string{"state/networks", "public/status.json"} {
		var data []byte
		eventually(t, 10*time.Second, name+" is written", func() (_ bool, err error) {
			data, err = os.ReadFile(filepath.Join(p.dir, "root", name))
			return err == nil, err
		})
		if strings.Contains(string(data), "geheim") {
			t.Errorf("%s: %s; the proxy's password has no place there", name, data)
		}
	}
}

func inspection(t *testing.T, w *networks) {
	const issuer = "CN=Schulfilter CA"
	p := w.place(t)
	p.enroll()
	p.udp.drop(true)
	p.tcp.serve(inspectingBox(t))
	begun := time.Now().Format(time.DateOnly)
	p.run()
	p.until("the box is named", func(s status) bool { return s.Problem == "connection_inspected" && s.Inspection == issuer })
	p.doctor(1, "connection_inspected", "udp_blocked", "way_opened")
	if told, err := p.told(); err != nil || len(told) > 0 {
		t.Errorf("through the box the collector was told %v, %v; want nothing", told, err)
	}
	// A better network: at home nobody inspects, and it is told there.
	p.udp.drop(false)
	p.ip("addr", "add", fmt.Sprintf("10.77.%d.77/24", p.n), "dev", "eth0")
	p.logged("connected transport=quic ")
	p.until("it is known there", func(s status) bool {
		return s.Transport == "quic" && s.Inspection == issuer && s.Inspected >= begun // it may be tomorrow by now
	})
	// The collector has the name from the device, in a State of the better network:
	// only there is the path known.
	var told map[string]any
	eventually(t, 60*time.Second, "the collector has the box's name", func() (_ bool, err error) {
		told, err = p.told()
		return told["inspection_issuer"] == issuer && told["collector_path"] == "quic", fmt.Errorf("%v, %v, %v", told["inspection_issuer"], told["collector_path"], err)
	})
	p.doctor(0, "connection_inspected", "udp_ok", "way_opened")
}

func captivePortal(t *testing.T, w *networks) {
	p := w.place(t)
	p.enroll()
	p.udp.drop(true)
	p.tcp.serve(func(conn net.Conn) {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Read(make([]byte, 1024))
		io.WriteString(conn, "HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Length: 0\r\n\r\n")
	})
	p.run()
	p.until("the portal is named", func(s status) bool { return s.Problem == "captive_portal" })
	p.doctor(1, "captive_portal", "after_portal")
}

func sixOnly(t *testing.T, w *networks) {
	p := w.place(t)
	p.ip("addr", "flush", "dev", "eth0", "scope", "global")
	p.ip("addr", "add", fmt.Sprintf("fd77:%d::2/64", p.n), "dev", "eth0", "nodad")
	p.hosts(fmt.Sprintf("fd77:%d::1 collector.test\n10.77.%d.1 collector.test\n", p.n, p.n))
	p.enroll()
	p.tcp.shut()
	began := time.Now()
	p.run()
	p.logged("connected transport=quic ")
	t.Logf("measured: IPv6 only: in over QUIC %.1f s after the agent's start", time.Since(began).Seconds())
}

func deadSix(t *testing.T, w *networks) {
	p := w.place(t)
	p.hosts(fmt.Sprintf("fd77:%d::dead collector.test\n10.77.%d.1 collector.test\n", p.n, p.n))
	p.enroll()
	p.tcp.shut()
	began := time.Now()
	p.run()
	p.logged("connected transport=quic ")
	took := time.Since(began)
	t.Logf("measured: dead IPv6 beside IPv4: in over QUIC %.1f s after the agent's start", took.Seconds())
	if took > 8*time.Second {
		t.Errorf("dead IPv6 cost %v", took)
	}
}

// halfDNS: a resolver that swallows questions for IPv6 addresses.
func halfDNS(t *testing.T, w *networks) {
	p := w.place(t)
	p.hosts("")
	p.resolver()
	p.enroll()
	p.tcp.shut()
	began := time.Now()
	p.run()
	p.logged("connected transport=quic ")
	took := time.Since(began)
	t.Logf("measured: DNS that swallows AAAA: in over QUIC %.1f s after the agent's start", took.Seconds())
	if took > 8*time.Second {
		t.Errorf("it cost %v", took)
	}
}
