package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var ownFiles embed.FS

var migrationName = regexp.MustCompile(`^(\d{14})_([a-z]+)_[a-z0-9_]+\.sql$`)

// merge puts the files of all subjects into one folder, and refuses what could
// change the order on another machine: two files of one time, a name that is
// not its subject's.
func merge(all []Migrations) (fs.FS, error) {
	merged := fstest.MapFS{}
	taken := map[string]string{}
	for _, m := range all {
		names, err := fs.Glob(m.FS, "migrations/*.sql")
		if err != nil {
			return nil, fmt.Errorf("listing migrations of %s: %w", m.Name, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("migrations of %s: no file migrations/*.sql", m.Name)
		}
		for _, name := range names {
			base := path.Base(name)
			parts := migrationName.FindStringSubmatch(base)
			if parts == nil || parts[2] != m.Name {
				return nil, fmt.Errorf("migration %s: want a name like 20261124000000_%s_what.sql", base, m.Name)
			}
			if other := taken[parts[1]]; other != "" {
				return nil, fmt.Errorf("migrations %s and %s have the same time", other, base)
			}
			taken[parts[1]] = base
			data, err := fs.ReadFile(m.FS, name)
			if err != nil {
				return nil, fmt.Errorf("reading migration %s: %w", base, err)
			}
			if strings.Contains(string(data), "+goose Down") {
				return nil, fmt.Errorf("migration %s goes down; a way back is a backup", base)
			}
			merged[base] = &fstest.MapFile{Data: data}
		}
	}
	return merged, nil
}

// provider is goose with the files of all subjects.
func (d *DB) provider() (*goose.Provider, error) {
	files, err := merge(append([]Migrations{{Name: "db", FS: ownFiles}}, d.cfg.Migrations...))
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	if d.dialect == Postgres {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, d.writers, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	return p, nil
}

func (d *DB) migrate(ctx context.Context) error {
	p, err := d.provider()
	if err != nil {
		return err
	}
	from, err := d.refuseNewer(ctx, p, d.writers)
	if err != nil {
		return err
	}
	done, err := p.Up(ctx)
	if err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			return fmt.Errorf("migration %s: %w", path.Base(partial.Failed.Source.Path), partial.Err)
		}
		return fmt.Errorf("migrating: %w", err)
	}
	sources := p.ListSources()
	d.version = sources[len(sources)-1].Version
	if len(done) > 0 {
		d.cfg.Log.Info("database migrated", "from", from, "to", d.version, "steps", len(done))
	}
	return nil
}

// refuseNewer looks for applied migrations that this program does not have. A
// program older than its data would not only miss columns; it would write rows
// that break what the newer one promised.
func (d *DB) refuseNewer(ctx context.Context, p *goose.Provider, on *sql.DB) (from int64, err error) {
	applied, err := appliedMigrations(ctx, d.dialect, on)
	if err != nil {
		return 0, err
	}
	sources := p.ListSources()
	for _, version := range applied {
		if version != 0 && !slices.ContainsFunc(sources, func(s *goose.Source) bool { return s.Version == version }) {
			return 0, fmt.Errorf("%w: it has schema %d, this program knows schemas up to %d; start the version that wrote it, or restore a backup of this one",
				ErrNewer, slices.Max(applied), sources[len(sources)-1].Version)
		}
		from = max(from, version)
	}
	return from, nil
}

func appliedMigrations(ctx context.Context, dialect Dialect, from *sql.DB) ([]int64, error) {
	exists := `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`
	if dialect == Postgres {
		exists = `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'goose_db_version'`
	}
	var n int
	if err := from.QueryRowContext(ctx, exists).Scan(&n); err != nil || n == 0 {
		return nil, err
	}
	rows, err := from.QueryContext(ctx, `SELECT version_id FROM goose_db_version`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var versions []int64
	for rows.Next() {
		var v int64
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		versions = append(versions, v)
	}
	return versions, rows.Err()
}
