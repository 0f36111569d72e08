package fleet

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// SchoolState is how the devices of a school are, and by which way they reach us.
type SchoolState struct {
	School
	Critical, Warning, Silent, Connected int64 // by State: whose worst is that
	TCP, Proxy, Inspected                int64 // last over TCP only, through a proxy, behind a box that opens TLS
}

// SchoolSort is an order of the list of schools. Schools that are alike in it stand by
// owner and number.
type SchoolSort string

const (
	SchoolsByPlace   SchoolSort = ""        // by owner, then number
	SchoolsByNumber  SchoolSort = "number"  // by number, whoever the owner
	SchoolsByName    SchoolSort = "name"    // as they are shown
	SchoolsByDevices SchoolSort = "devices" // how many they have
	SchoolsByTrouble SchoolSort = "trouble" // critical devices, then warnings
	SchoolsByTCP     SchoolSort = "tcp"     // devices that reach us over TCP only
)

// SchoolSorts are all orders but the usual one.
var SchoolSorts = []SchoolSort{SchoolsByNumber, SchoolsByName, SchoolsByDevices, SchoolsByTrouble, SchoolsByTCP}

// SchoolFilter says which schools to list, and in which order.
type SchoolFilter struct {
	Query   string // each word is in name, number, kind or owner
	Kind    string // exactly this one
	Owner   string // id
	Trouble bool   // only where a device is critical or has a warning
	Sort    SchoolSort
	Desc    bool
	Cursor  string // SchoolPage.Cursor of the page before
	Limit   int
}

// SchoolPage is a part of the list of schools; Cursor is empty on the last page.
type SchoolPage struct {
	Items  []SchoolState
	Total  int
	Cursor string
	Kinds  []string // of all schools that the caller may see
}

// schoolCursor is where the next page begins: after this key and school. The key is
// kept, so that a school which moved meanwhile costs or doubles itself only.
type schoolCursor struct {
	Sort SchoolSort `json:"s,omitempty"`
	Desc bool       `json:"d,omitempty"`
	Text string     `json:"t,omitempty"`
	Num  int64      `json:"n,omitempty"`
	ID   string     `json:"i"`
}

// sortedSchool is a school with what it is sorted by.
type sortedSchool struct {
	School
	text string
	num  int64
	at   int // in the usual order
}

// SchoolStates lists schools that the caller may see, and how their devices are.
func (f *Fleet) SchoolStates(ctx context.Context, caller access.Caller, filter SchoolFilter) (SchoolPage, error) {
	if err := checkQuery(filter.Query); err != nil {
		return SchoolPage{}, err
	}
	if filter.Sort != SchoolsByPlace && !slices.Contains(SchoolSorts, filter.Sort) {
		return SchoolPage{}, fmt.Errorf("%w: schools are not sorted by %q", ErrInvalid, filter.Sort)
	}
	schools, err := f.Schools(ctx, caller)
	if err != nil {
		return SchoolPage{}, err
	}
	var page SchoolPage
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		page = SchoolPage{}
		sorted, err := f.sortSchools(ctx, tx, schools, filter)
		if err != nil {
			return err
		}
		page.Total = len(sorted)
		if sorted, err = filter.after(sorted); err != nil {
			return err
		}
		for _, s := range sorted[:min(len(sorted), filter.Limit)] {
			page.Items = append(page.Items, SchoolState{School: s.School})
		}
		if err := f.schoolStates(ctx, tx, page.Items); err != nil {
			return err
		}
		if n := len(page.Items); n > 0 && n < len(sorted) {
			page.Cursor = encodeJSON(filter.cursorAt(sorted[n-1]))
		}
		return nil
	})
	if err != nil {
		return SchoolPage{}, fmt.Errorf("counting the devices of schools: %w", err)
	}
	for _, s := range schools {
		page.Kinds = append(page.Kinds, s.Kind)
	}
	slices.Sort(page.Kinds)
	page.Kinds = slices.DeleteFunc(slices.Compact(page.Kinds), func(kind string) bool { return kind == "" })
	return page, nil
}

// sortSchools gives the schools of the filter in its order. How many devices of all
// schools are in trouble is asked only where the filter needs it.
func (f *Fleet) sortSchools(ctx context.Context, tx *db.Tx, schools []School, filter SchoolFilter) ([]sortedSchool, error) {
	var trouble, tcp map[string]int64
	var err error
	if filter.Trouble || filter.Sort == SchoolsByTrouble {
		if trouble, err = f.troubled(ctx, tx); err != nil {
			return nil, err
		}
	}
	if filter.Sort == SchoolsByTCP {
		if tcp, err = f.bySchool(ctx, tx, `SELECT COALESCE(`+inOne(tx, "'t' || h.device_id")+`, '') FROM health_devices h WHERE h.path IN ('tcp', 'tcp_proxy')`, map[byte]int64{'t': 1}); err != nil {
			return nil, err
		}
	}
	words := strings.Fields(fold(filter.Query))
	var out []sortedSchool
	for at, s := range schools {
		if !s.holds(words) || filter.Kind != "" && s.Kind != filter.Kind || filter.Owner != "" && s.Owner != filter.Owner || filter.Trouble && trouble[s.ID] == 0 {
			continue
		}
		one := sortedSchool{School: s, at: at}
		switch filter.Sort {
		case SchoolsByNumber:
			one.text = fold(s.Code)
		case SchoolsByName:
			one.text = fold(s.Title())
		case SchoolsByDevices:
			one.num = s.Devices
		case SchoolsByTrouble:
			one.num = trouble[s.ID]
		case SchoolsByTCP:
			one.num = tcp[s.ID]
		}
		out = append(out, one)
	}
	slices.SortFunc(out, filter.compare)
	return out, nil
}

