package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
)

// keepReplaced is how long replaced metadata and files without a name stay: a device
// in the middle of a refresh or a download ends it with what it began with.
const keepReplaced = 7 * 24 * time.Hour

// Import is what an import did.
type Import struct {
	State   manifest.State
	Changed bool     // false: all of it was known
	Added   []string // releases, as product version channel
	Gone    []string // releases that are signed no longer
	Targets int
	Bytes   int64 // of all targets' files
}

// Import takes over a folder of published metadata (metadata/) and hash-named files
// (targets/), as a client that follows the repository: what does not verify changes
// nothing and is ErrRefused, a missing or foreign file ErrIncomplete. The same folder
// again changes nothing. root starts the trust, where neither this program nor an
// earlier import has one.
func (r *Rollouts) Import(ctx context.Context, caller access.Caller, dir string, root []byte) (Import, error) {
	if err := everywhere(caller); err != nil {
		return Import{}, err
	}
	r.importing.Lock()
	defer r.importing.Unlock()
	src, err := os.OpenRoot(dir) // no link leads out of it
	if err != nil {
		return Import{}, fmt.Errorf("importing a repository: %w: %w", ErrIncomplete, err)
	}
	defer src.Close()
	im := &importer{r: r, caller: caller, from: &published{root: src, got: map[string][]byte{}}}
	if err := im.verify(ctx, root); err != nil {
		return Import{State: im.state}, fmt.Errorf("importing a repository: %w", err)
	}
	if err := im.files(src); err != nil {
		return Import{State: im.state}, fmt.Errorf("importing a repository: %w", err)
	}
	var out Import
	err = r.db.Write(ctx, func(tx *db.Tx) (err error) {
		out, err = im.store(ctx, tx)
		return err
	})
	if err != nil {
		return Import{State: im.state}, fmt.Errorf("importing a repository: %w", err)
	}
	if out.Changed {
		r.bus.Publish(bus.Event{Kind: bus.Repository})
	}
	if len(out.Added)+len(out.Gone) > 0 {
		r.bus.Publish(bus.Event{Kind: bus.Offers})
		r.wake()
	}
	return out, r.prune(ctx)
}

type importer struct {
	r       *Rollouts
	caller  access.Caller
	from    *published
	trust   *trust
	state   manifest.State
	targets []target
}

// target is a signed file and what it is for.
type target struct {
	manifest.Target
	kind    string // program, packed, delta, policy, other
	release manifest.Release
	from    string // of a delta: the program that it changes
}

const (
	kindProgram = "program"
	kindPacked  = "packed"
	kindDelta   = "delta"
	kindPolicy  = "policy"
	kindOther   = "other"
)

