package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
)

// collectorAt is the collector's API, which decides; here is only a way to it.
type collectorAt struct {
	Collector string `help:"The collector's address." env:"HAUSMEISTER_COLLECTOR" placeholder:"URL" required:""`
	TokenFile string `help:"File with an API token." env:"HAUSMEISTER_TOKEN_FILE" type:"path" placeholder:"FILE" required:""`
	CA        string `help:"Certificates to trust in place of the system's." env:"HAUSMEISTER_COLLECTOR_CA" placeholder:"FILE"` // no path: of an empty one kong makes this folder
}

const (
	mostAnswer = 16 << 20
	patience   = time.Minute
)

func (a collectorAt) client() (*http.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if a.CA != "" {
		pem, err := readNamed(a.CA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: no certificate in %s", errUsage, a.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	return &http.Client{Transport: transport, Timeout: patience}, nil
}

// ask the API. The token goes to https only, or to this machine.
func (a collectorAt) ask(method, path string, body, into any) error {
	base, err := url.Parse(a.Collector)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Hostname() != "127.0.0.1" && base.Hostname() != "localhost" {
		return fmt.Errorf("%w: --collector %q is no https address", errUsage, a.Collector)
	}
	token, err := readNamed(a.TokenFile)
	if err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	q, err := http.NewRequestWithContext(context.Background(), method, strings.TrimRight(a.Collector, "/")+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	q.Header.Set("Accept", "application/json")
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return saidNo(res.StatusCode, answer)
	}
	return json.Unmarshal(answer, into)
}

// saidNo makes an error of the API's problem (RFC 9457).
func saidNo(status int, answer []byte) error {
	var problem struct{ Title, Detail, Field string }
	_ = json.Unmarshal(answer, &problem) // then the status has to do
	err := fmt.Errorf("the collector says %d: %s", status, strings.TrimSpace(problem.Title+" "+problem.Detail))
	if problem.Field != "" {
		err = fmt.Errorf("the collector says %d: %s is wrong: %s", status, problem.Field, problem.Detail)
	}
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", release.ErrNotFound, err)
	case status < 500:
		return fmt.Errorf("%w: %w", release.ErrRefused, err)
	}
	return err
}

type rolloutCmd struct {
	List     rolloutListCmd     `cmd:"" help:"Rollouts."`
	Releases rolloutReleasesCmd `cmd:"" help:"Releases that the collector has imported."`
	Trains   rolloutTrainsCmd   `cmd:"" help:"Launchers and policies, which need no rollout: how many devices have each, and left it."`
	Status   rolloutStatusCmd   `cmd:"" help:"One rollout: rings, evidence, decisions."`
	Start    rolloutStartCmd    `cmd:"" help:"Start with a release."`
	Promote  rolloutPromoteCmd  `cmd:"" help:"Go on to the next ring; above 10 % of the fleet a second person approves."`
	Pause    rolloutPauseCmd    `cmd:"" help:"Nobody begins; who has begun ends."`
	Resume   rolloutResumeCmd   `cmd:"" help:"Go on."`
	Abort    rolloutAbortCmd    `cmd:"" help:"End it for good."`
	Rollback rolloutBackCmd     `cmd:"" help:"Take devices back with a signed rollback release."`
}

// aRollout is what this program reads of the API's; --json gives all of it.
type aRollout struct {
	ID, Version, Channel, State string
	Ring                        int
	InFlight                    int64 `json:"in_flight"`
	Cap                         int64
	StartedBy                   string `json:"started_by"`
	Rings                       []struct {
		Ring             int
		Devices, Adds    int64
		Reached, OK, Bad int64
		Had              int64
		Silent, Open     int64
		InFlight         int64 `json:"in_flight"`
		Second           bool
	}
	Decisions []struct{ At, Verb, By, Reason string }
}

// unsaid is what the collector keeps as the reason of whoever has paused without one.
const unsaid = "not said yet"

func (r aRollout) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s %s  %s in ring %d of %d, %d under way (at most %d), started by %s\n", r.ID, r.Version, r.Channel, r.State, r.Ring, len(r.Rings), r.InFlight, r.Cap, r.StartedBy)
	for _, x := range r.Rings {
		fmt.Fprintf(&b, "  ring %d: %d devices, %d reached, %d under way, %d well, %d not, %d had it, %d silent, %d open\n", x.Ring, x.Devices, x.Reached, x.InFlight, x.OK, x.Bad, x.Had, x.Silent, x.Open)
	}
	for _, d := range r.Decisions {
		reason := d.Reason
		if reason == unsaid {
			reason = "(no reason given so far)"
		}
		fmt.Fprintf(&b, "  %s %s by %s: %s\n", d.At, d.Verb, d.By, reason)
	}
	return b.String()
}

