package web

import (
	"cmp"
	"encoding/csv"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	questions "hausmeister/collector/question"
	"hausmeister/proto/finding"
)

// recordMain is the page of who changed or looked at what.
type recordMain struct {
	State          mark
	Sentence, Head string
	Subjects       []option
	Subject        string // of Subjects
	From, To       string // days
	Rows           []recordRow
	First, Next    string
	Reset, CSV     string
}

type recordRow struct{ Seq, When, Who, What, Whom, WhomHref, Details string }

// recordSubjects are the first words of actions; the texts have a key for each.
var recordSubjects = []string{"claim", "credential", "device", "finding", "house", "job", "look", "owner", "question", "release", "repository", "retention", "rollout", "school", "standard_software", "token", "user", "view"}

// recordQuestion reads the filter of the address.
func recordQuestion(values url.Values, zone *time.Location) (audit.Filter, error) {
	f := audit.Filter{Action: values.Get("action"), Limit: pageSize + 1}
	if len(f.Action) > 100 {
		return f, &badRequest{"action", "want at most 100 bytes"}
	}
	day := func(name string) (time.Time, error) {
		if values.Get(name) == "" {
			return time.Time{}, nil
		}
		t, err := time.ParseInLocation(time.DateOnly, values.Get(name), zone)
		if err != nil {
			return t, &badRequest{name, "want a day such as 2026-11-24"}
		}
		return t, nil
	}
	from, err := day("from")
	if err != nil {
		return f, err
	}
	to, err := day("to")
	if err != nil {
		return f, err
	}
	if !from.IsZero() {
		f.FromMS = from.UnixMilli()
	}
	if !to.IsZero() {
		f.ToMS = to.AddDate(0, 0, 1).UnixMilli() // the day is within
	}
	if text := values.Get("before"); text != "" {
		if f.Before, err = strconv.ParseInt(text, 10, 64); err != nil || f.Before < 1 {
			return f, &badRequest{"before", "want the number of an entry"}
		}
	}
	return f, nil
}

// zone is where the days of a filter begin: of a page in Berlin, of the API in UTC.
func (v *visit) zone() *time.Location {
	if v.door == program {
		return time.UTC
	}
	return v.say.Zone()
}

func (s *Server) recordPage(v *visit) error {
	ctx := v.r.Context()
	f, err := recordQuestion(v.asked, v.say.Zone())
	if err != nil {
		return err
	}
	entries, err := s.cfg.Access.AuditLog(ctx, v.caller, f)
	if err != nil {
		return err
	}
	names, err := v.names()
	if err != nil {
		return err
	}
	main := recordMain{Subject: f.Action, From: v.asked.Get("from"), To: v.asked.Get("to")}
	if err := v.recordState(&main); err != nil {
		return err
	}
	for _, name := range recordSubjects {
		main.Subjects = append(main.Subjects, option{name, v.say.Say("audit.subject." + name)})
	}
	kept := url.Values{}
	for _, name := range []string{"action", "from", "to"} {
		if value := v.asked.Get(name); value != "" {
			kept.Set(name, value)
		}
	}
	if len(kept) > 0 {
		main.Reset = "/audit"
	}
	main.CSV = withQuery("/audit.csv", kept)
	if f.Before > 0 {
		main.First = withQuery("/audit", kept)
	}
	if len(entries) > pageSize {
		entries = entries[:pageSize]
		kept.Set("before", strconv.FormatInt(entries[pageSize-1].Seq, 10))
		main.Next = withQuery("/audit", kept)
	}
	if err := v.nameParties(entries, names); err != nil {
		return err
	}
	for _, e := range entries {
		main.Rows = append(main.Rows, v.recordRow(e, names))
	}
	return v.show(http.StatusOK, "audit", v.at("audit", v.say.Say("audit.title"), main))
}