// verify follows the repository from what is trusted, and the chain of roots from
// the oldest in the folder: a device may start from any of them.
func (im *importer) verify(ctx context.Context, root []byte) error {
	err := im.r.db.Read(ctx, func(tx *db.Tx) (err error) {
		im.trust, err = readTrust(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	start := im.r.cfg.Root
	if start == nil {
		start = root
	}
	client, err := manifest.New(manifest.Config{Fetch: im.from, Store: im.trust, Root: start, Build: im.r.cfg.Build, Now: im.r.now})
	if err != nil {
		return err
	}
	all, state, err := client.List(ctx)
	im.state = state
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := im.roots(ctx); err != nil {
		return err
	}
	return im.sort(all)
}

// roots verifies every root that the folder has, the oldest by itself and the others
// by those before them.
func (im *importer) roots(ctx context.Context) error {
	versions, err := im.from.roots()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if len(versions) == 0 {
		return nil
	}
	oldest, err := im.from.read(rootName(versions[0]))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	client, err := manifest.New(manifest.Config{Fetch: im.from, Store: &trust{files: map[string][]byte{}}, Root: oldest, Build: im.r.cfg.Build, Now: im.r.now})
	if err != nil {
		return err
	}
	st, err := client.Refresh(ctx)
	if err != nil {
		return fmt.Errorf("%w: from its root %d: %w", ErrRefused, versions[0], err)
	}
	if st.Root != im.state.Root {
		return fmt.Errorf("%w: its roots end at %d, %d is trusted", ErrRefused, st.Root, im.state.Root)
	}
	return nil
}

// sort says what each target is for. What names another that is not there is no
// release that a device could install.
func (im *importer) sort(all []manifest.Target) error {
	byPath := map[string]*target{}
	im.targets = make([]target, 0, len(all))
	for _, t := range all {
		one := target{Target: t, kind: kindOther}
		rel, err := t.Release()
		switch {
		case err == nil:
			one.kind, one.release = kindProgram, rel
		case !errors.Is(err, manifest.ErrNoRelease):
			return fmt.Errorf("%w: %w", ErrRefused, err)
		case t.Role == manifest.RolePolicy:
			one.kind = kindPolicy
			if len(t.Custom) > 0 && !json.Valid(t.Custom) {
				return fmt.Errorf("%w: %s says something about itself that is no JSON", ErrRefused, t.Path)
			}
		}
		im.targets = append(im.targets, one)
	}
	for i := range im.targets {
		byPath[im.targets[i].Path] = &im.targets[i]
	}
	claim := func(rel manifest.Release, path, kind, from string) error {
		t := byPath[path]
		if t == nil || t.kind == kindProgram || t.Role != rel.Role {
			return fmt.Errorf("%w: %s names %s, for which its role does not speak", ErrIncomplete, rel.Path, path)
		}
		t.kind, t.release, t.from = kind, rel, from
		return nil
	}
	for _, t := range im.targets {
		if t.kind != kindProgram {
			continue
		}
		if t.release.Packed != "" {
			if err := claim(t.release, t.release.Packed, kindPacked, ""); err != nil {
				return err
			}
		}
		for _, d := range t.release.Deltas {
			if err := claim(t.release, d.Target, kindDelta, d.FromSHA256); err != nil {
				return err
			}
		}
	}
	return nil
}

func (im *importer) files(src *os.Root) error {
	if err := makeDir(im.r.targetsDir()); err != nil {
		return err
	}
	for _, t := range im.targets {
		if err := im.r.take(src, t.Target); err != nil {
			return err
		}
	}
	return nil
}

// store is the body of the import's transaction.
func (im *importer) store(ctx context.Context, tx *db.Tx) (out Import, err error) {
	now := im.r.now().UnixMilli()
	out = Import{State: im.state, Targets: len(im.targets)}
	for _, t := range im.targets {
		out.Bytes += t.Length
	}
	if out.Changed, err = im.storeMetadata(ctx, tx, now); err != nil {
		return out, err
	}
	if err := im.trust.save(ctx, tx); err != nil {
		return out, err
	}
	if err := im.storeState(ctx, tx, now); err != nil {
		return out, err
	}
	if err := im.storeTargets(ctx, tx, now, &out); err != nil {
		return out, err
	}
	if !out.Changed {
		return out, nil
	}
	return out, audit.Append(ctx, tx, audit.Entry{AtMS: now, Actor: im.caller.Actor(), Action: "repository.imported", Subject: "repository:" + strconv.FormatInt(im.state.Timestamp, 10),
		Details: map[string]string{"root": strconv.FormatInt(im.state.Root, 10), "targets": strconv.FormatInt(im.state.Targets, 10)}})
}

// storeMetadata keeps what was verified. A root that is there already stays as it is.
func (im *importer) storeMetadata(ctx context.Context, tx *db.Tx, now int64) (changed bool, err error) {
	for _, name := range slices.Sorted(maps.Keys(im.from.got)) {
		role, version, ok := splitName(name)
		if !ok || role == manifest.Root && version > im.state.Root {
			continue
		}
		body := im.from.got[name]
		if version == 0 { // timestamp.json
			version = im.state.Timestamp
		}
		var same int64
		err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_metadata WHERE name = $1 AND body = $2 AND replaced_ms IS NULL`, name, body).Scan(&same)
		if err != nil {
			return changed, err
		}
		if same > 0 {
			continue
		}
		if role == manifest.Root {
			var known int64
			if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_metadata WHERE name = $1`, name).Scan(&known); err != nil {
				return changed, err
			}
			if known > 0 {
				return changed, fmt.Errorf("%w: its %s is not the one that was published before", ErrRefused, name)
			}
		}
		changed = true
		_, err = tx.Exec(ctx, `INSERT INTO rollout_metadata (name, role, version, body, imported_ms, replaced_ms) VALUES ($1, $2, $3, $4, $5, NULL)
			ON CONFLICT (name) DO UPDATE SET version = excluded.version, body = excluded.body, imported_ms = excluded.imported_ms, replaced_ms = NULL`,
			name, role, version, body, now)
		if err != nil {
			return changed, err
		}
		if role == manifest.Root {
			continue
		}
		_, err = tx.Exec(ctx, `UPDATE rollout_metadata SET replaced_ms = $3 WHERE role = $1 AND version < $2 AND replaced_ms IS NULL`, role, version, now)
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (im *importer) storeState(ctx context.Context, tx *db.Tx, now int64) error {
	st := im.state
	_, err := tx.Exec(ctx, `INSERT INTO rollout_repository (id, root, timestamp, snapshot, targets, imported_ms, told_root) VALUES (1, $1, $2, $3, $4, $5, 0)
		ON CONFLICT (id) DO UPDATE SET root = excluded.root, timestamp = excluded.timestamp, snapshot = excluded.snapshot, targets = excluded.targets, imported_ms = excluded.imported_ms`,
		st.Root, st.Timestamp, st.Snapshot, st.Targets, now)
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(st.Expires)) {
		_, err := tx.Exec(ctx, `INSERT INTO rollout_roles (role, expires_ms, alarm) VALUES ($1, $2, 0)
			ON CONFLICT (role) DO UPDATE SET expires_ms = excluded.expires_ms, alarm = CASE WHEN rollout_roles.expires_ms = excluded.expires_ms THEN rollout_roles.alarm ELSE 0 END`,
			role, st.Expires[role].UnixMilli())
		if err != nil {
			return err
		}
	}
	for _, product := range slices.Sorted(maps.Keys(st.Floors)) {
		_, err := tx.Exec(ctx, `INSERT INTO rollout_floors (product, version) VALUES ($1, $2) ON CONFLICT (product) DO UPDATE SET version = excluded.version`,
			product, st.Floors[product])
		if err != nil {
			return err
		}
	}
	return nil
}

// storeTargets notes what is signed now, and what is no longer.
func (im *importer) storeTargets(ctx context.Context, tx *db.Tx, now int64, out *Import) error {
	known, err := releaseIDs(ctx, tx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE rollout_targets SET gone_ms = $1 WHERE gone_ms IS NULL`, now); err != nil {
		return err
	}
	signed := map[string]bool{}
	for _, t := range im.targets {
		var id any
		if t.release.Product != "" {
			if id, err = im.release(ctx, tx, t.release, known, now, out); err != nil {
				return err
			}
			signed[id.(string)] = true
		}
		_, err := tx.Exec(ctx, `INSERT INTO rollout_targets (path, release_id, kind, role, os, arch, from_sha256, sha256, length, custom, gone_ms)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL)
			ON CONFLICT (path) DO UPDATE SET release_id = excluded.release_id, kind = excluded.kind, role = excluded.role, os = excluded.os, arch = excluded.arch,
				from_sha256 = excluded.from_sha256, sha256 = excluded.sha256, length = excluded.length, custom = excluded.custom, gone_ms = NULL`,
			t.Path, id, t.kind, t.Role, t.release.OS, t.release.Arch, t.from, t.SHA256, t.Length, string(t.Custom))
		if err != nil {
			return err
		}
	}
	for _, rel := range known {
		if rel.gone || signed[rel.id] {
			continue
		}
		if _, err := tx.Exec(ctx, `UPDATE rollout_releases SET gone_ms = $2 WHERE id = $1`, rel.id, now); err != nil {
			return err
		}
		out.Gone, out.Changed = append(out.Gone, rel.title), true
		if err := im.audit(ctx, tx, "release.gone", rel.id, rel.title, now); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) audit(ctx context.Context, tx *db.Tx, action, id, title string, now int64) error {
	return audit.Append(ctx, tx, audit.Entry{AtMS: now, Actor: im.caller.Actor(), Action: action, Subject: "release:" + id, Details: map[string]string{"release": title}})
}

type knownRelease struct {
	id, title  string
	rollbackOf string
	gone       bool
}

func releaseKey(product, channel, version string, urgent bool) string {
	return strings.Join([]string{product, channel, version, strconv.FormatBool(urgent)}, " ")
}

func releaseIDs(ctx context.Context, tx *db.Tx) (map[string]knownRelease, error) {
	rows, err := tx.Query(ctx, `SELECT id, product, channel, version, urgent, rollback_of, gone_ms FROM rollout_releases`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	known := map[string]knownRelease{}
	for rows.Next() {
		var id, product, channel, version, rollbackOf string
		var urgent int64
		var gone *int64
		if err := rows.Scan(&id, &product, &channel, &version, &urgent, &rollbackOf, &gone); err != nil {
			return nil, err
		}
		known[releaseKey(product, channel, version, urgent == 1)] = knownRelease{id, product + " " + version + " " + channel, rollbackOf, gone != nil}
	}
	return known, rows.Close()
}

// release finds or makes the row of a release, of which each system's program is a
// target.
func (im *importer) release(ctx context.Context, tx *db.Tx, rel manifest.Release, known map[string]knownRelease, now int64, out *Import) (string, error) {
	key := releaseKey(rel.Product, rel.Channel, rel.Version, rel.Urgent)
	was, ok := known[key]
	// An old release that is signed anew as the way back is the same one, and news.
	if ok && !was.gone && was.rollbackOf == rel.RollbackOf {
		return was.id, nil
	}
	title := rel.Product + " " + rel.Version + " " + rel.Channel
	id := was.id
	if !ok {
		id = ident.NewID(im.r.now())
	}
	known[key] = knownRelease{id: id, title: title, rollbackOf: rel.RollbackOf}
	_, err := tx.Exec(ctx, `INSERT INTO rollout_releases (id, product, channel, version, urgent, rollback_of, floor, min_from, imported_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET rollback_of = excluded.rollback_of, floor = excluded.floor, min_from = excluded.min_from, gone_ms = NULL`,
		id, rel.Product, rel.Channel, rel.Version, rel.Urgent, rel.RollbackOf, rel.Floor, rel.MinFrom, now)
	if err != nil {
		return "", err
	}
	out.Added, out.Changed = append(out.Added, title), true
	return id, im.audit(ctx, tx, "release.added", id, title, now)
}

// prune forgets metadata and files that were replaced long ago; never a root.
func (r *Rollouts) prune(ctx context.Context) error {
	before := r.now().Add(-keepReplaced).UnixMilli()
	named := map[string]bool{}
	err := r.db.Write(ctx, func(tx *db.Tx) error {
		clear(named)
		if _, err := tx.Exec(ctx, `DELETE FROM rollout_metadata WHERE replaced_ms < $1 AND role <> 'root'`, before); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM rollout_targets WHERE gone_ms < $1`, before); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT sha256 FROM rollout_targets`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var hash string
			if err := rows.Scan(&hash); err != nil {
				return err
			}
			named[hash] = true
		}
		return rows.Close()
	})
	if err == nil {
		err = r.sweep(named)
	}
	if err != nil {
		return fmt.Errorf("pruning the repository: %w", err)
	}
	return nil
}
