// Package tufrepo is a repository of signed metadata that does whatever a test
// wants, also what no tool of ours would do: sign with too few keys, serve
// yesterday's files, name a role ../x. It builds metadata as plain JSON and signs
// it by itself, so that it shares no mistake with the code that is tested.
//
// What is in Docs is what the owners mean; Publish signs it and adds it to
// Published, which is what clients get. All of it may be changed by hand.
package tufrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hausmeister/proto/manifest"
)

// Object is a JSON object.
type Object = map[string]any

// Names of the top-level roles.
const (
	Root      = "root"
	Timestamp = "timestamp"
	Snapshot  = "snapshot"
	Targets   = "targets"
)

// Repo may be served while it is changed only between requests.
type Repo struct {
	Docs      map[string]Object   // by role, the part that is signed
	Signers   map[string][]*Key   // who signs a role at Publish
	Published map[string][][]byte // by role, version 1 first
	Artifacts map[string][]byte   // by path
	MetaHash  bool                // length and hash of metadata stand in snapshot and timestamp

	turn      sync.Mutex // see Settle
	mu        sync.Mutex
	requests  []string
	downloads []string
}

// New has the four top-level roles in version 1, each with one key, valid for 30
// days from now.
func New(now time.Time) *Repo {
	r := &Repo{Docs: map[string]Object{}, Signers: map[string][]*Key{}, Published: map[string][][]byte{}, Artifacts: map[string][]byte{}}
	expires := now.Add(30 * 24 * time.Hour)
	roles := Object{}
	for _, role := range []string{Root, Timestamp, Snapshot, Targets} {
		r.Docs[role] = Object{"_type": role, "spec_version": "1.0.31", "version": int64(1)}
		r.SetExpires(role, expires)
		roles[role] = Object{"keyids": []any{}, "threshold": int64(1)}
	}
	root := r.Docs[Root]
	root["roles"], root["keys"], root["consistent_snapshot"] = roles, Object{}, true
	r.Docs[Timestamp]["meta"] = Object{"snapshot.json": Object{"version": int64(1)}}
	r.Docs[Snapshot]["meta"] = Object{"targets.json": Object{"version": int64(1)}}
	r.Docs[Targets]["targets"] = Object{}
	for role := range roles {
		r.AddKey(role, Ed25519())
	}
	r.Publish(Targets, Snapshot, Timestamp, Root)
	return r
}

// At walks down objects by their names.
func At(o Object, names ...string) Object {
	for _, n := range names {
		o = o[n].(Object)
	}
	return o
}

// Version of a role as it is meant.
func (r *Repo) Version(role string) int64 { return r.Docs[role]["version"].(int64) }

// SetVersion lets the next Publish sign version v+1, or v if the role has not
// been published.
func (r *Repo) SetVersion(role string, v int64) { r.Docs[role]["version"] = v }

// SetExpires to a whole second.
func (r *Repo) SetExpires(role string, t time.Time) {
	r.Docs[role]["expires"] = t.UTC().Format("2006-01-02T15:04:05Z")
}

// Expires of a role.
func (r *Repo) Expires(role string) time.Time {
	t, err := time.Parse(time.RFC3339, r.Docs[role]["expires"].(string))
	if err != nil {
		panic(err)
	}
	return t
}

// Unpublish forgets all published versions of a role: it starts anew.
func (r *Repo) Unpublish(role string) { delete(r.Published, role) }

// Publish signs the roles in this order and raises the version of those that
// were published before. A targets role is then named in the snapshot, the
// snapshot in the timestamp.
func (r *Repo) Publish(roles ...string) {
	for _, role := range roles {
		if _, again := r.Published[role]; again {
			r.SetVersion(role, r.Version(role)+1)
		}
		data := r.Sign(role, r.Signers[role]...)
		r.Published[role] = append(r.Published[role], data)
		r.named(role, data)
	}
}

func (r *Repo) named(role string, data []byte) {
	meta := Object{"version": r.Version(role)}
	if r.MetaHash {
		h := sha256.Sum256(data)
		meta["length"], meta["hashes"] = int64(len(data)), Object{"sha256": hex.EncodeToString(h[:])}
	}
	switch role {
	case Root, Timestamp:
	case Snapshot:
		At(r.Docs[Timestamp], "meta")["snapshot.json"] = meta
	default:
		At(r.Docs[Snapshot], "meta")[role+".json"] = meta
	}
}

