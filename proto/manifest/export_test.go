package manifest

import (
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// ParseForTest gives bytes to the library without the net, and says whether it
// panicked.
func ParseForTest(kind string, data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("panic")
		}
	}()
	var v any
	switch kind {
	case Root:
		v, err = metadata.Root().FromBytes(data)
	case Timestamp:
		v, err = metadata.Timestamp().FromBytes(data)
	case Snapshot:
		v, err = metadata.Snapshot().FromBytes(data)
	default:
		v, err = metadata.Targets().FromBytes(data)
	}
	if err != nil {
		return err
	}
	r := metadata.Root()
	for role := range r.Signed.Roles {
		r.Signed.Roles[role] = &metadata.Role{KeyIDs: []string{"k"}, Threshold: 1}
	}
	r.Signed.Keys["k"] = &metadata.Key{Type: "ed25519", Scheme: "ed25519", Value: metadata.KeyVal{PublicKey: fmt.Sprintf("%064d", 1)}}
	return r.VerifyDelegate(kind, v)
}

// MaxLengthForTest of a role's file.
func MaxLengthForTest(role string) int64 { return maxLength[kindOf(role)] }
