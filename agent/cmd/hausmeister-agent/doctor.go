package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/enroll"
	"hausmeister/agent/link/path"
	"hausmeister/platform/layout"
	"hausmeister/platform/service"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
)

const (
	// doctorWithin bounds the whole visit: somebody stands beside it.
	doctorWithin = 14 * time.Second
	// clockMay be off: certificates and reports bear with more, people do not.
	clockMay = 2 * time.Minute
	lowSpace = 1 << 30   // bytes: warn
	noSpace  = 100 << 20 // bytes: fail
)

// verdict of a check.
type verdict string

const (
	good verdict = "ok"
	warn verdict = "warn" // works, but not as well as it could, or not for ever
	bad  verdict = "fail"
)

// outcome is what a check found; its text is "doctor."+code, in which stands
// what it means and what to do.
type outcome string

const (
	nameOK            outcome = "name_ok"
	nameFails         outcome = "name_not_found"
	noCollector       outcome = "no_collector"
	notTried          outcome = "not_tried"
	udpOK             outcome = "udp_ok"
	udpBlocked        outcome = "udp_blocked"
	tcpOK             outcome = "tcp_ok"
	tcpBlocked        outcome = "tcp_blocked"
	wayOpened         outcome = "way_opened"
	afterLogin        outcome = "after_portal"
	proxyOK           outcome = "proxy_ok"
	proxyNone         outcome = "proxy_none"
	proxyExempt       outcome = "proxy_exempt"
	proxyLogin        outcome = "proxy_needs_login"
	proxyRefused      outcome = "proxy_refused"
	proxyUnreachable  outcome = "proxy_unreachable"
	proxySettings     outcome = "proxy_settings"
	proxyUnknown      outcome = "proxy_unknown"
	settingsBroken    outcome = "settings_unusable"
	settingsDenied    outcome = "settings_denied"
	inspectionNone    outcome = "inspection_none"
	inspectionNow     outcome = "connection_inspected"
	inspectionBefore  outcome = "inspected_before"
	inspectionUnknown outcome = "inspection_unknown"
	portal            outcome = "captive_portal"
	clockOK           outcome = "clock_ok"
	clockOff          outcome = "clock_off"
	clockOld          outcome = "clock_before_build"
	clockUnknown      outcome = "clock_unknown"
	rightsOK          outcome = "rights_ok"
	rightsDenied      outcome = "rights_denied"
	rightsNew         outcome = "rights_no_folder"
	rightsFail        outcome = "rights_unwritable"
	agentRuns         outcome = "agent_runs"
	agentStopped      outcome = "agent_stopped"
	agentFails        outcome = "agent_failing"
	agentNoService    outcome = "agent_no_service"
	agentIdle         outcome = "agent_not_needed"
	agentUnknown      outcome = "agent_unknown"
	spoolOK           outcome = "spool_ok"
	spoolNone         outcome = "spool_none"
	spoolDropped      outcome = "spool_dropped"
	spoolFails        outcome = "spool_failing"
	spoolWaits        outcome = "spool_waits"
	diskOK            outcome = "disk_ok"
	diskLow           outcome = "disk_low"
	diskFull          outcome = "disk_full"
	diskReadOnly      outcome = "disk_read_only"
	diskUnknown       outcome = "disk_unknown"
)

// check is one thing that the doctor looked at.
type check struct {
	Name    string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Code    outcome `json:"code"`
	Text    string  `json:"text"`
	Detail  string  `json:"detail,omitempty"` // English, for support
}

// visit is one visit of the doctor. It changes nothing.
type visit struct {
	p        *program
	m        *machine
	checks   []check
	status   shown // of the agent here
	known    bool  // that it ever said something
	enrolled bool
}

