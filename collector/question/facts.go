package question

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

var factColumns = map[Fact]string{Model: "f.model", Manufacturer: "f.manufacturer", Owner: "f.owner_id", School: "f.school_id", System: "f.os"}

// choosable are the facts whose values are asked for by Choices.
var choosable = []Fact{Model, Manufacturer, SchoolKind, System, Agent}

// lists are the queries of the devices that have a fact which is not their own, but
// written beside them. A device that has told none is not what somebody asks for, and
// is what he asks not to be.
var lists = map[Fact]string{
	OpenFinding: "SELECT DISTINCT device_id FROM health_open_findings WHERE code = $1 AND device_id NOT IN (SELECT device FROM enroll_devices WHERE revoked_ms IS NOT NULL)",
	Agent:       "SELECT device_id FROM health_agent_versions WHERE version = $1",
}

// factsSQL is the WHERE of the devices that the caller may see and that are what
// the question asks for, but for lists. models are all that there are: which of them
// hold a text is told sooner than which devices do; nil = too many.
func factsSQL(caller access.Caller, q Question, models []string) (where string, args []any) {
	where, args = caller.Scope("f.owner_id", 1)
	for _, c := range q.Conditions {
		if c.reading() || lists[Fact(c.Name)] != "" {
			continue
		}
		mark := fmt.Sprintf("$%d", len(args)+1)
		value := c.Value
		column, condition := factColumns[Fact(c.Name)], ""
		switch {
		case Fact(c.Name) == SchoolKind && c.Op == Is:
			condition = "f.school_id IN (SELECT school_id FROM fleet_schools WHERE kind = " + mark + ")"
		case Fact(c.Name) == SchoolKind: // a device without a school has none either
			condition = "COALESCE(f.school_id, '') NOT IN (SELECT school_id FROM fleet_schools WHERE kind = " + mark + ")"
		case c.Op == Is:
			condition = column + " = " + mark
		case c.Op == IsNot:
			condition = "COALESCE(" + column + ", '') <> " + mark
		case Fact(c.Name) == Model && models != nil:
			in := []string{"NULL"}
			for _, model := range models {
				if strings.Contains(strings.ToLower(model), strings.ToLower(c.Value)) {
					args = append(args, model)
					in = append(in, fmt.Sprintf("$%d", len(args)))
				}
			}
			where += " AND f.model IN (" + strings.Join(in, ", ") + ")"
			continue
		default:
			condition = "LOWER(" + column + ") LIKE " + mark + ` ESCAPE '\'`
			value = "%" + likeEscapes.Replace(strings.ToLower(value)) + "%"
		}
		where, args = where+" AND "+condition, append(args, value)
	}
	return where, args
}