func withQuery(path string, values url.Values) string {
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// recordState says whether the chain holds.
func (v *visit) recordState(main *recordMain) error {
	state, err := v.s.cfg.Access.AuditState(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	if state.Broken != "" {
		main.State = mark{"crit", v.say.Say("audit.broken")}
		main.Sentence = v.say.Say("audit.broken.text", "seq", state.Head.Seq+1)
		return nil
	}
	main.State = mark{"ok", v.say.Say("audit.holds")}
	main.Sentence = v.say.Say("audit.holds.text", "n", state.Head.Seq, "when", v.say.Time(state.Checked))
	main.Head = hex.EncodeToString(state.Head.Hash)
	return nil
}

// names of people and tokens by the way the record calls them.
func (v *visit) names() (map[string]string, error) {
	ctx := v.r.Context()
	names := map[string]string{v.caller.Actor(): v.caller.Name}
	if v.caller.Allow(access.ReadUsers) != nil {
		return names, nil
	}
	users, err := v.s.cfg.Access.Users(ctx, v.caller)
	if err != nil {
		return nil, err
	}
	tokens, err := v.s.cfg.Access.Tokens(ctx, v.caller)
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		names["user:"+u.ID] = u.Login
	}
	for _, t := range tokens {
		names["token:"+t.ID] = t.Name
	}
	return names, nil
}

func (v *visit) recordRow(e audit.Entry, names map[string]string) recordRow {
	r := recordRow{Seq: strconv.FormatInt(e.Seq, 10), When: v.say.Time(time.UnixMilli(e.AtMS)),
		Who: v.party(e.Actor, names), What: e.Action, Whom: v.party(e.Subject, names)}
	if name := v.named(e, names); name != "" {
		r.Whom = v.party(e.Subject, map[string]string{e.Subject: name})
	}
	if key := "audit.action." + e.Action; v.say.Has(key) {
		r.What = v.say.Say(key)
	}
	r.WhomHref = v.partyHref(e.Subject, names)
	r.Details = v.detailWords(e, names)
	return r
}

// partyHref leads to what an entry is about: to what the caller may see, by its name,
// and to what has a page whoever may read the record.
func (v *visit) partyHref(ref string, names map[string]string) string {
	kind, id, _ := strings.Cut(ref, ":")
	page := map[string]string{"device": "/devices/", "job": "/jobs/", "school": "/schools/", "user": "/people/", "claim": claimsFrom}[kind]
	switch {
	case page == "" || kind != "job" && names[ref] == "":
		return ""
	case kind == "claim":
		return page + id + "g" // an id is hexadecimal: the list begins with this claim
	}
	return page + id
}

// claimsFrom begins the list of claims after an id.
const claimsFrom = "/claims?before="

// nameParties adds the names of devices, owners, schools and claims that these entries
// speak of, with one question about each kind however many there are.
func (v *visit) nameParties(entries []audit.Entry, names map[string]string) error {
	ctx := v.r.Context()
	for _, name := range []string{"language", "theme"} {
		names["house:"+name] = v.say.Say("prefs." + name)
	}
	names["house:contact"] = v.say.Say("settings.house.contact")
	owners, err := v.ownerNames()
	if err != nil {
		return err
	}
	for id, name := range owners {
		names["owner:"+id] = name
	}
	var devices []string
	schools := false
	for _, e := range entries {
		for _, party := range []string{e.Subject, e.Actor} {
			if id, ok := strings.CutPrefix(party, "device:"); ok && !slices.Contains(devices, id) {
				devices = append(devices, id)
			}
		}
		if code, ok := strings.CutPrefix(e.Subject, "finding:"); ok {
			if row, ok := finding.ByCode(code); ok {
				names[e.Subject] = pick(v.say.Lang, row.Title)
			}
		}
		schools = schools || e.Details["school"] != "" || strings.HasPrefix(e.Subject, "school:") || strings.Contains(e.Details["conditions"], string(questions.School)+".")
	}
	if v.caller.Allow(access.ReadDevices) == nil {
		found, err := v.s.cfg.Fleet.Devices(ctx, v.caller, devices)
		if err != nil {
			return err
		}
		for _, d := range found {
			names["device:"+d.ID] = d.Label()
		}
	}
	claims, err := v.claimsOf(entries)
	if err != nil {
		return err
	}
	schools = schools || slices.ContainsFunc(claims, func(c enroll.Claim) bool { return c.School != "" })
	if schools {
		all, err := v.s.cfg.Fleet.Schools(ctx, v.caller)
		if err != nil {
			return err
		}
		for _, school := range all {
			names["school:"+school.ID] = numbered(school)
		}
	}
	for _, c := range claims {
		names["claim:"+c.ID] = v.claimName(c, cmp.Or(names["school:"+c.School], names["owner:"+c.Owner]))
	}
	return nil
}

// numbered is a school by name and number: two may be called alike.
func numbered(s fleet.School) string {
	if title := s.Title(); !strings.Contains(title, s.Code) {
		return title + " (" + s.Code + ")"
	}
	return s.Title()
}

// claimsOf are the claims that these entries speak of.
func (v *visit) claimsOf(entries []audit.Entry) ([]enroll.Claim, error) {
	if v.caller.Allow(access.ReadClaims) != nil {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		subject, _ := strings.CutPrefix(e.Subject, "claim:")
		for _, id := range []string{subject, e.Details["claim"]} {
			if id != "" && id != e.Subject && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return v.s.cfg.Claims.SomeClaims(v.r.Context(), v.caller, ids)
}

// claimName tells a claim from the others: it has no name of its own.
func (v *visit) claimName(c enroll.Claim, place string) string {
	if c.Note != "" {
		return place + ", " + c.Note
	}
	return v.say.Say("claims.named", "place", place, "when", v.say.Time(c.Created))
}

// hiddenDetails are ids that the page has no place for, and what stands beside
// another detail.
var hiddenDetails = []string{"before", "look", "quiet"}

// detailWords says in words what else an entry holds, what was before it first.
func (v *visit) detailWords(e audit.Entry, names map[string]string) string {
	job := strings.HasPrefix(e.Subject, "job:")
	name := v.named(e, names)
	var all []string
	for _, key := range slices.Sorted(maps.Keys(e.Details)) {
		text := v.detailValue(e, key, e.Details[key], names)
		if slices.Contains(hiddenDetails, key) || strings.HasSuffix(key, "_before") || text == name && name != "" ||
			job && slices.Contains([]string{"act", "label", "school", "finding"}, key) { // its name says them
			continue
		}
		was, had := e.Details[key+"_before"]
		if !had && slices.Contains([]string{"inventory", "school", "value", "days"}, key) {
			was, had = e.Details["before"]
		}
		if before := v.detailValue(e, key, was, names); had && before != text {
			none := v.say.Say("audit.detail.none")
			text = cmp.Or(before, none) + " → " + cmp.Or(text, none)
		}
		if text == "" {
			continue
		}
		label := key
		if word := "audit.detail." + key; v.say.Has(word) {
			label = v.say.Say(word)
		}
		all = append(all, label+": "+text)
	}
	return strings.Join(all, "; ")
}

// detailValue is a value of a detail in words, itself where there are none.
func (v *visit) detailValue(e audit.Entry, key, value string, names map[string]string) string {
	word := ""
	switch key {
	case "role":
		word = "role." + value
	case "class":
		word = "settings.keep." + value
	case "shared":
		switch value {
		case "owner":
			return cmp.Or(names["owner:"+e.Owner], v.say.Say("audit.unnamed.owner"))
		case "yes":
			value = "all"
		}
		word = "views.shared." + value
	case "per_serial":
		if word = "audit.detail.no"; value == "true" {
			word = "audit.detail.yes"
		}
	case "value":
		if e.Subject == "house:theme" {
			word = "prefs.theme." + value
		}
	case "owners":
		if value == access.AllOwners {
			return v.say.Say("people.scope.all")
		}
		ids := strings.Fields(value)
		for i, id := range ids {
			ids[i] = cmp.Or(names["owner:"+id], v.say.Say("audit.unnamed.owner"))
		}
		slices.Sort(ids)
		return strings.Join(ids, ", ")
	case "school", "claim":
		if value != "" {
			return cmp.Or(names[key+":"+value], v.say.Say("audit.unnamed."+key))
		}
	case "conditions":
		return v.askedWords(value, names)
	case "code":
		if _, changed := e.Details["code_before"]; !changed && strings.Contains(names[e.Subject], value) {
			return "" // the name has it
		}
	case "choice":
		word = "audit.choice." + value
	case "finding":
		if row, ok := finding.ByCode(value); ok {
			return pick(v.say.Lang, row.Title)
		}
	case "days":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return v.say.Say("format.days", "n", n)
		}
	case "expires":
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			return v.say.Time(at)
		}
	}
	if word != "" && v.say.Has(word) {
		return v.say.Say(word)
	}
	return value
}

// askedWords says the conditions of a question as its page does.
func (v *visit) askedWords(conditions string, names map[string]string) string {
	byID := map[string]string{}
	for ref, name := range names {
		_, id, _ := strings.Cut(ref, ":")
		byID[id] = name
	}
	all := strings.Split(conditions, " & ")
	for i, text := range all {
		if c, err := questions.ParseCondition(text); err == nil {
			all[i] = v.conditionWords(c, byID)
		}
	}
	return strings.Join(all, " · ")
}

// named is the name that an entry gives of what it is about, empty if it gives none.
// Of a view or a question this outlives what it names.
func (v *visit) named(e audit.Entry, names map[string]string) string {
	switch kind, _, _ := strings.Cut(e.Subject, ":"); kind {
	case "question", "view":
		return e.Details["name"]
	case "job":
		school := e.Details["school"]
		if school != "" {
			school = cmp.Or(names["school:"+school], v.say.Say("audit.unnamed.school"))
		}
		return v.jobTitle(e.Details["act"], e.Details["label"], school, e.Details["finding"])
	}
	return ""
}

func details(e audit.Entry, between string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(e.Details)) {
		all = append(all, key+"="+e.Details[key])
	}
	return strings.Join(all, between)
}