// doctor looks at everything between this device and its collector. It works on
// a device that is not enrolled too: then --claim or HOST:PORT names the
// collector, and without them the network is left out.
func (p *program) doctor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, doctorWithin)
	defer cancel()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // all that is to be said is said in sentences
	m, err := openMachine(p.layout)
	if err != nil {
		return err
	}
	defer m.Close()
	v := &visit{p: p, m: m}
	// A status that cannot be read is one that the agent does not keep.
	v.status, v.known, _ = p.now(ctx)
	address, conf, err := v.collector()
	if err != nil {
		return err
	}
	if err := v.network(ctx, address, conf); err != nil {
		return err
	}
	v.agent()
	v.settings()
	v.rights()
	v.spool()
	v.disk()
	return v.tell()
}

func (v *visit) note(name string, verdict verdict, code outcome, detail error, args ...any) {
	c := check{Name: name, Verdict: verdict, Code: code, Text: v.p.words.text("doctor."+string(code), args...)}
	if detail != nil {
		c.Detail = strings.ReplaceAll(detail.Error(), "\n", "; ")
	}
	v.checks = append(v.checks, c)
}

// tell prints all and gives the exit code.
func (v *visit) tell() error {
	failed := slices.ContainsFunc(v.checks, func(c check) bool { return c.Verdict == bad })
	if v.p.json {
		if err := v.p.print(map[string]any{"ok": !failed, "checks": v.checks}); err != nil {
			return err
		}
	} else {
		for _, c := range v.checks {
			w := v.p.words
			fmt.Fprintf(v.p.out, "%s %s %s\n", pad(w.text("verdict."+string(c.Verdict)), 8), pad(w.text("check."+c.Name), 18), c.Text)
			if c.Detail != "" && c.Verdict != good {
				fmt.Fprintf(v.p.out, "%s(%s)\n", strings.Repeat(" ", 28), c.Detail)
			}
		}
	}
	if failed {
		return silent(exitFailed)
	}
	return nil
}

// collector finds out whom to look for: "" for nobody. The TLS configuration has
// no certificate of ours: a visit is no session of the device.
func (v *visit) collector() (address string, conf *tls.Config, err error) {
	now := manifest.BuildTime
	switch p := v.p; {
	case p.forClaim != "" && len(p.rest) > 0:
		return "", nil, p.misused(p.rest[0])
	case p.forClaim != "" || len(p.rest) > 0 && strings.Contains(p.rest[0], "://"):
		claim, err := ident.ParseClaim(p.forClaim + strings.Join(p.rest, ""))
		if err != nil {
			return "", nil, &failure{code: string(enroll.WordUnreadable), exit: exitUsage, err: err}
		}
		return claim.Address(), ident.AgentConfig(ident.AgentTLS{Pins: []ident.Fingerprint{claim.CA}, ServerName: claim.Host, Trusted: now}), nil
	case len(p.rest) > 0:
		return p.rest[0], unpinned(p.rest[0]), nil
	}
	if _, err := os.Stat(filepath.Join(v.p.layout.State(), "identity")); err == nil {
		if k, err := v.m.keeper(nil); err == nil {
			if id, ok := k.Enrolled(); ok {
				v.enrolled = true
				conf := k.TLSConfig()
				conf.GetClientCertificate = nil
				return id.Address, conf, nil
			}
		}
	}
	if v.status.Collector != "" { // a user who may not read the identity
		return v.status.Collector, unpinned(v.status.Collector), nil
	}
	return "", nil, nil
}

// unpinned is for a collector of which only the address is known. Whoever shows
// a certificate that is not even called ours is taken for an inspecting box;
// nothing is sent to either.
func unpinned(address string) *tls.Config {
	host, _, _ := strings.Cut(address, ":")
	if i := strings.LastIndexByte(address, ':'); i > 0 {
		host = strings.Trim(address[:i], "[]")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{ident.ALPN}, ServerName: host,
		InsecureSkipVerify: true, // there is no root to verify by
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) > 0 && strings.HasPrefix(cs.PeerCertificates[0].Issuer.CommonName, "Hausmeister ") {
				return nil
			}
			_, err := ident.VerifyCollector(cs.PeerCertificates, nil, host, time.Time{})
			return err
		},
	}
}

