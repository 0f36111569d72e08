package db

import (
	"context"
	"strconv"
)

// SortsByBytes is for a collation that no machine need have.
var SortsByBytes = sortsByBytes

// Waiting is how many writers queue behind the leader.
func (d *DB) Waiting() int {
	d.group.mu.Lock()
	defer d.group.mu.Unlock()
	return len(d.group.waiting)
}

// LimitPages makes a SQLite database full at n pages; 0 takes it back.
func (d *DB) LimitPages(ctx context.Context, n int) error {
	if n == 0 {
		n = 1 << 30
	}
	return d.Write(ctx, func(tx *Tx) error {
		var got int
		q := "PRAGMA max_page_count = " + strconv.Itoa(n)
		return tx.QueryRow(ctx, q).Scan(&got)
	})
}
