package manifest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The delegated roles of a fleet. Their names are unique over the whole tree.
const (
	RoleCanary    = "canary"
	RoleStable    = "stable"
	RoleLauncher  = "launcher"
	RoleEmergency = "emergency"
	RolePolicy    = "policy"
)

// The products that a device runs.
const (
	ProductAgent    = "agent"
	ProductLauncher = "launcher"
)

// Delegation is what the fleet's tree looks like; Delegations are its branches
// in the order in which they are searched, with as many persons as each needs.
type Delegation struct {
	Role        string
	Threshold   int
	Terminating bool
	Paths       []string
}

// Delegations: no two may speak for one path, and each ends the search, so that
// a role which nobody has renewed, because it is there for a need that did not
// come, stops nothing but itself. A path has five parts, or three for policy:
//
//	agent/CHANNEL/VERSION/OS-ARCH/FILE      launcher/CHANNEL/VERSION/OS-ARCH/FILE
//	emergency/CHANNEL/VERSION/OS-ARCH/FILE  policy/NAME/VERSION
func Delegations() []Delegation {
	return []Delegation{
		{RoleCanary, 2, true, []string{"agent/canary/*/*/*"}},
		{RoleStable, 2, true, []string{"agent/stable/*/*/*"}},
		{RoleLauncher, 3, true, []string{"launcher/*/*/*/*"}},
		{RoleEmergency, 3, true, []string{"emergency/*/*/*/*"}},
		{RolePolicy, 2, true, []string{"policy/*/*"}},
	}
}

// Thresholds of the top-level roles: so many persons of so many.
var Thresholds = map[string]struct{ Need, Of int }{
	Root: {3, 5}, Targets: {2, 4}, Snapshot: {1, 1}, Timestamp: {1, 1},
}

// Release is what is signed about a program beside length and hash: the custom
// data of its target. Integers only, since canonical JSON has no others; fields
// that this version does not know are passed over.
type Release struct {
	Product     string  `json:"product"`
	Version     string  `json:"version"`
	OS          string  `json:"os"`
	Arch        string  `json:"arch"`
	Channel     string  `json:"channel"`
	Floor       string  `json:"floor,omitempty"`        // nothing older may run once this one was seen
	MinFrom     string  `json:"min_from,omitempty"`     // oldest version that can take it directly
	LauncherMin string  `json:"launcher_min,omitempty"` // oldest launcher that can start it
	Commit      string  `json:"commit"`                 // what it was built from, hex
	Packed      string  `json:"packed,omitempty"`       // path of the target with the same bytes, zstd
	SBOM        string  `json:"sbom,omitempty"`         // path of the target that says what it consists of, CycloneDX
	Deltas      []Delta `json:"deltas,omitempty"`
	Ramp        Ramp    `json:"ramp"`
	Urgent      bool    `json:"urgent,omitempty"`      // may come in lessons; signed by emergency only
	RollbackOf  string  `json:"rollback_of,omitempty"` // the newer version that this one replaces

	// SHA256 and Length are the target's own.
	SHA256 string `json:"-"`
	Length int64  `json:"-"`
	Path   string `json:"-"`
	Role   string `json:"-"`
}

// Delta is a patch from a program that a device may have.
type Delta struct {
	FromSHA256 string `json:"from_sha256"`
	Target     string `json:"target"` // its path, a target of its own
}

// Ramp is the signed part of the pace: no collector can be earlier.
type Ramp struct {
	T0MS            int64 `json:"t0_ms"`             // Unix milliseconds; nothing before
	PermillePerHour int64 `json:"permille_per_hour"` // of the fleet
	SoakH           []int `json:"soak_h,omitempty"`  // hours that each of Rings is watched before the next
}

// Buckets is into how many parts a fleet is cut; Rings are the ends of the
// signed rings in buckets: 0.5, 2, 10, 30 and 100 percent.
const Buckets = 10000

var Rings = []int{50, 200, 1000, 3000, Buckets}

const (
	maxDeltas = 16
	maxCustom = 16 << 10
	maxRate   = 1_000_000 // permille per hour; 1,000 in 4 s is all at once
	// maxBeside is for what devices take without a collector that could stop it, the
	// launcher and policies: four hours for a fleet at least.
	maxBeside = 250
)

// ErrNoRelease: the target carries no release, as deltas and policies do not.
var ErrNoRelease = errors.New("target is no release")

