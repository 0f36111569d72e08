package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// The record's verbs of a publication. The first stands before anything goes out and
// names each file, see Diff.Named; the second follows where not all did.
const (
	VerbPublish       = "publish"
	VerbPublishFailed = "publish failed"
)

// Named puts the file into an entry of its publication: version_ROLE, digest_ROLE (of what
// was signed) and signed_ROLE (the ids of the keys, which the digest leaves open).
func (d Diff) Named(what map[string]string) {
	what["version_"+d.Role], what["digest_"+d.Role], what["signed_"+d.Role] = strconv.FormatInt(d.To, 10), d.Digest, strings.Join(d.SignedBy, ",")
}

// Export is the record together with what was published and who signed it: what
// the State gets each day.
type Export struct {
	Head      string            `json:"head"` // hash of the last entry
	Entries   []Entry           `json:"entries"`
	Published []ExportedRelease `json:"published"`
}

// ExportedRelease is one file of published metadata.
type ExportedRelease struct {
	Name     string   `json:"name"`
	SHA256   string   `json:"sha256"`
	SignedBy []string `json:"signed_by"`
	Body     []byte   `json:"body"` // base64
}

// Export reads record and repository.
func (r Record) Export(repo *Repository) (Export, error) {
	entries, torn, err := r.Kept(repo.Dir)
	if err == nil && torn >= 0 {
		err = unverified("the record's last line is torn")
	}
	if err != nil {
		return Export{}, err
	}
	out := Export{Head: entries[len(entries)-1].Hash, Entries: entries}
	out.Published, err = repo.everything()
	return out, err
}

// Seen is what was in an export that holds together.
type Seen struct {
	Entries   int    `json:"entries"`
	Proven    int    `json:"proven"` // of them, those that the head that was given vouches for: the first ones
	Published int    `json:"published"`
	Head      string `json:"head"`
}

// VerifyExport says whether an export holds together: its entries are a chain, which
// has the entry of the hash head, if one is given; its metadata is signed, from
// 1.root.json on, by as many persons as agreed; and the files that persons sign are
// those that the entries name, no other and none less. In which order the files stand is
// open: each is what its name says, none is there twice, and all are compared by name. The
// entries up to that of head
// are those of when it was written down. Of those behind it, and of all without a head,
// it cannot show that they are what they were: whoever makes the hashes anew changes
// who, when and why of any, puts some in, and takes some out, those of a publication
// together with its files. Nor can it show what no entry and no signature names: that
// old snapshots are gone, and that all of it, 1.root.json too, was made up by others.
func VerifyExport(data []byte, head string) (Seen, error) {
	var e Export
	if line, err := strictly(data, &e); err != nil {
		return Seen{}, unverified("line %d of the export: %w", line, err)
	}
	proven, err := e.checkChain(head)
	if err != nil {
		return Seen{}, err
	}
	files, err := e.files()
	if err != nil {
		return Seen{}, err
	}
	newest, err := files.follow()
	if err != nil {
		return Seen{}, err
	}
	if err := files.checkSigned(newest); err != nil {
		return Seen{}, err
	}
	if err := files.checkNamed(e.Entries, newest); err != nil {
		return Seen{}, err
	}
	return Seen{Entries: len(e.Entries), Proven: proven, Published: len(e.Published), Head: e.Head}, nil
}

// checkChain walks the entries as Read walks the file.
func (e Export) checkChain(head string) (proven int, err error) {
	var lines []byte
	for _, x := range e.Entries {
		line, err := json.Marshal(x)
		if err != nil {
			return 0, err
		}
		lines = append(append(lines, line...), '\n')
	}
	entries, _, err := readRecord(lines)
	switch {
	case err != nil:
		return 0, err
	case len(entries) == 0:
		return 0, unverified("the export has no entry of the record")
	case entries[len(entries)-1].Hash != e.Head:
		return 0, unverified("the export's head is not its last entry, which is number %d", len(entries))
	case head != "":
		return CheckHead(entries, head)
	}
	return 0, nil
}

// exported is a file of an export that is what its name says.
type exported struct {
	name, role string
	file       *draft.File
	body       []byte
}

type exportedFiles []exported

func (e Export) files() (out exportedFiles, err error) {
	if len(e.Published) == 0 {
		return nil, unverified("the export has no published metadata")
	}
	seen := map[string]bool{}
	for _, p := range e.Published {
		x, err := p.file()
		if err != nil {
			return nil, err
		}
		if seen[p.Name] {
			return nil, unverified("%s is twice in the export", p.Name)
		}
		seen[p.Name] = true
		out = append(out, x)
	}
	return out, nil
}

func (p ExportedRelease) file() (exported, error) {
	if h := sha256.Sum256(p.Body); hex.EncodeToString(h[:]) != p.SHA256 {
		return exported{}, unverified("%q in the export was altered: its sha256 is another", p.Name)
	}
	role := strings.TrimSuffix(p.Name, ".json")
	if role != manifest.Timestamp {
		_, role, _ = strings.Cut(role, ".")
	}
	f, err := parse(role, p.Body)
	if err != nil {
		return exported{}, unverified("%q in the export: %v", p.Name, err)
	}
	if name := MetadataName(role, f.Version()); name != p.Name {
		return exported{}, unverified("%q in the export is %s", p.Name, name)
	}
	if !slices.Equal(p.SignedBy, f.SignedBy()) {
		return exported{}, unverified("%s: the export says that %s signed it, the file has signatures of %s", p.Name, shortAll(p.SignedBy), shortAll(f.SignedBy()))
	}
	return exported{p.Name, role, f, p.Body}, nil
}

