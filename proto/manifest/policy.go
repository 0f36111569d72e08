package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// PolicyAgent is the name of the policy that agents read: policy/agent/VERSION.
const PolicyAgent = "agent"

// Policy is what a file of that name may say: settings for all devices, where neither
// a device's own file nor its collector says otherwise. It can say nothing of what is
// run, of where a device connects to, or of what is read: those are not policy.
type Policy struct {
	Format                int64  `json:"hausmeister_policy"` // 1
	StateIntervalS        *int64 `json:"state_interval_s,omitempty"`
	StateIntervalBatteryS *int64 `json:"state_interval_battery_s,omitempty"`
	KeepAliveS            *int64 `json:"keep_alive_s,omitempty"`
}

const maxPolicy = 64 << 10

// ParsePolicy takes a file wholly or not at all: a name that this version does not
// know, one that stands there twice, a value out of bounds, another format. A device
// that does not understand all of a policy goes on with the one before. The bounds are
// those of Settings in proto/hmpb.
func ParsePolicy(data []byte) (Policy, error) {
	refuse := func(format string, a ...any) (Policy, error) {
		return Policy{}, fmt.Errorf("policy: %w: %s", ErrMalformed, fmt.Sprintf(format, a...))
	}
	if len(data) > maxPolicy {
		return refuse("%d bytes, at most %d", len(data), maxPolicy)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if _, err := tree(dec, maxDepth); err != nil { // names in order and once, integers only
		return refuse("%v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return refuse("something follows the object")
	}
	var p *Policy
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&p); err != nil {
		return refuse("%v", err)
	}
	if p == nil || p.Format != 1 {
		return refuse("not of format 1")
	}
	for _, f := range []struct {
		name      string
		v         *int64
		low, high int64
	}{
		{"state_interval_s", p.StateIntervalS, 10, 3600}, {"state_interval_battery_s", p.StateIntervalBatteryS, 60, 7200}, {"keep_alive_s", p.KeepAliveS, 5, 60},
	} {
		if f.v != nil && (*f.v < f.low || *f.v > f.high) {
			return refuse("%s is %d, not %d to %d", f.name, *f.v, f.low, f.high)
		}
	}
	return *p, nil
}

// PolicyRelease is what is signed about a file of policy beside length and hash: the
// custom data of its target. It goes over the fleet by a ramp, as programs do.
type PolicyRelease struct {
	Policy   string `json:"policy"` // its name
	Version  string `json:"version"`
	AgentMin string `json:"agent_min,omitempty"` // oldest agent that understands it
	Ramp     Ramp   `json:"ramp"`

	SHA256 string `json:"-"`
	Length int64  `json:"-"`
	Path   string `json:"-"`
}

// PolicyPath is where a policy stands.
func PolicyPath(name, version string) string { return RolePolicy + "/" + name + "/" + version }

// Valid says what the publisher must know before anybody signs.
func (r PolicyRelease) Valid() error {
	if err := checkName("policy", r.Policy); err != nil {
		return err
	}
	if !ValidVersion(r.Version) || r.AgentMin != "" && !ValidVersion(r.AgentMin) {
		return fmt.Errorf("version %.60q, agent_min %.60q: one of them is none", r.Version, r.AgentMin)
	}
	if r.Ramp.PermillePerHour > maxBeside {
		return fmt.Errorf("ramp of %d permille per hour, a policy has %d at most", r.Ramp.PermillePerHour, maxBeside)
	}
	return r.Ramp.check()
}

// ErrNoPolicy: the target carries none.
var ErrNoPolicy = errors.New("target is no policy")

// Policy reads and checks what a target says about itself, against its path and
// against who signed it.
func (t Target) Policy() (PolicyRelease, error) {
	if !strings.HasPrefix(t.Path, RolePolicy+"/") || len(t.Custom) == 0 {
		return PolicyRelease{}, fmt.Errorf("%.200q: %w", t.Path, ErrNoPolicy)
	}
	var r PolicyRelease
	if len(t.Custom) > maxCustom {
		return PolicyRelease{}, fmt.Errorf("%.200q: %w: %d bytes of custom data", t.Path, ErrMalformed, len(t.Custom))
	}
	if err := json.Unmarshal(t.Custom, &r); err != nil {
		return PolicyRelease{}, fmt.Errorf("%.200q: %w: %v", t.Path, ErrMalformed, err)
	}
	r.SHA256, r.Length, r.Path = t.SHA256, t.Length, t.Path
	err := r.Valid()
	switch {
	case err != nil:
	case t.Role != RolePolicy:
		err = fmt.Errorf("role %.60q signs no policies", t.Role)
	case t.Path != PolicyPath(r.Policy, r.Version):
		err = fmt.Errorf("it says that it belongs to %s", PolicyPath(r.Policy, r.Version))
	case t.SHA512 != "" || !hexOf(t.SHA256, 32):
		err = errors.New("exactly sha256 must be signed")
	case t.Length > maxPolicy:
		err = fmt.Errorf("%d bytes, at most %d", t.Length, maxPolicy)
	}
	if err != nil {
		return PolicyRelease{}, fmt.Errorf("%.200q: %w: %v", t.Path, ErrRefused, err)
	}
	return r, nil
}
