package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/manifest"
)

// Release is a version that is or was signed, with its program for each system.
type Release struct {
	ID                        string
	Product, Channel, Version string
	Urgent                    bool
	RollbackOf                string // the newer version that this one is the way back from
	Floor, MinFrom            string
	Imported                  time.Time
	Gone                      time.Time // it is signed no longer; zero = it is
	Blocked                   time.Time // somebody took it off; zero = nobody
	Programs                  []Program
}

// Program is a release's file for one system.
type Program struct {
	OS, Arch string
	SHA256   string
	Length   int64
	Packed   int64 // bytes of the packed file; 0 = none
	Deltas   []Delta
}

// Delta is a patch to a program.
type Delta struct {
	From   string // sha256 of what it changes
	Length int64
}

// Releases are all that the collector has, the newest first.
func (r *Rollouts) Releases(ctx context.Context, caller access.Caller) (out []Release, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	err = r.db.Read(ctx, func(tx *db.Tx) error {
		out, err = readReleases(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing releases: %w", err)
	}
	return out, nil
}

func readReleases(ctx context.Context, tx *db.Tx) (out []Release, err error) {
	rows, err := tx.Query(ctx, `SELECT id, product, channel, version, urgent, rollback_of, floor, min_from, imported_ms, COALESCE(gone_ms, 0), COALESCE(blocked_ms, 0) FROM rollout_releases`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	at := map[string]int{}
	for rows.Next() {
		var rel Release
		var urgent, imported, gone, blocked int64
		if err := rows.Scan(&rel.ID, &rel.Product, &rel.Channel, &rel.Version, &urgent, &rel.RollbackOf, &rel.Floor, &rel.MinFrom, &imported, &gone, &blocked); err != nil {
			return nil, err
		}
		rel.Urgent, rel.Imported, rel.Gone, rel.Blocked = urgent == 1, timeOf(imported), timeOf(gone), timeOf(blocked)
		out = append(out, rel)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Release) int {
		if c := b.Imported.Compare(a.Imported); c != 0 {
			return c
		}
		return manifest.Compare(b.Version, a.Version)
	})
	for i := range out {
		at[out[i].ID] = i
	}
	return out, readPrograms(ctx, tx, out, at)
}

// readPrograms adds them: a program's row comes before those of its deltas.
func readPrograms(ctx context.Context, tx *db.Tx, out []Release, at map[string]int) error {
	rows, err := tx.Query(ctx, `SELECT release_id, kind, os, arch, sha256, length, from_sha256 FROM rollout_targets WHERE release_id IS NOT NULL AND gone_ms IS NULL
		ORDER BY release_id, os, arch, CASE WHEN kind = 'program' THEN 0 ELSE 1 END, path`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, kind, from string
		var p Program
		if err := rows.Scan(&id, &kind, &p.OS, &p.Arch, &p.SHA256, &p.Length, &from); err != nil {
			return err
		}
		i, ok := at[id]
		if !ok {
			continue
		}
		rel := &out[i]
		if kind == kindProgram {
			rel.Programs = append(rel.Programs, p)
			continue
		}
		if len(rel.Programs) == 0 {
			continue
		}
		last := &rel.Programs[len(rel.Programs)-1]
		switch kind {
		case kindPacked:
			last.Packed = p.Length
		case kindDelta:
			last.Deltas = append(last.Deltas, Delta{From: from, Length: p.Length})
		}
	}
	return rows.Close()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
