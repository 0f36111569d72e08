package spool_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/proto/hmpb"
)

// entry is a report that can be told from all others, of about size bytes.
func entry(text string, size int) *hmpb.Entry {
	text += strings.Repeat(".", max(0, size-len(text)))
	r := hmpb.Reading_builder{Id: proto.Uint32(1), Text: &text}.Build()
	return hmpb.Entry_builder{DeviceMs: proto.Int64(1), State: hmpb.State_builder{Readings: []*hmpb.Reading{r}}.Build()}.Build()
}

// note is a report that no later one of its day stands for.
func note(text string, size int) *hmpb.Entry {
	text += strings.Repeat(".", max(0, size-len(text)))
	return hmpb.Entry_builder{DeviceMs: proto.Int64(1), Finding: hmpb.Finding_builder{Instance: &text}.Build()}.Build()
}

func textOf(e *hmpb.Entry) string {
	if e.HasFinding() {
		return strings.TrimRight(e.GetFinding().GetInstance(), ".")
	}
	return strings.TrimRight(e.GetState().GetReadings()[0].GetText(), ".")
}

// told is what a collector would have stored.
type told struct {
	Seqs    []uint64
	Texts   []string
	Dropped [][2]uint64
}

// readAll takes everything above after out of the spool, as the link would,
// and checks each batch's form.
func readAll(t *testing.T, s *spool.Spool, after uint64) told {
	t.Helper()
	var got told
	for {
		b, err := s.Batch(after, 1000)
		if err != nil {
			t.Fatalf("Batch(%d): %v", after, err)
		}
		if b == nil {
			return got
		}
		if !bytes.Equal(b.GetSpoolEpoch(), s.Epoch()) || b.GetFirstSeq() != after+1 {
			t.Fatalf("Batch(%d) has epoch %x and first sequence %d, want %x and %d", after, b.GetSpoolEpoch(), b.GetFirstSeq(), s.Epoch(), after+1)
		}
		next, drops := after+1, b.GetDropped()
		for _, e := range b.GetEntries() {
			seq := b.GetFirstSeq() + uint64(e.GetOffset())
			for len(drops) > 0 && drops[0].GetFrom() == next {
				got.Dropped = append(got.Dropped, [2]uint64{next, drops[0].GetTo()})
				next, drops = drops[0].GetTo()+1, drops[1:]
			}
			if seq != next {
				t.Fatalf("Batch(%d): sequence %d follows %d and nothing is named as dropped", after, seq, next-1)
			}
			got.Seqs, got.Texts = append(got.Seqs, seq), append(got.Texts, textOf(e))
			next = seq + 1
		}
		if len(drops) > 0 {
			t.Fatalf("Batch(%d): dropped ranges %v behind its last entry", after, drops)
		}
		after = next - 1
	}
}

func open(t *testing.T, c spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(t *testing.T, s *spool.Spool, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := s.Append(t.Context(), entry(text, 300)); err != nil {
			t.Fatalf("Append(%s): %v", text, err)
		}
	}
}

func addNotes(t *testing.T, s *spool.Spool, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := s.Append(t.Context(), note(text, 300)); err != nil {
			t.Fatalf("Append(%s): %v", text, err)
		}
	}
}

func numbered(from, to int) []string {
	var texts []string
	for i := from; i <= to; i++ {
		texts = append(texts, fmt.Sprintf("report %d", i))
	}
	return texts
}
