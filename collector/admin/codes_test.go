package admin

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"hausmeister/collector/rollout"
)

// TestNoRefusalIsInternal: what a rollout refuses is the operator's to know, and no fault
// of the collector.
func TestNoRefusalIsInternal(t *testing.T) {
	for _, err := range []error{rollout.ErrState, rollout.ErrSecond, rollout.ErrPerson, rollout.ErrOlder, rollout.ErrReason, rollout.ErrInvalid, rollout.ErrRefused, rollout.ErrIncomplete, rollout.ErrNoRollout, rollout.ErrNoRepository} {
		err := fmt.Errorf("rollout resumed: %w", err)
		i := slices.IndexFunc(codes, func(c struct {
			err    error
			code   Code
			status int
		}) bool {
			return errors.Is(err, c.err)
		})
		if i < 0 || codes[i].status >= 500 {
			t.Errorf("%v has no answer of its own", err)
		}
	}
}
