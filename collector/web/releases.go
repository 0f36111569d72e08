package web

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

// updatesMain is the page of releases, rollouts and the metadata that signs them.
type updatesMain struct {
	Done       string
	Repository *repositoryCard // nil = nothing was imported
	Compliance *complianceCard // nil = nothing goes or went over the fleet
	Rollouts   []rolloutRow
	Releases   []releaseRow
	Trains     []trainRow
	May        bool   // run rollouts
	Import     string // the command of the first one
	All        string // address of the page with all of them; empty = these are all
}

// repositoryCard is how the signed metadata stands.
type repositoryCard struct {
	State    mark
	Sentence string
	Warnings []string
	Roles    []signedRow
	Floors   []about
}

// signedRow is when what a role signed ends.
type signedRow struct {
	Role, Name, Left string
	State            mark
}

// complianceCard is how many devices are current 14 days after they came.
type complianceCard struct {
	Figure, Text string
	Meter        int64
	Href, Word   string
}

// rolloutRow is a rollout in the list.
type rolloutRow struct {
	Href, Name, Channel string
	State               mark
	Ring                string
	Progress            string
	Meter               int64
	Bad                 int64
	Started, By         string
}

// releaseRow is a version in the list.
type releaseRow struct {
	ID, Name, Channel, Systems string
	Notes                      []string
	Imported                   string
	State                      mark
	Start, Block               string // addresses; empty = not for this role, or not possible
}

// fewRows are so many of a list of the page; its other view has all.
const fewRows = 12

func (s *Server) updatesPage(v *visit) error {
	ctx := v.r.Context()
	main := updatesMain{Done: v.done(), May: v.mayRollOut()}
	state, err := s.cfg.Rollouts.RepositoryState(ctx, v.caller)
	switch {
	case err == nil:
		main.Repository = v.repository(state)
	case !errors.Is(err, access.ErrNotFound):
		return err
	default:
		main.Import = "hausmeister-collector release import DIR"
		if s.cfg.NeedsRoot {
			main.Import += " --root FILE"
		}
	}
	rollouts, err := s.cfg.Rollouts.List(ctx, v.caller)
	if err != nil {
		return err
	}
	if main.Compliance, err = v.compliance(rollouts); err != nil {
		return err
	}
	releases, err := s.cfg.Rollouts.Releases(ctx, v.caller)
	if err != nil {
		return err
	}
	// Launchers have no rollout and a list of their own.
	releases = slices.DeleteFunc(releases, func(r rollout.Release) bool { return r.Product != manifest.ProductAgent })
	open := map[string]rollout.State{} // of releases that are on their way
	for _, r := range rollouts {
		if r.Ended.IsZero() {
			open[r.Release] = r.State
		}
	}
	passed := map[string]string{} // versions that stand in the way of releases
	for _, r := range releases {
		if by, yes := rollout.Passed(r, rollouts); yes {
			passed[r.ID] = by
		}
	}
	if (len(rollouts) > fewRows || len(releases) > fewRows) && v.asked.Get("all") == "" {
		main.All = "/updates?all=1"
		rollouts, releases = rollouts[:min(len(rollouts), fewRows)], releases[:min(len(releases), fewRows)]
	}
	for _, r := range rollouts {
		main.Rollouts = append(main.Rollouts, v.rolloutRow(r))
	}
	for _, r := range releases {
		main.Releases = append(main.Releases, v.releaseRow(r, open[r.ID], passed[r.ID], main.May))
	}
	if main.Trains, err = v.trains(main.May); err != nil {
		return err
	}
	return v.show(http.StatusOK, "updates", v.at("updates", v.say.Say("updates.title"), main))
}

// mayRollOut says whether the caller may start, halt and promote.
func (v *visit) mayRollOut() bool {
	return v.caller.Allow(access.RunRollouts) == nil && v.caller.Owners == nil
}

