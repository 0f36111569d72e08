package web

import (
	"maps"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/collector/web/words"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// kinds are what the texts and numbers of the API can be, by the tag is of a field
// and by param.Is. Each list is the one by which the program itself goes. A test
// wants each text of a body or an answer to have one.
var kinds = map[string]map[string]any{
	"text":        {}, // anything that people or devices write
	"uuid":        {"format": "uuid"},
	"time":        {"format": "date-time"},
	"day":         {"format": "date"},
	"day_or_time": {"anyOf": []any{map[string]any{"format": "date"}, map[string]any{"format": "date-time"}}},
	"month":       {"pattern": `^\d{4}-\d{2}$`},
	"hash":        {"pattern": `^([0-9a-f]{64})?$`},
	"number":      {"pattern": `^[0-9]+$`},
	"id_or_none":  {"pattern": `^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$`},

	"state":        oneOf(fleet.States),
	"sort":         oneOf(bothWays(fleet.Sorts)),
	"school_sort":  oneOf(bothWays(fleet.SchoolSorts)),
	"yes":          oneOf([]string{"1"}),
	"act":          oneOf(fleet.Acts),
	"act_of_job":   oneOf(jobActs),
	"job_state":    oneOf(fleet.JobStates),
	"outcome":      oneOf(fleet.Outcomes),
	"sharing":      oneOf(fleet.Sharings),
	"dimension":    oneOf(fleet.Dimensions),
	"column":       oneOf(columnIDs()),
	"role":         oneOf(access.Roles),
	"caller":       oneOf([]access.Kind{access.KindUser, access.KindToken}),
	"severity":     oneOf(severities()),
	"worst":        oneOf(append(severities(), noSeverity)),
	"finding":      oneOf(findingCodes()),
	"quiet":        oneOf([]string{acknowledged, snoozed}),
	"kept":         oneOf(health.KeptClasses),
	"reading":      oneOf(readingNames()),
	"asked":        oneOf(askedNames()),
	"unit":         oneOf(unitNames()),
	"absent":       oneOf(absentNames()),
	"hit":          oneOf(hitKinds),
	"change_event": oneOf(changeEvents()),
	"live_event":   oneOf(liveEvents),
	"order":        oneOf(orders),
	"protocol":     oneOf(protocols),

	"minute":        {"pattern": `^\d{2}:\d{2}$`}, // of the day, as a clock on the wall shows it
	"days_kind":     oneOf(rollout.DaysKinds),
	"rollout_state": oneOf(rollout.States),
	"rollout_verb":  oneOf(rollout.Verbs),
	"why":           oneOf(rollout.Whys),
	"update":        oneOf(rollout.Words),
	"cause":         oneOf(gate.Causes),
	"wait":          oneOf(gate.Waits),
	"part":          oneOf(gate.Dimensions),

	"language":       oneOf(words.Langs),
	"theme":          oneOf(themeChoices),
	"keys":           oneOf(keyChoices),
	"no_language":    orNone(words.Langs),
	"no_theme":       orNone(themeChoices),
	"no_keys":        orNone(keyChoices),
	"no_role":        orNone(access.Roles), // the operator of the collector has none
	"house_language": orNone(access.HouseLanguages),
	"house_theme":    orNone(access.HouseThemes),

	"any_limit": {"type": "integer", "minimum": 1, "maximum": maxPage},
	"limit":     {"type": "integer", "minimum": 1, "maximum": maxPage, "default": pageSize},
	"step":      {"type": "integer", "minimum": leastStep, "maximum": mostStep, "multipleOf": leastStep, "default": int64(health.Day.Seconds())},
	"cap":       {"type": "integer", "minimum": 1, "maximum": enroll.MaxCap},
	"days":      {"type": "integer", "minimum": 1},
	"count":     {"type": "integer", "minimum": 0},
}

// kindOf is a kind as a schema of its own.
func kindOf(name string) map[string]any {
	kind := maps.Clone(kinds[name])
	if kind["type"] == nil {
		kind["type"] = "string"
	}
	return kind
}

func texts[T ~string](list []T) []string { return each(list, func(t T) string { return string(t) }) }

func oneOf[T ~string](list []T) map[string]any { return map[string]any{"enum": texts(list)} }

// orNone is oneOf where an empty text says that nothing is chosen.
func orNone[T ~string](list []T) map[string]any {
	return map[string]any{"enum": append([]string{""}, texts(list)...)}
}

func bothWays[T ~string](sorts []T) (out []string) {
	for _, s := range texts(sorts) {
		out = append(out, s, "-"+s)
	}
	return out
}

func columnIDs() []string { return each(listColumns, func(c listColumn) string { return c.id }) }

// noSeverity is the worst of a device about which nothing is open.
const noSeverity = "none"

func severities() []string {
	numbers := slices.Sorted(maps.Keys(hmpb.Severity_name))
	return each(numbers[1:], func(n int32) string { return severityName(hmpb.Severity(n)) }) // the first is unspecified
}

func absentNames() []string {
	numbers := slices.Sorted(maps.Keys(hmpb.Absent_name))
	return each(numbers[1:], func(n int32) string { return absentName(hmpb.Absent(n)) })
}

func findingCodes() (out []string) {
	for f := range finding.All() {
		out = append(out, f.Code)
	}
	return out
}

func readingNames() (out []string) {
	for r := range reading.All() {
		out = append(out, r.Name)
	}
	return out
}

func unitNames() []string {
	var out []string
	for r := range reading.All() {
		out = append(out, string(r.Unit), apiUnit(r))
	}
	for _, f := range reading.Catalogue() {
		out = append(out, string(f.Unit))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changeEvents are the kinds of events of the stream of changes: a place to begin
// at, that something was missed, what happened, and that nothing comes any more.
func changeEvents() []string {
	return slices.Concat([]string{eventBegin, eventReset}, texts(health.ChangeKinds), []string{eventEnd})
}

const (
	eventBegin = "begin"
	eventReset = "reset"
	eventEnd   = "end"
)

// pathKind is what a part of a path is.
func pathKind(path, name string) string {
	switch {
	case name != "id":
		return "uuid"
	case strings.HasPrefix(path, "/api/v1/findings/"):
		return "finding"
	case strings.HasPrefix(path, "/api/v1/views/"), strings.HasPrefix(path, "/api/v1/users/"):
		return "text" // also by slug, by login
	}
	return "uuid"
}
