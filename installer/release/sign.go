package release

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Signing is one person's signature under one draft, on his own machine, without
// a network: the draft and a copy of the repository's metadata come on a stick.
type Signing struct {
	Path   string // of the draft
	Out    string // where it goes, signed; may be Path
	Key    Key
	Digest string // of what the person has seen, at least its first eight digits
	Repo   *Repository
	Record Record // the person's own
	Reason string
	Now    func() time.Time
	// Again signs another root of a version that this person has signed. Its number
	// cannot be raised, so whoever says this vouches that the other was not published,
	// and will not be.
	Again bool
}

// Signed is what came of a signature.
type Signed struct {
	Diff     Diff
	Approval draft.Approval
	Instead  string // digest of the root of this version that was signed before, with Again
}

const leastDigest = 8

// Sign puts the signature there. A person signs one thing of a version and never
// another; nor does he sign on top of a repository that is older than one that he
// has seen, or that began with another root.
func (s Signing) Sign() (out Signed, err error) {
	role, err := RoleOf(s.Path)
	if err != nil {
		return out, err
	}
	f, err := ReadDraft(s.Path, role)
	if err != nil {
		return out, err
	}
	diff, err := s.Repo.Compare(role, f)
	out.Diff = diff
	if err != nil {
		return out, err
	}
	if err := CheckDraft(s.Repo, role, f, s.Now()); err != nil {
		return out, err
	}
	if len(s.Digest) < leastDigest || !strings.HasPrefix(diff.Digest, strings.ToLower(s.Digest)) {
		return out, refuse("look at what is signed, then say the digest's first %d digits or more", leastDigest)
	}
	by, err := delegators(s.Repo, role, f, filepath.Dir(s.Path))
	if err != nil {
		return out, err
	}
	if !mayAny(by, role, s.Key) {
		return out, refuse("%s's key may not sign %s", s.Key.Person, role)
	}
	what := map[string]string{
		"role": role, "version": strconv.FormatInt(f.Version(), 10), "digest": diff.Digest, "key": s.Key.ID,
		"published": strconv.FormatInt(diff.From, 10), "roots": strconv.Itoa(len(s.Repo.Roots)), "root1": s.root1(f),
	}
	if out.Instead, err = s.remembered(what); err != nil {
		return out, err
	}
	if out.Instead != "" {
		what["instead_of"] = out.Instead
	}
	if err := f.Sign(s.Key.Private); err != nil {
		return out, err
	}
	// Before the signature leaves: what is not written down was not signed.
	if _, err := s.Record.Add(s.Key.Person, "sign", s.Reason, what); err != nil {
		return out, err
	}
	if err := WriteDraft(s.Out, f); err != nil {
		return out, err
	}
	out.Approval, err = Signatures(by, role, f)
	return out, err
}

func (s Signing) root1(f *draft.File) string {
	first := f
	if len(s.Repo.Roots) > 0 {
		first = s.Repo.Roots[0]
	} else if f.Kind() != manifest.Root {
		return ""
	}
	digest, err := first.Digest()
	if err != nil {
		return ""
	}
	return digest
}

// remembered compares with what this person has signed before. It returns the digest
// of another root of the same version, where he says that he signs again.
func (s Signing) remembered(what map[string]string) (string, error) {
	entries, _, err := s.Record.Read()
	if err != nil {
		return "", err
	}
	var same Entry // the last one under this version
	for _, e := range entries {
		if e.Verb != "sign" {
			continue
		}
		if old := e.What["root1"]; old != "" && what["root1"] != "" && old != what["root1"] {
			return "", unverified("this is another repository than %s signed for on %s: its first root differs", e.Who, e.At.Format(time.DateOnly))
		}
		if older(what["roots"], e.What["roots"]) {
			return "", refuse("this copy of the repository is older than the one of %s: it has %s roots, that one had %s", e.At.Format(time.DateOnly), what["roots"], e.What["roots"])
		}
		if e.What["role"] != what["role"] {
			continue
		}
		if older(what["published"], e.What["published"]) {
			return "", refuse("this copy of the repository is older than the one of %s", e.At.Format(time.DateOnly))
		}
		if e.What["key"] == what["key"] && e.What["version"] == what["version"] {
			same = e
		}
	}
	return s.another(same, what)
}

func (s Signing) another(same Entry, what map[string]string) (string, error) {
	differs := same.Verb != "" && same.What["digest"] != what["digest"]
	said := fmt.Sprintf("%s has signed another %s %s on %s", same.Who, what["role"], what["version"], same.At.Format(time.DateOnly))
	root := what["role"] == manifest.Root
	switch {
	case s.Again && !root:
		return "", refuse("only a root is signed again: renew %s at the desk raises the version", what["role"])
	case s.Again && !differs:
		return "", refuse("%s has signed no other root %s", s.Key.Person, what["version"])
	case !differs:
		return "", nil
	case !root:
		return "", refuse("%s: renew %s at the desk raises the version", said, what["role"])
	case !s.Again:
		return "", refuse("%s: only if that one was not published and is destroyed: root sign --again", said)
	}
	return same.What["digest"], nil
}

func older(a, b string) bool {
	x, err1 := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	return err1 == nil && err2 == nil && x < y
}