func (f SchoolFilter) compare(a, b sortedSchool) int {
	way := cmp.Or(cmp.Compare(a.num, b.num), cmp.Compare(a.text, b.text))
	if f.Desc {
		way = -way
	}
	return cmp.Or(way, cmp.Compare(a.at, b.at))
}

func (f SchoolFilter) cursorAt(s sortedSchool) schoolCursor {
	return schoolCursor{f.Sort, f.Desc, s.text, s.num, s.ID}
}

// after gives what follows the cursor of the filter.
func (f SchoolFilter) after(sorted []sortedSchool) ([]sortedSchool, error) {
	if f.Cursor == "" {
		return sorted, nil
	}
	var c schoolCursor
	b, err := base64.RawURLEncoding.DecodeString(f.Cursor)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Sort != f.Sort || c.Desc != f.Desc || c.ID == "" {
		return nil, ErrCursor
	}
	// The place of the school in the usual order does not change; without it, because
	// the filter has it no more, what is alike begins anew.
	last := sortedSchool{text: c.Text, num: c.Num, at: -1}
	for _, s := range sorted {
		if s.ID == c.ID {
			last.at = s.at
		}
	}
	if last.at < 0 && f.Sort == SchoolsByPlace {
		return nil, ErrCursor
	}
	i := slices.IndexFunc(sorted, func(s sortedSchool) bool { return f.compare(s, last) > 0 })
	if i < 0 {
		return nil, nil
	}
	return sorted[i:], nil
}

// troubled says for each school with such devices how many are critical or have a
// warning; one critical device counts more than any number of warnings.
func (f *Fleet) troubled(ctx context.Context, tx *db.Tx) (map[string]int64, error) {
	return f.bySchool(ctx, tx, `SELECT COALESCE(`+inOne(tx, "CASE WHEN h.worst >= 3 THEN 'c' ELSE 'w' END || h.device_id")+`, '') FROM health_devices h
		WHERE h.worst >= 2 AND (`+heardSQL+`) AND h.device_id NOT IN `+revokedSQL,
		map[byte]int64{'c': 1_000_000, 'w': 1}, f.now().UnixMilli()/dayMS-int64(f.silentDays))
}

// bySchool adds up for each school what its devices that the query names count, by the
// letter before each.
func (f *Fleet) bySchool(ctx context.Context, tx *db.Tx, query string, counts map[byte]int64, args ...any) (map[string]int64, error) {
	named, err := oneText(ctx, tx, query, args...)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	return out, f.facts.read(ctx, tx, func() {
		for _, one := range named {
			if i, known := f.facts.at[one[1:]]; known {
				out[f.facts.all[i].school] += counts[one[0]]
			}
		}
		delete(out, "") // devices without a school
	})
}

func (s School) holds(words []string) bool {
	all := fold(strings.Join([]string{s.Code, s.Name, s.Kind, s.OwnerName}, " "))
	for _, w := range words {
		if !strings.Contains(all, w) {
			return false
		}
	}
	return true
}

// schoolStates counts within these schools, some hundred devices each at most.
func (f *Fleet) schoolStates(ctx context.Context, tx *db.Tx, list []SchoolState) error {
	if len(list) == 0 {
		return nil
	}
	at, marks, args := map[string]*SchoolState{}, make([]string, len(list)), []any{f.now().UnixMilli()/dayMS - int64(f.silentDays)}
	for i := range list {
		at[list[i].ID] = &list[i]
		args = append(args, list[i].ID)
		marks[i] = fmt.Sprintf("$%d", len(args))
	}
	rows, err := tx.Query(ctx, `SELECT school,
		COALESCE(SUM(CASE WHEN state = 'critical' THEN 1 END), 0), COALESCE(SUM(CASE WHEN state = 'warning' THEN 1 END), 0),
		COALESCE(SUM(CASE WHEN state = 'silent' THEN 1 END), 0), COALESCE(SUM(CASE WHEN state = 'connected' THEN 1 END), 0),
		COALESCE(SUM(CASE WHEN path = 'tcp' THEN 1 END), 0), COALESCE(SUM(CASE WHEN path = 'tcp_proxy' THEN 1 END), 0),
		COALESCE(SUM(CASE WHEN trouble = 'inspected' THEN 1 END), 0)
		FROM (SELECT d.school_id AS school, `+stateSQL+` AS state, COALESCE(h.path, '') AS path, COALESCE(h.trouble, '') AS trouble
			FROM devices d LEFT JOIN health_devices h ON h.device_id = d.id WHERE d.school_id IN (`+strings.Join(marks, ", ")+`)) x GROUP BY school`, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var s SchoolState
		if err := rows.Scan(&id, &s.Critical, &s.Warning, &s.Silent, &s.Connected, &s.TCP, &s.Proxy, &s.Inspected); err != nil {
			return err
		}
		s.School = at[id].School
		*at[id] = s
	}
	return rows.Close()
}
