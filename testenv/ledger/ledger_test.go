package ledger

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fakes"
)

func TestProduced(t *testing.T) {
	disk := fakes.NewDisk()
	s, err := spool.Open(spool.Config{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		e := hmpb.Entry_builder{DeviceMs: proto.Int64(int64(i)), State: &hmpb.State{}}.Build()
		if _, err := s.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	s.Ack(200)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b := Book{}
	if err := b.Produced(disk); err != nil {
		t.Fatal(err)
	}
	if b.Count() != 300 {
		t.Errorf("the book has %d reports, want 300: also those that were acknowledged", b.Count())
	}
	if err := b.Produced(disk); err == nil {
		t.Error("the same spool twice gives no error")
	}
}

func TestStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	d, err := db.Open(t.Context(), db.Config{Path: path, Migrations: tables})
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&hmpb.State{})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Write(t.Context(), func(tx *db.Tx) error {
		if _, err := tx.Exec(t.Context(), `INSERT INTO health_spools (id, device_id, epoch, last_seq, dropped, used_ms) VALUES (1, 'd', $1, 7, 0, 0)`, []byte{1, 2}); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `INSERT INTO health_reports (spool, seq, device_ms, collector_ms, marks, body) VALUES (1, 7, 70, 71, 0, $1)`, body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	b := Book{}
	if err := b.Stored(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Book{"0102": {7: {DeviceMS: 70, Body: []byte{}}}}, b); d != "" {
		t.Errorf("book of the database (-want +got):\n%s", d)
	}
}

func TestDifferences(t *testing.T) {
	now := time.Now().UnixMilli()
	book := func() Book {
		return Book{"a": {1: {now, []byte{1}}, 2: {now, []byte{2}}}, "b": {1: {now, []byte{3}}}}
	}
	if d := Differences(book(), book()); d != nil {
		t.Errorf("equal books differ: %v", d)
	}
	stored := book()
	delete(stored["a"], 2)
	stored["b"][1] = Report{now, []byte{4}}
	stored["c"] = map[uint64]Report{9: {}}
	want := []string{"report 1 of spool b was changed", "report 2 of spool a is lost", "report 9 of spool c was never made"}
	if got := Differences(book(), stored); !slices.Equal(got, want) {
		t.Errorf("Differences = %v, want %v", got, want)
	}
}