// delegators name the keys for a role: what is published, and what is on its way
// beside the draft. A root is approved by the one before and by itself.
func delegators(repo *Repository, role string, f *draft.File, dir string) ([]*draft.File, error) {
	holder := manifest.Targets
	if _, top := manifest.Thresholds[role]; top {
		holder = manifest.Root
	}
	var by []*draft.File
	if old := repo.Files[holder]; old != nil {
		by = append(by, old)
	}
	if role == manifest.Root {
		return append(by, f), nil
	}
	next, err := ReadDraft(filepath.Join(dir, holder+".json"), holder)
	switch {
	case err == nil:
		by = append(by, next)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	if len(by) == 0 {
		return nil, refuse("nobody has said yet who may sign %s: %s.json must lie beside it", role, holder)
	}
	return by, nil
}

func mayAny(by []*draft.File, role string, k Key) bool {
	for _, b := range by {
		if _, ids := keySet(b, role); slices.Contains(ids, k.ID) {
			return true
		}
	}
	return false
}

// Signatures counts those of a draft, by whoever asks most of it.
func Signatures(by []*draft.File, role string, f *draft.File) (draft.Approval, error) {
	if role != manifest.Root {
		by = by[len(by)-1:] // the newest word about who may sign
	}
	var worst draft.Approval
	for i, b := range by {
		a, err := draft.Approve(b, role, f)
		if err != nil {
			return a, unverified("%w", err)
		}
		if i == 0 || a.Need-len(a.Signed) > worst.Need-len(worst.Signed) {
			worst = a
		}
	}
	return worst, nil
}

// SignaturesOf a role's draft.
func (d *Drafts) SignaturesOf(role string, f *draft.File) (draft.Approval, error) {
	by, err := delegators(d.Repo, role, f, d.Dir)
	if err != nil {
		return draft.Approval{}, err
	}
	return Signatures(by, role, f)
}

// CheckDraft holds the rules of a single draft: its version goes up by one for a
// root and up for others, it lives long enough, and every release in it is one.
func CheckDraft(repo *Repository, role string, f *draft.File, now time.Time) error {
	last := repo.Version(role)
	if f.Version() <= last {
		return refuse("%s %d is not above the published %d: edit the draft again", role, f.Version(), last)
	}
	if role == manifest.Root && f.Version() != last+1 {
		return refuse("root %d does not follow root %d", f.Version(), last)
	}
	if left := f.Expires().Sub(now); left < LeastLife {
		return refuse("%s %d ends on %s, in less than %d days", role, f.Version(), f.Expires().Format(time.DateOnly), LeastLife/day)
	}
	if role == manifest.Targets {
		if err := checkRules(repo.Files[role], f); err != nil {
			return err
		}
	}
	if role == manifest.Root || role == manifest.Targets {
		return checkNamed(f)
	}
	_, err := Releases(f, role)
	if err != nil {
		return refuse("%w", err)
	}
	return checkPaths(role, f)
}

func checkRules(old, f *draft.File) error {
	now, err := f.Rules()
	if err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	was, err := old.Rules()
	if err != nil {
		return err
	}
	for product, v := range was.Floors {
		if manifest.Compare(now.Floors[product], v) < 0 {
			return refuse("the floor of %s falls from %s to %q", product, v, now.Floors[product])
		}
	}
	return nil
}

// checkNamed holds thresholds and the shape of the tree.
func checkNamed(f *draft.File) error {
	if err := checkThresholds(f); err != nil {
		return err
	}
	if f.Kind() != manifest.Targets {
		return nil
	}
	if len(f.Targets(manifest.Targets)) > 0 {
		return refuse("targets itself vouches for no file")
	}
	have, want := f.Delegations(), manifest.Delegations()
	if len(have) != len(want) {
		return refuse("there are %d release roles, it takes %d", len(have), len(want))
	}
	for i, d := range want {
		if have[i].Role != d.Role || !have[i].Terminating || !slices.Equal(have[i].Paths, d.Paths) {
			return refuse("%s is not as agreed", have[i].Role)
		}
	}
	return nil
}

// checkThresholds: as many persons as agreed for each role, each with one key.
func checkThresholds(f *draft.File) error {
	for _, role := range named(f) {
		want := manifest.Thresholds[role].Need
		for _, d := range manifest.Delegations() {
			if d.Role == role {
				want = d.Threshold
			}
		}
		if need, ids := keySet(f, role); want == 0 || need < want || len(ids) < need {
			return refuse("%s is signed by %d of %d, it takes %d", role, need, len(ids), want)
		}
		if err := checkPersons(f, role); err != nil {
			return err
		}
	}
	return nil
}

// checkPaths refuses what no device would ever find in this role.
func checkPaths(role string, f *draft.File) error {
	for _, d := range manifest.Delegations() {
		if d.Role != role {
			continue
		}
		for _, t := range f.Targets(role) {
			if !slices.ContainsFunc(d.Paths, func(p string) bool { return matches(p, t.Path) }) {
				return refuse("%s does not speak for %s", role, t.Path)
			}
		}
	}
	return nil
}

// matches a pattern whose stars stand for one part each.
func matches(pattern, path string) bool {
	a, b := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != "*" && a[i] != b[i] {
			return false
		}
	}
	return true
}

// SignedText says how far a draft has come.
func SignedText(role string, f *draft.File, a draft.Approval) string {
	s := fmt.Sprintf("%s %d: %d of %d signatures", role, f.Version(), len(a.Signed), a.Need)
	if len(a.Foreign) > 0 {
		s += fmt.Sprintf(", %d that count for nothing", len(a.Foreign))
	}
	return s
}
