package rollout_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
)

// BenchmarkFleet is what a rollout over 70,000 devices costs: giving places, offers to
// devices that may not begin and to such that may, outcomes, a round, and the words
// for all, at the first look and while they are kept, with a page of the list. Offers of the first kind write once for
// each device and rollout, alone here; many at once share a commit.
func BenchmarkFleet(b *testing.B) {
	for _, kind := range []string{"sqlite", "postgres"} {
		b.Run(kind, func(b *testing.B) {
			cfg := dbtest.SQLite(b, migrations)
			if kind == "postgres" {
				cfg = dbtest.Postgres(b, migrations)
			}
			d, err := db.Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			w := newWorld(b, d)
			w.release("1.0.0")
			w.release("1.1.0")
			const devices = 70_000
			w.many(devices)
			id, err := w.Start(b.Context(), person("ada"), w.releaseID("1.1.0"), "new version for the schools")
			if err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			w.care()
			b.Logf("places of %d devices: %v", devices, time.Since(began).Round(time.Millisecond))
			hash := sha256.Sum256([]byte("program 1.0.0"))
			g := rollout.Gateway{Rollouts: w.Rollouts}
			name := func(i int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", i%devices) }
			ask := func(i int) *hmpb.Offer {
				o, err := g.Offer(b.Context(), access.ForDevice(name(i), w.owner), "1.0.0", hash[:], []string{"system:linux/amd64"})
				if err != nil {
					b.Fatal(err)
				}
				return o
			}
			next := 0
			b.Run("offer", func(b *testing.B) {
				for b.Loop() {
					ask(next)
					next++
				}
			})
			b.Run("outcome", func(b *testing.B) {
				var held []string
				var offers []*hmpb.Offer
				for i := 0; i < devices && len(held) < 4; i++ {
					if o := ask(i); o != nil {
						held, offers = append(held, name(i)), append(offers, o)
					}
				}
				i := 0
				for b.Loop() {
					k := i % len(held)
					i++
					w.ends(held[k], offers[k], true)
				}
			})
			b.Run("round", func(b *testing.B) {
				for b.Loop() {
					w.care()
				}
			})
			b.Run("words_first", func(b *testing.B) { // nobody looked before
				for b.Loop() {
					w.now = w.now.Add(time.Minute)
					if c, err := w.Compliance(b.Context(), person("ada"), id); err != nil || c.Devices != devices {
						b.Fatal(c, err)
					}
				}
			})
			b.Run("page", func(b *testing.B) { // of the devices with a word, and how many they are
				all, err := w.Compliance(b.Context(), person("ada"), id)
				if err != nil {
					b.Fatal(err)
				}
				why := slices.MaxFunc(rollout.Whys, func(x, y rollout.Why) int { return cmp.Compare(all.Counts[x], all.Counts[y]) })
				after := ""
				for b.Loop() {
					page, err := w.DeviceStates(b.Context(), person("ada"), id, why, after, 50)
					if err != nil || len(page) == 0 {
						b.Fatal(page, err)
					}
					if after = page[len(page)-1].Device; len(page) < 50 {
						after = ""
					}
					if c, err := w.Compliance(b.Context(), person("ada"), id); err != nil || c.Counts[why] == 0 {
						b.Fatal(c, err)
					}
				}
			})
			b.Run("words", func(b *testing.B) {
				for b.Loop() {
					if c, err := w.Compliance(b.Context(), person("ada"), id); err != nil || c.Devices != devices {
						b.Fatal(c, err)
					}
				}
			})
			b.Run("offer_again", func(b *testing.B) {
				for b.Loop() {
					ask(7) // it came already: nothing is written
				}
			})
			b.Run("list", func(b *testing.B) {
				for b.Loop() {
					w.view(id)
				}
			})
		})
	}
}

// many fills the tables that fleet and health own, since admitting 70,000 one by one is
// not what is measured.
func (w *world) many(n int) {
	w.t.Helper()
	for from := 0; from < n; from += 5000 {
		err := w.db.Write(w.t.Context(), func(tx *db.Tx) error {
			for i := from; i < min(from+5000, n); i++ {
				id := fmt.Sprintf("00000000-0000-7000-8000-%012d", i)
				_, err := tx.Exec(w.t.Context(), `INSERT INTO devices (id, owner_id, hardware, manufacturer, model, serial, os, label_key, search, admitted_ms, reimages, number) VALUES ($1, $2, $1, 'F', $3, $1, 'linux', $1, '', 0, 0, $4)`,
					id, w.owner, fmt.Sprintf("M%d", i%7), int64(i+1))
				if err != nil {
					return err
				}
				_, err = tx.Exec(w.t.Context(), `INSERT INTO health_state (device_id, session, last_contact_day) VALUES ($1, $2, $3)`, id, int64(i%2), w.now.UnixMilli()/86400000)
				if err != nil {
					return err
				}
				_, err = tx.Exec(w.t.Context(), `INSERT INTO health_agents (device_id, day, version, latest) VALUES ($1, 1, '1.0.0', 1)`, id)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
