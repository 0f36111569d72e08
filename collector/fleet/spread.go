package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/crowd"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
)

// CodeCount is a finding that is open about some devices.
type CodeCount struct {
	Code     string
	Severity hmpb.Severity // of the worst of them, those first that nobody takes care of
	Devices  int64
	Quiet    int64 // of these, where somebody takes care of it
}

// Calm says that somebody takes care of it everywhere.
func (c CodeCount) Calm() bool { return c.Quiet == c.Devices }

func calm(c CodeCount) int {
	if c.Calm() {
		return 1
	}
	return 0
}

// OpenFindings counts the devices that the caller may see by what is open about
// them, the worst first, then what concerns most; at the end what is calm. Revoked
// devices do not count.
func (f *Fleet) OpenFindings(ctx context.Context, caller access.Caller) ([]CodeCount, error) {
	return f.openFindings(ctx, caller, "", "")
}

// OpenFinding counts only where this one is open; ok is false if nowhere.
func (f *Fleet) OpenFinding(ctx context.Context, caller access.Caller, code string) (c CodeCount, ok bool, err error) {
	all, err := f.openFindings(ctx, caller, "", code)
	if err != nil || len(all) == 0 {
		return CodeCount{Code: code}, false, err
	}
	return all[0], true, nil
}

// SchoolFindings is OpenFindings of the devices of a school.
func (f *Fleet) SchoolFindings(ctx context.Context, caller access.Caller, school string) ([]CodeCount, error) {
	if _, err := f.School(ctx, caller, school); err != nil {
		return nil, err
	}
	return f.openFindings(ctx, caller, school, "")
}

// openFindings counts within a school, or without one everywhere, and one finding,
// or without a code each.
func (f *Fleet) openFindings(ctx context.Context, caller access.Caller, school, code string) ([]CodeCount, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("d.owner_id", 1)
	scope += " AND o.device_id NOT IN " + revokedSQL
	from := "health_noted_findings o"
	if school != "" {
		args = append(args, school)
		scope += fmt.Sprintf(" AND d.school_id = $%d", len(args))
	}
	if code != "" {
		args = append(args, code)
		scope += fmt.Sprintf(" AND o.code = $%d", len(args))
	}
	if caller.Owners != nil || school != "" {
		from += " JOIN devices d ON d.id = o.device_id"
	}
	var out []CodeCount
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		// By device first: the index has them in this order, so nothing is sorted.
		rows, err := tx.Query(ctx, `SELECT code, MAX(severity), MAX(loudest), COUNT(*), SUM(loud) FROM (
			SELECT o.code, o.device_id, MAX(o.severity) AS severity, MAX(o.loud * o.severity) AS loudest, MAX(o.loud) AS loud FROM `+from+` WHERE `+scope+`
			GROUP BY o.code, o.device_id) x GROUP BY code`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		out = nil
		for rows.Next() {
			var c CodeCount
			var severity, loudest, loud int64
			if err := rows.Scan(&c.Code, &severity, &loudest, &c.Devices, &loud); err != nil {
				return err
			}
			c.Quiet = c.Devices - loud
			if loud > 0 {
				severity = loudest
			}
			c.Severity = hmpb.Severity(severity)
			out = append(out, c)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("counting findings: %w", err)
	}
	slices.SortFunc(out, func(a, b CodeCount) int {
		return cmp.Or(calm(a)-calm(b), cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Code, b.Code))
	})
	return out, nil
}

// Dimension is what devices are told apart by.
type Dimension string

const (
	ByModels  Dimension = "model"
	ByBuilds  Dimension = "os_build"
	BySchools Dimension = "school"
)

// Share is how many devices of a filter are alike, and how many there are alike
// at all. With Hidden the numbers are left out: they are less than crowd.FewPersons,
// or would tell how many such ones are, since how many devices the filter has is told.
type Share struct {
	Key, Name   string // Key is the school's id; else both are the same
	Devices, Of int64
	Hidden      bool
}

// maxShares bounds a distribution: what comes after is one Share without a key.
const maxShares = 12

// Dimensions are all of them in the order in which pages show them.
var Dimensions = []Dimension{ByModels, ByBuilds, BySchools}

// Spread tells the devices of a filter apart by a dimension, those first that
// have most.
func (f *Fleet) Spread(ctx context.Context, caller access.Caller, filter Filter, by Dimension) ([]Share, error) {
	if !slices.Contains(Dimensions, by) {
		return nil, fmt.Errorf("%w: no such dimension: %q", ErrInvalid, by)
	}
	all, err := f.spreads(ctx, caller, filter, []Dimension{by})
	return all[by], err
}

// Spreads is Spread by each of Dimensions.
func (f *Fleet) Spreads(ctx context.Context, caller access.Caller, filter Filter) (map[Dimension][]Share, error) {
	return f.spreads(ctx, caller, filter, Dimensions)
}

