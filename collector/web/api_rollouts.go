package web

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
)

// Rollouts takes releases over the fleet; collector/rollout does.
type Rollouts interface {
	Releases(ctx context.Context, caller access.Caller) ([]rollout.Release, error)
	Trains(ctx context.Context, caller access.Caller) ([]rollout.Train, error)
	RepositoryState(ctx context.Context, caller access.Caller) (rollout.Repository, error)
	BlockRelease(ctx context.Context, caller access.Caller, release, reason string) error
	List(ctx context.Context, caller access.Caller) ([]rollout.Rollout, error)
	Page(ctx context.Context, caller access.Caller, after string, limit int) ([]rollout.Rollout, error)
	Count(ctx context.Context, caller access.Caller) (int64, error)
	Rollout(ctx context.Context, caller access.Caller, id string) (rollout.Rollout, error)
	Start(ctx context.Context, caller access.Caller, release, reason string) (id string, err error)
	RollBack(ctx context.Context, caller access.Caller, id, release, reason string) (back string, err error)
	Preview(ctx context.Context, caller access.Caller, id string) (rollout.Promotion, error)
	PromoteTo(ctx context.Context, caller access.Caller, id string, ring int, reason string) (rollout.Promotion, error)
	Approve(ctx context.Context, caller access.Caller, id, reason string) error
	Pause(ctx context.Context, caller access.Caller, id, reason string) error
	Resume(ctx context.Context, caller access.Caller, id, reason string) error
	Abort(ctx context.Context, caller access.Caller, id, reason string) error
	Note(ctx context.Context, caller access.Caller, id, reason string) error
	Block(ctx context.Context, caller access.Caller, id string, s gate.Stratum, blocked bool, reason string) error
	Compliance(ctx context.Context, caller access.Caller, id string) (rollout.Compliance, error)
	DeviceStates(ctx context.Context, caller access.Caller, id string, why rollout.Why, after string, limit int) ([]rollout.DeviceState, error)
	Window(ctx context.Context, caller access.Caller, owner string) (rollout.Window, error)
	SetWindow(ctx context.Context, caller access.Caller, w rollout.Window) error
	AddDays(ctx context.Context, caller access.Caller, owner string, d rollout.Days) (id string, err error)
	RemoveDays(ctx context.Context, caller access.Caller, owner, id string) error
	DeviceState(ctx context.Context, caller access.Caller, device string) (rollout.DeviceState, string, error)
	Find(ctx context.Context, caller access.Caller, version string) ([]rollout.Found, error)
	StatesOf(ctx context.Context, caller access.Caller, devices []string) (map[string]rollout.DeviceState, error)
}

// apiRelease is a version that is or was signed.
type apiRelease struct {
	ID         string              `json:"id" is:"uuid"`
	Product    string              `json:"product" is:"text"`
	Channel    string              `json:"channel" is:"text"`
	Version    string              `json:"version" is:"text"`
	Urgent     bool                `json:"urgent"`
	RollbackOf *string             `json:"rollback_of" is:"text"` // the newer version that this is the way back from
	Floor      *string             `json:"floor" is:"text"`
	MinFrom    *string             `json:"min_from" is:"text"`
	Imported   string              `json:"imported" is:"time"`
	Gone       *string             `json:"gone" is:"time"`    // since when it is signed no longer
	Blocked    *string             `json:"blocked" is:"time"` // since when somebody took it off
	Programs   []apiReleaseProgram `json:"programs"`
}

// apiReleaseProgram is a release's file for one system.
type apiReleaseProgram struct {
	OS     string            `json:"os" is:"text"`
	Arch   string            `json:"arch" is:"text"`
	SHA256 string            `json:"sha256" is:"hash"`
	Bytes  int64             `json:"bytes"`
	Packed *int64            `json:"packed_bytes"` // null = there is no packed file
	Deltas []apiReleaseDelta `json:"deltas"`
}

type apiReleaseDelta struct {
	From  string `json:"from_sha256" is:"hash"`
	Bytes int64  `json:"bytes"`
}