func (v *visit) repository(r rollout.Repository) *repositoryCard {
	card := &repositoryCard{Sentence: v.say.Say("updates.imported", "when", v.say.Time(r.Imported), "root", r.Root, "timestamp", r.Timestamp)}
	worst, online := int64(0), false // as alarms go: 0 none, else the fewer days the worse
	for _, role := range r.Roles {
		row := signedRow{Role: role.Role, Name: role.Role, State: v.alarm(role.Alarm)}
		if key := "updates.role." + role.Role; v.say.Has(key) {
			row.Name = v.say.Say(key)
		}
		row.Left = v.say.Say("updates.left", "n", max(role.Days, 0))
		if role.Alarm < 0 {
			row.Left = v.say.Say("updates.ended")
		}
		if role.Alarm != 0 && (worst == 0 || role.Alarm < worst) {
			worst, online = role.Alarm, role.Role == manifest.Timestamp || role.Role == manifest.Snapshot
		}
		card.Roles = append(card.Roles, row)
	}
	card.State = v.alarm(worst)
	switch {
	case online:
		card.Warnings = append(card.Warnings, v.say.Say("updates.online.text"))
	case worst < 0:
		card.Warnings = append(card.Warnings, v.say.Say("updates.expired.text"))
	case card.State.Shape == "warn" || card.State.Shape == "crit":
		card.Warnings = append(card.Warnings, v.say.Say("updates.expiring.text"))
	}
	if r.NewerRoot > 0 {
		card.State = mark{"crit", v.say.Say("updates.behind")}
		card.Warnings = append(card.Warnings, v.say.Say("updates.behind.text", "theirs", r.NewerRoot, "ours", r.Root))
	}
	for _, product := range slices.Sorted(maps.Keys(r.Floors)) {
		card.Floors = append(card.Floors, about{Label: v.product(product), Text: r.Floors[product]})
	}
	return card
}

// alarm is the shape and the word for a step of the countdown.
func (v *visit) alarm(step int64) mark {
	switch {
	case step == 0 || step >= 90: // it is known, and there is time
		return mark{"ok", v.say.Say("updates.valid")}
	case step < 0:
		return mark{"crit", v.say.Say("updates.expired")}
	case step == 1 || step == 7:
		return mark{"crit", v.say.Say("updates.renew_now")}
	}
	return mark{"warn", v.say.Say("updates.renew")}
}

// product is a program's name for people.
func (v *visit) product(name string) string {
	if key := "updates.product." + name; v.say.Has(key) {
		return v.say.Say(key)
	}
	return name
}

// channel is the name of a channel for people.
func (v *visit) channel(name string) string {
	if key := "updates.channel." + name; v.say.Has(key) {
		return v.say.Say(key)
	}
	return name
}

// versionName is "Agent 1.8.2".
func (v *visit) versionName(product, version string) string {
	return v.product(product) + "\u00a0" + version
}

// compliance is that of the rollout which the devices should have taken.
func (v *visit) compliance(rollouts []rollout.Rollout) (*complianceCard, error) {
	agents := slices.DeleteFunc(slices.Clone(rollouts), func(r rollout.Rollout) bool { return r.Product != manifest.ProductAgent })
	r, ok := rollout.Wanted(agents)
	if !ok {
		return nil, nil
	}
	c, err := v.s.cfg.Rollouts.Compliance(v.r.Context(), v.caller, r.ID)
	if err != nil {
		return nil, err
	}
	card := &complianceCard{Href: "/rollouts/" + r.ID + "/devices", Word: v.say.Say("updates.why", "version", r.Version)}
	if c.Counts[rollout.Current]+c.Counts[rollout.WhyRevoked] == c.Devices {
		card.Word = v.say.Say("updates.who")
	}
	if p := c.Permille(); p >= 0 {
		card.Figure, card.Meter = v.say.Percent(p), p
		card.Text = v.say.Say("updates.compliance.text", "n", c.Due, "version", r.Version)
		return card, nil
	}
	card.Figure, card.Text = v.say.Number(c.Counts[rollout.Current]), v.say.Say("updates.compliance.early", "n", c.Devices, "version", r.Version)
	card.Meter = c.Counts[rollout.Current] * 1000 / max(c.Devices, 1)
	return card, nil
}

