package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hausmeister/platform/layout"
)

// A backup is a SQLite file with the schema of the moment, from both
// databases: SQLite makes it by VACUUM INTO; from PostgreSQL the rows of one
// snapshot are copied. So a backup of the one can be restored into the other,
// which is also the way to move.

// Backup writes a consistent copy of the database to path, which must not
// exist, while everything goes on. A crash leaves path.partial.
func (d *DB) Backup(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("writing backup: %s: %w", path, fs.ErrExist)
	}
	partial := path + ".partial"
	if err := removeDatabase(partial); err != nil {
		return fmt.Errorf("removing an unfinished backup: %w", err)
	}
	err := d.copyTo(ctx, partial)
	if err == nil {
		err = publish(partial, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing backup: %w", err), removeDatabase(partial))
	}
	return nil
}

func (d *DB) copyTo(ctx context.Context, path string) error {
	if d.dialect == SQLite {
		// The file is made first, for its rights; SQLite takes an empty one.
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		// A connection of its own: VACUUM does not run in a transaction, and
		// the readers' may not write.
		source := openSQL((&sqliteEngine{path: d.cfg.Path}).dsn())
		defer source.Close()
		_, err = source.ExecContext(ctx, `VACUUM INTO $1`, path)
		return d.engine.classify(err)
	}
	to, err := Open(ctx, Config{Path: path, Migrations: d.cfg.Migrations, Log: d.cfg.Log})
	if err != nil {
		return err
	}
	err = d.Read(ctx, func(from *Tx) error {
		return to.Write(ctx, func(tx *Tx) error { return copyRows(ctx, from, tx) })
	})
	return errors.Join(err, to.Close())
}

// publish makes a finished file durable and gives it its name.
func publish(from, to string) error {
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return layout.SyncDir(filepath.Dir(to))
}

// removeDatabase removes a SQLite database with the files beside it.
func removeDatabase(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CheckBackup opens a copy of the backup at path, migrated to this program's
// schema, and runs check on it: what passes can be restored. The copy lies
// beside the backup and is removed at the end.
func (d *DB) CheckBackup(ctx context.Context, path string, check func(*DB) error) error {
	return withCopy(ctx, d.cfg, path, path+".checking", check)
}

func withCopy(ctx context.Context, cfg Config, path, scratch string, use func(*DB) error) (err error) {
	if err := removeDatabase(scratch); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeDatabase(scratch)) }()
	if err := copyFile(path, scratch); err != nil {
		return err
	}
	cfg.URL, cfg.Path = "", scratch
	if err := isBackup(ctx, scratch); err != nil {
		return fmt.Errorf("reading backup %s: %w", path, err)
	}
	d, err := Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("reading backup %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Check(ctx); err != nil {
		return fmt.Errorf("checking backup %s: %w", path, err)
	}
	return use(d)
}

