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
	fmt.Fprintf(h, "%q %q %q %q %q %q %d %q %q %q %q %q", strings.Fields(fold(f.Query)), f.State, f.School, f.Owner, f.Finding, fold(f.Label), f.Changed, f.Model, f.Build, f.Update, scope, owners)
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
	filter, err := f.lookUp(ctx, caller, filter)
	if err != nil {
		return Page{}, err
	}
	var after cursor
	if filter.Cursor != "" {
		if after, err = decodeCursor(filter.Cursor, filter, caller); err != nil {
			return Page{}, err
		}
	}
	var page Page
	err = f.db.Read(ctx, func(tx *db.Tx) error {
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
	q.behind(after)
	if few, ok := filter.updated.few(f.looked); ok && found == nil {
		found = few
	}
	switch {
	case found != nil && len(found) == 0:
		page.Items = []Device{}
		return nil
	case found != nil:
		q.among(found) // besides all else: they may have changed since they were found
	case filter.updated != nil || f.ofAll(caller, filter):
		ids, err := f.ahead(ctx, tx, caller, filter, after)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			page.Items = []Device{}
			return nil
		}
		q = f.query(caller, filter)
		q.among(ids)
	case page.Total >= f.many && caller.Owners == nil && filter.Sort == ByLabel && tx.Dialect() == db.SQLite:
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

// ofAll says whether nearest finds the devices of a filter, or those among which the
// updated are.
func (f *Fleet) ofAll(caller access.Caller, filter Filter) bool {
	filter.Update = ""
	return caller.Owners == nil && filter.State == "" && (filter.Sort.numeric() || filter.Sort == BySchool) && len(f.query(caller, filter).conditions) == 1
}

// ahead finds the devices of a page, one more than asked for, where that is quicker than
// to ask for them as they are shown.
func (f *Fleet) ahead(ctx context.Context, tx *db.Tx, caller access.Caller, filter Filter, after cursor) ([]string, error) {
	find := func(most int) ([]string, error) {
		if f.ofAll(caller, filter) {
			return nearest(ctx, tx, filter, after, most)
		}
		q := f.query(caller, filter)
		q.state(filter.State)
		q.behind(after)
		q.unstated()
		keys := q.keys(most)
		return oneText(ctx, tx, `SELECT COALESCE(`+inOne(tx, "p.page_id")+`, '') FROM (`+keys+`) p`, q.args...)
	}
	if filter.updated == nil {
		return find(filter.Limit + 1)
	}
	return f.along(ctx, tx, filter.updated, filter.Limit+1, find)
}

// numbers are what the numeric orders go by, NULL where unknown.
var numbers = map[Sort]string{ByContact: "h.last_contact_day", ByBattery: "h.battery_permille", ByDisk: "h.disk_free_bytes"}

// nearest finds the next devices in an order of all there are that is not the
// devices' own: those whose number or school is known, and
// the others by going along the devices until there are enough. Joining all devices
// with what they are sorted by costs six times as much and more.
func nearest(ctx context.Context, tx *db.Tx, filter Filter, after cursor, most int) (ids []string, err error) {
	direction, than := "", ">"
	if filter.Desc {
		direction, than = " DESC", "<"
	}
	find := func(query string, args []any) error {
		rows, err := tx.Query(ctx, query+fmt.Sprintf(" LIMIT %d", most-len(ids)), args...)
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
		if len(ids) >= most {
			break
		}
		if err := part(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// row is a device with the key that it is sorted by.
type row struct {
	Device
	text string
	num  int64
}

// devices finds the rows of one page first, in as narrow a form as will do, and
// reads what is shown of only those.
func (q *query) devices(ctx context.Context, tx *db.Tx, limit int) ([]row, error) {
	direction := q.direction()
	sql := `SELECT d.id, d.owner_id, o.name, COALESCE(d.school_id, ''), COALESCE(s.code, ''), COALESCE(s.name, ''), COALESCE(s.kind, ''),
		d.manufacturer, d.model, d.serial, d.os, COALESCE(d.inventory, ''), ` + stateSQL + `,
		COALESCE(h.last_contact_day, -1), COALESCE(h.battery_permille, -1), COALESCE(h.disk_free_bytes, -1), COALESCE(h.disk_free_permille, -1),
		COALESCE(h.os_build, ''), COALESCE(h.path, ''), p.sort_key
		FROM (` + q.keys(limit) + `) p
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
