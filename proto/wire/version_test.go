package wire

import (
	"testing"

	"hausmeister/proto/hmpb"
)

// What a later build will do with today's agents, and the reverse.
func TestNegotiateAcrossGenerations(t *testing.T) {
	for _, tt := range []struct {
		name                               string
		theirMin, theirMax, ourMin, ourMax uint32
		want                               uint32
		code                               hmpb.Code
	}{
		{"three behind", 1, 2, 2, 5, 2, 0},
		{"four behind", 1, 1, 2, 5, 0, hmpb.Code_CODE_VERSION_TOO_OLD},
		{"ahead, but speaks ours", 2, 9, 2, 5, 5, 0},
		{"ahead and gave ours up", 6, 9, 2, 5, 0, hmpb.Code_CODE_VERSION_TOO_NEW},
	} {
		got, err := negotiate(tt.theirMin, tt.theirMax, tt.ourMin, tt.ourMax)
		if got != tt.want || CodeOf(err) != tt.code {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.name, got, err, tt.want, tt.code)
		}
	}
}
