package web_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
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