// network tries everything between here and the collector.
func (v *visit) network(ctx context.Context, address string, conf *tls.Config) error {
	if address == "" {
		v.note("name", warn, noCollector, nil)
		v.clock(time.Time{}, 0, nil)
		return nil
	}
	x, err := path.New(v.m.ways).Examine(ctx, address, conf)
	if err != nil {
		return v.p.misused(address)
	}
	var offset time.Duration
	var at time.Time
	if x.Session != nil {
		defer x.Session.Close(hmpb.Code_CODE_NORMAL, "only a test")
		began := time.Now()
		if at, err = enroll.CollectorTime(ctx, x.Session); err == nil {
			offset = at.Add(time.Since(began) / 2).Sub(time.Now().Round(0))
		}
	}
	v.ways(x)
	v.proxies(ctx, address, x)
	v.inspection(x)
	v.clock(at, offset, err)
	return nil
}

// failing is a failure, unless another way works.
func failing(x *path.Examination) verdict {
	if x.Session != nil {
		return warn
	}
	return bad
}

func (v *visit) ways(x *path.Examination) {
	if x.Name != nil {
		v.note("name", failing(x), nameFails, x.Name)
	} else {
		var all []string
		for _, ip := range x.Addresses {
			all = append(all, ip.String())
		}
		v.note("name", good, nameOK, nil, strings.Join(all, ", "))
	}
	way := func(name string, t path.Tried, ok, blocked outcome) {
		switch {
		case t.Err == nil:
			v.note(name, good, ok, nil, t.Took.Milliseconds())
		case x.Name != nil:
			v.note(name, warn, notTried, nil)
		case t.Opened:
			v.note(name, failing(x), wayOpened, t.Err)
		case x.Portal:
			v.note(name, failing(x), afterLogin, t.Err)
		default:
			v.note(name, failing(x), blocked, t.Err)
		}
	}
	way("udp", x.UDP, udpOK, udpBlocked)
	way("tcp", x.TCP, tcpOK, tcpBlocked)
}

func (v *visit) proxies(ctx context.Context, address string, x *path.Examination) {
	if x.Settings != nil {
		v.note("proxy", warn, proxySettings, x.Settings)
	}
	switch {
	case len(x.Proxies) > 0 || x.Settings != nil:
	case v.m.settings != nil:
		v.note("proxy", warn, proxyUnknown, nil)
	case v.m.proxies.Exempt(ctx, address):
		v.note("proxy", good, proxyExempt, nil)
	default:
		v.note("proxy", good, proxyNone, nil)
	}
	for _, host := range slices.Sorted(maps.Keys(x.Proxies)) {
		t := x.Proxies[host]
		switch obstacle := path.ObstacleIn(t.Err); {
		case t.Err == nil:
			v.note("proxy", good, proxyOK, nil, host, t.Took.Milliseconds())
		case t.Opened:
			v.note("proxy", failing(x), wayOpened, t.Err)
		case x.Portal:
			v.note("proxy", failing(x), afterLogin, t.Err)
		case obstacle == path.ProxyLogin:
			v.note("proxy", failing(x), proxyLogin, t.Err, host)
		case obstacle == path.ProxyRefused:
			v.note("proxy", failing(x), proxyRefused, t.Err, host)
		default:
			v.note("proxy", failing(x), proxyUnreachable, t.Err, host)
		}
	}
}

// settings says only what is wrong with the settings, if anything. They are the
// owner's to read; who may not is told so, and what else is then not known.
func (v *visit) settings() {
	switch err := v.m.settings; {
	case err == nil:
	case errors.Is(err, fs.ErrPermission):
		v.note("settings", warn, settingsDenied, err)
	default:
		v.note("settings", bad, settingsBroken, err)
	}
}

