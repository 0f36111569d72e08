package question

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

var factColumns = map[Fact]string{Model: "f.model", Manufacturer: "f.manufacturer", Owner: "f.owner_id", School: "f.school_id", System: "f.os"}

// choosable are the facts whose values are asked for by Choices.
var choosable = []Fact{Model, Manufacturer, SchoolKind, System, Agent}

// factsSQL is the WHERE of the devices that the caller may see and that are what
// the question asks for.
func factsSQL(caller access.Caller, q Question) (where string, args []any) {
	where, args = caller.Scope("f.owner_id", 1)
	for _, c := range q.Conditions {
		if c.reading() {
			continue
		}
		mark := fmt.Sprintf("$%d", len(args)+1)
		value := c.Value
		column, condition := factColumns[Fact(c.Name)], ""
		switch {
		case Fact(c.Name) == OpenFinding && c.Op == Is:
			condition = "f.device_id IN (SELECT device_id FROM health_open_findings WHERE code = " + mark + ")"
		case Fact(c.Name) == OpenFinding:
			condition = "f.device_id NOT IN (SELECT device_id FROM health_open_findings WHERE code = " + mark + ")"
		case Fact(c.Name) == SchoolKind && c.Op == Is:
			condition = "f.school_id IN (SELECT school_id FROM fleet_schools WHERE kind = " + mark + ")"
		case Fact(c.Name) == SchoolKind: // a device without a school has none either
			condition = "COALESCE(f.school_id, '') NOT IN (SELECT school_id FROM fleet_schools WHERE kind = " + mark + ")"
		case Fact(c.Name) == Agent && c.Op == Is:
			condition = "f.device_id IN (SELECT device_id FROM health_agent_versions WHERE version = " + mark + ")"
		case Fact(c.Name) == Agent: // a device that has never come has no version
			condition = "f.device_id NOT IN (SELECT device_id FROM health_agent_versions WHERE version = " + mark + ")"
		case c.Op == Is:
			condition = column + " = " + mark
		case c.Op == IsNot:
			condition = "COALESCE(" + column + ", '') <> " + mark
		default:
			condition = "LOWER(" + column + ") LIKE " + mark + ` ESCAPE '\'`
			value = "%" + likeEscapes.Replace(strings.ToLower(value)) + "%"
		}
		where, args = where+" AND "+condition, append(args, value)
	}
	return where, args
}

var likeEscapes = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// devices are the numbers of the devices that factsSQL names, of at most
// numbers. They come as one text: 70,000 rows would take ten times as long.
func devices(ctx context.Context, tx *db.Tx, caller access.Caller, q Question) (set, error) {
	where, args := factsSQL(caller, q)
	together := "group_concat(f.number)"
	if tx.Dialect() == db.Postgres {
		together = "string_agg(CAST(f.number AS TEXT), ',')"
	}
	var text string
	if err := tx.QueryRow(ctx, `SELECT COALESCE(`+together+`, '') FROM fleet_facts f WHERE `+where, args...).Scan(&text); err != nil {
		return nil, err
	}
	var out set
	for text != "" {
		part, rest, _ := strings.Cut(text, ",")
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n >= maxNumbers {
			return nil, fmt.Errorf("device number %q: %w", part, errors.Join(err, errColumn))
		}
		if need := n/64 + 1; need > len(out) {
			out = append(out, make(set, need-len(out))...)
		}
		out.add(n)
		text = rest
	}
	return out, nil
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
		// From one model to the next by the index, instead of past each device.
		query, args = `WITH RECURSIVE next (model) AS (SELECT MIN(model) FROM fleet_facts WHERE model > ''
			UNION ALL SELECT (SELECT MIN(f.model) FROM fleet_facts f WHERE f.model > next.model) FROM next WHERE next.model IS NOT NULL)
			SELECT model FROM next WHERE model IS NOT NULL LIMIT `+strconv.Itoa(maxChoices), nil
	}
	return db.Texts(ctx, tx, query, args...)
}

func (q *Questions) words(ctx context.Context, tx *db.Tx, caller access.Caller, name string) (values []string, err error) {
	seen, err := devices(ctx, tx, caller, Question{})
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
