package release

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // Friday afternoon is one in Hesse

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Diff is what a person sees before he signs: what changes against what is published.
type Diff struct {
	Role     string    `json:"role"`
	From     int64     `json:"from"` // published version, 0 = none
	To       int64     `json:"to"`
	Expires  time.Time `json:"expires"`
	Digest   string    `json:"digest"`
	SignedBy []string  `json:"signed_by"` // ids of keys
	Lines    []string  `json:"lines"`
	Warnings []string  `json:"warnings"`
	Added    int       `json:"added"`   // targets
	Removed  int       `json:"removed"` // targets
	Changed  int       `json:"changed"` // targets
}

// String is the text for people.
func (d Diff) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d -> %d, until %s\n", d.Role, d.From, d.To, d.Expires.Format(time.DateOnly))
	for _, l := range d.Lines {
		fmt.Fprintln(&b, "  "+l)
	}
	fmt.Fprintf(&b, "%d files more, %d fewer, %d changed\n", d.Added, d.Removed, d.Changed)
	for _, w := range d.Warnings {
		fmt.Fprintln(&b, "WARNING: "+w)
	}
	fmt.Fprintf(&b, "digest %s\n", d.Digest)
	return b.String()
}

// Compare a draft with what is published of its role.
func (r *Repository) Compare(role string, f *draft.File) (Diff, error) {
	digest, err := f.Digest()
	if err != nil {
		return Diff{}, err
	}
	old := r.Files[role]
	d := Diff{Role: role, From: r.Version(role), To: f.Version(), Expires: f.Expires(), Digest: digest, SignedBy: f.SignedBy(), Lines: []string{}, Warnings: []string{}}
	if d.To <= d.From {
		d.warn("version %d is not above the published %d", d.To, d.From)
	}
	if role == manifest.Root || role == manifest.Targets {
		d.keys(old, f)
	}
	if role == manifest.Targets {
		if err := d.rules(old, f); err != nil {
			return d, err
		}
	}
	return d, d.targets(old, f)
}

func (d *Diff) say(format string, a ...any) { d.Lines = append(d.Lines, fmt.Sprintf(format, a...)) }
func (d *Diff) warn(format string, a ...any) {
	d.Warnings = append(d.Warnings, fmt.Sprintf(format, a...))
}

func keySet(f *draft.File, role string) (need int, ids []string) {
	if f == nil {
		return 0, nil
	}
	need, keys, err := f.Keys(role)
	if err != nil {
		return 0, nil
	}
	for _, k := range keys {
		if id, err := manifest.KeyID(k); err == nil {
			ids = append(ids, id)
		}
	}
	return need, ids
}

func (d *Diff) keys(old, f *draft.File) {
	for _, role := range named(f) {
		need, ids := keySet(f, role)
		before, had := keySet(old, role)
		if need != before {
			d.say("%s: %d of %d sign (before %d of %d)", role, need, len(ids), before, len(had))
		}
		for _, id := range ids {
			if !slices.Contains(had, id) {
				d.say("%s: + key %s", role, whose(f.People(), id))
			}
		}
		for _, id := range had {
			if !slices.Contains(ids, id) {
				d.say("%s: - key %s", role, whose(old.People(), id))
			}
		}
		want := manifest.Thresholds[role].Need
		for _, del := range manifest.Delegations() {
			if del.Role == role {
				want = del.Threshold
			}
		}
		if need < want {
			d.warn("%s is signed by %d, it takes %d", role, need, want)
		}
	}
	d.people(old, f)
	if f.Kind() == manifest.Targets {
		d.paths(f)
	}
}

func (d *Diff) paths(f *draft.File) {
	for _, del := range f.Delegations() {
		i := slices.IndexFunc(manifest.Delegations(), func(m manifest.Delegation) bool { return m.Role == del.Role })
		if i < 0 || !slices.Equal(manifest.Delegations()[i].Paths, del.Paths) || !del.Terminating {
			d.warn("%s speaks for %s, which is not as agreed", del.Role, strings.Join(del.Paths, " "))
		}
	}
}

