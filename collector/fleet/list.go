package fleet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// MaxLimit is the longest page.
const MaxLimit = 500

// ErrCursor: a cursor that List did not give, or gave for another Filter.
var ErrCursor = errors.New("invalid cursor")

// sorts are the expressions of the orders, none of them ever NULL.
var sorts = map[Sort]string{
	ByLabel:   "d.label_key",
	ByModel:   "d.model",
	BySchool:  "COALESCE(s.code_key, '')",
	ByContact: "COALESCE(h.last_contact_day, -1)",
	ByBattery: "COALESCE(h.battery_permille, -1)",
	ByDisk:    "COALESCE(h.disk_free_bytes, -1)",
}

// numeric orders carry a number in their cursor, the others a text.
func (s Sort) numeric() bool { return s == ByContact || s == ByBattery || s == ByDisk }

// stateSQL is the rule of State; $1 is the first day that is not silent.
const stateSQL = `CASE
	WHEN d.id IN (SELECT device FROM enroll_devices WHERE revoked_ms IS NOT NULL) THEN 'revoked'
	WHEN h.worst >= 2 AND (` + heardSQL + `) THEN CASE WHEN h.worst >= 3 THEN 'critical' ELSE 'warning' END
	WHEN h.connected = 1 THEN 'connected'
	WHEN h.reported IS NULL OR h.reported = 0 THEN 'new'
	WHEN h.last_contact_day < $1 THEN 'silent'
	ELSE 'ok' END`

// heardSQL: neither new nor silent.
const heardSQL = `h.connected = 1 OR h.reported = 1 AND h.last_contact_day >= $1`

// cursor is where the next page begins: after this key and id.
type cursor struct {
	Sort  Sort   `json:"s"`
	Desc  bool   `json:"d,omitempty"`
	Text  string `json:"t,omitempty"`
	Num   int64  `json:"n,omitempty"`
	ID    string `json:"i"`
	Total int64  `json:"c"` // counted once, by the first page
	Of    string `json:"f"` // Filter.sum of what was counted
}

// sum tells apart which devices a filter asks for, of those that the caller may
// see: a cursor of another question would bring that one's Total along.
func (f Filter) sum(caller access.Caller) string {
	h := fnv.New64a()
	scope, owners := caller.Scope("", 1)
	fmt.Fprintf(h, "%q %q %q %q %q %q %d %q %q %q %q", strings.Fields(fold(f.Query)), f.State, f.School, f.Owner, f.Finding, fold(f.Label), f.Changed, f.Model, f.Build, scope, owners)
	return strconv.FormatUint(h.Sum64(), 36)
}

func (c cursor) encode() string { return encodeJSON(c) }