func (v *visit) inspection(x *path.Examination) {
	before := v.m.networks.Inspection(time.Now())
	switch {
	case x.Portal:
		v.note("inspection", bad, portal, nil)
	case x.Issuer != "":
		v.note("inspection", failing(x), inspectionNow, nil, x.Issuer)
	case before.Issuer != "":
		v.note("inspection", warn, inspectionBefore, nil, before.Day, before.Issuer)
	case x.Session == nil:
		v.note("inspection", warn, inspectionUnknown, nil)
	default:
		v.note("inspection", good, inspectionNone, nil)
	}
}

// clock compares with the collector's, else with what the running agent knows,
// else with the time of the build, which has passed for sure.
func (v *visit) clock(at time.Time, offset time.Duration, err error) {
	switch {
	case !at.IsZero():
	case v.known && !v.status.stopped() && !v.status.LastHeard.IsZero():
		offset = time.Duration(v.status.ClockOffset) * time.Millisecond
	case time.Now().Before(manifest.BuildTime()):
		v.note("clock", bad, clockOld, err, v.p.words.when(time.Now()))
		return
	default:
		v.note("clock", warn, clockUnknown, nil, v.p.words.when(time.Now()))
		return
	}
	if offset.Abs() <= clockMay {
		v.note("clock", good, clockOK, nil)
		return
	}
	v.note("clock", bad, clockOff, nil, v.p.words.clockGoes(offset))
}

// rights: may this user do the agent's work in its folder?
func (v *visit) rights() {
	state := v.p.layout.State()
	_, err := os.Stat(state)
	if err == nil {
		var probe *os.File
		if probe, err = os.CreateTemp(state, ".doctor-*"); err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	switch {
	case err == nil:
		v.note("rights", good, rightsOK, nil, state)
	case errors.Is(err, fs.ErrNotExist):
		v.note("rights", warn, rightsNew, err, state)
	case errors.Is(err, fs.ErrPermission):
		v.note("rights", bad, rightsDenied, err)
	default:
		v.note("rights", bad, rightsFail, err, state)
	}
}

// agent: does it run? What it said last stays there when it was killed.
func (v *visit) agent() {
	s := &v.status
	switch {
	case s.Running == nil:
		v.note("agent", warn, agentUnknown, nil)
	case *s.Running:
		v.note("agent", good, agentRuns, nil)
	case s.State == agent.StateNotEnrolled && !v.enrolled:
		v.note("agent", warn, agentIdle, nil)
	case s.Service == service.NotInstalled:
		v.note("agent", bad, agentNoService, nil)
	case s.Service == service.Failing:
		v.note("agent", bad, agentFails, nil)
	default:
		v.note("agent", bad, agentStopped, nil)
	}
}

// spool asks what the agent said last; its files are its own while it runs.
func (v *visit) spool() {
	s := &v.status
	switch {
	case !v.known || s.State == agent.StateNotEnrolled:
		v.note("spool", good, spoolNone, nil)
	case s.stopped():
		v.note("spool", warn, spoolWaits, nil, v.p.words.when(s.AsOf), v.p.words.reportsWait(s.SpoolWaiting), v.p.words.bytes(s.SpoolBytes))
	case s.SpoolFailing:
		v.note("spool", bad, spoolFails, nil)
	case s.SpoolDropped > 0:
		v.note("spool", warn, spoolDropped, nil, v.p.words.reportsDropped(s.SpoolDropped))
	default:
		v.note("spool", good, spoolOK, nil, v.p.words.reportsWait(s.SpoolWaiting), v.p.words.bytes(s.SpoolBytes))
	}
}

// disk is the one that holds the agent's folder, or would.
func (v *visit) disk() {
	dir := v.p.layout.Root
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, _, err := sysinfo.SpaceAt(dir)
	size := v.p.words.scaled(int64(free), 1000) // as last-report says it of volumes
	switch {
	case err != nil:
		v.note("disk", warn, diskUnknown, err)
	case layout.ReadOnly(dir):
		v.note("disk", bad, diskReadOnly, nil)
	case free < noSpace:
		v.note("disk", bad, diskFull, nil, size)
	case free < lowSpace:
		v.note("disk", warn, diskLow, nil, size)
	default:
		v.note("disk", good, diskOK, nil, size)
	}
}
