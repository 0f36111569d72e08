package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/pace"
	"hausmeister/collector/web"
)

// published stands for collector/rollout.
type published struct {
	file []byte
	line pace.Line

	mu   sync.Mutex
	open int // guarded by mu
}

func (p *published) name() string {
	sum := sha256.Sum256(p.file)
	return hex.EncodeToString(sum[:])
}

func (p *published) Metadata(_ context.Context, name string, nonce []byte, root uint64) (data, fresh []byte, err error) {
	if name != "timestamp.json" && name != "1.root.json" {
		return nil, nil, fmt.Errorf("file %s: %w", name, access.ErrNotFound)
	}
	if len(nonce) > 0 {
		fresh = fmt.Appendf(nil, "%x %d", nonce[0], root)
	}
	return []byte(`{"signed":"` + name + `"}`), fresh, nil
}

func (p *published) Published(_ context.Context, sum []byte) (pace.Content, error) {
	if hex.EncodeToString(sum) != p.name() {
		return pace.Content{}, access.ErrNotFound
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return pace.Content{ReaderAt: bytes.NewReader(p.file), Size: int64(len(p.file)), Line: p.line, Close: func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}}, nil
}

func newPublished(t *testing.T) (*published, *httptest.Server) {
	t.Helper()
	p, s := publishes(t)
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	return p, ts
}

// publishes is newPublished without a socket.
func publishes(t *testing.T) (*published, *web.Server) {
	t.Helper()
	p := &published{file: make([]byte, 100_001), line: pace.Line{Rate: 1 << 30}}
	for i := range p.file {
		p.file[i] = byte(i * i >> 7)
	}
	d := &desk{}
	s, err := web.New(web.Config{Access: d, Claims: d, Fleet: d, Health: d, Questions: struct{ web.Questions }{}, Rollouts: struct{ web.Rollouts }{}, Bus: bus.New(), Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }, Updates: p})
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

// got is an answer, read whole.
type got struct {
	*http.Response
	body []byte
	err  error // of reading
}

func ask(t *testing.T, method, url string, headers ...string) got {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return got{res, body, err}
}

func TestUpdateFiles(t *testing.T) {
	p, ts := newPublished(t)
	url, tag := ts.URL+"/updates/"+p.name(), `"`+p.name()+`"`
	tests := []struct {
		name    string
		method  string
		headers []string
		code    int
		body    []byte
	}{
		{"whole", "GET", nil, 200, p.file},
		{"head", "HEAD", nil, 200, nil},
		{"from the middle", "GET", []string{"Range", "bytes=50000-"}, 206, p.file[50_000:]},
		{"a part", "GET", []string{"Range", "bytes=1-3"}, 206, p.file[1:4]},
		{"last byte", "GET", []string{"Range", "bytes=100000-"}, 206, p.file[100_000:]},
		{"behind the end", "GET", []string{"Range", "bytes=100001-"}, 416, nil},
		{"if it is still this", "GET", []string{"Range", "bytes=50000-", "If-Range", tag}, 206, p.file[50_000:]},
		{"it was another", "GET", []string{"Range", "bytes=50000-", "If-Range", `"other"`}, 200, p.file},
		{"known", "GET", []string{"If-None-Match", tag}, 304, nil},
		{"no compression", "GET", []string{"Accept-Encoding", "gzip"}, 200, p.file},
	}
	for _, tt := range tests {
		res := ask(t, tt.method, url, tt.headers...)
		if res.StatusCode != tt.code || tt.body != nil && !bytes.Equal(res.body, tt.body) {
			t.Errorf("%s: %d with %d bytes, want %d with %d", tt.name, res.StatusCode, len(res.body), tt.code, len(tt.body))
		}
		if len(res.Header["Set-Cookie"]) > 0 || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: headers %v", tt.name, res.Header)
		}
		if tt.code < 400 && (res.Header.Get("ETag") != tag || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(res.Header.Get("Cache-Control"), "public")) {
			t.Errorf("%s: ETag %q, Cache-Control %q", tt.name, res.Header.Get("ETag"), res.Header.Get("Cache-Control"))
		}
		checkHeaders(t, tt.name, res.Header)
	}
	for _, name := range []string{strings.Repeat("0", 64), "x", strings.ToUpper(p.name()), p.name()[1:], p.name() + "00", "..%2f" + p.name()} {
		if res := ask(t, "GET", ts.URL+"/updates/"+name); res.StatusCode != 404 || res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s = %d %s %s, want a 404 problem that nobody keeps", name, res.StatusCode, res.Header.Get("Content-Type"), res.Header.Get("Cache-Control"))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != 0 {
		t.Errorf("%d files are open", p.open)
	}
}