// encodeJSON writes a cursor as it stands in an address.
func encodeJSON(cursor any) string {
	b, err := json.Marshal(cursor)
	if err != nil {
		panic(fmt.Sprintf("fleet: encoding a cursor: %v", err)) // strings and numbers only
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s string, filter Filter, caller access.Caller) (cursor, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Sort != filter.Sort || c.Desc != filter.Desc || c.Of != filter.sum(caller) || c.ID == "" || !db.Holds(c.ID) || !db.Holds(c.Text) {
		return cursor{}, ErrCursor
	}
	return c, nil
}

// query is a SELECT over devices under construction.
type query struct {
	conditions []string
	args       []any
	order      Sort
	desc       bool
	byState    bool // a condition asks for it
}

// query begins with the caller's scope and the filter's conditions but State.
func (f *Fleet) query(caller access.Caller, filter Filter) *query {
	today := f.now().UnixMilli() / dayMS
	q := &query{args: []any{today - int64(f.silentDays)}, order: filter.Sort, desc: filter.Desc}
	if q.order == "" {
		q.order = ByLabel
	}
	scope, args := caller.Scope("d.owner_id", 2)
	q.conditions = append(q.conditions, scope)
	q.args = append(q.args, args...)
	// Where the word stands both databases find sooner than whether a pattern fits.
	position := "instr"
	if f.db.Dialect() == db.Postgres {
		position = "strpos"
	}
	for _, word := range words(filter.Query) {
		q.where(position+"(d.search, ?) > 0", word)
	}
	if filter.School != "" {
		q.where("d.school_id = ?", filter.School)
	}
	if filter.Owner != "" {
		q.where("d.owner_id = ?", filter.Owner)
	}
	if filter.Finding != "" {
		q.where("d.id IN (SELECT device_id FROM health_open_findings WHERE code = ?)", filter.Finding)
	}
	if filter.Label != "" {
		q.where("d.id IN (SELECT device_id FROM device_labels WHERE held = 1 AND label_key = ?)", fold(filter.Label))
	}
	if filter.Model != "" {
		q.where("d.model = ?", filter.Model)
	}
	if filter.Build != "" {
		q.where("d.id IN (SELECT device_id FROM health_devices WHERE os_build = ?)", filter.Build)
	}
	if filter.Changed > 0 {
		q.where("d.id IN (SELECT device_id FROM health_device_changes WHERE id >= ?)", filter.Changed)
	}
	return q
}

// where adds a condition; each ? in it takes the next value.
func (q *query) where(condition string, values ...any) {
	for _, v := range values {
		q.args = append(q.args, v)
		condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(q.args)), 1)
	}
	q.conditions = append(q.conditions, condition)
}

// among adds that a device is one of these, by a list of one of few lengths: each is
// a statement that SQLite keeps.
func (q *query) among(ids []string) {
	var params []string
	for i := 0; i < len(ids) || i&(i-1) != 0; i++ {
		q.args = append(q.args, ids[min(i, len(ids)-1)])
		params = append(params, fmt.Sprintf("$%d", len(q.args)))
	}
	q.conditions = append(q.conditions, "d.id IN ("+strings.Join(params, ", ")+")")
}

func (q *query) state(s State) {
	if s != "" {
		q.where("("+stateSQL+") = ?", string(s))
		q.byState = true
	}
}

// manyFound is from how many devices on a page of a list is found sooner by going
// along all devices in its order than by sorting those of the filter.
const manyFound = 1000

// walk keeps SQLite, which does not know how many there are, from looking up the
// devices of a list of ids and sorting them.
func (q *query) walk() {
	for i, c := range q.conditions {
		if rest, ok := strings.CutPrefix(c, "d.id IN ("); ok {
			q.conditions[i] = "d.id || '' IN (" + rest
		}
	}
}

func (q *query) whereSQL() string { return " WHERE " + strings.Join(q.conditions, " AND ") }

const dayMS = 24 * 60 * 60 * 1000

// List gives one page of the devices that the caller may see.
func (f *Fleet) List(ctx context.Context, caller access.Caller, filter Filter) (Page, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Page{}, err
	}
	if filter.Sort == "" {
		filter.Sort = ByLabel
	}
	if filter.Limit == 0 {
		filter.Limit = 50
	}
	switch {
	case sorts[filter.Sort] == "":
		return Page{}, fmt.Errorf("%w: no such order: %q", ErrInvalid, filter.Sort)
	case filter.Limit < 1 || filter.Limit > MaxLimit:
		return Page{}, fmt.Errorf("%w: limit must be 1 to %d", ErrInvalid, MaxLimit)
	}
	if err := filter.check(); err != nil {
		return Page{}, err
	}
	var after cursor
	if filter.Cursor != "" {
		var err error
		if after, err = decodeCursor(filter.Cursor, filter, caller); err != nil {
			return Page{}, err
		}
	}
	var page Page
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		page = Page{Total: after.Total}
		var found []string
		switch {
		case filter.Cursor != "":
		case filter.Counted != nil:
			page.Total, found = filter.Counted.of(filter.State), filter.Counted.found
		default:
			var err error
			if page.Total, found, err = f.total(ctx, tx, caller, filter); err != nil {
				return fmt.Errorf("counting the list: %w", err)
			}
		}
		if page.Total == 0 {
			return nil // all were looked at; none is found by a second look
		}
		return f.page(ctx, tx, caller, filter, found, after, &page)
	})
	if err != nil {
		return Page{}, fmt.Errorf("listing devices: %w", err)
	}
	return page, nil
}