// rolloutShapes are the shapes of the states of a rollout.
var rolloutShapes = map[rollout.State]string{rollout.Waiting: "warn", rollout.Placing: "run", rollout.Running: "run", rollout.Paused: "warn", rollout.Halted: "crit", rollout.Done: "ok", rollout.Replaced: "off", rollout.Aborted: "off"}

func (v *visit) rolloutMark(s rollout.State) mark {
	return mark{rolloutShapes[s], v.say.Say("rollout.state." + string(s))}
}

func (v *visit) rolloutRow(r rollout.Rollout) rolloutRow {
	now := v.s.cfg.Now()
	row := rolloutRow{Href: "/rollouts/" + r.ID, Name: v.versionName(r.Product, r.Version), Channel: v.channel(r.Channel), State: v.rolloutMark(r.State),
		Started: v.say.Day(r.Started, now), By: v.who(r.StartedBy), Ring: v.say.Say("rollout.ring_of", "ring", r.Ring, "n", len(r.Rings))}
	have, all := int64(0), r.Rings[len(r.Rings)-1].Devices
	for _, ring := range r.Rings {
		have, row.Bad = have+ring.OK+ring.Had, row.Bad+ring.Bad
	}
	row.Progress, row.Meter = v.say.Say("claims.used", "used", have, "cap", all), have*1000/max(all, 1)
	return row
}

// who names whoever did something: a person by his login, a part of the collector or
// the record's word for a program by what it is.
func (v *visit) who(actor string) string {
	if strings.Contains(actor, ":") {
		return v.party(actor, nil)
	}
	if key := "audit.system." + actor; v.say.Has(key) {
		return v.say.Say(key)
	}
	return actor
}

// releaseRow is a release's; open is the state of its rollout that has not ended, "" =
// none, and passed the newer version that it may not begin after.
func (v *visit) releaseRow(r rollout.Release, open rollout.State, passed string, may bool) releaseRow {
	row := releaseRow{ID: r.ID, Name: v.versionName(r.Product, r.Version), Channel: v.channel(r.Channel), Imported: v.say.Day(r.Imported, v.s.cfg.Now())}
	row.Systems = v.systems(r.Programs)
	if r.Urgent {
		row.Notes = append(row.Notes, v.say.Say("updates.urgent"))
	}
	if r.RollbackOf != "" {
		row.Notes = append(row.Notes, v.say.Say("updates.rollback_of", "version", r.RollbackOf))
	}
	if r.Floor != "" {
		row.Notes = append(row.Notes, v.say.Say("updates.floor", "version", r.Floor))
	}
	switch {
	case !r.Blocked.IsZero():
		row.State = mark{"off", v.say.Say("updates.blocked", "day", v.say.Day(r.Blocked, v.s.cfg.Now()))}
	case !r.Gone.IsZero():
		row.State = mark{"off", v.say.Say("updates.gone", "day", v.say.Day(r.Gone, v.s.cfg.Now()))}
	case open == rollout.Running:
		row.State = mark{"run", v.say.Say("updates.on_its_way")}
	case open != "":
		row.State = v.rolloutMark(open)
	case passed != "":
		row.State = mark{"off", v.say.Say("updates.passed", "version", passed)}
	default:
		row.State = mark{"ok", v.say.Say("updates.ready")}
	}
	if may && r.Blocked.IsZero() {
		row.Block = "/releases/" + r.ID + "/block"
		if r.Gone.IsZero() && open == "" && passed == "" {
			row.Start = "/releases/" + r.ID + "/rollout"
		}
	}
	return row
}

// usualArch is that of nearly all devices, which goes without saying.
const usualArch = "amd64"

