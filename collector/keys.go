package collector

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"hausmeister/platform/layout"
	"hausmeister/proto/wire"
)

// Types of the PEM blocks in the file of transport keys.
const (
	resetKeyType = "HAUSMEISTER STATELESS RESET KEY"
	tokenKeyType = "HAUSMEISTER ADDRESS TOKEN KEY"
)

// transportKeys reads or makes the two keys by which devices notice within a
// round trip that the collector they talk to has restarted. Several collectors
// of one name share the file. They protect no data: without them devices
// notice after a minute.
func transportKeys(path string) (wire.EndpointConfig, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = nil
		for _, kind := range []string{resetKeyType, tokenKeyType} {
			key := make([]byte, 32)
			rand.Read(key)
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: key})...)
		}
		err = layout.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return wire.EndpointConfig{}, fmt.Errorf("transport keys: %w", err)
	}
	found := map[string]*[32]byte{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if len(block.Bytes) == 32 {
			found[block.Type] = (*[32]byte)(block.Bytes)
		}
	}
	keys := wire.EndpointConfig{StatelessResetKey: found[resetKeyType], TokenKey: found[tokenKeyType]}
	if keys.StatelessResetKey == nil || keys.TokenKey == nil {
		return wire.EndpointConfig{}, fmt.Errorf("transport keys: %s does not hold both keys; remove it to have new ones made", path)
	}
	return keys, nil
}