// party names who did something or what it was done to: "Konto eva".
func (v *visit) party(ref string, names map[string]string) string {
	kind, id, _ := strings.Cut(ref, ":")
	word := kind
	if key := "audit.party." + kind; v.say.Has(key) {
		word = v.say.Say(key)
	}
	if name := names[ref]; name != "" {
		return word + " " + name
	}
	// What nobody may name to the caller, such as an account of other owners. The id
	// would tell him nothing; the CSV and the API have it.
	unnamed := "audit.unnamed." + kind
	if kind == "system" {
		unnamed = "audit.system." + id
	}
	if v.say.Has(unnamed) {
		return v.say.Say(unnamed)
	}
	return word + " " + id
}

// recordCSV streams exactly what the filter of the page says, oldest last.
func (s *Server) recordCSV(v *visit) error {
	f, err := recordQuestion(v.asked, v.zone())
	if err != nil {
		return err
	}
	f.Limit = 500
	entries, err := s.cfg.Access.AuditLog(v.r.Context(), v.caller, f) // before the head is sent, so that a refusal is one
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="hausmeister-audit-`+s.cfg.Now().In(v.say.Zone()).Format(time.DateOnly)+`.csv"`)
	out := csv.NewWriter(v.w)
	out.Write([]string{"seq", "time", "actor", "action", "subject", "owner", "details"})
	out.Flush() // also of a record in which nothing fits
	for len(entries) > 0 {
		for _, e := range entries {
			out.Write([]string{strconv.FormatInt(e.Seq, 10), time.UnixMilli(e.AtMS).UTC().Format(apiTime), e.Actor, e.Action, e.Subject, e.Owner, harmless(details(e, "; "))})
		}
		if out.Flush(); out.Error() != nil {
			return nil // the peer is gone
		}
		f.Before = entries[len(entries)-1].Seq
		if entries, err = s.cfg.Access.AuditLog(v.r.Context(), v.caller, f); err != nil {
			// What was sent cannot be taken back: the connection breaks instead
			// of an end that looks like one.
			s.cfg.Log.Error("exporting the record", "error", err)
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}

// harmless keeps a table program from taking a text for a formula.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
