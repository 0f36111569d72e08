package release

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Block puts bytes on the list of what must not run.
func (d *Drafts) Block(sha256 string) error {
	if b, err := hex.DecodeString(sha256); err != nil || len(b) != 32 {
		return refuse("%.80q is no sha256", sha256)
	}
	return d.rules(func(r *manifest.Rules) error {
		if slices.Contains(r.Blocked, sha256) {
			return refuse("%s is blocked already", Short(sha256))
		}
		r.Blocked = append(r.Blocked, sha256)
		slices.Sort(r.Blocked)
		return nil
	})
}

// BlockVersion blocks what is published of a version, for all systems, and returns what
// that is. Programs that are blocked already stay so.
func (d *Drafts) BlockVersion(product, version string) (sums []string, err error) {
	if product != manifest.ProductAgent && product != manifest.ProductLauncher {
		return nil, refuse("nobody releases %q", product)
	}
	for _, role := range []string{manifest.RoleCanary, manifest.RoleStable, manifest.RoleEmergency, manifest.RoleLauncher} {
		published, err := Releases(d.Repo.Files[role], role)
		if err != nil {
			return nil, err
		}
		for _, r := range published {
			if r.Product == product && r.Version == version && !slices.Contains(sums, r.SHA256) {
				sums = append(sums, r.SHA256)
			}
		}
	}
	if len(sums) == 0 {
		return nil, fmt.Errorf("%w: no %s %s is published", ErrNotFound, product, version)
	}
	return sums, d.rules(func(r *manifest.Rules) error {
		before := len(r.Blocked)
		for _, sum := range sums {
			if !slices.Contains(r.Blocked, sum) {
				r.Blocked = append(r.Blocked, sum)
			}
		}
		if len(r.Blocked) == before {
			return refuse("%s %s is blocked already", product, version)
		}
		slices.Sort(r.Blocked)
		return nil
	})
}

// SetFloor raises the lowest version of a product that may run. It refuses one
// that no device could reach: the stable channel must have it for every platform.
func (d *Drafts) SetFloor(product, version string, platforms []string) error {
	if product != manifest.ProductAgent && product != manifest.ProductLauncher {
		return refuse("nobody releases %q", product)
	}
	if !manifest.ValidVersion(version) {
		return refuse("%.60q is no version", version)
	}
	role := manifest.RoleStable
	if product == manifest.ProductLauncher {
		role = manifest.RoleLauncher
	}
	published, err := Releases(d.Repo.Files[role], role)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, r := range published {
		if manifest.Compare(r.Version, version) >= 0 {
			have[r.OS+"/"+r.Arch] = true
		}
	}
	for _, p := range platforms {
		if !have[p] {
			return refuse("no %s of %s or newer is published for %s: its devices could never update again", product, version, p)
		}
	}
	return d.rules(func(r *manifest.Rules) error {
		if old := r.Floors[product]; old != "" && manifest.Compare(version, old) <= 0 {
			return refuse("the floor of %s is %s: it only goes up", product, old)
		}
		if r.Floors == nil {
			r.Floors = map[string]string{}
		}
		r.Floors[product] = version
		return nil
	})
}

func (d *Drafts) rules(change func(*manifest.Rules) error) error {
	return d.edit(manifest.Targets, func(f *draft.File) error {
		r, err := f.Rules()
		if err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		return f.SetRules(r)
	})
}

// Countdown are the days before an end on which it is told.
var Countdown = []int{180, 90, 30, 14, 7}

// onlineCountdown is that of snapshot and timestamp, which live 7 days and 48
// hours and are renewed by themselves: what is left shows whether that works.
var onlineCountdown = map[string]time.Duration{manifest.Snapshot: 2 * day, manifest.Timestamp: 24 * time.Hour}

// Expiry is how long a role is still believed.
type Expiry struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Days    int       `json:"days"`  // whole ones that are left, negative when it is over
	Step    int       `json:"step"`  // the last of Countdown that was reached; 0 = none
	Alarm   bool      `json:"alarm"` // somebody must act now
	Note    string    `json:"note,omitempty"`
}

// Expiries of all published roles, soonest first.
func (r *Repository) Expiries(now time.Time) []Expiry {
	var out []Expiry
	for role, f := range r.Files {
		left := f.Expires().Sub(now)
		e := Expiry{Role: role, Version: f.Version(), Expires: f.Expires(), Days: int(left / day)}
		if left < 0 {
			e.Days = min(-1, e.Days)
		}
		if most, online := onlineCountdown[role]; online {
			if e.Alarm = left < most; e.Alarm {
				e.Note = "the online process does not renew it"
			}
		} else {
			for _, step := range Countdown {
				if left <= time.Duration(step)*day {
					e.Step = step
				}
			}
			e.Alarm = left <= LeastLife
		}
		if left <= 0 {
			e.Alarm, e.Note = true, "over: no device updates by it; all agents go on"
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Expiry) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return slices.Index(signedByPersons(), a.Role) - slices.Index(signedByPersons(), b.Role)
	})
	return out
}

// CheckEmbedded refuses a root that a program is built with, if a newer one is published.
func (r *Repository) CheckEmbedded(root []byte) error {
	f, err := parse(manifest.Root, root)
	if err != nil {
		return err
	}
	if r.Root() == nil {
		return fmt.Errorf("%w: no root is published", ErrNotFound)
	}
	if f.Version() < r.Root().Version() {
		return refuse("the program has root %d, published is %d", f.Version(), r.Root().Version())
	}
	if f.Version() > r.Root().Version() {
		return refuse("the program has root %d, which is not published", f.Version())
	}
	a, err := f.Digest()
	if err != nil {
		return err
	}
	b, err := r.Root().Digest()
	if err == nil && a != b {
		return unverified("the program has another root %d than was published", f.Version())
	}
	return err
}