// systems names those that a release has programs for: Windows, Linux (amd64, arm64).
func (v *visit) systems(programs []rollout.Program) string {
	archs := map[string][]string{}
	for _, p := range programs {
		archs[p.OS] = append(archs[p.OS], p.Arch)
	}
	var words []string
	for _, os := range slices.Sorted(maps.Keys(archs)) {
		word, list := v.system(os), slices.Compact(slices.Sorted(slices.Values(archs[os])))
		if len(list) > 1 || list[0] != usualArch {
			word += " (" + strings.Join(list, ", ") + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// pathRelease finds the one of the path for who may do something with it.
func (v *visit) pathRelease() (rollout.Release, error) {
	if !v.mayRollOut() {
		return rollout.Release{}, access.ErrForbidden
	}
	return v.release(v.r.PathValue("id"))
}

// reasonField asks why.
func (v *visit) reasonField() field {
	return field{Name: "reason", Label: v.say.Say("look.reason"), Help: v.say.Say("rollout.reason.help"), Max: 200}
}

// releaseAct is a form about a release, for the page that asks why and the one that does it.
type releaseAct struct {
	done string // word of the page after it
	// may says why it cannot be done before anything is asked; nil = it can.
	may func(v *visit, r rollout.Release) error
	ask func(v *visit, r rollout.Release) (title, text string, f form)
	// do does it and says which page comes then.
	do func(v *visit, r rollout.Release, reason string) (next string, err error)
}

func (a releaseAct) page(v *visit) error {
	r, err := v.pathRelease()
	if err != nil {
		return err
	}
	if a.may != nil {
		if err := a.may(v, r); err != nil {
			return err
		}
	}
	title, text, f := a.ask(v, r)
	return v.showForm(http.StatusOK, "updates", title, text, f)
}

func (a releaseAct) post(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	r, err := v.pathRelease()
	if err != nil {
		return err
	}
	next, err := a.do(v, r, typed.Get("reason"))
	if errors.Is(err, rollout.ErrReason) {
		title, text, f := a.ask(v, r)
		f.fill(typed)
		f.refuse("reason", v.say.Say("rollout.reason.wrong"))
		return v.showForm(http.StatusUnprocessableEntity, "updates", title, text, f)
	}
	return v.acted(next, a.done, err)
}

// startAct lets a release go over the fleet.
func (s *Server) startAct() releaseAct {
	return releaseAct{
		done: "rollout_started",
		may: func(v *visit, r rollout.Release) error {
			rollouts, err := s.cfg.Rollouts.List(v.r.Context(), v.caller)
			if err != nil {
				return err
			}
			if _, yes := rollout.Passed(r, rollouts); yes {
				return rollout.ErrOlder
			}
			return nil
		},
		ask: func(v *visit, r rollout.Release) (title, text string, f form) {
			text = v.say.Say("rollout.start.text")
			if r.Urgent {
				text = v.say.Say("rollout.start.urgent")
				if v.caller.Role != access.RoleRelease { // whoever starts it is the first of two only with that role
					text = v.say.Say("rollout.start.urgent.both")
				}
			}
			return v.say.Say("rollout.start.title", "what", v.versionName(r.Product, r.Version)), text + " " + v.say.Say("rollout.recorded"),
				form{Action: "/releases/" + r.ID + "/rollout", Send: v.say.Say("rollout.start"), Cancel: "/updates", Fields: []field{v.reasonField()}}
		},
		do: func(v *visit, r rollout.Release, reason string) (string, error) {
			id, err := s.cfg.Rollouts.Start(v.r.Context(), v.caller, r.ID, reason)
			return "/rollouts/" + id, err
		},
	}
}

// blockAct takes a release off.
func (s *Server) blockAct() releaseAct {
	return releaseAct{
		done: "release_blocked",
		ask: func(v *visit, r rollout.Release) (title, text string, f form) {
			return v.say.Say("updates.block.title", "what", v.versionName(r.Product, r.Version)), v.say.Say("updates.block.text") + " " + v.say.Say("rollout.recorded"),
				form{Action: "/releases/" + r.ID + "/block", Send: v.say.Say("updates.block"), Cancel: "/updates", Danger: true, Fields: []field{v.reasonField()}}
		},
		do: func(v *visit, r rollout.Release, reason string) (string, error) {
			return "/updates", s.cfg.Rollouts.BlockRelease(v.r.Context(), v.caller, r.ID, reason)
		},
	}
}