func when(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return present(stamp(t))
}

func releaseOf(r rollout.Release) apiRelease {
	out := apiRelease{ID: r.ID, Product: r.Product, Channel: r.Channel, Version: r.Version, Urgent: r.Urgent, RollbackOf: present(r.RollbackOf), Floor: present(r.Floor), MinFrom: present(r.MinFrom),
		Imported: stamp(r.Imported), Gone: when(r.Gone), Blocked: when(r.Blocked), Programs: make([]apiReleaseProgram, len(r.Programs))}
	for i, p := range r.Programs {
		one := apiReleaseProgram{OS: p.OS, Arch: p.Arch, SHA256: p.SHA256, Bytes: p.Length, Deltas: make([]apiReleaseDelta, len(p.Deltas))}
		if p.Packed > 0 {
			one.Packed = &p.Packed
		}
		for k, d := range p.Deltas {
			one.Deltas[k] = apiReleaseDelta{d.From, d.Length}
		}
		out.Programs[i] = one
	}
	return out
}

func (s *Server) apiReleases(v *visit) error {
	releases, err := s.cfg.Rollouts.Releases(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiRelease, len(releases))
	for i, r := range releases {
		items[i] = releaseOf(r)
	}
	return sendList(v, items)
}

// apiReason is why somebody does something.
type apiReason struct {
	Reason string `json:"reason" is:"text"`
}

func (s *Server) apiBlockRelease(v *visit) error {
	var body apiReason
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := s.cfg.Rollouts.BlockRelease(v.r.Context(), v.caller, v.r.PathValue("id"), body.Reason); err != nil {
		return err
	}
	return s.apiRelease(v)
}

// release finds one by its id.
func (v *visit) release(id string) (rollout.Release, error) {
	releases, err := v.s.cfg.Rollouts.Releases(v.r.Context(), v.caller)
	if err != nil {
		return rollout.Release{}, err
	}
	for _, r := range releases {
		if r.ID == id {
			return r, nil
		}
	}
	return rollout.Release{}, access.ErrNotFound
}