// check refuses what says of no device whether it is one of the filter's.
func (f Filter) check() error {
	if f.State != "" && !slices.Contains(States, f.State) {
		return fmt.Errorf("%w: no such state: %q", ErrInvalid, f.State)
	}
	return checkQuery(f.Query)
}

// page reads one page; found are all devices of the filter whatever their state, nil
// if they are not known.
func (f *Fleet) page(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter, found []string, after cursor, page *Page) error {
	q := f.query(caller, filter)
	q.state(filter.State)
	if found != nil {
		q.among(found) // besides all else: they may have changed since they were found
	}
	if after.ID != "" {
		var key any = after.Text
		if filter.Sort.numeric() {
			key = after.Num
		}
		than := ">"
		if filter.Desc {
			than = "<"
		}
		q.where(fmt.Sprintf("(%s, d.id) %s (?, ?)", sorts[filter.Sort], than), key, after.ID)
	}
	if caller.Owners == nil && len(f.query(caller, filter).conditions) == 1 && filter.State == "" && (filter.Sort.numeric() || filter.Sort == BySchool) {
		ids, err := nearest(ctx, tx, filter, after)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			page.Items = []Device{}
			return nil
		}
		q = f.query(caller, filter)
		q.among(ids)
	}
	if found == nil && page.Total >= f.many && caller.Owners == nil && filter.Sort == ByLabel && tx.Dialect() == db.SQLite {
		q.walk()
	}
	// One more than asked for tells whether there is a next page.
	items, err := q.devices(ctx, tx, filter.Limit+1)
	if err != nil {
		return err
	}
	more := len(items) > filter.Limit
	items = items[:min(len(items), filter.Limit)]
	page.Items = make([]Device, len(items))
	for i, it := range items {
		page.Items[i] = it.Device
	}
	if err := filter.Details.fill(ctx, tx, page.Items); err != nil {
		return err
	}
	if more {
		last := items[len(items)-1]
		next := cursor{Sort: filter.Sort, Desc: filter.Desc, ID: last.ID, Text: last.text, Num: last.num, Total: page.Total, Of: filter.sum(caller)}
		page.Cursor = next.encode()
	}
	return nil
}

// numbers are what the numeric orders go by, NULL where unknown.
var numbers = map[Sort]string{ByContact: "h.last_contact_day", ByBattery: "h.battery_permille", ByDisk: "h.disk_free_bytes"}