// show an answer of the API: all of it as JSON, or what text makes of it.
func show[T fmt.Stringer](c *cli, raw json.RawMessage) error {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	return c.say(raw, v.String())
}

type rolloutListCmd struct{ collectorAt }

type rolloutList struct{ Items []aRollout }

func (l rolloutList) String() string {
	out := ""
	for _, r := range l.Items {
		r.Decisions = nil
		out += r.String()
	}
	return out
}

func (r *rolloutListCmd) Run(c *cli) error {
	var raw json.RawMessage
	if err := r.ask(http.MethodGet, "/rollouts", nil, &raw); err != nil {
		return err
	}
	return show[rolloutList](c, raw)
}

type rolloutReleasesCmd struct{ collectorAt }

type aRelease struct {
	ID, Product, Channel, Version string
	RollbackOf                    *string `json:"rollback_of"`
	Gone, Blocked                 *string
}

type releaseList struct{ Items []aRelease }

func (l releaseList) String() string {
	out := ""
	for _, r := range l.Items {
		more := ""
		if r.RollbackOf != nil {
			more += "  back from " + *r.RollbackOf
		}
		if r.Gone != nil {
			more += "  signed no longer"
		}
		if r.Blocked != nil {
			more += "  blocked"
		}
		out += fmt.Sprintf("%s  %s %s on %s%s\n", r.ID, r.Product, r.Version, r.Channel, more)
	}
	return out
}

func (r *rolloutReleasesCmd) Run(c *cli) error {
	var raw json.RawMessage
	if err := r.ask(http.MethodGet, "/releases", nil, &raw); err != nil {
		return err
	}
	return show[releaseList](c, raw)
}

type rolloutTrainsCmd struct{ collectorAt }

type trainList struct {
	Items []struct {
		Product, Version string
		Blocked          *string
		Known            *bool  // nil = the collector is an older one
		Ramp             *int64 `json:"ramp_permille"`
		Devices, Left    int64
	}
}

func (l trainList) String() string {
	out := ""
	for _, t := range l.Items {
		stands := "signed no longer"
		if t.Known != nil && !*t.Known {
			stands = "not from here"
		}
		if t.Ramp != nil {
			stands = fmt.Sprintf("cleared for %d.%d %%", *t.Ramp/10, *t.Ramp%10)
		}
		if t.Blocked != nil {
			stands = "blocked"
		}
		out += fmt.Sprintf("%s %s  %s, %d devices have it, %d left it\n", t.Product, t.Version, stands, t.Devices, t.Left)
	}
	return out
}

