package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"hausmeister/platform/layout"
	"hausmeister/platform/supervise"
	"hausmeister/testenv/child"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/site"
	"hausmeister/testenv/swarm"
)

// Everything must be down 3 s after it was asked to be; these add up to less.
const (
	devicesStop   = 700 * time.Millisecond
	agentStop     = 700 * time.Millisecond
	collectorStop = 1200 * time.Millisecond
)

// firstReportWithin is how long the demo waits for this machine's readings; an
// agent sends its first after 5 to 15 seconds.
const firstReportWithin = 30 * time.Second

// comesWithin is how long this machine's agent may take to enrol, and then to
// connect; both together are less than its part's StartWithin.
const comesWithin = 25 * time.Second

// furtherDevices is how many devices the claim in demo.json admits.
const furtherDevices = 100_000

// userName signs in at the pages.
const userName = "demo"

// Config says what to show where.
type Config struct {
	Bin     string // folder with the programs
	Dir     string // folder of the demo; made if missing
	Port    int    // UDP and TCP
	Devices int    // simulated ones, beside this machine
	Tour    bool   // a signed update goes over all of them
	Out     io.Writer
	Log     *slog.Logger
}

// Facts is demo.json: what a person or a program needs to use the demo.
type Facts struct {
	URL          string            `json:"url"`
	CAFile       string            `json:"ca_file"`
	DataDir      string            `json:"data_dir"`
	Claim        string            `json:"claim"`
	User         string            `json:"user"`
	Password     string            `json:"password"`
	Tokens       map[string]string `json:"tokens"` // by role
	Device       string            `json:"device"` // this machine's
	DemoPID      int               `json:"demo_pid"`
	CollectorPID int               `json:"collector_pid"`
	Tour         *Tour             `json:"tour,omitempty"` // once it is over
}

// Roles are those of the tokens.
var Roles = []string{"admin", "support", "read"}

type demo struct {
	c       Config
	site    *site.Site
	plan    plan
	past    *pasts
	swarm   *swarm.Swarm
	claimed string // this machine's claim
	tour    *tour  // nil without

	mu    sync.Mutex
	facts Facts
	ready bool // demo.json is written
}

// Run shows the demo until ctx ends.
func Run(ctx context.Context, c Config) error {
	if c.Port < 1 || c.Port > 65535 {
		return fmt.Errorf("port %d is none", c.Port)
	}
	if c.Devices < 0 || c.Devices > furtherDevices {
		return fmt.Errorf("%d devices: between 0 and %d can be simulated", c.Devices, furtherDevices)
	}
	unlock, err := prepare(&c)
	if err != nil {
		return err
	}
	defer unlock()
	if err := portFree(ctx, c.Port); err != nil {
		return err
	}
	d := &demo{c: c, plan: planFor(c.Devices), past: newPasts(min(c.Devices, mostPasts))}
	at := site.Config{Bin: c.Bin, Dir: c.Dir, Port: c.Port}
	if c.Tour {
		if d.tour, err = newTour(ctx, c); err != nil {
			return err
		}
		at.Args = []string{"--config", d.tour.settings()}
	}
	if d.site, err = site.New(at); err != nil {
		return err
	}
	defer os.Remove(d.file()) // whoever finds it may count on the demo
	parts := []supervise.Part{
		{Name: "collector", Run: must(d.collector), StopWithin: collectorStop, StartWithin: time.Minute, Restart: supervise.Always},
		{Name: "set-up", Run: d.setUp, StartWithin: 2 * time.Minute},
		{Name: "agent", Run: must(d.agent), StopWithin: agentStop, StartWithin: time.Minute, Restart: supervise.Always},
		{Name: "devices", Run: func(ctx context.Context, ready func()) error { return d.swarm.Run(ctx, ready) }, StopWithin: devicesStop, StartWithin: time.Hour},
		{Name: "inventory numbers", Run: d.number, StartWithin: time.Hour},
		{Name: "history", Run: d.history, StartWithin: 2 * historyWithin},
		{Name: "first report", Run: d.firstReport, StartWithin: 2 * firstReportWithin},
		{Name: "ready", Run: d.announce},
	}
	if d.tour != nil {
		parts = slices.Insert(parts, 0, supervise.Part{Name: "signing", Run: must(d.tour.online), StopWithin: onlineStop, StartWithin: time.Minute, Restart: supervise.Always})
		parts = append(parts, supervise.Part{Name: "tour", Run: d.roll, StartWithin: 2 * tourWithin})
	}
	return supervise.Run(ctx, slog.New(once{c.Log.Handler()}), parts...)
}

