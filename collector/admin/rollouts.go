package admin

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/manifest"
)

// Repository is what is imported: a folder on the collector's machine, and for the
// first import the root.json that is trusted.
type Repository struct {
	Dir  string `json:"dir"`
	Root string `json:"root,omitempty"`
}

// Imported is what an import did.
type Imported struct {
	Changed   bool     `json:"changed"`
	Root      int64    `json:"root_version"`
	Timestamp int64    `json:"timestamp_version"`
	Targets   int      `json:"targets"`
	Bytes     int64    `json:"bytes"`
	Added     []string `json:"added"`
	Gone      []string `json:"gone"`
}

// Release is a version as people see it.
type Release struct {
	ID         string     `json:"id"`
	Product    string     `json:"product"`
	Channel    string     `json:"channel"`
	Version    string     `json:"version"`
	Systems    []string   `json:"systems"`
	Urgent     bool       `json:"urgent,omitempty"`
	RollbackOf string     `json:"rollback_of,omitempty"`
	Gone       *time.Time `json:"gone,omitempty"`
	Blocked    *time.Time `json:"blocked,omitempty"`
}

// WaitNobody is the Wait of a rollout of whose ring no device can take the version yet.
const WaitNobody = string(gate.WaitNobody)

// Rollout is one as people see it.
type Rollout struct {
	ID          string    `json:"id"`
	Version     string    `json:"version"`
	Channel     string    `json:"channel"`
	State       string    `json:"state"`
	Cause       string    `json:"cause,omitempty"`
	Ring        int       `json:"ring"`
	Rings       int       `json:"rings"`
	Devices     int64     `json:"devices"` // of the rings that it came to
	OK          int64     `json:"ok"`
	Bad         int64     `json:"bad"`
	InFlight    int64     `json:"in_flight"`
	Wait        string    `json:"wait,omitempty"` // what the present ring waits for
	NeedsSecond bool      `json:"needs_second,omitempty"`
	Started     time.Time `json:"started"`
}

// RolloutVerb is what a verb of a rollout needs. Sure is missing where somebody only
// wants to see what a promotion would do.
type RolloutVerb struct {
	ID      string `json:"id"`
	Release string `json:"release,omitempty"`
	Reason  string `json:"reason"`
	Sure    bool   `json:"sure,omitempty"`
}

// Promotion is what a promotion does, or would do.
type Promotion struct {
	Done    bool    `json:"done"`
	Waiting bool    `json:"waiting"` // for a second person, who says it on the page
	Ring    int     `json:"ring"`
	Devices int64   `json:"devices"`
	Adds    int64   `json:"adds"`
	OK      int64   `json:"ok"`
	Bad     int64   `json:"bad"`
	Risk    float64 `json:"risk"`
	Limit   float64 `json:"limit"`
}

func (s *Server) rolloutRoutes(mux *http.ServeMux) {
	mux.Handle("POST /release/import", verb(s, s.importRepository))
	mux.Handle("POST /release/list", verb(s, s.releases))
	mux.Handle("POST /release/block", verb(s, func(ctx context.Context, in Named) (None, error) {
		id, err := s.releaseID(ctx, in.Name, false)
		if err != nil {
			return None{}, err
		}
		return None{}, s.cfg.Rollouts.BlockRelease(ctx, operator, id, in.Reason)
	}))
	mux.Handle("POST /rollout/list", verb(s, s.rollouts))
	mux.Handle("POST /rollout/show", verb(s, func(ctx context.Context, in Named) (Rollout, error) { return s.rollout(ctx, in.Name) }))
	mux.Handle("POST /rollout/start", verb(s, s.startRollout))
	mux.Handle("POST /rollout/rollback", verb(s, s.rollBack))
	mux.Handle("POST /rollout/promote", verb(s, s.promote))
	for name, act := range map[string]func(context.Context, string, string) error{
		"pause": func(ctx context.Context, id, reason string) error {
			return s.cfg.Rollouts.Pause(ctx, operator, id, reason)
		},
		"resume": func(ctx context.Context, id, reason string) error {
			return s.cfg.Rollouts.Resume(ctx, operator, id, reason)
		},
		"abort": func(ctx context.Context, id, reason string) error {
			return s.cfg.Rollouts.Abort(ctx, operator, id, reason)
		},
	} {
		mux.Handle("POST /rollout/"+name, verb(s, func(ctx context.Context, in RolloutVerb) (Rollout, error) {
			if err := act(ctx, in.ID, in.Reason); err != nil {
				return Rollout{}, err
			}
			return s.rollout(ctx, in.ID)
		}))
	}
}