// Release reads and checks what a target says about itself, against its path and
// against who signed it. It does not judge any device.
func (t Target) Release() (Release, error) {
	if len(t.Custom) == 0 {
		return Release{}, fmt.Errorf("%.200q: %w", t.Path, ErrNoRelease)
	}
	var r Release
	if len(t.Custom) > maxCustom {
		return Release{}, fmt.Errorf("%.200q: %w: %d bytes of custom data", t.Path, ErrMalformed, len(t.Custom))
	}
	if err := json.Unmarshal(t.Custom, &r); err != nil {
		return Release{}, fmt.Errorf("%.200q: %w: %v", t.Path, ErrMalformed, err)
	}
	if r.Product == "" {
		return Release{}, fmt.Errorf("%.200q: %w", t.Path, ErrNoRelease)
	}
	r.SHA256, r.Length, r.Path, r.Role = t.SHA256, t.Length, t.Path, t.Role
	if t.SHA512 != "" || !hexOf(t.SHA256, 32) {
		return Release{}, fmt.Errorf("%.200q: %w: exactly sha256 must be signed", t.Path, ErrRefused)
	}
	if err := r.check(); err != nil {
		return Release{}, fmt.Errorf("%.200q: %w: %v", t.Path, ErrRefused, err)
	}
	return r, nil
}

// Valid says what the publisher must know before anybody signs.
func (r Release) Valid() error { return r.check() }

func (r Release) check() error {
	for _, n := range []struct{ what, s string }{
		{"product", r.Product}, {"os", r.OS}, {"arch", r.Arch}, {"channel", r.Channel},
	} {
		if err := checkName(n.what, n.s); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		what, s string
		must    bool
	}{
		{"version", r.Version, true}, {"floor", r.Floor, false}, {"min_from", r.MinFrom, false},
		{"launcher_min", r.LauncherMin, false}, {"rollback_of", r.RollbackOf, false},
	} {
		if (v.must || v.s != "") && !ValidVersion(v.s) {
			return fmt.Errorf("%s %.60q is no version", v.what, v.s)
		}
	}
	if r.Floor != "" && Compare(r.Version, r.Floor) < 0 {
		return fmt.Errorf("version %s is below its own floor %s", r.Version, r.Floor)
	}
	if r.RollbackOf != "" && Compare(r.RollbackOf, r.Version) <= 0 {
		return fmt.Errorf("version %s is no rollback of %s", r.Version, r.RollbackOf)
	}
	if !hexOf(r.Commit, 20) && !hexOf(r.Commit, 32) {
		return fmt.Errorf("commit %.80q is none", r.Commit)
	}
	if err := r.checkPath(); err != nil {
		return err
	}
	if err := r.checkRole(); err != nil {
		return err
	}
	if len(r.Deltas) > maxDeltas {
		return fmt.Errorf("%d deltas, at most %d", len(r.Deltas), maxDeltas)
	}
	for _, d := range r.Deltas {
		if !hexOf(d.FromSHA256, 32) || !r.beside(d.Target) {
			return fmt.Errorf("delta %.200q is none, or not beside the release", d.Target)
		}
	}
	if r.Packed != "" && !r.beside(r.Packed) {
		return fmt.Errorf("packed %.200q is not beside the release", r.Packed)
	}
	if r.SBOM != "" && !r.beside(r.SBOM) {
		return fmt.Errorf("sbom %.200q is not beside the release", r.SBOM)
	}
	if r.Product == ProductLauncher && r.Ramp.PermillePerHour > maxBeside {
		return fmt.Errorf("ramp of %d permille per hour, a launcher has %d at most", r.Ramp.PermillePerHour, maxBeside)
	}
	return r.Ramp.check()
}

// Dir is where a release and everything that belongs to it stands. An urgent
// one of the agent has a place of its own, for which three persons speak.
func (r Release) Dir() string {
	top := r.Product
	if r.Urgent {
		top = RoleEmergency
	}
	return fmt.Sprintf("%s/%s/%s/%s-%s/", top, r.Channel, r.Version, r.OS, r.Arch)
}

func (r Release) checkPath() error {
	dir, base := splitPath(r.Path)
	if dir != r.Dir() || base == "" {
		return fmt.Errorf("it says that it belongs to %s", r.Dir())
	}
	return nil
}

func (r Release) beside(path string) bool {
	dir, base := splitPath(path)
	return dir == r.Dir() && base != "" && path != r.Path
}

// checkRole: who may say what. The delegations' paths say the same of paths;
// here it is said of the contents. Urgent is what emergency signs, and nobody else.
func (r Release) checkRole() error {
	want := RoleEmergency
	switch {
	case r.Product != ProductAgent && r.Product != ProductLauncher:
		return fmt.Errorf("nobody releases %s", r.Product)
	case r.Urgent && r.Product != ProductAgent:
		return fmt.Errorf("%s cannot be urgent", r.Product)
	case r.Urgent:
	case r.Product == ProductLauncher:
		want = RoleLauncher
	case r.Channel != RoleCanary && r.Channel != RoleStable:
		return fmt.Errorf("there is no channel %s", r.Channel)
	default:
		want = r.Channel
	}
	if r.Role != "" && r.Role != want { // empty before it is signed
		return fmt.Errorf("role %.60q cannot release it, only %s", r.Role, want)
	}
	return nil
}