// isBackup refuses an empty or foreign file, which Open would make a fresh
// database of.
func isBackup(ctx context.Context, path string) error {
	e, err := openSQLite(path)
	if err != nil {
		return err
	}
	source := e.readers()
	defer source.Close()
	applied, err := appliedMigrations(ctx, SQLite, source)
	if err != nil {
		return e.classify(err)
	}
	if len(applied) == 0 {
		return fmt.Errorf("%w: it holds no tables of ours", ErrDamaged)
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.Open(from)
	if err != nil {
		return err
	}
	defer data.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// Restore replaces the database that cfg names, which nobody may have open, by
// the backup at path, and gives it a new store id. It checks the backup first,
// and check on top of that. Of SQLite the old files stay beside the new one,
// ending in .before-restore, until the next restore; on PostgreSQL all happens
// in one transaction. A crash leaves the old database or the new one.
func Restore(ctx context.Context, cfg Config, path string, check func(*DB) error) error {
	if cfg.URL != "" {
		return restorePostgres(ctx, cfg, path, check)
	}
	scratch := cfg.Path + ".restoring"
	ready := scratch + ".ready"
	if err := removeDatabase(ready); err != nil {
		return err
	}
	err := withCopy(ctx, cfg, path, scratch, func(d *DB) error {
		if err := check(d); err != nil {
			return err
		}
		if err := d.Write(ctx, func(tx *Tx) error { return renewStoreID(ctx, tx) }); err != nil {
			return err
		}
		return d.Backup(ctx, ready) // one file without a log beside it
	})
	if err != nil {
		return err
	}
	return replaceFiles(ctx, ready, cfg.Path)
}

func renewStoreID(ctx context.Context, tx *Tx) error {
	_, err := tx.Exec(ctx, `UPDATE store SET value = $1 WHERE name = 'id'`, newStoreID())
	return err
}

// replaceFiles puts the new database in the old one's place. SQLite would play
// the old log into the new file, so the log goes first; before that its content
// goes into the old file, unless that is damaged, and a crash loses nothing.
func replaceFiles(ctx context.Context, fresh, path string) error {
	aside := path + ".before-restore"
	if err := removeDatabase(aside); err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		old := openSQL((&sqliteEngine{path: path}).dsn())
		old.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`) // damaged: its files are kept as they are
		if err := old.Close(); err != nil {
			return err
		}
	}
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Link(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return publish(fresh, path)
}

func restorePostgres(ctx context.Context, cfg Config, path string, check func(*DB) error) (err error) {
	to, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	dir, err := os.MkdirTemp("", "hausmeister-restore-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return withCopy(ctx, cfg, path, filepath.Join(dir, "backup.db"), func(from *DB) error {
		if err := check(from); err != nil {
			return err
		}
		return from.Read(ctx, func(source *Tx) error {
			return to.writeLong(ctx, func(tx *Tx) error {
				if err := copyRows(ctx, source, tx); err != nil {
					return err
				}
				return renewStoreID(ctx, tx)
			})
		})
	})
}

// copyRows replaces the rows of all tables of ours in to by those of from.
// Both have the same schema. Rows that others refer to go in first and out last.
func copyRows(ctx context.Context, from, to *Tx) error {
	lite := to
	if from.Dialect() == SQLite {
		lite = from // the one of the two that tells about its tables easily
	}
	tables, err := tablesInOrder(ctx, lite)
	if err != nil {
		return fmt.Errorf("reading the list of tables: %w", err)
	}
	for _, table := range slices.Backward(tables) {
		if _, err := to.Exec(ctx, `DELETE FROM `+table); err != nil {
			return fmt.Errorf("clearing table %s: %w", table, err)
		}
	}
	for _, table := range tables {
		if err := copyTable(ctx, from, to, table); err != nil {
			return fmt.Errorf("copying table %s: %w", table, err)
		}
	}
	return nil
}

func copyTable(ctx context.Context, from, to *Tx, table string) error {
	rows, err := from.Query(ctx, `SELECT * FROM `+table)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.rows.Columns()
	if err != nil {
		return from.fail(err)
	}
	params := make([]string, len(columns))
	for i := range columns {
		params[i] = fmt.Sprintf("$%d", i+1)
	}
	insert := fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s)`, table, strings.Join(columns, ", "), strings.Join(params, ", "))
	values := make([]any, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i, v := range values {
			// SQLite's driver gives an empty BYTEA as a nil slice, which would
			// arrive as NULL; a NULL is nil without a type.
			if b, ok := v.([]byte); ok && b == nil {
				values[i] = []byte{}
			}
		}
		if _, err := to.Exec(ctx, insert, values...); err != nil {
			return err
		}
	}
	return rows.Close()
}

// tablesInOrder lists our tables, each after those it refers to. Their names
// are those of our own migrations, so they need no quoting.
func tablesInOrder(ctx context.Context, lite *Tx) ([]string, error) {
	names, err := Texts(ctx, lite, `SELECT name FROM sqlite_master
		WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for _, name := range names {
		parents, err := Texts(ctx, lite, `SELECT "table" FROM pragma_foreign_key_list($1)`, name)
		if err != nil {
			return nil, err
		}
		needs[name] = parents
	}
	var order []string
	for len(order) < len(names) {
		before := len(order)
		for _, name := range names {
			waits := slices.ContainsFunc(needs[name], func(p string) bool { return p != name && !slices.Contains(order, p) })
			if !waits && !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
		if len(order) == before {
			return nil, fmt.Errorf("tables refer to each other in a circle: %v", needs)
		}
	}
	return order, nil
}

// writeLong is Write for the one transaction that may take minutes, on a
// database that nobody else has open.
func (d *DB) writeLong(ctx context.Context, fn func(*Tx) error) error {
	c, err := d.begin(ctx, d.writers, d.group.conn, d.engine.beginWrite())
	d.group.conn = c
	if err != nil {
		return err
	}
	tx := &Tx{conn: c, engine: d.engine}
	if err := tx.end(fn(tx)); err != nil {
		if !d.rollback(ctx, c) {
			d.group.conn = nil
		}
		return err
	}
	_, err = c.exec(ctx, "COMMIT")
	return d.engine.classify(err)
}
