package rollout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/db"
	"hausmeister/proto/manifest"
)

// maxMetadata bounds a file of metadata; the client has its own bounds below it.
const maxMetadata = 8 << 20

// trust is a manifest.Store in memory: the rows of rollout_trust while an import
// looks at a repository. Only if everything verifies is it written back, in the
// import's transaction.
type trust struct{ files map[string][]byte }

func (t *trust) Read(name string, limit int64) ([]byte, error) {
	data, ok := t.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data[:min(int64(len(data)), limit)], nil
}

func (t *trust) Write(name string, data []byte) error {
	t.files[name] = slices.Clone(data)
	return nil
}

func (t *trust) Remove(name string) error {
	delete(t.files, name)
	return nil
}

func readTrust(ctx context.Context, tx *db.Tx) (*trust, error) {
	t := &trust{files: map[string][]byte{}}
	rows, err := tx.Query(ctx, `SELECT name, body FROM rollout_trust`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var body []byte
		if err := rows.Scan(&name, &body); err != nil {
			return nil, err
		}
		t.files[name] = body
	}
	return t, rows.Close()
}

// trusts says whether there is a root to begin with: one that this program was built
// with, or that of an earlier import.
func (r *Rollouts) trusts(ctx context.Context) (bool, error) {
	if r.cfg.Root != nil {
		return true, nil
	}
	var n int64
	err := r.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM rollout_trust`).Scan(&n)
	})
	return n > 0, err
}

func (t *trust) save(ctx context.Context, tx *db.Tx) error {
	if _, err := tx.Exec(ctx, `DELETE FROM rollout_trust`); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		if _, err := tx.Exec(ctx, `INSERT INTO rollout_trust (name, body) VALUES ($1, $2)`, name, t.files[name]); err != nil {
			return err
		}
	}
	return nil
}

// published reads the metadata of a folder, and keeps what it gave: that is what was
// verified, whatever becomes of the folder meanwhile.
type published struct {
	root *os.Root
	got  map[string][]byte
}

func (p *published) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	data, err := p.read(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (p *published) read(name string) ([]byte, error) {
	if data, ok := p.got[name]; ok {
		return data, nil
	}
	f, err := p.root.Open("metadata/" + name)
	if os.IsNotExist(err) {
		return nil, manifest.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMetadata+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxMetadata)
	}
	p.got[name] = data
	return data, nil
}

// splitName cuts 3.root.json and timestamp.json into role and version; 0 = none.
func splitName(name string) (role string, version int64, ok bool) {
	base, ok := strings.CutSuffix(name, ".json")
	if !ok {
		return "", 0, false
	}
	if number, rest, found := strings.Cut(base, "."); found {
		v, err := strconv.ParseInt(number, 10, 64)
		return rest, v, err == nil && v > 0 && rest != ""
	}
	return base, 0, base != ""
}

// roots are the numbers of the roots in the folder, in order.
func (p *published) roots() (versions []int64, err error) {
	dir, err := p.root.Open("metadata")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if role, v, ok := splitName(name); ok && role == manifest.Root && v > 0 {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

func rootName(version int64) string { return strconv.FormatInt(version, 10) + ".root.json" }