func (r Ramp) check() error {
	if r.T0MS <= 0 || r.T0MS > 1<<43 { // year 2248
		return fmt.Errorf("ramp begins at %d", r.T0MS)
	}
	if r.PermillePerHour < 1 || r.PermillePerHour > maxRate {
		return fmt.Errorf("ramp of %d permille per hour", r.PermillePerHour)
	}
	if len(r.SoakH) >= len(Rings)+1 {
		return fmt.Errorf("%d soak times for %d rings", len(r.SoakH), len(Rings))
	}
	for _, h := range r.SoakH {
		if h < 0 || h > 24*60 {
			return fmt.Errorf("soak time of %d hours", h)
		}
	}
	return nil
}

// Earliest is when a device of this bucket may begin: when the ramp has reached
// it, and every ring before its own has been watched for its time.
func (r Ramp) Earliest(bucket int) time.Time {
	bucket = min(max(bucket, 0), Buckets-1)
	const hour = int64(time.Hour / time.Millisecond)
	// bucket/Buckets of the fleet at PermillePerHour/1000 an hour, rounded up.
	slope := Buckets / 1000 * r.PermillePerHour
	wait := (int64(bucket)*hour + slope - 1) / max(slope, 1)
	var soak int64
	for ring, end := range Rings {
		if bucket < end {
			break
		}
		if ring < len(r.SoakH) {
			soak += int64(r.SoakH[ring]) * hour
		}
	}
	return time.UnixMilli(r.T0MS + max(wait, soak)).UTC()
}

// Bucket is where a device stands in the rollout of a release: the same as often
// as asked, another for the next release, and known to nobody without its key.
func Bucket(deviceKey []byte, releaseSHA256 string) int {
	mac := hmac.New(sha256.New, deviceKey)
	mac.Write([]byte(releaseSHA256))
	return int(binary.BigEndian.Uint64(mac.Sum(nil)) % Buckets)
}

// Device is what a release must fit.
type Device struct {
	Product  string
	Version  string // what it runs
	OS       string
	Arch     string
	Channel  string
	Launcher string // version of its launcher; empty asks nothing of it
	Floor    string // State.Floors of the product, or the highest Release.Floor that was seen
}

// Match says whether a device may take the release; an error is an ErrUnfit and
// tells why not. It knows nothing of pace.
func (r Release) Match(d Device) error {
	unfit := func(format string, a ...any) error {
		return fmt.Errorf("%s %s: %w: %s", r.Product, r.Version, ErrUnfit, fmt.Sprintf(format, a...))
	}
	for _, f := range []struct{ what, is, want string }{
		{"product", r.Product, d.Product}, {"os", r.OS, d.OS}, {"arch", r.Arch, d.Arch}, {"channel", r.Channel, d.Channel},
	} {
		if f.is != f.want {
			return unfit("%s is %s, not %s", f.what, f.is, f.want)
		}
	}
	if d.Floor != "" && Compare(r.Version, d.Floor) < 0 {
		return unfit("below the floor %s", d.Floor)
	}
	if r.LauncherMin != "" && d.Launcher != "" && Compare(d.Launcher, r.LauncherMin) < 0 {
		return unfit("needs launcher %s, is %s", r.LauncherMin, d.Launcher)
	}
	if !ValidVersion(d.Version) {
		return nil // a build without a version may be replaced by any release
	}
	switch c := Compare(r.Version, d.Version); {
	case c < 0 && r.RollbackOf != d.Version:
		return unfit("older than %s, and no signed rollback of it", d.Version)
	case c > 0 && r.MinFrom != "" && Compare(d.Version, r.MinFrom) < 0:
		return unfit("cannot be reached from %s, only from %s on", d.Version, r.MinFrom)
	}
	return nil
}

// Rules are what the targets role signs beside its delegations, in the field
// x-hausmeister of its metadata: two persons who hold no release key.
type Rules struct {
	Floors  map[string]string `json:"floors,omitempty"`  // lowest version by product
	Blocked []string          `json:"blocked,omitempty"` // sha256 of what must not run
}

// RulesField is the name of the field.
const RulesField = "x-hausmeister"

// Valid says what the publisher must know before anybody signs.
func (r Rules) Valid() error {
	for p, v := range r.Floors {
		if err := checkName("product", p); err != nil {
			return err
		}
		if !ValidVersion(v) {
			return fmt.Errorf("floor %.60q of %s is no version", v, p)
		}
	}
	for _, h := range r.Blocked {
		if !hexOf(h, 32) {
			return fmt.Errorf("blocked %.80q is no sha256", h)
		}
	}
	return nil
}

func parseRules(fields map[string]any) (Rules, error) {
	v, ok := fields[RulesField]
	if !ok {
		return Rules{}, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return Rules{}, fmt.Errorf("%w: %s: %v", ErrMalformed, RulesField, err)
	}
	var r Rules
	if err := json.Unmarshal(raw, &r); err != nil {
		return Rules{}, fmt.Errorf("%w: %s: %v", ErrMalformed, RulesField, err)
	}
	if err := r.Valid(); err != nil {
		return Rules{}, fmt.Errorf("%w: %s: %v", ErrMalformed, RulesField, err)
	}
	return r, nil
}

func hexOf(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size && s == strings.ToLower(s)
}