// nearest finds the page's devices in an order of all there are that is not the
// devices' own, one more than asked for: those whose number or school is known, and
// the others by going along the devices until there are enough. Joining all devices
// with what they are sorted by costs six times as much and more.
func nearest(ctx context.Context, tx *db.Tx, filter Filter, after cursor) (ids []string, err error) {
	direction, than := "", ">"
	if filter.Desc {
		direction, than = " DESC", "<"
	}
	find := func(query string, args []any) error {
		rows, err := tx.Query(ctx, query+fmt.Sprintf(" LIMIT %d", filter.Limit+1-len(ids)), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Close()
	}
	// Who comes after whom within a part; none of it when the page before ended in
	// the other part.
	isKnown := after.Num >= 0
	key, name, id := any(after.Num), numbers[filter.Sort], "h.device_id"
	from, has := "health_devices h WHERE "+name+" IS NOT NULL", "NOT EXISTS (SELECT 1 FROM health_devices h WHERE h.device_id = d.id AND "+name+" IS NOT NULL)"
	if filter.Sort == BySchool {
		isKnown = after.Text != ""
		key, name, id = after.Text, "s.code_key", "d.id"
		// In this order of the tables, which SQLite takes from CROSS, and by the
		// index that has the schools in theirs: a school after the other, until
		// there are enough.
		from, has = "schools s CROSS JOIN devices d WHERE d.school_id = s.id AND s.code_key > ''", "d.school_id IS NULL"
	}
	known := func() error {
		where, args := "", []any(nil)
		if after.ID != "" && isKnown {
			where, args = fmt.Sprintf(" AND %s %s= $1 AND (%s, %s) %s ($1, $2)", name, than, name, id, than), []any{key, after.ID}
		}
		return find(`SELECT `+id+` FROM `+from+where+` ORDER BY `+name+direction+`, `+id+direction, args)
	}
	unknown := func() error {
		where, args := "", []any(nil)
		if after.ID != "" && !isKnown {
			where, args = " AND d.id "+than+" $1", []any{after.ID}
		}
		return find(`SELECT d.id FROM devices d WHERE `+has+where+` ORDER BY d.id`+direction, args)
	}
	// What is unknown stands before the lowest.
	parts := []func() error{unknown, known}
	if filter.Desc {
		parts = []func() error{known, unknown}
	}
	if after.ID != "" && isKnown != filter.Desc {
		parts = parts[1:] // the page before ended behind the first part
	}
	for _, part := range parts {
		if len(ids) > filter.Limit {
			break
		}
		if err := part(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// total counts the devices of the filter, its State too. found are those whatever
// their state, where they are few and had to be looked for.
func (f *Fleet) total(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) (n int64, found []string, err error) {
	if filter.State != "" {
		c, err := f.counts(ctx, tx, caller, filter)
		return c.of(filter.State), c.found, err
	}
	q := f.query(caller, filter)
	if filter.Query != "" {
		ids, err := f.find(ctx, tx, caller, filter)
		if n = int64(len(ids)); n <= f.looked {
			found = ids
		}
		return n, found, err
	}
	q.unstated()
	err = tx.QueryRow(ctx, "SELECT count(*) FROM devices d"+q.whereSQL(), q.args...).Scan(&n)
	return n, nil, err
}

// of counts those of a state, or without one all.
func (c Counts) of(state State) int64 {
	if state == "" {
		return c.Total
	}
	return c.States[state]
}

// unstated uses $1, which is the state's: PostgreSQL refuses a parameter that
// nothing uses.
func (q *query) unstated() { q.where("CAST($1 AS BIGINT) IS NOT NULL") }

// row is a device with the key that it is sorted by.
type row struct {
	Device
	text string
	num  int64
}

// devices finds the rows of one page first, in as narrow a form as will do, and
// reads what is shown of only those.
func (q *query) devices(ctx context.Context, tx *db.Tx, limit int) ([]row, error) {
	direction := ""
	if q.desc {
		direction = " DESC"
	}
	from := "devices d"
	if q.byState || q.order.numeric() {
		from += " LEFT JOIN health_devices h ON h.device_id = d.id"
	} else {
		q.unstated()
	}
	if q.order == BySchool {
		from += " LEFT JOIN schools s ON s.id = d.school_id"
	}
	sql := `SELECT d.id, d.owner_id, o.name, COALESCE(d.school_id, ''), COALESCE(s.code, ''), COALESCE(s.name, ''), COALESCE(s.kind, ''),
		d.manufacturer, d.model, d.serial, d.os, COALESCE(d.inventory, ''), ` + stateSQL + `,
		COALESCE(h.last_contact_day, -1), COALESCE(h.battery_permille, -1), COALESCE(h.disk_free_bytes, -1), COALESCE(h.disk_free_permille, -1),
		COALESCE(h.os_build, ''), COALESCE(h.path, ''), p.sort_key
		FROM (SELECT d.id AS page_id, ` + sorts[q.order] + ` AS sort_key FROM ` + from + q.whereSQL() +
		fmt.Sprintf(" ORDER BY sort_key%s, d.id%s LIMIT %d", direction, direction, limit) + `) p
		JOIN devices d ON d.id = p.page_id
		LEFT JOIN owners o ON o.id = d.owner_id
		LEFT JOIN schools s ON s.id = d.school_id
		LEFT JOIN health_devices h ON h.device_id = d.id
		ORDER BY p.sort_key` + direction + `, p.page_id` + direction
	rows, err := tx.Query(ctx, sql, q.args...)
	if err != nil {
		return nil, err
	}
	var out []row
	for rows.Next() {
		var r row
		var schoolName, kind, state string
		var day, battery, disk, permille int64
		var sortKey any = &r.text
		if q.order.numeric() {
			sortKey = &r.num
		}
		err := rows.Scan(&r.ID, &r.Owner, &r.OwnerName, &r.School, &r.SchoolCode, &schoolName, &kind,
			&r.Manufacturer, &r.Model, &r.Serial, &r.OS, &r.Inventory, &state, &day, &battery, &disk, &permille, &r.Build, &r.Path, sortKey)
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		r.State = State(state)
		if r.School != "" {
			r.SchoolName = schoolTitle(schoolName, kind, r.SchoolCode)
		}
		if day >= 0 {
			r.LastDay = time.UnixMilli(day * dayMS).UTC()
		}
		r.Battery, r.DiskFree, r.DiskPermille = known(battery), known(disk), known(permille)
		out = append(out, r)
	}
	return out, rows.Close()
}

func known(v int64) Opt {
	if v < 0 {
		return Opt{}
	}
	return Opt{Value: v, Known: true}
}

// Total counts the devices that the caller may see.
func (f *Fleet) Total(ctx context.Context, caller access.Caller) (n int64, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return 0, err
	}
	where, args := caller.Scope("owner_id", 1)
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM devices WHERE `+where, args...).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counting devices: %w", err)
	}
	return n, nil
}

// Counts counts the devices of the filter by state.
func (f *Fleet) Counts(ctx context.Context, caller access.Caller, filter Filter) (Counts, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Counts{}, err
	}
	if err := checkQuery(filter.Query); err != nil {
		return Counts{}, err
	}
	var c Counts
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		c, err = f.counts(ctx, tx, caller, filter)
		return err
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting devices: %w", err)
	}
	return c, nil
}

// counts adds up the states as if nothing were revoked, and then takes out the
// few devices that are: grouping by the whole rule costs four times as much.
func (f *Fleet) counts(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) (Counts, error) {
	q := f.query(caller, filter)
	where := q.whereSQL()
	var all stateSums
	var found []string
	var err error
	if caller.Owners == nil && len(q.conditions) == 1 {
		all, err = sumsOfAll(ctx, tx, q.args[0])
	} else {
		var ids []string
		if ids, err = f.find(ctx, tx, caller, filter); err == nil {
			all, found, err = f.sumsOfSome(ctx, tx, ids, q.args[0])
		}
	}
	if err != nil {
		return Counts{}, err
	}
	// CROSS makes SQLite begin with the few that are revoked.
	revoked, err := sums(ctx, tx, "enroll_devices e CROSS JOIN devices d LEFT JOIN health_devices h ON h.device_id = d.id"+
		where+" AND d.id = e.device AND e.revoked_ms IS NOT NULL", q.args)
	if err != nil {
		return Counts{}, err
	}
	c := Counts{found: found, Total: all.total, States: map[State]int64{
		StateRevoked:   revoked.total,
		StateCritical:  all.critical - revoked.critical,
		StateWarning:   all.warning - revoked.warning,
		StateConnected: all.connected - revoked.connected,
		StateNew:       all.fresh - revoked.fresh,
		StateSilent:    all.silent - revoked.silent,
	}}
	c.States[StateOK] = c.Total
	for _, state := range States {
		if state != StateOK {
			c.States[StateOK] -= c.States[state]
		}
	}
	return c, nil
}

type stateSums struct{ total, critical, warning, connected, fresh, silent int64 }

func sums(ctx context.Context, tx *db.Tx, from string, args []any) (s stateSums, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*),
		count(CASE WHEN h.worst >= 3 AND (`+heardSQL+`) THEN 1 END),
		count(CASE WHEN h.worst = 2 AND (`+heardSQL+`) THEN 1 END),
		count(CASE WHEN h.connected = 1 AND h.worst < 2 THEN 1 END),
		count(CASE WHEN h.connected = 1 THEN NULL WHEN h.reported = 1 THEN NULL ELSE 1 END),
		count(CASE WHEN h.connected = 1 OR h.reported = 0 THEN NULL WHEN h.last_contact_day < $1 THEN 1 END)
		FROM `+from, args...).Scan(&s.total, &s.critical, &s.warning, &s.connected, &s.fresh, &s.silent)
	return s, err
}

// mostLooked is how many devices' states are looked up one by one; of more than
// this it is quicker to read the states of all.
const mostLooked = 500

// sumsOfSome is sums of these devices, which were looked for once: that is what costs
// most. found are they, where they are few.
func (f *Fleet) sumsOfSome(ctx context.Context, tx *db.Tx, ids []string, firstDay any) (s stateSums, found []string, err error) {
	if len(ids) == 0 {
		return s, nil, nil
	}
	if int64(len(ids)) <= f.looked {
		s, err = sumsOfFew(ctx, tx, firstDay, ids)
		return s, ids, err
	}
	s = stateSums{total: int64(len(ids)), fresh: int64(len(ids))}
	// A letter before each id is quicker than groups, which the database would sort.
	// Who is new is among those that health has never heard of, and left out.
	var marked string
	err = tx.QueryRow(ctx, `SELECT COALESCE(`+inOne(tx, `CASE
		WHEN h.worst >= 2 AND (`+heardSQL+`) THEN CASE WHEN h.worst >= 3 THEN 'c' ELSE 'w' END
		WHEN h.connected = 1 THEN 'l' WHEN h.last_contact_day < $1 THEN 's' ELSE 'o' END || h.device_id`)+`, '')
		FROM health_devices h WHERE h.connected = 1 OR h.reported <> 0`, firstDay).Scan(&marked)
	if err != nil {
		return s, nil, err
	}
	counted := map[byte]*int64{'c': &s.critical, 'w': &s.warning, 'l': &s.connected, 's': &s.silent, 'o': new(int64)}
	err = f.facts.read(ctx, tx, func() {
		some := f.facts.among(ids)
		for one := range strings.SplitSeq(marked, ",") {
			if one == "" {
				continue
			}
			if i, known := f.facts.at[one[1:]]; known && some[i] {
				*counted[one[0]]++
				s.fresh--
			}
		}
	})
	return s, nil, err
}

// sumsOfFew is sums of these devices, by what health knows of them.
func sumsOfFew(ctx context.Context, tx *db.Tx, firstDay any, ids []string) (stateSums, error) {
	q := query{args: []any{firstDay}}
	q.among(ids)
	s, err := sums(ctx, tx, "health_devices h WHERE "+strings.Replace(q.conditions[0], "d.id", "h.device_id", 1), q.args)
	n := int64(len(ids))
	s.total, s.fresh = n, s.fresh+n-s.total
	return s, err
}

// sumsOfAll is sums of every device there is, without joining one with the
// other: the first thing that a page over all of Hesse asks.
func sumsOfAll(ctx context.Context, tx *db.Tx, firstDay any) (stateSums, error) {
	s, err := sums(ctx, tx, "health_devices h", []any{firstDay})
	if err != nil {
		return stateSums{}, err
	}
	known := s.total
	err = tx.QueryRow(ctx, `SELECT count(*) FROM devices`).Scan(&s.total)
	s.fresh += s.total - known // devices that health has never heard of
	return s, err
}