// Sign returns the role's file as it is now, signed by these keys.
func (r *Repo) Sign(role string, keys ...*Key) []byte { return Envelope(r.Docs[role], keys...) }

// Envelope signs any object.
func Envelope(signed Object, keys ...*Key) []byte {
	payload := Canonical(signed)
	sigs := []any{}
	for _, k := range keys {
		sigs = append(sigs, Object{"keyid": k.ID(), "sig": hex.EncodeToString(k.sign(payload))})
	}
	data, err := json.Marshal(Object{"signatures": sigs, "signed": signed})
	if err != nil {
		panic(err)
	}
	return data
}

// Last is the newest published file of a role.
func (r *Repo) Last(role string) []byte {
	all := r.Published[role]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// ReplaceLast puts another file in its place.
func (r *Repo) ReplaceLast(role string, data []byte) {
	r.Published[role][len(r.Published[role])-1] = data
}

// AddKey lets a key sign a role, by what delegates to it, and sign from now on.
func (r *Repo) AddKey(role string, k *Key) {
	r.AllowKey(role, k)
	r.Signers[role] = append(r.Signers[role], k)
}

// AllowKey names a key for a role without letting it sign.
func (r *Repo) AllowKey(role string, k *Key) {
	keys, entry := r.delegation(role)
	keys[k.ID()] = k.object()
	ids := entry["keyids"].([]any)
	if !slices.Contains(ids, any(k.ID())) {
		entry["keyids"] = append(ids, k.ID())
	}
}

// Threshold of a role, to be read and set.
func (r *Repo) Threshold(role string) int64 {
	_, entry := r.delegation(role)
	return entry["threshold"].(int64)
}

// SetThreshold of a role.
func (r *Repo) SetThreshold(role string, n int64) {
	_, entry := r.delegation(role)
	entry["threshold"] = n
}

// ClearKeys leaves a role without keys and signers.
func (r *Repo) ClearKeys(role string) {
	_, entry := r.delegation(role)
	entry["keyids"] = []any{}
	r.Signers[role] = nil
}

// RotateKeys gives a role as many new keys as its threshold.
func (r *Repo) RotateKeys(role string) {
	r.ClearKeys(role)
	for range r.Threshold(role) {
		r.AddKey(role, Ed25519())
	}
}

// KeyIDs that a role has.
func (r *Repo) KeyIDs(role string) []string {
	_, entry := r.delegation(role)
	var out []string
	for _, id := range entry["keyids"].([]any) {
		out = append(out, id.(string))
	}
	return out
}

func (r *Repo) delegation(role string) (keys, entry Object) {
	roles := At(r.Docs[Root], "roles")
	if e, ok := roles[role]; ok {
		return At(r.Docs[Root], "keys"), e.(Object)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Docs)) {
		d, ok := r.Docs[name]["delegations"].(Object)
		if !ok {
			continue
		}
		for _, e := range d["roles"].([]any) {
			if e.(Object)["name"] == role {
				return At(d, "keys"), e.(Object)
			}
		}
	}
	panic("nobody delegates to " + role)
}

// Delegation is one entry of a delegating role.
type Delegation struct {
	Role        string
	Terminating bool
	Paths       []string
}

// Delegate adds a role behind those that the delegator has, with one key, and
// its metadata if it has none.
func (r *Repo) Delegate(delegator string, d Delegation) {
	doc := r.Docs[delegator]
	if doc["delegations"] == nil {
		doc["delegations"] = Object{"keys": Object{}, "roles": []any{}}
	}
	del := At(doc, "delegations")
	entry := Object{"name": d.Role, "keyids": []any{}, "threshold": int64(1), "terminating": d.Terminating}
	paths := []any{}
	for _, p := range d.Paths {
		paths = append(paths, p)
	}
	entry["paths"] = paths
	del["roles"] = append(del["roles"].([]any), entry)
	if r.Docs[d.Role] == nil {
		r.Docs[d.Role] = Object{
			"_type": Targets, "spec_version": "1.0.31", "version": int64(1), "targets": Object{},
			"expires": r.Docs[Targets]["expires"],
		}
	}
	k := Ed25519()
	At(del, "keys")[k.ID()] = k.object()
	entry["keyids"] = []any{k.ID()}
	r.Signers[d.Role] = append(r.Signers[d.Role], k)
}

// RemoveDelegation takes a role from a delegator.
func (r *Repo) RemoveDelegation(delegator, role string) {
	del := At(r.Docs[delegator], "delegations")
	del["roles"] = slices.DeleteFunc(del["roles"].([]any), func(e any) bool { return e.(Object)["name"] == role })
}

