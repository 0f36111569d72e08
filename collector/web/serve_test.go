package web_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
)

// TestServe: both versions of HTTP on one listener, bounds on what comes in,
// and an end that waits for nobody's open stream.
func TestServe(t *testing.T) {
	w := newWorld(t) // its httptest server lends the certificate
	ids := w.fill(2)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	ln := tls.NewListener(inner, &tls.Config{Certificates: w.ts.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.web.Serve(ctx, ln) }()
	w.url = "https://" + inner.Addr().String()

	b := w.signedIn("admin")
	w.look("admin", ids[0])
	if res := b.get("/devices"); res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
		t.Errorf("GET /devices = %d over HTTP/%d, want 200 over 2", res.StatusCode, res.ProtoMajor)
	}
	conf := b.c.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.NextProtos = []string{"http/1.1"}
	one := &http.Client{Jar: b.c.Jar, Transport: &http.Transport{TLSClientConfig: conf}}
	long := &browser{w, one}
	if res := long.get("/devices", "X-Filler", strings.Repeat("x", 40<<10)); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 40 kB = %d, want 431", res.StatusCode)
	}
	for _, client := range []*http.Client{b.c, one} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/devices/"+ids[0]+"/live", nil)
		res, err := client.Do(req)
		w.must(err)
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("live = %d %s", res.StatusCode, res.Header.Get("Content-Type"))
		}
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() && lines.Text() != "event: beat" {
		}
	}
	start := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("stopping took %v with two open streams", took)
	}
	if _, err := b.c.Get(w.url + "/healthz"); err == nil {
		t.Error("the server answers after its end")
	}
}

// TestErrorsAreOfTheHouse: whatever reaches a handler is refused with a page in the
// reader's language, or a problem for a program; what net/http itself refuses is listed,
// so that a new version of it that answers otherwise is seen.
func TestErrorsAreOfTheHouse(t *testing.T) {
	w := newWorld(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.web.Serve(ctx, tls.NewListener(inner, &tls.Config{Certificates: w.ts.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}))
	}()
	defer func() { cancel(); w.must(<-done) }()
	token := w.token("t", access.RoleAdmin, nil)
	const rest = " HTTP/1.1\r\nHost: desk.example\r\nAccept-Language: en\r\nConnection: close\r\n"
	form := "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("a", 70000)
	bearer := "Authorization: Bearer " + token + "\r\nContent-Type: application/json\r\nContent-Length: 70000\r\n\r\n\"" + strings.Repeat("a", 69998) + "\""
	page, program := "text/html; charset=utf-8", "application/problem+json"
	for _, tt := range []struct {
		what, raw string
		code      int
		kind      string // empty = net/http's own
		says      string
	}{
		{"body of a form", "POST /sign-in" + rest + form, 413, page, "Too much text"},
		{"body of a call", "POST /api/v1/claims" + rest + bearer, 413, program, "urn:hausmeister:problem:too-large"},
		{"method of a page", "PUT /sign-in" + rest + "\r\n", 405, page, "Not possible this way"},
		{"method of a call", "DELETE /api/v1/claims" + rest + "\r\n", 405, program, "urn:hausmeister:problem:method-not-allowed"},
		{"method of what there is not", "BREW /pot" + rest + "\r\n", 404, page, "Not found here"},
		{"connect", "CONNECT desk.example:443" + rest + "\r\n", 405, page, "Not possible this way"},
		{"star", "GET *" + rest + "\r\n", 400, page, "Request not understood"},
		{"query", "GET /sign-in?%zz" + rest + "\r\n", 400, page, "Request not understood"},
		{"long address", "GET /" + strings.Repeat("a", 15000) + rest + "\r\n", 404, page, "Not found here"},
		{"long address of a call", "GET /api/v1/" + strings.Repeat("a", 15000) + rest + "\r\n", 404, program, "urn:hausmeister:problem:not-found"},
		{"host of a strange sort", "GET /sign-in HTTP/1.1\r\nHost: a'b\r\nAccept-Language: en\r\nConnection: close\r\n\r\n", 400, page, "Request not understood"},
		{"host of a strange sort in a call", "GET /api/v1/claims HTTP/1.1\r\nHost: a'b\r\nConnection: close\r\n\r\n", 400, program, `"field":"host"`},

		{"no host in HTTP/1.0", "GET /sign-in HTTP/1.0\r\nAccept-Language: en\r\n\r\n", 200, page, "Sign in"},

		{"longest header", "GET /" + strings.Repeat("a", 25000) + rest + "\r\n", 431, "", "431"},
		{"no request line", "GARBAGE\r\n\r\n", 400, "", "400"},
		{"escape", "GET /%zz" + rest + "\r\n", 400, "", "400"},
		{"no host", "GET /sign-in HTTP/1.1\r\n\r\n", 400, "", "missing required Host"},
		{"no host's characters", "GET /sign-in HTTP/1.1\r\nHost: <b>\r\n\r\n", 400, "", "malformed Host"},
		{"version", "GET /sign-in HTTP/3.7\r\nHost: desk.example\r\n\r\n", 505, "", "505"},
		{"transfer coding", "POST /sign-in" + rest + "Transfer-Encoding: brotli\r\n\r\n", 501, "", "transfer encoding"},
		{"expectation", "GET /sign-in" + rest + "Expect: wonders\r\n\r\n", 417, "", ""},
	} {
		c, err := tls.Dial("tcp", inner.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		w.must(err)
		w.must(c.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(c, tt.raw)
		w.must(err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		w.must(err)
		body, _ := io.ReadAll(res.Body)
		c.Close()
		plain := tt.kind == ""
		if kind := res.Header.Get("Content-Type"); res.StatusCode != tt.code || !plain && kind != tt.kind || plain && cmp.Or(kind, "text/plain; charset=utf-8") != "text/plain; charset=utf-8" || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s: %d %s %.300s; want %d %s with %q", tt.what, res.StatusCode, kind, body, tt.code, tt.kind, tt.says)
		}
		if policed := res.Header.Get("Content-Security-Policy") != ""; policed == plain {
			t.Errorf("%s: carries the house's headers: %v, want %v", tt.what, policed, !plain)
		}
	}
	// Over HTTP/2 a host of any characters comes through.
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sign-in", nil)
	req.Host = `"><script>`
	rec := httptest.NewRecorder()
	w.web.ServeHTTP(rec, req)
	if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "Anfrage nicht verstanden") || strings.Contains(rec.Body.String(), "><script>") {
		t.Errorf("a host that is none = %d %.300s, want the page of 400", rec.Code, rec.Body)
	}
}