func (f *Fleet) spreads(ctx context.Context, caller access.Caller, filter Filter, dimensions []Dimension) (map[Dimension][]Share, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	filter, err := f.lookUp(ctx, caller, filter)
	if err != nil {
		return nil, err
	}
	out := map[Dimension][]Share{}
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		some, err := f.some(ctx, tx, caller, filter)
		if err != nil {
			return err
		}
		groups, err := f.groups(ctx, tx, caller, filter, some, dimensions)
		if err != nil {
			return err
		}
		for _, by := range dimensions {
			shares := make([]Share, 0, len(groups[by]))
			for _, share := range groups[by] {
				if share.Devices > 0 {
					shares = append(shares, *share)
				}
			}
			slices.SortFunc(shares, func(a, b Share) int { return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Key, b.Key)) })
			shares = foldRest(shares)
			if by == BySchools {
				if err := nameSchools(ctx, tx, shares); err != nil {
					return err
				}
			}
			out[by] = hideFew(shares)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("telling devices apart: %w", err)
	}
	return out, nil
}

// hideFew leaves out what would tell of few; where nothing can be told, all of it.
func hideFew(shares []Share) []Share {
	devices := make([]int64, len(shares))
	for i, s := range shares {
		devices[i] = s.Devices
	}
	hidden, ok := crowd.Hide(devices)
	for i := range shares {
		if hidden[i] || !ok {
			shares[i].Hidden, shares[i].Devices, shares[i].Of = true, 0, 0
		}
	}
	return shares
}

// some are the ids of the devices of a filter; those of a finding alone regardless
// of who may see them, which groups asks of all devices anyway.
func (f *Fleet) some(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) ([]string, error) {
	if (filter == Filter{Owner: filter.Owner, Finding: filter.Finding}) && filter.Finding != "" {
		return withFinding(ctx, tx, filter.Finding)
	}
	if filter.State == "" {
		return f.find(ctx, tx, caller, filter)
	}
	q := f.query(caller, filter)
	q.state(filter.State)
	ids, err := oneText(ctx, tx, `SELECT COALESCE(`+inOne(tx, "d.id")+`, '') FROM devices d LEFT JOIN health_devices h ON h.device_id = d.id`+q.whereSQL(), q.args...)
	return filter.updated.only(ids), err
}

// grouping is the devices that are alike in a dimension, by what they are.
type grouping map[string]*Share

// add counts a device, which may be one of some; not where nobody asked.
func (g grouping) add(key string, isSome bool) {
	if g == nil {
		return
	}
	s := g[key]
	if s == nil {
		s = &Share{Key: key, Name: key}
		g[key] = s
	}
	s.Of++
	if isSome {
		s.Devices++
	}
}

// groups groups all devices of the caller and the filter's owner by these dimensions,
// and says how many of each group are some.
func (f *Fleet) groups(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter, some []string, dimensions []Dimension) (map[Dimension]grouping, error) {
	out := map[Dimension]grouping{}
	for _, by := range dimensions {
		out[by] = grouping{}
	}
	builds := map[string][]string{}
	if out[ByBuilds] != nil {
		var err error
		if builds, err = devicesOfBuilds(ctx, tx); err != nil {
			return nil, err
		}
	}
	return out, f.facts.read(ctx, tx, func() {
		models, schools, built := out[ByModels], out[BySchools], out[ByBuilds]
		isSome, build := f.facts.among(some), make([]string, len(f.facts.all))
		for name, ids := range builds {
			for _, id := range ids {
				if i, known := f.facts.at[id]; known {
					build[i] = name
				}
			}
		}
		for i, d := range f.facts.all {
			if !caller.Sees(d.owner) || filter.Owner != "" && filter.Owner != d.owner {
				continue
			}
			models.add(d.model, isSome[i])
			schools.add(d.school, isSome[i])
			built.add(build[i], isSome[i])
		}
	})
}

// devicesOfBuilds are the ids of those that have told which build they have.
func devicesOfBuilds(ctx context.Context, tx *db.Tx) (map[string][]string, error) {
	rows, err := tx.Query(ctx, `SELECT os_build, `+inOne(tx, "device_id")+` FROM health_devices WHERE os_build <> '' GROUP BY os_build`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string][]string{}
	for rows.Next() {
		var build, ids string
		if err := rows.Scan(&build, &ids); err != nil {
			return nil, err
		}
		out[build] = strings.Split(ids, ",")
	}
	return out, rows.Close()
}

// foldRest makes one of those that a picture has no room for.
func foldRest(all []Share) []Share {
	if len(all) <= maxShares {
		return all
	}
	var rest Share
	for _, s := range all[maxShares-1:] {
		rest.Devices, rest.Of = rest.Devices+s.Devices, rest.Of+s.Of
	}
	return append(all[:maxShares-1:maxShares-1], rest)
}

func nameSchools(ctx context.Context, tx *db.Tx, shares []Share) error {
	for i := range shares {
		if shares[i].Key == "" {
			continue
		}
		var code, name, kind string
		if err := tx.QueryRow(ctx, `SELECT code, name, kind FROM schools WHERE id = $1`, shares[i].Key).Scan(&code, &name, &kind); err != nil {
			return err
		}
		shares[i].Name = schoolTitle(name, kind, code)
	}
	return nil
}