func shortAll(ids []string) string {
	var out []string
	for _, id := range ids {
		out = append(out, Short(id))
	}
	return strings.Join(out, ", ")
}

// follow the signatures from 1.root.json to the newest of each role, as in a
// repository. Errors lose their kind: in an export, what is not there was taken out.
func (files exportedFiles) follow() (*Repository, error) {
	repo := &Repository{Files: map[string]*draft.File{}, Raw: map[string][]byte{}, held: map[string][]byte{}}
	beyond := false
	for _, x := range files {
		repo.held[x.name] = x.body
		beyond = beyond || x.role != manifest.Root
	}
	repo, err := repo.open()
	if err != nil {
		return nil, unverified("the export's metadata: %v", err)
	}
	if len(repo.Roots) == 0 {
		return nil, unverified("the export has no root")
	}
	if beyond && repo.Version(manifest.Timestamp) == 0 {
		return nil, unverified("timestamp.json is missing in the export")
	}
	return repo, nil
}

// checkSigned: each file, old ones too, is signed by enough persons of a root or
// targets of the export, and by nobody else. Which of them was the newest on that day
// nobody knows any more; of the newest files follow has said it.
func (files exportedFiles) checkSigned(newest *Repository) error {
	var targets []*draft.File
	for _, role := range []string{manifest.Root, manifest.Targets} {
		for _, x := range files {
			if x.role != role {
				continue
			}
			if err := checkThresholds(x.file); err != nil {
				return unverified("%s: %v", x.name, err)
			}
			if role == manifest.Targets {
				targets = append(targets, x.file)
			}
		}
	}
	for _, x := range files {
		by := targets
		if _, top := manifest.Thresholds[x.role]; top {
			by = newest.Roots
		}
		if err := x.signedBy(by); err != nil {
			return err
		}
	}
	return nil
}

func (x exported) signedBy(by []*draft.File) error {
	approved, why := x.role == manifest.Root, error(nil) // roots: one by one, by follow
	good := map[string]bool{}
	for _, b := range by {
		if err := approve(b, x.role, x.file); err == nil {
			approved = true
		} else {
			why = err
		}
		if a, err := draft.Approve(b, x.role, x.file); err == nil {
			for _, id := range a.Signed {
				good[id] = true
			}
		}
	}
	if !approved {
		return unverified("%s in the export is not signed by enough: %v", x.name, why)
	}
	for _, id := range x.file.SignedBy() {
		if !good[id] {
			return unverified("%s has a signature of %s that is not good, or of nobody who may sign it", x.name, Short(id))
		}
	}
	return nil
}

// naming is what the record says of a file that persons sign.
type naming struct {
	role    string
	version int64
	files   []namedFile // the last one counts
	entry   int64
	failed  bool // it may have gone out, or not
}

// namedFile is one as an entry names it; signed is empty in entries of earlier versions.
type namedFile struct{ digest, signed string }

func (f namedFile) is(digest, signed string) bool {
	return f.digest == digest && (f.signed == "" || f.signed == signed)
}

// publications of a record, by the names of files.
func publications(entries []Entry) map[string]*naming {
	out, last := map[string]*naming{}, []*naming(nil)
	for _, e := range entries {
		switch e.Verb {
		case VerbPublish:
			last = nil
			for key, value := range e.What {
				role, ok := strings.CutPrefix(key, "version_")
				version, err := strconv.ParseInt(value, 10, 64)
				if !ok || err != nil {
					continue
				}
				name := MetadataName(role, version)
				n := out[name]
				if n == nil {
					n = &naming{role: role, version: version}
					out[name] = n
				}
				n.files, n.entry, n.failed = append(n.files, namedFile{e.What["digest_"+role], e.What["signed_"+role]}), e.Seq, false
				last = append(last, n)
			}
		case VerbPublishFailed:
			for _, n := range last {
				n.failed = true
			}
		}
	}
	return out
}

// checkNamed compares what the record says was published with what is there. The
// first root is carried by hand, and may stand in another's record.
func (files exportedFiles) checkNamed(entries []Entry, newest *Repository) error {
	names, there := publications(entries), map[string]bool{}
	for _, x := range files {
		n := names[x.name]
		there[x.name] = true
		if x.role == manifest.Snapshot || x.role == manifest.Timestamp {
			continue
		}
		if n == nil {
			if x.role == manifest.Root && x.file.Version() == 1 {
				continue
			}
			return unverified("%s is in the export, and no entry of the record says that it was published", x.name)
		}
		digest, err := x.file.Digest()
		if err != nil {
			return err
		}
		signed, named := strings.Join(x.file.SignedBy(), ","), n.files[len(n.files)-1]
		switch {
		case named.is(digest, signed):
		case n.failed && slices.ContainsFunc(n.files, func(f namedFile) bool { return f.is(digest, signed) }): // one of the tries before
		case named.digest != digest:
			return unverified("%s in the export is not the one that entry %d of the record names: its digest is %s", x.name, n.entry, digest)
		default:
			return unverified("%s in the export is signed by %s, and by %s as entry %d of the record has it", x.name, shortAll(x.file.SignedBy()), shortAll(strings.Split(named.signed, ",")), n.entry)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		switch {
		case n.failed:
		case !there[name]:
			return unverified("entry %d of the record says that %s was published, and it is not in the export", n.entry, name)
		case newest.Version(n.role) < n.version:
			return unverified("entry %d of the record says that %s was published, and timestamp and snapshot of the export lead to %s %d", n.entry, name, n.role, newest.Version(n.role))
		}
	}
	return nil
}