func (s *Server) apiRelease(v *visit) error {
	r, err := v.release(v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(releaseOf(r))
}

// apiRepository is how the signed metadata stands.
type apiRepository struct {
	Root      int64          `json:"root_version"`
	Timestamp int64          `json:"timestamp_version"`
	Snapshot  int64          `json:"snapshot_version"`
	Targets   int64          `json:"targets_version"`
	Imported  string         `json:"imported" is:"time"`
	NewerRoot *int64         `json:"newer_root"` // that devices trust and this collector has not; null = none
	Roles     []apiRoleState `json:"roles"`
	Floors    []apiFloor     `json:"floors"`
}

// apiFloor is the lowest version of a product that may run.
type apiFloor struct {
	Product string `json:"product" is:"text"`
	Version string `json:"version" is:"text"`
}

type apiRoleState struct {
	Role     string `json:"role" is:"text"`
	Expires  string `json:"expires" is:"time"`
	DaysLeft int64  `json:"days_left"`
	Alarm    *int64 `json:"alarm"` // step of the countdown in days, -1 = it is over, null = none
}

func (s *Server) apiRepository(v *visit) error {
	r, err := s.cfg.Rollouts.RepositoryState(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	out := apiRepository{Root: r.Root, Timestamp: r.Timestamp, Snapshot: r.Snapshot, Targets: r.Targets, Imported: stamp(r.Imported), Roles: make([]apiRoleState, len(r.Roles)), Floors: []apiFloor{}}
	for _, product := range slices.Sorted(maps.Keys(r.Floors)) {
		out.Floors = append(out.Floors, apiFloor{product, r.Floors[product]})
	}
	if r.NewerRoot > 0 {
		out.NewerRoot = &r.NewerRoot
	}
	for i, role := range r.Roles {
		out.Roles[i] = apiRoleState{Role: role.Role, Expires: stamp(role.Expires), DaysLeft: role.Days}
		if role.Alarm != 0 {
			out.Roles[i].Alarm = &r.Roles[i].Alarm
		}
	}
	return v.sendJSON(out)
}

// apiEvidence is what was known when something was decided.
type apiEvidence struct {
	Ring    *int         `json:"ring"` // that its numbers are of: of a decision to enter one, the ring that was left; null = not noted
	OK      int64        `json:"ok"`
	Bad     int64        `json:"bad"`
	RingOK  int64        `json:"ring_ok"`
	RingBad int64        `json:"ring_bad"`
	Sum     float64      `json:"sum"` // of the log-likelihood; above the bound it halts
	Bound   float64      `json:"bound"`
	Limit   float64      `json:"limit"` // rate of failure above which the ring is not left
	Risk    float64      `json:"risk"`  // probability that the rate is above it
	Doubt   float64      `json:"doubt"` // below which that must be; 0 = not noted
	Blocked []apiStratum `json:"blocked"`
	Cause   *string      `json:"cause" is:"cause"` // rate, crashes, part, lost, tickets, release
}

// apiStratum is a part of the fleet.
type apiStratum struct {
	Dimension string `json:"dimension" is:"part"` // model, os_build, antivirus, owner
	Value     string `json:"value" is:"text"`
}

func evidenceOf(e rollout.Evidence) apiEvidence {
	out := apiEvidence{OK: e.OK, Bad: e.Bad, RingOK: e.RingOK, RingBad: e.RingBad, Sum: e.Sum, Bound: e.Bound, Limit: e.Limit, Risk: e.Risk, Doubt: e.Doubt, Blocked: make([]apiStratum, len(e.Blocked)), Cause: present(string(e.Cause))}
	if e.Ring > 0 {
		out.Ring = &e.Ring
	}
	for i, b := range e.Blocked {
		out.Blocked[i] = apiStratum{b.Dimension, b.Value}
	}
	return out
}

// apiRing is a ring of a rollout.
type apiRing struct {
	Ring      int     `json:"ring"`
	Devices   int64   `json:"devices"` // of it and those before
	Adds      int64   `json:"adds"`
	SoakHours float64 `json:"soak_hours"`
	SchoolDay bool    `json:"school_day"` // a morning of lessons must lie in that time
	Second    bool    `json:"second"`     // more than 10 % of the fleet: a second person must approve
	Reached   int64   `json:"reached"`    // devices that ever might begin
	InFlight  int64   `json:"in_flight"`
	OK        int64   `json:"ok"`
	Bad       int64   `json:"bad"`
	Had       int64   `json:"had"`            // have the version, and not by this rollout
	Silent    int64   `json:"silent"`         // had a whole turn, and told of no end of it
	Open      int64   `json:"open"`           // none of these: in_flight, ok, bad, had, silent and open add up to adds
	Wait      *string `json:"wait" is:"wait"` // what the present ring waits for: rate, fresh; nobody = no device of it can take the version yet
	Need      *int64  `json:"need"`           // outcomes that the present ring must have; null = another ring
}

// apiRollout is a release on its way over the fleet.
type apiRollout struct {
	ID          string      `json:"id" is:"uuid"`
	Release     string      `json:"release" is:"uuid"` // id
	Product     string      `json:"product" is:"text"`
	Channel     string      `json:"channel" is:"text"`
	Version     string      `json:"version" is:"text"`
	Urgent      bool        `json:"urgent"`
	RollbackOf  *string     `json:"rollback_of" is:"text"`
	State       string      `json:"state" is:"rollout_state"` // waiting, placing, running, paused, halted, done, replaced, aborted
	Ring        int         `json:"ring"`                     // from 1
	Entered     string      `json:"entered" is:"time"`
	Started     string      `json:"started" is:"time"`
	StartedBy   string      `json:"started_by" is:"text"`
	ApprovedBy  *string     `json:"approved_by" is:"text"`
	NeedsSecond bool        `json:"needs_second"`
	Ended       *string     `json:"ended" is:"time"`
	InFlight    int64       `json:"in_flight"`
	Cap         int64       `json:"cap"`
	Evidence    apiEvidence `json:"evidence"`
	Rings       []apiRing   `json:"rings"`
}

// apiRolloutBody is a rollout with all that was decided, the latest first.
type apiRolloutBody struct {
	apiRollout
	Decisions []apiDecision `json:"decisions"`
}

// apiDecision is what was decided, and what was known then.
type apiDecision struct {
	ID       string      `json:"id" is:"uuid"`
	At       string      `json:"at" is:"time"`
	Verb     string      `json:"verb" is:"rollout_verb"`
	Ring     int         `json:"ring"`
	By       string      `json:"by" is:"text"` // a person's login, or the part of the collector
	Reason   string      `json:"reason" is:"text"`
	Evidence apiEvidence `json:"evidence"`
}

func rolloutOf(r rollout.Rollout) apiRollout {
	out := apiRollout{ID: r.ID, Release: r.Release, Product: r.Product, Channel: r.Channel, Version: r.Version, Urgent: r.Urgent, RollbackOf: present(r.RollbackOf), State: string(r.State), Ring: r.Ring,
		Entered: stamp(r.Entered), Started: stamp(r.Started), StartedBy: r.StartedBy, ApprovedBy: present(r.ApprovedBy), NeedsSecond: r.NeedsSecond, Ended: when(r.Ended), InFlight: r.InFlight, Cap: r.Cap,
		Evidence: evidenceOf(r.Evidence), Rings: make([]apiRing, len(r.Rings))}
	for i, ring := range r.Rings {
		out.Rings[i] = apiRing{Ring: i + 1, Devices: ring.Devices, Adds: ring.Adds, SoakHours: ring.Soak.Hours(), SchoolDay: ring.SchoolDay, Second: ring.Wide, Reached: ring.Reached,
			InFlight: ring.InFlight, OK: ring.OK, Bad: ring.Bad, Had: ring.Had, Silent: ring.Silent, Open: ring.Open, Wait: present(string(ring.Wait))}
		if ring.Need > 0 {
			out.Rings[i].Need = &r.Rings[i].Need
		}
	}
	return out
}

func (s *Server) apiRollouts(v *visit) error {
	limit, cursor, err := v.idPage()
	if err != nil {
		return err
	}
	ctx := v.r.Context()
	some, err := s.cfg.Rollouts.Page(ctx, v.caller, cursor, limit)
	if errors.Is(err, access.ErrNotFound) {
		return &badRequest{"cursor", "this list did not give it"}
	}
	if err != nil {
		return err
	}
	return sendPage(v, limit, some, func() (int64, error) { return s.cfg.Rollouts.Count(ctx, v.caller) }, rolloutOf, func(r rollout.Rollout) string { return r.ID })
}

func (s *Server) rolloutBody(v *visit, id string) (apiRolloutBody, error) {
	r, err := s.cfg.Rollouts.Rollout(v.r.Context(), v.caller, id)
	if err != nil {
		return apiRolloutBody{}, err
	}
	out := apiRolloutBody{apiRollout: rolloutOf(r), Decisions: make([]apiDecision, len(r.Decisions))}
	for i, d := range r.Decisions {
		out.Decisions[i] = apiDecision{ID: d.ID, At: stamp(d.At), Verb: d.Verb, Ring: d.Ring, By: d.By, Reason: d.Reason, Evidence: evidenceOf(d.Evidence)}
	}
	return out, nil
}

func (s *Server) apiRollout(v *visit) error {
	out, err := s.rolloutBody(v, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(out)
}

// apiNewRollout starts one.
type apiNewRollout struct {
	Release string `json:"release" is:"uuid"` // id
	Reason  string `json:"reason" is:"text"`
}

func (s *Server) apiStartRollout(v *visit) error {
	var body apiNewRollout
	if err := v.readJSON(&body); err != nil {
		return err
	}
	id, err := s.cfg.Rollouts.Start(v.r.Context(), v.caller, body.Release, body.Reason)
	if err != nil {
		return err
	}
	return s.sendMadeRollout(v, id)
}

func (s *Server) sendMadeRollout(v *visit, id string) error {
	out, err := s.rolloutBody(v, id)
	if err != nil {
		return err
	}
	return v.sendMade("/api/v1/rollouts/"+id, out)
}

// apiRollBack answers the rollout of the signed way back.
func (s *Server) apiRollBack(v *visit) error {
	var body apiNewRollout
	if err := v.readJSON(&body); err != nil {
		return err
	}
	id, err := s.cfg.Rollouts.RollBack(v.r.Context(), v.caller, v.r.PathValue("id"), body.Release, body.Reason)
	if err != nil {
		return err
	}
	return s.sendMadeRollout(v, id)
}

// rolloutVerb is what a verb of a rollout is called with.
type rolloutVerb func(ctx context.Context, caller access.Caller, id, reason string) error

// apiRolloutVerb answers the rollout as it is then.
func (s *Server) apiRolloutVerb(verb func(Rollouts) rolloutVerb) func(*visit) error {
	return func(v *visit) error {
		var body apiReason
		if err := v.readJSON(&body); err != nil {
			return err
		}
		if err := verb(s.cfg.Rollouts)(v.r.Context(), v.caller, v.r.PathValue("id"), body.Reason); err != nil {
			return err
		}
		return s.apiRollout(v)
	}
}

// apiPromotion is what a promotion does.
type apiPromotion struct {
	Ring     int         `json:"ring"`
	Devices  int64       `json:"devices"` // that the rings up to it hold
	Adds     int64       `json:"adds"`
	Waiting  bool        `json:"waiting"`            // for a second person; nothing changed
	Asked    *string     `json:"asked_by" is:"text"` // who asked first, where two persons are needed
	Evidence apiEvidence `json:"evidence"`
}

func promotionOf(p rollout.Promotion) apiPromotion {
	return apiPromotion{Ring: p.Ring, Devices: p.Devices, Adds: p.Adds, Waiting: p.Waiting, Asked: present(p.Asked), Evidence: evidenceOf(p.Evidence)}
}

func (s *Server) apiPreview(v *visit) error {
	p, err := s.cfg.Rollouts.Preview(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(promotionOf(p))
}

// apiNewPromotion says to which ring: where another one is the next meanwhile, nothing is
// changed.
type apiNewPromotion struct {
	Ring   int    `json:"ring"`
	Reason string `json:"reason" is:"text"`
}

func (s *Server) apiPromote(v *visit) error {
	var body apiNewPromotion
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if body.Ring < 1 { // who names none has not looked how many devices it adds
		return &badRequest{"ring", "want the ring that GET /rollouts/{id}/next names"}
	}
	p, err := s.cfg.Rollouts.PromoteTo(v.r.Context(), v.caller, v.r.PathValue("id"), body.Ring, body.Reason)
	if err != nil {
		return err
	}
	return v.sendJSON(promotionOf(p))
}

// apiBlockPart leaves a part of the fleet out, or lets it in again.
type apiBlockPart struct {
	Dimension string `json:"dimension" is:"part"`
	Value     string `json:"value" is:"text"`
	Blocked   bool   `json:"blocked"`
	Reason    string `json:"reason" is:"text"`
}

func (s *Server) apiBlockPart(v *visit) error {
	var body apiBlockPart
	if err := v.readJSON(&body); err != nil {
		return err
	}
	part := gate.Stratum{Dimension: body.Dimension, Value: body.Value}
	if err := s.cfg.Rollouts.Block(v.r.Context(), v.caller, v.r.PathValue("id"), part, body.Blocked, body.Reason); err != nil {
		return err
	}
	return s.apiRollout(v)
}

// apiCompliance is how many devices are current, and why others are not.
type apiCompliance struct {
	Devices  int64            `json:"devices"`
	Counts   map[string]int64 `json:"counts"` // by the word that a device has
	Due      int64            `json:"due"`    // devices that came 14 days ago or earlier
	Current  int64            `json:"current"`
	Permille *int64           `json:"permille"` // of those due that are current; null = none is due
	Rings    []apiRingCounts  `json:"rings"`    // of the devices that have a place in one
}

// apiRingCounts are the words of the devices of a ring.
type apiRingCounts struct {
	Ring   int              `json:"ring"` // from 1
	Counts map[string]int64 `json:"counts"`
}

func countsOf(counts map[rollout.Why]int64) map[string]int64 {
	out := map[string]int64{}
	for why, n := range counts {
		out[string(why)] = n
	}
	return out
}

func (s *Server) apiCompliance(v *visit) error {
	c, err := s.cfg.Rollouts.Compliance(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	out := apiCompliance{Devices: c.Devices, Counts: countsOf(c.Counts), Due: c.Due, Current: c.Current, Rings: make([]apiRingCounts, len(c.Rings))}
	for i, counts := range c.Rings {
		out.Rings[i] = apiRingCounts{i + 1, countsOf(counts)}
	}
	if p := c.Permille(); p >= 0 {
		out.Permille = &p
	}
	return v.sendJSON(out)
}

// apiUpdate is how far a device is on its way to a version.
type apiUpdate struct {
	ID      string  `json:"id" is:"uuid"` // of the device
	Rollout string  `json:"rollout" is:"uuid"`
	Version *string `json:"version" is:"text"` // that it came with last
	Why     string  `json:"why" is:"why"`      // current, or why it is not
	Reason  *string `json:"reason" is:"text"`  // of waits, refused, rolled_back and unfit
	Ring    *int    `json:"ring"`              // from 1
	Day     *string `json:"day" is:"day"`      // of what it told last of the update
}

func updateOf(d rollout.DeviceState, id string) apiUpdate {
	out := apiUpdate{ID: d.Device, Rollout: id, Version: present(d.Version), Why: string(d.Why), Reason: present(d.Because())}
	if d.Ring > 0 {
		out.Ring = &d.Ring
	}
	if !d.Day.IsZero() {
		out.Day = present(d.Day.Format(time.DateOnly))
	}
	return out
}

func (s *Server) apiRolloutDevices(v *visit) error {
	limit, cursor, err := v.idPage()
	if err != nil {
		return err
	}
	why := rollout.Why(v.asked.Get("why"))
	if why != "" && !slices.Contains(rollout.Whys, why) {
		return &badRequest{"why", "no such word"}
	}
	ctx, id := v.r.Context(), v.r.PathValue("id")
	devices, err := s.cfg.Rollouts.DeviceStates(ctx, v.caller, id, why, cursor, limit)
	if err != nil {
		return err
	}
	count := func() (int64, error) {
		c, err := s.cfg.Rollouts.Compliance(ctx, v.caller, id)
		if why == "" {
			return c.Devices, err
		}
		return c.Counts[why], err
	}
	return sendPage(v, limit, devices, count, func(d rollout.DeviceState) apiUpdate { return updateOf(d, id) }, func(d rollout.DeviceState) string { return d.Device })
}

func (s *Server) apiDeviceUpdate(v *visit) error {
	d, id, err := s.cfg.Rollouts.DeviceState(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(updateOf(d, id))
}

// rolloutFault sorts the errors of rollouts.
func rolloutFault(err error) (fault, bool) {
	switch {
	case errors.Is(err, rollout.ErrSecond):
		return fault{http.StatusForbidden, "second-person"}, true
	case errors.Is(err, rollout.ErrPerson):
		return fault{http.StatusForbidden, "person-needed"}, true
	case errors.Is(err, rollout.ErrOlder):
		return fault{http.StatusConflict, "older-release"}, true
	case errors.Is(err, rollout.ErrState):
		return fault{http.StatusConflict, "rollout-state"}, true
	case errors.Is(err, rollout.ErrReason), errors.Is(err, rollout.ErrInvalid):
		return fault{http.StatusBadRequest, "bad-request"}, true
	}
	return fault{}, false
}
