package fleet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// MaxLimit is the longest page.
const MaxLimit = 500

// ErrCursor: a cursor that List did not give, or gave for another order.
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
	WHEN h.connected = 1 THEN 'connected'
	WHEN h.reported IS NULL OR h.reported = 0 THEN 'new'
	WHEN h.last_contact_day < $1 THEN 'silent'
	ELSE 'ok' END`

// cursor is where the next page begins: after this key and id.
type cursor struct {
	Sort  Sort   `json:"s"`
	Desc  bool   `json:"d,omitempty"`
	Text  string `json:"t,omitempty"`
	Num   int64  `json:"n,omitempty"`
	ID    string `json:"i"`
	Total int64  `json:"c"` // counted once, by the first page
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("fleet: encoding a cursor: %v", err)) // strings and numbers only
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s string, order Sort, desc bool) (cursor, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Sort != order || c.Desc != desc || c.ID == "" {
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
	for _, pattern := range patterns(filter.Query) {
		q.where(`d.search LIKE ? ESCAPE '\'`, pattern)
	}
	if filter.School != "" {
		q.where("d.school_id = ?", filter.School)
	}
	if filter.Owner != "" {
		q.where("d.owner_id = ?", filter.Owner)
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

func (q *query) state(s State) {
	if s != "" {
		q.where("("+stateSQL+") = ?", string(s))
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
	case filter.State != "" && !slices.Contains(States, filter.State):
		return Page{}, fmt.Errorf("%w: no such state: %q", ErrInvalid, filter.State)
	case filter.Limit < 1 || filter.Limit > MaxLimit:
		return Page{}, fmt.Errorf("%w: limit must be 1 to %d", ErrInvalid, MaxLimit)
	}
	var after cursor
	if filter.Cursor != "" {
		var err error
		if after, err = decodeCursor(filter.Cursor, filter.Sort, filter.Desc); err != nil {
			return Page{}, err
		}
	}
	var page Page
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		page = Page{Total: after.Total}
		if filter.Cursor == "" {
			var err error
			if page.Total, err = f.total(ctx, tx, caller, filter); err != nil {
				return fmt.Errorf("counting the list: %w", err)
			}
		}
		return f.page(ctx, tx, caller, filter, after, &page)
	})
	if err != nil {
		return Page{}, fmt.Errorf("listing devices: %w", err)
	}
	return page, nil
}

func (f *Fleet) page(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter, after cursor, page *Page) error {
	q := f.query(caller, filter)
	q.state(filter.State)
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
	if more {
		last := items[len(items)-1]
		next := cursor{Sort: filter.Sort, Desc: filter.Desc, ID: last.ID, Text: last.text, Num: last.num, Total: page.Total}
		page.Cursor = next.encode()
	}
	return nil
}

func (f *Fleet) total(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter) (int64, error) {
	q := f.query(caller, filter)
	q.state(filter.State)
	from := " FROM devices d"
	if filter.State != "" {
		from += " LEFT JOIN health_devices h ON h.device_id = d.id"
	} else {
		// $1 is the state's; PostgreSQL refuses a parameter that nothing uses.
		q.where("CAST($1 AS BIGINT) IS NOT NULL")
	}
	var n int64
	err := tx.QueryRow(ctx, "SELECT count(*)"+from+q.whereSQL(), q.args...).Scan(&n)
	return n, err
}

// row is a device with the key that it is sorted by.
type row struct {
	Device
	text string
	num  int64
}

func (q *query) devices(ctx context.Context, tx *db.Tx, limit int) ([]row, error) {
	direction := ""
	if q.desc {
		direction = " DESC"
	}
	key := sorts[q.order]
	sql := `SELECT d.id, d.owner_id, o.name, COALESCE(d.school_id, ''), COALESCE(s.code, ''), COALESCE(s.name, ''), COALESCE(s.kind, ''),
		d.manufacturer, d.model, d.serial, d.os, COALESCE(d.inventory, ''), ` + stateSQL + `,
		COALESCE(h.last_contact_day, -1), COALESCE(h.battery_permille, -1), COALESCE(h.disk_free_bytes, -1), COALESCE(h.disk_free_permille, -1), ` + key + `
		FROM devices d JOIN owners o ON o.id = d.owner_id
		LEFT JOIN schools s ON s.id = d.school_id
		LEFT JOIN health_devices h ON h.device_id = d.id` + q.whereSQL() +
		fmt.Sprintf(" ORDER BY %s%s, d.id%s LIMIT %d", key, direction, direction, limit)
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
			&r.Manufacturer, &r.Model, &r.Serial, &r.OS, &r.Inventory, &state, &day, &battery, &disk, &permille, sortKey)
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

// Counts counts the devices of the filter by state.
func (f *Fleet) Counts(ctx context.Context, caller access.Caller, filter Filter) (Counts, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Counts{}, err
	}
	var c Counts
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		c = Counts{States: make(map[State]int64, len(States))}
		for _, s := range States {
			c.States[s] = 0
		}
		q := f.query(caller, filter)
		rows, err := tx.Query(ctx, `SELECT `+stateSQL+` AS state, count(*) FROM devices d
			LEFT JOIN health_devices h ON h.device_id = d.id`+q.whereSQL()+` GROUP BY 1`, q.args...)
		if err != nil {
			return err
		}
		for rows.Next() {
			var state string
			var n int64
			if err := rows.Scan(&state, &n); err != nil {
				return errors.Join(err, rows.Close())
			}
			c.States[State(state)] = n
			c.Total += n
		}
		return rows.Close()
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting devices: %w", err)
	}
	return c, nil
}
