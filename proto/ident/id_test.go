package ident_test

import (
	"testing"
	"time"

	"hausmeister/proto/ident"
)

func TestTimeOf(t *testing.T) {
	at := time.UnixMilli(1_795_500_000_123)
	if got, ok := ident.TimeOf(ident.NewID(at)); !ok || !got.Equal(at) {
		t.Errorf("TimeOf of an id made at %v = %v, %v", at, got, ok)
	}
	for _, id := range []string{"", "x", "01890a5d-ac96-474b-bcce-b302099a8057", "01890A5D-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a80570"} {
		if got, ok := ident.TimeOf(id); ok {
			t.Errorf("TimeOf(%q) = %v, want none: that is no UUIDv7 of ours", id, got)
		}
	}
}
