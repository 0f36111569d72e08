package fleet

import (
	"fmt"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

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
	WHEN d.id IN ` + revokedSQL + ` THEN 'revoked'
	WHEN h.worst >= 2 AND (` + heardSQL + `) THEN CASE WHEN h.worst >= 3 THEN 'critical' ELSE 'warning' END
	WHEN h.connected = 1 THEN 'connected'
	WHEN h.reported IS NULL OR h.reported = 0 THEN 'new'
	WHEN h.last_contact_day < $1 THEN 'silent'
	ELSE 'ok' END`

// revokedSQL are the few that are. What was open about one of them is part of its past:
// nobody has to do anything about it.
const revokedSQL = `(SELECT device FROM enroll_devices WHERE revoked_ms IS NOT NULL)`

// heardSQL: neither new nor silent.
const heardSQL = `h.connected = 1 OR h.reported = 1 AND h.last_contact_day >= $1`

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
		q.where("d.id IN (SELECT device_id FROM health_open_findings WHERE code = ? AND device_id NOT IN "+revokedSQL+")", filter.Finding)
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
	if filter.Update != "" {
		q.where("d.id NOT IN " + revokedSQL)
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

// behind leaves what comes after the page before.
func (q *query) behind(after cursor) {
	if after.ID == "" {
		return
	}
	var key any = after.Text
	if q.order.numeric() {
		key = after.Num
	}
	than := ">"
	if q.desc {
		than = "<"
	}
	q.where(fmt.Sprintf("(%s, d.id) %s (?, ?)", sorts[q.order], than), key, after.ID)
}

func (q *query) direction() string {
	if q.desc {
		return " DESC"
	}
	return ""
}

// keys is the query for the ids of the first devices, page_id, each with the key that it
// is sorted by.
func (q *query) keys(limit int) string {
	from := "devices d"
	if q.byState || q.order.numeric() {
		from += " LEFT JOIN health_devices h ON h.device_id = d.id"
	} else {
		q.unstated()
	}
	if q.order == BySchool {
		from += " LEFT JOIN schools s ON s.id = d.school_id"
	}
	return `SELECT d.id AS page_id, ` + sorts[q.order] + ` AS sort_key FROM ` + from + q.whereSQL() +
		fmt.Sprintf(" ORDER BY sort_key%[1]s, d.id%[1]s LIMIT %[2]d", q.direction(), limit)
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

// unstated uses $1, which is the state's: PostgreSQL refuses a parameter that
// nothing uses.
func (q *query) unstated() { q.where("CAST($1 AS BIGINT) IS NOT NULL") }