func (d *Diff) rules(old, f *draft.File) error {
	now, err := f.Rules()
	if err != nil {
		return err
	}
	var was manifest.Rules
	if old != nil {
		if was, err = old.Rules(); err != nil {
			return err
		}
	}
	for _, p := range []string{manifest.ProductAgent, manifest.ProductLauncher} {
		if now.Floors[p] != was.Floors[p] {
			d.say("floor of %s: %q -> %q", p, was.Floors[p], now.Floors[p])
			if manifest.Compare(now.Floors[p], was.Floors[p]) < 0 {
				d.warn("the floor of %s falls", p)
			}
		}
	}
	for _, h := range now.Blocked {
		if !slices.Contains(was.Blocked, h) {
			d.say("+ blocked %s", h)
		}
	}
	for _, h := range was.Blocked {
		if !slices.Contains(now.Blocked, h) {
			d.say("- blocked %s", h)
			d.warn("%s may run again", Short(h))
		}
	}
	return nil
}

func (d *Diff) targets(old, f *draft.File) error {
	was := map[string]manifest.Target{}
	if old != nil {
		for _, t := range old.Targets(d.Role) {
			was[t.Path] = t
		}
	}
	told := map[string]bool{}
	for _, t := range f.Targets(d.Role) {
		before, had := was[t.Path]
		delete(was, t.Path)
		same := had && before.SHA256 == t.SHA256 && before.Length == t.Length
		if same && string(before.Custom) == string(t.Custom) {
			continue
		}
		mark := "+"
		if had {
			mark = "~"
			d.Changed++
		} else {
			d.Added++
		}
		d.say("%s %s  %s bytes  sha256 %s", mark, t.Path, grouped(t.Length), Short(t.SHA256))
		if had && !same {
			d.warn("%s changes its bytes", t.Path)
		}
		if err := d.release(t, told); err != nil {
			return err
		}
	}
	for path := range was {
		d.Removed++
		d.say("- %s", path)
	}
	slices.Sort(d.Lines)
	return nil
}

// release tells what is signed about a program; the pace once per version.
func (d *Diff) release(t manifest.Target, told map[string]bool) error {
	r, err := t.Release()
	if errors.Is(err, manifest.ErrNoRelease) {
		return nil
	}
	if err != nil {
		return refuse("%w", err)
	}
	if told[r.Version] {
		return nil
	}
	told[r.Version] = true
	more := ""
	for _, x := range []struct{ what, v string }{{"floor", r.Floor}, {"from", r.MinFrom}, {"launcher", r.LauncherMin}, {"rollback of", r.RollbackOf}} {
		if x.v != "" {
			more += ", " + x.what + " " + x.v
		}
	}
	d.say("> %s %s on %s, commit %s%s", r.Product, r.Version, r.Channel, Short(r.Commit), more)
	d.say("> %s %s: %s", r.Product, r.Version, RampText(r.Ramp))
	for _, w := range rampWarnings(r) {
		d.warn("%s %s: %s", r.Product, r.Version, w)
	}
	return nil
}

// RampText says how early each part of the fleet may begin.
func RampText(p manifest.Ramp) string {
	out := "begins " + time.UnixMilli(p.T0MS).UTC().Format(time.RFC3339)
	for _, end := range manifest.Rings {
		out += fmt.Sprintf(", to %g %% in %s", float64(end)*100/manifest.Buckets, hours(p.Earliest(end-1).Sub(time.UnixMilli(p.T0MS))))
	}
	return out
}

func hours(d time.Duration) string {
	if d < time.Hour {
		return fmt.Sprintf("%.2g min", d.Minutes())
	}
	return fmt.Sprintf("%.3g h", d.Hours())
}

// rampWarnings are operator errors that look like releases.
func rampWarnings(r manifest.Release) []string {
	var out []string
	begin := time.UnixMilli(r.Ramp.T0MS)
	if r.Ramp.Earliest(manifest.Buckets-1).Sub(begin) < 24*time.Hour {
		out = append(out, "the whole fleet may begin within a day")
	}
	if berlin, err := time.LoadLocation("Europe/Berlin"); err == nil {
		local := begin.In(berlin)
		if w := local.Weekday(); w == time.Saturday || w == time.Sunday || w == time.Friday && local.Hour() >= 12 {
			out = append(out, "it begins on "+local.Format("Monday 15:04")+", when nobody is there to look")
		}
	}
	if r.Urgent {
		out = append(out, "urgent: it may come in lessons")
	}
	if r.RollbackOf != "" {
		out = append(out, "it takes devices back from "+r.RollbackOf)
	}
	return out
}

func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
