package tufrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// Dir is a manifest.Store in a folder.
type Dir string

// Read at most limit+1 bytes.
func (d Dir) Read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// Write crash-safely.
func (d Dir) Write(name string, data []byte) error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return err
	}
	return layout.WriteFile(filepath.Join(string(d), name), data, 0o600)
}

// Remove a file that may be missing.
func (d Dir) Remove(name string) error {
	if err := os.Remove(filepath.Join(string(d), name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// HTTP fetches metadata below an address, which may end in a slash or not.
type HTTP struct {
	Base   string
	Client *http.Client
}

// Fetch tells a 404 from everything else.
func (h HTTP) Fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	return h.get(ctx, strings.TrimSuffix(h.Base, "/")+"/"+name)
}

func (h HTTP) get(ctx context.Context, address string) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	a, err := h.Client.Do(q)
	if err != nil {
		return nil, err
	}
	if a.StatusCode == http.StatusOK {
		return a.Body, nil
	}
	a.Body.Close()
	if a.StatusCode == http.StatusNotFound {
		return nil, manifest.ErrNotFound
	}
	return nil, fmt.Errorf("answer %s", a.Status)
}

// Download puts a target into a folder under its escaped path, unless it is
// there already. Nothing appears under that name before it is verified.
func (h HTTP) Download(ctx context.Context, t manifest.Target, dir string) error {
	path := filepath.Join(dir, url.PathEscape(t.Path))
	if there(t, path) {
		return nil
	}
	v, err := manifest.NewVerifier(t)
	if err != nil {
		return err
	}
	r, err := h.get(ctx, strings.TrimSuffix(h.Base, "/")+"/"+t.EscapedName())
	if err != nil {
		return err
	}
	defer r.Close()
	tmp, err := os.CreateTemp("", "tuf-client-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := io.Copy(io.MultiWriter(v, tmp), r); err != nil {
		return err
	}
	if err := v.Verified(); err != nil {
		return err
	}
	data, err := os.ReadFile(tmp.Name())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return layout.WriteFile(path, data, 0o644)
}

func there(t manifest.Target, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	v, err := manifest.NewVerifier(t)
	if err != nil {
		return false
	}
	_, err = v.Resume(f)
	return err == nil && v.Verified() == nil
}