// must makes the first start of a part one that has to succeed. Later it is
// somebody's play with kill, and restarts mend it; before, a demo that never
// comes would hide why.
func must(run func(ctx context.Context, ready func()) error) func(context.Context, func()) error {
	came := false // of one goroutine at a time: attempts follow each other
	return func(ctx context.Context, ready func()) error {
		err := run(ctx, func() {
			came = true
			ready()
		})
		if err != nil && !came && ctx.Err() == nil {
			return supervise.Permanent(err)
		}
		return err
	}
}

// once leaves out of the log what Run returns as well, and its caller tells.
type once struct{ slog.Handler }

func (o once) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "part failed for good" {
		return nil
	}
	return o.Handler.Handle(ctx, r)
}

func (o once) WithAttrs(attrs []slog.Attr) slog.Handler { return once{o.Handler.WithAttrs(attrs)} }
func (o once) WithGroup(name string) slog.Handler       { return once{o.Handler.WithGroup(name)} }

// prepare makes the folder ours and empty.
func prepare(c *Config) (unlock func(), err error) {
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the demo's folder: %w", err)
	}
	mark := filepath.Join(c.Dir, "demo.lock")
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty and not of an earlier demo: choose another folder with DIR=FOLDER", c.Dir)
	}
	lock, err := layout.Lock(mark)
	if errors.Is(err, layout.ErrLocked) {
		return nil, fmt.Errorf("another demo runs in %s: end it, or choose another folder with DIR=FOLDER", c.Dir)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(mark) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.Dir, e.Name())); err != nil {
			return nil, fmt.Errorf("removing what an earlier demo left: %w", err)
		}
	}
	return func() { lock.Close() }, nil
}

// portFree asks before the collector does, to say it in the demo's own words.
func portFree(ctx context.Context, port int) error {
	var lc net.ListenConfig
	addr := ":" + strconv.Itoa(port)
	tcp, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("port %d cannot be used (another program has it?), choose another with PORT=NUMBER: %w", port, err)
	}
	defer tcp.Close()
	udp, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return fmt.Errorf("port %d cannot be used for UDP, choose another with PORT=NUMBER: %w", port, err)
	}
	return udp.Close()
}

// collector runs the collector, and again when somebody kills it.
func (d *demo) collector(ctx context.Context, ready func()) error {
	if err := d.site.Start(ctx); err != nil {
		return err
	}
	server := d.site.Server()
	d.past.collectorIsUp()
	d.note(func(f *Facts) { f.CollectorPID = server.PID() })
	ready()
	select {
	case <-server.Done():
		return fmt.Errorf("the collector ended: %v\n%s", server.Err(), server.LogTail())
	case <-ctx.Done():
		return server.Stop(collectorStop - 100*time.Millisecond)
	}
}

// setUp does what an operator does with a new collector.
func (d *demo) setUp(ctx context.Context, ready func()) error {
	if err := d.site.ImportSchools(ctx, fakes.SchoolsCSV); err != nil {
		return err
	}
	password := rand.Text()[:16]
	if err := d.site.AddUser(ctx, userName, "admin", password); err != nil {
		return err
	}
	tokens := map[string]string{}
	for _, role := range Roles {
		token, err := d.site.AddToken(ctx, "demo-"+role, role)
		if err != nil {
			return err
		}
		tokens[role] = token
	}
	if d.tour != nil {
		if err := d.openUp(ctx, tokens["admin"]); err != nil {
			return err
		}
	}
	if err := d.plan.claim(ctx, d.site); err != nil {
		return err
	}
	home := d.plan.schools[0]
	claimed, err := d.site.AddClaim(ctx, home.Owner, home.Code, 1)
	if err != nil {
		return err
	}
	further, err := d.site.AddClaim(ctx, home.Owner, "", furtherDevices)
	if err != nil {
		return err
	}
	d.claimed = claimed
	d.note(func(f *Facts) {
		*f = Facts{
			URL: d.site.URL(), CAFile: d.site.CAFile(), DataDir: d.site.DataDir(), Claim: further,
			User: userName, Password: password, Tokens: tokens,
			DemoPID: os.Getpid(), CollectorPID: f.CollectorPID,
		}
	})
	fmt.Fprintf(d.c.Out, "enrolling this machine and %d simulated devices\n", d.c.Devices)
	conf := swarm.Config{Devices: d.plan.devices, Past: d.past.bring, Log: d.c.Log}
	if d.tour != nil {
		if conf.Updates, err = d.tour.updates(); err != nil {
			return err
		}
	}
	d.swarm = swarm.New(conf)
	ready()
	return nil
}