func (s *Server) importRepository(ctx context.Context, in Repository) (Imported, error) {
	if !filepath.IsAbs(in.Dir) || in.Root != "" && !filepath.IsAbs(in.Root) {
		return Imported{}, fmt.Errorf("%w: path is not absolute", errRequest)
	}
	var root []byte
	if in.Root != "" {
		var err error
		if root, err = os.ReadFile(in.Root); err != nil {
			return Imported{}, fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	im, err := s.cfg.Rollouts.Import(ctx, operator, in.Dir, root)
	if err != nil {
		return Imported{}, err
	}
	return Imported{Changed: im.Changed, Root: im.State.Root, Timestamp: im.State.Timestamp, Targets: im.Targets, Bytes: im.Bytes, Added: append([]string{}, im.Added...), Gone: append([]string{}, im.Gone...)}, nil
}

func (s *Server) releases(ctx context.Context, _ None) ([]Release, error) {
	all, err := s.cfg.Rollouts.Releases(ctx, operator)
	if err != nil {
		return nil, err
	}
	out := []Release{}
	for _, r := range all {
		one := Release{ID: r.ID, Product: r.Product, Channel: r.Channel, Version: r.Version, Urgent: r.Urgent, RollbackOf: r.RollbackOf, Systems: []string{}}
		for _, p := range r.Programs {
			one.Systems = append(one.Systems, p.OS+"-"+p.Arch)
		}
		if !r.Gone.IsZero() {
			one.Gone = &r.Gone
		}
		if !r.Blocked.IsZero() {
			one.Blocked = &r.Blocked
		}
		out = append(out, one)
	}
	return out, nil
}

// releaseID finds a release by its id, or by its version where only one has it; for a
// rollout among the agent's alone, since a launcher may have the same version.
func (s *Server) releaseID(ctx context.Context, name string, rollouts bool) (string, error) {
	all, err := s.cfg.Rollouts.Releases(ctx, operator)
	if err != nil {
		return "", err
	}
	var found []string
	for _, r := range all {
		if r.ID == name {
			return r.ID, nil
		}
		if r.Version == name && r.Gone.IsZero() && (!rollouts || r.Product == manifest.ProductAgent) {
			found = append(found, r.ID)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%w: %d releases are called %q; say the id", errRequest, len(found), name)
	}
	return found[0], nil
}

func rolloutOf(r rollout.Rollout) Rollout {
	return Rollout{ID: r.ID, Version: r.Version, Channel: r.Channel, State: string(r.State), Cause: string(r.Cause), Ring: r.Ring, Rings: len(r.Rings), Devices: r.Rings[r.Ring-1].Devices,
		OK: r.Evidence.OK, Bad: r.Evidence.Bad, InFlight: r.InFlight, Wait: string(r.Rings[r.Ring-1].Wait), NeedsSecond: r.NeedsSecond, Started: r.Started}
}

func (s *Server) rollouts(ctx context.Context, _ None) ([]Rollout, error) {
	all, err := s.cfg.Rollouts.List(ctx, operator)
	if err != nil {
		return nil, err
	}
	out := []Rollout{}
	for _, r := range all {
		out = append(out, rolloutOf(r))
	}
	return out, nil
}

func (s *Server) rollout(ctx context.Context, id string) (Rollout, error) {
	r, err := s.cfg.Rollouts.Rollout(ctx, operator, id)
	if err != nil {
		return Rollout{}, err
	}
	return rolloutOf(r), nil
}

func (s *Server) startRollout(ctx context.Context, in RolloutVerb) (Rollout, error) {
	release, err := s.releaseID(ctx, in.Release, true)
	if err != nil {
		return Rollout{}, err
	}
	id, err := s.cfg.Rollouts.Start(ctx, operator, release, in.Reason)
	if err != nil {
		return Rollout{}, err
	}
	return s.rollout(ctx, id)
}

func (s *Server) rollBack(ctx context.Context, in RolloutVerb) (Rollout, error) {
	release, err := s.releaseID(ctx, in.Release, true)
	if err != nil {
		return Rollout{}, err
	}
	id, err := s.cfg.Rollouts.RollBack(ctx, operator, in.ID, release, in.Reason)
	if err != nil {
		return Rollout{}, err
	}
	return s.rollout(ctx, id)
}

func (s *Server) promote(ctx context.Context, in RolloutVerb) (Promotion, error) {
	var p rollout.Promotion
	var err error
	if in.Sure {
		p, err = s.cfg.Rollouts.Promote(ctx, operator, in.ID, in.Reason)
	} else {
		p, err = s.cfg.Rollouts.Preview(ctx, operator, in.ID)
	}
	if err != nil {
		return Promotion{}, err
	}
	return Promotion{Done: in.Sure && !p.Waiting, Waiting: p.Waiting, Ring: p.Ring, Devices: p.Devices, Adds: p.Adds, OK: p.Evidence.OK, Bad: p.Evidence.Bad, Risk: p.Evidence.Risk, Limit: p.Evidence.Limit}, nil
}
