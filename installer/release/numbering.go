package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// A person signs one thing of a version and never another, and the desk does not know
// what was signed elsewhere. So no two drafts have the same number, whether they were
// changed, given up or signed: devices take a gap. Only a root follows the one before
// by one, and there a person says on purpose that he signs again (Signing.Again).

// highest numbers that drafts of this folder ever had, by role.
func (d *Drafts) highest() (map[string]int64, error) {
	data, err := readFile(d.numbersPath(), maxJSON)
	if errors.Is(err, ErrNotFound) {
		return map[string]int64{}, nil
	}
	if err != nil {
		return nil, err
	}
	var out map[string]int64
	if err := json.Unmarshal(data, &out); err != nil || out == nil {
		return nil, fmt.Errorf("reading %s: %w", d.numbersPath(), errors.Join(err, errors.New("damaged")))
	}
	return out, nil
}

func (d *Drafts) numbersPath() string { return filepath.Join(d.Dir, "numbers") }

// use a number for a draft; written before it, so that a crash leaves a gap at most.
func (d *Drafts) use(role string, version int64) error {
	all, err := d.highest()
	if err != nil || all[role] >= version {
		return err
	}
	all[role] = version
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return err
	}
	return layout.WriteFile(d.numbersPath(), append(data, '\n'), 0o644)
}

// next number of a role; f is its draft, nil for none.
func (d *Drafts) next(role string, f *draft.File) (int64, error) {
	last := d.Repo.Version(role)
	if role == manifest.Root {
		return last + 1, nil
	}
	all, err := d.highest()
	if err != nil {
		return 0, err
	}
	last = max(last, all[role])
	if f != nil {
		last = max(last, f.Version())
	}
	return last + 1, nil
}

// signers of a draft, for people.
func (d *Drafts) signers(role string, f *draft.File) []string {
	var out []string
	by, err := delegators(d.Repo, role, f, d.Dir)
	for _, id := range f.SignedBy() {
		who := "key " + Short(id)
		for _, b := range by {
			if p := b.People()[id]; err == nil && p != "" {
				who = p
			}
		}
		out = append(out, who)
	}
	slices.Sort(out)
	return out
}

// lost tells that signatures of a draft are for nothing, unless it is published.
func (d *Drafts) lost(role string, version int64, signers []string) {
	if len(signers) == 0 || version <= d.Repo.Version(role) || d.Said == nil {
		return
	}
	how := "the next draft has a higher number, and they sign that"
	if role == manifest.Root {
		how = fmt.Sprintf("to sign another root %d they say root sign --again", version)
	}
	d.Said(fmt.Sprintf("WARNING: the signatures of %s under %s %d are dropped; %s", strings.Join(signers, ", "), role, version, how))
}