// AddTarget lets a role vouch for a file and serves it. Custom may be nil.
func (r *Repo) AddTarget(role, path string, data []byte, custom any, algorithms ...string) {
	if len(algorithms) == 0 {
		algorithms = []string{"sha256"}
	}
	hashes := Object{}
	for _, a := range algorithms {
		hashes[a] = hexHash(a, data)
	}
	t := Object{"length": int64(len(data)), "hashes": hashes}
	if custom != nil {
		t["custom"] = plain(custom)
	}
	At(r.Docs[role], "targets")[path] = t
	r.Artifacts[path] = data
}

// plain makes an Object with int64 numbers of anything.
func plain(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return Tree(raw)
}

// Tree reads JSON into Objects with json.Number.
func Tree(raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		panic(err)
	}
	return out
}

func hexHash(algorithm string, data []byte) string {
	if algorithm == "sha256" {
		h := sha256.Sum256(data)
		return hex.EncodeToString(h[:])
	}
	h := sha512.Sum512(data) // also under names that nobody knows
	return hex.EncodeToString(h[:])
}

// Metadata is what a client gets by the name of a file, such as 2.root.json.
func (r *Repo) Metadata(name string) ([]byte, bool) {
	base, ok := strings.CutSuffix(name, ".json")
	if !ok {
		return nil, false
	}
	version, role, prefixed := strings.Cut(base, ".")
	consistent, _ := r.Docs[Root]["consistent_snapshot"].(bool)
	if base == Timestamp || !prefixed || !consistent && role != Root {
		r.note(&r.requests, base)
		role, err := url.PathUnescape(base)
		if err != nil || r.Last(role) == nil {
			return nil, false
		}
		return r.Last(role), true
	}
	r.note(&r.requests, role+" "+version)
	role, err := url.PathUnescape(role)
	v, e := strconv.Atoi(version)
	if err != nil || e != nil || v < 1 || v > len(r.Published[role]) {
		return nil, false
	}
	return r.Published[role][v-1], true
}

// Artifact is what a client gets by the remote path of a target.
func (r *Repo) Artifact(remote string) ([]byte, bool) {
	i := strings.LastIndexByte(remote, '/') + 1
	dir, base := remote[:i], remote[i:]
	if consistent, _ := r.Docs[Root]["consistent_snapshot"].(bool); consistent {
		_, base, _ = strings.Cut(base, ".")
	}
	r.note(&r.downloads, remote)
	data, ok := r.Artifacts[dir+base]
	return data, ok
}

func (r *Repo) note(list *[]string, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, what)
}

// Requests for metadata so far, such as "root 2", "timestamp".
func (r *Repo) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Downloads of targets so far, by remote path.
func (r *Repo) Downloads() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.downloads)
}

// Fetch makes a Repo a manifest.Fetcher without a network.
func (r *Repo) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	data, ok := r.Metadata(name)
	if !ok {
		return nil, manifest.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Settle tells the race detector that what another process asked for is over: call it
// before and after such a process ran. Its end is seen by nobody else.
func (r *Repo) Settle() {
	r.turn.Lock()
	defer r.turn.Unlock()
}

// ServeHTTP serves /metadata/ and /targets/.
func (r *Repo) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var data []byte
	var ok bool
	r.turn.Lock()
	if name, is := strings.CutPrefix(q.URL.EscapedPath(), "/metadata/"); is {
		data, ok = r.Metadata(name)
	} else if name, is := strings.CutPrefix(q.URL.Path, "/targets/"); is {
		data, ok = r.Artifact(name)
	}
	data = slices.Clone(data)
	r.turn.Unlock()
	if !ok {
		http.Error(w, "there is none", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // a client that went away is its own affair
}

// Canonical is the one form of JSON that is signed: sorted, without spaces, only
// quotes and backslashes escaped, integers only.
func Canonical(v any) []byte {
	var b bytes.Buffer
	canonical(&b, v)
	return b.Bytes()
}

func canonical(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		fmt.Fprint(b, v)
	case int64:
		fmt.Fprint(b, v)
	case json.Number:
		b.WriteString(v.String())
	case string:
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v))
		b.WriteByte('"')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			canonical(b, e)
		}
		b.WriteByte(']')
	case Object:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			canonical(b, k)
			b.WriteByte(':')
			canonical(b, v[k])
		}
		b.WriteByte('}')
	default:
		panic(fmt.Sprintf("%T cannot be signed", v))
	}
}
