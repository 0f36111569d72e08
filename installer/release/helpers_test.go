package release_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest/draft"
)

type ed25519Public = ed25519.PublicKey

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signAlso(f *draft.File, k release.Key) error { return f.Sign(k.Private) }

func sum(data []byte) [32]byte { return sha256.Sum256(data) }

func statusOf(t *testing.T, h http.Handler, path, body string) int {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body)))
	return rec.Code
}