func (r *rolloutTrainsCmd) Run(c *cli) error {
	var raw json.RawMessage
	if err := r.ask(http.MethodGet, "/trains", nil, &raw); err != nil {
		return err
	}
	return show[trainList](c, raw)
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// find an agent's release by its id or by its version; a version must be one release. From is
// the version that it is to be the way back from, "" for one that is none.
func (a collectorAt) find(name, channel, from string) (string, error) {
	back := from != ""
	if uuid.MatchString(name) {
		return name, nil
	}
	var all releaseList
	if err := a.ask(http.MethodGet, "/releases", nil, &all); err != nil {
		return "", err
	}
	var ids []string
	other := false // there is one of that name, of the other kind
	for _, r := range all.Items {
		if r.Product != manifest.ProductAgent || r.Version != name || r.Channel != channel || r.Gone != nil {
			continue
		}
		if !back && r.RollbackOf == nil || back && r.RollbackOf != nil && *r.RollbackOf == from {
			ids = append(ids, r.ID)
		} else {
			other = true
		}
	}
	switch {
	case len(ids) == 0 && other && back:
		return "", fmt.Errorf("%w: %s is not signed as the way back from %s: draft that with the verb rollback, sign and publish it", release.ErrRefused, name, from)
	case len(ids) == 0 && other:
		return "", fmt.Errorf("%w: %s is signed as a way back only: rollout rollback begins it", release.ErrNotFound, name)
	case len(ids) == 0:
		return "", fmt.Errorf("%w: a release %s on %s", release.ErrNotFound, name, channel)
	case len(ids) == 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("%w: %d releases are %s on %s: say the id", errUsage, len(ids), name, channel)
}

type rolloutStatusCmd struct {
	collectorAt
	ID string `arg:"" help:"The rollout."`
}

func (r *rolloutStatusCmd) Run(c *cli) error {
	var raw json.RawMessage
	if err := r.ask(http.MethodGet, "/rollouts/"+url.PathEscape(r.ID), nil, &raw); err != nil {
		return err
	}
	return show[aRollout](c, raw)
}

type rolloutStartCmd struct {
	collectorAt
	Release string `arg:"" help:"Version, or the release's id."`
	Channel string `help:"The release's channel." default:"stable"`
}

func (r *rolloutStartCmd) Run(c *cli) error {
	id, err := r.find(r.Release, r.Channel, "")
	if err != nil {
		return err
	}
	return r.verb(c, "rollout start", "/rollouts", map[string]string{"release": id})
}

// safer are the orders that leave fewer devices on a bad release. They do not wait
// for a full disk at the desk; the collector's own record has them in any case.
var safer = []string{"rollout pause", "rollout abort", "rollout rollback"}

// verb gives an order, writes it down, and shows what became of it. The record has
// it before the collector, whose own record names the token.
func (a collectorAt) verb(c *cli, verb, path string, body map[string]string) error {
	body["reason"] = c.Reason
	what := map[string]string{"collector": a.Collector, "path": path}
	if body["release"] != "" {
		what["release"] = body["release"]
	}
	unwritten := c.noting(verb, what)
	if unwritten != nil {
		if !slices.Contains(safer, verb) {
			return unwritten
		}
		unwritten = fmt.Errorf("%s %w here, the collector's record has it: %w", verb, errUnwritten, errors.Unwrap(unwritten))
	}
	var raw json.RawMessage
	if err := a.ask(http.MethodPost, path, body, &raw); err != nil {
		if unwritten != nil {
			return fmt.Errorf("%s is neither done nor written down: %w", verb, err)
		}
		return c.notedFailure(verb+" failed", err)
	}
	return errors.Join(show[aRollout](c, raw), unwritten)
}

type oneRollout struct {
	collectorAt
	ID string `arg:"" help:"The rollout."`
}

func (r oneRollout) order(c *cli, word string) error {
	return r.verb(c, "rollout "+word, "/rollouts/"+url.PathEscape(r.ID)+"/"+word, map[string]string{})
}

type (
	rolloutPauseCmd  struct{ oneRollout }
	rolloutResumeCmd struct{ oneRollout }
	rolloutAbortCmd  struct{ oneRollout }
)

func (r *rolloutPauseCmd) Run(c *cli) error  { return r.order(c, "pause") }
func (r *rolloutResumeCmd) Run(c *cli) error { return r.order(c, "resume") }
func (r *rolloutAbortCmd) Run(c *cli) error  { return r.order(c, "abort") }

// aPromotion is the step to the next ring.
type aPromotion struct {
	Ring          int
	Devices, Adds int64
	Waiting       bool
}

func (p aPromotion) String() string {
	out := fmt.Sprintf("ring %d: %d devices more, %d in all", p.Ring, p.Adds, p.Devices)
	if p.Waiting {
		out += "; a second person must approve"
	}
	return out
}

type rolloutPromoteCmd struct {
	oneRollout
	Devices int64 `help:"So many devices come in, as status or --json said: another number is refused." required:"" placeholder:"N"`
}

func (r *rolloutPromoteCmd) Run(c *cli) error {
	base := "/rollouts/" + url.PathEscape(r.ID)
	var next aPromotion
	if err := r.ask(http.MethodGet, base+"/next", nil, &next); err != nil {
		return err
	}
	if next.Adds != r.Devices {
		return fmt.Errorf("%w: %s; say --devices=%d if that is meant", release.ErrRefused, next, next.Adds)
	}
	if err := c.noting("rollout promote", map[string]string{"collector": r.Collector, "rollout": r.ID, "ring": fmt.Sprint(next.Ring), "devices": fmt.Sprint(next.Adds)}); err != nil {
		return err
	}
	var raw json.RawMessage
	if err := r.ask(http.MethodPost, base+"/promote", map[string]any{"ring": next.Ring, "reason": c.Reason}, &raw); err != nil {
		return c.notedFailure("rollout promote failed", err)
	}
	return show[aPromotion](c, raw)
}

type rolloutBackCmd struct {
	oneRollout
	Release string `arg:"" help:"Version to go back to, signed by the verb rollback, or its id."`
	Channel string `help:"The release's channel." default:"stable"`
}

func (r *rolloutBackCmd) Run(c *cli) error {
	var of aRollout
	if err := r.ask(http.MethodGet, "/rollouts/"+url.PathEscape(r.ID), nil, &of); err != nil {
		return err
	}
	id, err := r.find(r.Release, r.Channel, of.Version)
	if err != nil {
		return err
	}
	return r.verb(c, "rollout rollback", "/rollouts/"+url.PathEscape(r.ID)+"/rollback", map[string]string{"release": id})
}

type doctorCmd struct {
	collectorAt
	Device string `arg:"" help:"The device's id, inventory or serial number."`
}

// aDevice is how one device stands with the newest rollout.
type aDevice struct {
	ID, Rollout, Why string
	Version, Reason  *string
	Ring             *int
	Day              *string
}

// advice for each reason why a device is not current.
var advice = map[string]string{
	"current":      "it runs the newest release; nothing is to be done",
	"never_here":   "it has not connected since the rollout began: look whether it is in use",
	"silent":       "it was here, and is not: it goes on when it is switched on",
	"ring":         "its ring has not come: wait, or promote",
	"window":       "lessons, or days that its owner closed: it goes on after them",
	"school_busy":  "as many of its school are under way as may be: it is its turn later",
	"turn":         "as many of all are under way as may be: it is its turn later",
	"away":         "it is not connected: its turn comes when it is",
	"revoked":      "none of its credentials is good any more: enrol it with a new claim, if it is to go on",
	"under_way":    "it is updating now",
	"waits":        "the device itself waits; the reason says for what",
	"refused":      "the device refused the release; the reason says why. It takes the next one",
	"rolled_back":  "it tried and went back by itself; these bytes are barred on it. It needs another build",
	"part_blocked": "the part of the fleet that it belongs to is blocked in this rollout: look at the rollout's decisions",
	"halted":       "the rollout has stopped: look at its evidence",
	"ended":        "the rollout is over for good: the next one brings it its release",
	"unfit":        "nothing is released for such a device: look at system, channel and min_from",
	"updates_off":  "its agent takes no updates: look whether its launcher runs, and whether it has a root of trust",
	"drift":        "it runs something that nobody released there: look at the device itself",
}

func (d aDevice) String() string {
	out := fmt.Sprintf("device %s\nruns: %s\nstate: %s", d.ID, orUnknown(d.Version), d.Why)
	if d.Reason != nil {
		out += ", " + *d.Reason
	}
	if d.Ring != nil {
		out += fmt.Sprintf("\nring: %d", *d.Ring)
	}
	if d.Day != nil {
		out += "\ntold last: " + *d.Day
	}
	if a := advice[d.Why]; a != "" {
		out += "\n" + a
	}
	return out
}

func orUnknown(s *string) string {
	if s == nil {
		return "unknown"
	}
	return *s
}

func (d *doctorCmd) Run(c *cli) error {
	id := d.Device
	if !uuid.MatchString(id) {
		var err error
		if id, err = d.search(); err != nil {
			return err
		}
	}
	var raw json.RawMessage
	if err := d.ask(http.MethodGet, "/devices/"+id+"/update", nil, &raw); err != nil {
		return err
	}
	return show[aDevice](c, raw)
}

// search finds the one device that a number names.
func (d *doctorCmd) search() (string, error) {
	var found struct{ Items []struct{ ID string } }
	if err := d.ask(http.MethodGet, "/devices?limit=2&q="+url.QueryEscape(d.Device), nil, &found); err != nil {
		return "", err
	}
	switch len(found.Items) {
	case 0:
		return "", fmt.Errorf("%w: a device %q", release.ErrNotFound, d.Device)
	case 1:
		return found.Items[0].ID, nil
	}
	return "", fmt.Errorf("%w: more than one device fits %q", errUsage, d.Device)
}
