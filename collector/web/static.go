package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// What npm makes lies in static/ (in a bare clone only its README), what is
// written by hand in style/.
//
//go:embed static style
var embedded embed.FS

// asset is one static file under its hashed name. Since the name changes with
// the content, browsers may keep it for ever.
type asset struct {
	name   string // inter.4f0c9a1b2c.woff2
	mime   string
	plain  []byte
	packed []byte // gzip; nil where it would not be shorter
}

// assets are all static files, prepared once at the start.
type assets struct {
	byName map[string]*asset // hashed name
	href   map[string]string // plain name -> address
}

var mimes = map[string]string{
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".svg":   "image/svg+xml",
	".woff2": "font/woff2",
}

func loadAssets() (*assets, error) {
	a := &assets{byName: map[string]*asset{}, href: map[string]string{}}
	// Fonts first: the style sheet names them by their hashed names.
	for _, name := range []string{"static/inter.woff2", "static/inter-ext.woff2", "static/icons.svg", "static/app.js", "static/chart.js", "style/icon.svg"} {
		body, err := embedded.ReadFile(name)
		if err != nil {
			continue // a program built without npm
		}
		if err := a.add(path.Base(name), body); err != nil {
			return nil, err
		}
	}
	css, err := a.styles()
	if err != nil {
		return nil, err
	}
	return a, a.add("style.css", css)
}

// styles puts the style sheets together. Without the font its rule would only
// cause requests for nothing.
func (a *assets) styles() ([]byte, error) {
	var css bytes.Buffer
	for _, name := range []string{"font.css", "base.css", "pages.css"} {
		part, err := fs.ReadFile(embedded, "style/"+name)
		if err != nil {
			return nil, fmt.Errorf("reading the style sheet: %w", err)
		}
		if name == "font.css" {
			if a.href["inter.woff2"] == "" {
				continue
			}
			part = []byte(strings.NewReplacer(
				"inter.woff2", path.Base(a.href["inter.woff2"]),
				"inter-ext.woff2", path.Base(a.href["inter-ext.woff2"]),
			).Replace(string(part)))
		}
		css.Write(part)
	}
	return css.Bytes(), nil
}

func (a *assets) add(name string, body []byte) error {
	sum := sha256.Sum256(body)
	ext := path.Ext(name)
	f := &asset{
		name:  strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:5]) + ext,
		mime:  mimes[ext],
		plain: body,
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compressing %s: %w", name, err)
	}
	z.Write(body) // to memory, cannot fail
	z.Close()
	if packed.Len() < len(body)*9/10 {
		f.packed = packed.Bytes()
	}
	a.byName[f.name] = f
	a.href[name] = "/static/" + f.name
	return nil
}

// serve answers GET /static/{file}.
func (a *assets) serve(v *visit) error {
	f, ok := a.byName[v.r.PathValue("file")]
	if !ok {
		return errNoPage
	}
	h := v.w.Header()
	h.Set("Content-Type", f.mime)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := f.plain
	if f.packed != nil && acceptsGzip(v.r) {
		h.Set("Content-Encoding", "gzip")
		body = f.packed
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	v.w.WriteHeader(http.StatusOK)
	if v.r.Method != http.MethodHead {
		v.w.Write(body)
	}
	return nil
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if (name == "gzip" || name == "*") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