// agent runs this machine's real agent, with its state in the demo's folder; in a tour
// below the real launcher.
func (d *demo) agent(ctx context.Context, ready func()) error {
	program, dir := filepath.Join(d.c.Bin, "hausmeister-agent"), filepath.Join(d.c.Dir, "agent")
	d.mu.Lock()
	device := d.facts.Device
	d.mu.Unlock()
	if device == "" {
		out, err := d.enrol(ctx, program, dir)
		if err != nil {
			return fmt.Errorf("enrolling this machine: %w", err)
		}
		var answer struct{ Device string }
		if err := json.Unmarshal(out, &answer); err != nil {
			return fmt.Errorf("enrolling this machine: reading %q: %w", out, err)
		}
		if err := d.site.SetInventory(ctx, answer.Device, fakes.Inventory(d.plan.schools[0].Owner, 1)); err != nil {
			return err
		}
		d.note(func(f *Facts) { f.Device = answer.Device })
		if d.tour != nil {
			if err := d.tour.install(layout.Layout{Root: dir}); err != nil {
				return err
			}
		}
	}
	own := d.ownProgram(dir)
	own.Log = filepath.Join(d.c.Dir, "agent.log")
	agent, err := child.Start(own)
	if err != nil {
		return err
	}
	if device == "" {
		if err := d.connected(ctx, agent); err != nil {
			agent.Stop(agentStop - 100*time.Millisecond) // why it failed is known
			return err
		}
	}
	ready()
	select {
	case <-agent.Done():
		return fmt.Errorf("the agent ended: %v\n%s", agent.Err(), agent.LogTail())
	case <-ctx.Done():
		return agent.Stop(agentStop - 100*time.Millisecond)
	}
}

func (d *demo) enrol(ctx context.Context, program, dir string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, comesWithin)
	defer cancel()
	return child.Output(ctx, "", program, "enroll", "--dir", dir, "--json", d.claimed)
}

// connected waits until the collector has this machine's agent on the line.
func (d *demo) connected(ctx context.Context, agent *child.Child) error {
	within, cancel := context.WithTimeout(ctx, comesWithin)
	defer cancel()
	d.mu.Lock()
	token, path := d.facts.Tokens["read"], "/api/v1/devices/"+d.facts.Device
	d.mu.Unlock()
	for {
		var device struct{ State string }
		err := d.site.Client().Get(within, token, path, &device)
		if err == nil && device.State == "connected" {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-agent.Done():
			return fmt.Errorf("the agent ended at its start: %v\n%s", agent.Err(), agent.LogTail())
		case <-within.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the agent is not connected after %v: the device is %q, %v\n%s", comesWithin, device.State, err, agent.LogTail())
		}
	}
}

// number gives the simulated devices their inventory numbers.
func (d *demo) number(ctx context.Context, ready func()) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	crew := supervise.NewCrew(ctx, 3)
	for n, device := range d.swarm.Enrolled() {
		err := crew.Go(func(ctx context.Context) {
			if err := d.site.SetInventory(ctx, device, d.plan.number[n]); err != nil {
				fail(err)
			}
		})
		if err != nil {
			break // it is the cause of ctx, too
		}
	}
	crew.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	ready()
	return nil
}

// firstReport waits until this machine's readings are on its page, so that
// whoever looks first sees them; a demo without them is better than none.
func (d *demo) firstReport(ctx context.Context, ready func()) error {
	within, cancel := context.WithTimeout(ctx, firstReportWithin)
	defer cancel()
	d.mu.Lock()
	token, path := d.facts.Tokens["read"], "/api/v1/devices/"+d.facts.Device
	d.mu.Unlock()
	for {
		var device struct {
			Readings map[string]any `json:"readings"`
		}
		err := d.site.Client().Get(within, token, path, &device)
		if err == nil && len(device.Readings) > 0 {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
			continue
		case <-within.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		d.c.Log.Warn("this machine's agent has not reported yet", "error", err)
		break
	}
	ready()
	return nil
}

// announce writes demo.json and tells the person where to look.
func (d *demo) announce(ctx context.Context, ready func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = true
	if err := d.writeLocked(); err != nil {
		return err
	}
	fmt.Fprintf(d.c.Out, "\n  Hausmeister is running: this machine and %d simulated devices.\n\n"+
		"    address   %s\n    user      %s\n    password  %s\n\n"+
		"  The browser will warn of the certificate: it is the demo's own (%s).\n"+
		"  End with Ctrl-C. Folder: %s\n\n",
		d.c.Devices, d.facts.URL, d.facts.User, d.facts.Password, d.facts.CAFile, d.c.Dir)
	ready()
	return nil
}

// note changes the facts, also those in demo.json once that is there.
func (d *demo) note(change func(*Facts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.facts)
	if !d.ready {
		return
	}
	if err := d.writeLocked(); err != nil {
		d.c.Log.Warn("demo.json is out of date", "error", err)
	}
}

func (d *demo) writeLocked() error {
	text, err := json.MarshalIndent(d.facts, "", "  ")
	if err != nil {
		return err
	}
	return layout.WriteFile(d.file(), append(text, '\n'), 0o600)
}

func (d *demo) file() string { return filepath.Join(d.c.Dir, "demo.json") }