var likeEscapes = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// devices are the numbers of the devices that the caller may see and that are what
// the question asks for.
func (q *Questions) devices(ctx context.Context, tx *db.Tx, caller access.Caller, question Question) (set, error) {
	models, err := modelsOf(ctx, tx, question)
	if err != nil {
		return nil, err
	}
	where, args := factsSQL(caller, question, models)
	together := "group_concat(f.number)"
	if tx.Dialect() == db.Postgres {
		together = "string_agg(CAST(f.number AS TEXT), ',')"
	}
	var out set
	err = eachOf(ctx, tx, `SELECT COALESCE(`+together+`, '') FROM fleet_facts f WHERE `+where, args, func(part string) error {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n >= maxNumbers {
			return fmt.Errorf("device number %q: %w", part, errors.Join(err, errColumn))
		}
		out.grow(n)
		out.add(n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range question.Conditions {
		list := lists[Fact(c.Name)]
		if list == "" {
			continue
		}
		having, err := q.having(ctx, tx, list, c.Value)
		if err != nil {
			return nil, err
		}
		if c.Op == Is {
			out.keep(having)
		} else {
			out.each2(having, func(a, b uint64) uint64 { return a &^ b })
		}
	}
	return out, nil
}

// modelsOf are all models, if the question asks which hold a text and they are few.
func modelsOf(ctx context.Context, tx *db.Tx, q Question) ([]string, error) {
	if !slices.ContainsFunc(q.Conditions, func(c Condition) bool { return Fact(c.Name) == Model && c.Op == Holds }) {
		return nil, nil
	}
	models, err := db.Texts(ctx, tx, everyModel)
	if len(models) >= maxChoices {
		return nil, err
	}
	return models, err
}

// eachOf gives the values that a query gives as one text: 70,000 rows would take ten
// times as long.
func eachOf(ctx context.Context, tx *db.Tx, query string, args []any, give func(string) error) error {
	var text string
	if err := tx.QueryRow(ctx, query, args...).Scan(&text); err != nil {
		return err
	}
	for text != "" {
		part, rest, _ := strings.Cut(text, ",")
		if err := give(part); err != nil {
			return err
		}
		text = rest
	}
	return nil
}

// having are the numbers of the devices of a list, whoever may see them.
func (q *Questions) having(ctx context.Context, tx *db.Tx, list, value string) (set, error) {
	together := "group_concat(device_id)"
	if tx.Dialect() == db.Postgres {
		together = "string_agg(device_id, ',')"
	}
	if err := q.given.catchUp(ctx, tx); err != nil {
		return nil, err
	}
	q.given.mu.RLock()
	defer q.given.mu.RUnlock()
	var out set
	err := eachOf(ctx, tx, `SELECT COALESCE(`+together+`, '') FROM (`+list+`) listed`, []any{value}, func(id string) error {
		if n, known := q.given.of[id]; known {
			out.grow(n)
			out.add(n)
		}
		return nil
	})
	return out, err
}

// numbers are those of devices by their ids, some 10 MB for 70,000. A device has its
// number for good, so only new ones are ever read; to look each of some thousand up
// by its id takes a database longer than all the rest of a question.
type numbers struct {
	mu sync.RWMutex
	// below is guarded by mu
	most int
	of   map[string]int
}

// catchUp reads the numbers of devices that came since the last time.
func (n *numbers) catchUp(ctx context.Context, tx *db.Tx) error {
	var most int
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(number), 0) FROM fleet_facts`).Scan(&most); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.most >= most {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT device_id, number FROM fleet_facts WHERE number > $1 ORDER BY number`, n.most)
	if err != nil {
		return err
	}
	defer rows.Close()
	if n.of == nil {
		n.of = map[string]int{}
	}
	for rows.Next() {
		var id string
		var number int
		if err := rows.Scan(&id, &number); err != nil {
			return err
		}
		if number < 0 || number >= maxNumbers {
			return fmt.Errorf("device number %d: %w", number, errColumn)
		}
		n.of[id], n.most = number, number
	}
	return rows.Close()
}

// deviceIDs are the ids of the devices of these numbers.
func deviceIDs(ctx context.Context, tx *db.Tx, numbers []int) (map[int]string, error) {
	out := make(map[int]string, len(numbers))
	if len(numbers) == 0 {
		return out, nil
	}
	list := make([]string, len(numbers)) // numbers only, no text of anybody
	for i, n := range numbers {
		list[i] = strconv.Itoa(n)
	}
	rows, err := tx.Query(ctx, `SELECT number, device_id FROM fleet_facts WHERE number IN (`+strings.Join(list, ", ")+`)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		var id string
		if err := rows.Scan(&n, &id); err != nil {
			return nil, err
		}
		out[n] = id
	}
	return out, rows.Close()
}

// maxChoices bounds what is offered; more than this nobody reads through.
const maxChoices = 500

// Choices are the values that a fact or a text has among the devices that the
// caller may see, sorted; none where they are no list (schools have their own,
// codes stand in the table of readings).
func (q *Questions) Choices(ctx context.Context, caller access.Caller, name string) (values []string, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	ctx, done, err := q.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	err = q.db.Read(ctx, func(tx *db.Tx) error {
		values = nil
		if slices.Contains(choosable, Fact(name)) {
			values, err = factValues(ctx, tx, caller, Fact(name))
			return err
		}
		if r, ok := asked(name); !ok || r.Codes != nil {
			return nil
		}
		values, err = q.words(ctx, tx, caller, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the values of %s: %w", name, tooLong(ctx, err))
	}
	return values, nil
}

// everyModel goes from one model to the next by the index, instead of past each device.
var everyModel = `WITH RECURSIVE next (model) AS (SELECT MIN(model) FROM fleet_facts WHERE model > ''
	UNION ALL SELECT (SELECT MIN(f.model) FROM fleet_facts f WHERE f.model > next.model) FROM next WHERE next.model IS NOT NULL)
	SELECT model FROM next WHERE model IS NOT NULL LIMIT ` + strconv.Itoa(maxChoices)

func factValues(ctx context.Context, tx *db.Tx, caller access.Caller, f Fact) (values []string, err error) {
	column, from, on := factColumns[f], "fleet_facts", ""
	if f == SchoolKind {
		column, from = "f.kind", "fleet_schools"
	}
	if f == Agent {
		column, from, on = "v.version", "health_agent_versions v JOIN fleet_facts", " ON f.device_id = v.device_id"
	}
	where, args := caller.Scope("f.owner_id", 1)
	query := `SELECT DISTINCT ` + column + ` FROM ` + from + ` f` + on + ` WHERE ` + where + ` AND ` + column + ` <> '' ORDER BY 1 LIMIT ` + strconv.Itoa(maxChoices)
	if f == Model && caller.Owners == nil {
		query, args = everyModel, nil
	}
	return db.Texts(ctx, tx, query, args...)
}

func (q *Questions) words(ctx context.Context, tx *db.Tx, caller access.Caller, name string) (values []string, err error) {
	seen, err := q.devices(ctx, tx, caller, Question{})
	if err != nil {
		return nil, err
	}
	weeks, err := q.load(ctx, tx, []string{name})
	if err != nil {
		return nil, err
	}
	c := present(weeks, name)
	used := make([]bool, len(c.words))
	seen.keep(c.known)
	seen.each(func(n int) bool {
		if c.words != nil {
			used[c.values[n]] = true
		}
		return true
	})
	for i, word := range c.words {
		if used[i] && word != "" {
			values = append(values, word)
		}
	}
	slices.Sort(values)
	return values[:min(len(values), maxChoices)], nil
}