func TestUpdateMetadata(t *testing.T) {
	_, ts := newPublished(t)
	url := ts.URL + "/updates/metadata/"
	res := ask(t, "GET", url+"timestamp.json")
	if string(res.body) != `{"signed":"timestamp.json"}` || res.Header.Get("Cache-Control") != "public, no-cache" || res.Header.Get("Hausmeister-Freshness") != "" {
		t.Errorf("timestamp.json = %s, %v", res.body, res.Header)
	}
	if again := ask(t, "GET", url+"timestamp.json", "If-None-Match", res.Header.Get("ETag")); again.StatusCode != 304 {
		t.Errorf("again = %d, want 304", again.StatusCode)
	}
	if res := ask(t, "GET", url+"1.root.json"); !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("1.root.json: Cache-Control %q", res.Header.Get("Cache-Control"))
	}
	nonce := strings.Repeat("ab", 32)
	res = ask(t, "GET", url+"timestamp.json?root=4&nonce="+nonce)
	fresh, err := base64.StdEncoding.DecodeString(res.Header.Get("Hausmeister-Freshness"))
	if err != nil || string(fresh) != "ab 4" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("with a nonce: %q, %v, Cache-Control %q", fresh, err, res.Header.Get("Cache-Control"))
	}
	for path, code := range map[string]int{"2.root.json": 404, "timestamp.json?nonce=ab": 400, "timestamp.json?nonce=xy": 400, "timestamp.json?root=-1": 400, "..%2f..%2fetc%2fpasswd": 404, "x": 404, ".json": 404, "a..json": 404} {
		if res := ask(t, "GET", url+path); res.StatusCode != code || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s = %d %s, want a problem with %d", path, res.StatusCode, res.Header.Get("Content-Type"), code)
		}
	}
}

// TestStatementsAreBounded: for who has no session, so many statements of freshness are
// signed at once, and so many in each second after that.
func TestStatementsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := publishes(t)
		signed := func() (n int) {
			t.Helper()
			for range 300 {
				rec := httptest.NewRecorder()
				s.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/updates/metadata/timestamp.json?nonce="+strings.Repeat("ab", 32), nil))
				switch {
				case rec.Code == 200 && rec.Header().Get("Hausmeister-Freshness") != "":
					n++
				case rec.Code != 503 || rec.Header().Get("Retry-After") == "":
					t.Fatalf("answer %d, headers %v", rec.Code, rec.Header())
				}
			}
			return n
		}
		if n := signed(); n != 200 {
			t.Errorf("%d of 300 at once were signed for nobody in particular, want 200", n)
		}
		time.Sleep(time.Second)
		if n := signed(); n != 20 {
			t.Errorf("%d of 300 were signed a second later, want 20", n)
		}
	})
}

func TestNoUpdatesByHTTPS(t *testing.T) {
	_, s := newDesk(t, bus.New())
	for _, path := range []string{"/updates/" + strings.Repeat("0", 64), "/updates/metadata/timestamp.json"} {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != 404 {
			t.Errorf("GET %s = %d, want 404", path, rec.Code)
		}
	}
}

// Fifty devices behind one address come at once: some get the file, at the line's
// pace, the others hear when to come; another address waits for none of them.
func TestAttack22HTTPSComeBack(t *testing.T) {
	p, ts := newPublished(t)
	p.line.Rate, p.line.Parallel = 100_000, 5
	begun := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	whole, later := 0, 0
	for range 50 {
		wg.Go(func() {
			res := ask(t, "GET", ts.URL+"/updates/"+p.name())
			mu.Lock()
			defer mu.Unlock()
			switch after, _ := strconv.Atoi(res.Header.Get("Retry-After")); {
			case res.StatusCode == 200 && res.err == nil && bytes.Equal(res.body, p.file):
				whole++
			case res.StatusCode == 503 && after >= 1 && after <= 86_400:
				later++
			default:
				t.Errorf("answer %d, Retry-After %q, %d bytes, %v", res.StatusCode, res.Header.Get("Retry-After"), len(res.body), res.err)
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if whole < 5 || later == 0 || whole+later != 50 {
		t.Errorf("%d got the file, %d were told to come back", whole, later)
	}
	if least := time.Duration(float64(whole)*100_001/100_000*float64(time.Second)) - time.Second; took < least {
		t.Errorf("%d files of 100 kB in %v over a line of 100 kB/s", whole, took)
	}
	// Who has a turn of his own comes when he was told to, from whichever port.
	slow := make(chan got)
	for range 5 {
		go func() { slow <- ask(t, "GET", ts.URL+"/updates/"+p.name(), "Hausmeister-Turn", "first") }()
	}
	time.Sleep(100 * time.Millisecond)
	for tries := 0; ; tries++ {
		res := ask(t, "GET", ts.URL+"/updates/"+p.name(), "Hausmeister-Turn", "second", "Range", "bytes=90000-")
		if res.StatusCode == 206 {
			break
		}
		after, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if err != nil || after > 60 || tries > 5 {
			t.Fatalf("try %d: %d, Retry-After %q", tries, res.StatusCode, res.Header.Get("Retry-After"))
		}
		time.Sleep(time.Duration(after) * time.Second)
	}
	for range 5 {
		<-slow
	}
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/updates/"+p.name(), nil)
	req.RemoteAddr = "[2001:db8:1:2::3]:4711"
	ts.Config.Handler.ServeHTTP(rec, req)
	if rec.Code != 200 || !bytes.Equal(rec.Body.Bytes(), p.file) {
		t.Errorf("another address = %d, %d bytes", rec.Code, rec.Body.Len())
	}
}
