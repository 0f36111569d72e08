package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"hausmeister/collector/pace"
)

// The second way of the bytes of updates, for devices whose network lets no session
// through, and so that a school's own proxy, which opens all connections there, may
// keep them: files named by their hash, which never change. Nobody signs in for them
// and nothing of them is secret; what a device makes of them is decided by signatures
// and hashes. Nor is known which school they go to: its rate and its lessons hold on
// sessions, here it is the rate of the address.

// Updates has what devices may install; collector/rollout does. What there is not
// is access.ErrNotFound.
type Updates interface {
	// Metadata is a file of signed metadata. With a nonce there is a statement of
	// freshness with it.
	Metadata(ctx context.Context, name string, nonce []byte, root uint64) (data, freshness []byte, err error)
	// Published is a target's file that a rollout has begun with. Its line is not
	// known here: that is the address of whoever asks.
	Published(ctx context.Context, sha256 []byte) (pace.Content, error)
}

const (
	// updateChunk is what goes at once, updateWithin how long it may take to leave.
	updateChunk  = 8 << 10
	updateWithin = 30 * time.Second
	// statements of freshness are signed by another process: so many a second, and so
	// many at once, for all who have no session.
	statementsPerSecond, statementsBurst = 20, 200
	// freshnessHeader carries the statement.
	freshnessHeader = "Hausmeister-Freshness"
	turnHeader      = "Hausmeister-Turn"
)

// busy is an answer that comes later.
type busy struct{ wait time.Duration }

func (b *busy) Error() string { return fmt.Sprintf("busy, come back in %v", b.wait) }

func (b *busy) retryAfter() string {
	return strconv.Itoa(int(math.Ceil(max(b.wait, time.Second).Seconds())))
}

func newStatements() *rate.Limiter { return rate.NewLimiter(statementsPerSecond, statementsBurst) }

// updateMetadata answers GET /updates/metadata/{name}.
func (s *Server) updateMetadata(v *visit) error {
	name := v.r.PathValue("name")
	if s.cfg.Updates == nil || !metadataName(name) {
		return errNoPage
	}
	var root uint64
	nonce, err := hex.DecodeString(v.asked.Get("nonce"))
	if err != nil || len(nonce) != 0 && len(nonce) != sha256.Size {
		return &badRequest{"nonce", "want 64 hexadecimal digits"}
	}
	if given := v.asked.Get("root"); given != "" {
		if root, err = strconv.ParseUint(given, 10, 63); err != nil {
			return &badRequest{"root", "want the version of a root"}
		}
	}
	if len(nonce) > 0 && !s.statements.Allow() {
		return &busy{s.cfg.Pace.Again()}
	}
	data, fresh, err := s.cfg.Updates.Metadata(v.r.Context(), name, nonce, root)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "application/json")
	switch {
	case fresh != nil:
		h.Set(freshnessHeader, base64.StdEncoding.EncodeToString(fresh))
	case name[0] >= '1' && name[0] <= '9': // of one version, which never changes
		h.Set("Cache-Control", immutable)
	default:
		h.Set("Cache-Control", "public, no-cache")
	}
	sum := sha256.Sum256(data)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	http.ServeContent(v.w, v.r, "", time.Time{}, bytes.NewReader(data))
	return nil
}

// metadataName says whether this may be the name of a file of metadata.
func metadataName(name string) bool {
	return len(name) <= 128 && strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".") && !strings.Contains(name, "..") &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

const immutable = "public, max-age=31536000, immutable"

// updateTarget answers GET /updates/{file}.
func (s *Server) updateTarget(v *visit) error {
	name := v.r.PathValue("file")
	sum, err := hex.DecodeString(name)
	if s.cfg.Updates == nil || err != nil || len(sum) != sha256.Size || name != strings.ToLower(name) {
		return errNoPage
	}
	c, err := s.cfg.Updates.Published(v.r.Context(), sum)
	if err != nil {
		return err
	}
	if c.Close != nil {
		defer c.Close()
	}
	body := &paced{SectionReader: io.NewSectionReader(c.ReaderAt, 0, c.Size), v: v}
	tag := `"` + name + `"`
	if v.r.Method == http.MethodGet && v.r.Header.Get("If-None-Match") != tag { // else no byte of it goes
		if c.Line.Key == "" {
			c.Line.Key = "address " + neighbourhood(v.r.RemoteAddr)
		}
		var wait time.Duration
		if body.seat, wait = s.cfg.Pace.Enter(c.Line, neighbourhood(v.r.RemoteAddr)+" "+turnOf(v.r), c.Size-rangeFrom(v.r, c.Size)); body.seat == nil {
			return &busy{wait}
		}
		defer body.seat.Leave()
	}
	h := v.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", immutable)
	h.Set("ETag", tag)
	// The bounds of a page's request are not those of a download.
	http.NewResponseController(v.w).SetReadDeadline(time.Time{})
	http.ServeContent(v.w, v.r, "", time.Time{}, body)
	return nil
}

// turnOf tells the devices behind one address apart, so that each has its time to
// come back: a number that they make up at each start. Who sends none shares one.
func turnOf(r *http.Request) string {
	turn := r.Header.Get(turnHeader)
	return turn[:min(len(turn), 16)]
}

// rangeFrom is where the asked range begins, as far as it is of the kind that an
// agent asks for.
func rangeFrom(r *http.Request, size int64) int64 {
	from, ok := strings.CutSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(from, 10, 63)
	if !ok || err != nil || n < 0 {
		return 0
	}
	return min(n, size)
}

// neighbourhood is what stands for a line where nobody knows the school: an IPv4
// address, or the part of an IPv6 address that a site has. Behind a proxy before
// the collector all are one.
func neighbourhood(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	if ip := at.Addr().Unmap(); ip.Is4() {
		return ip.String()
	}
	site, _ := at.Addr().WithZone("").Prefix(56)
	return site.String()
}

// paced gives a file no quicker than its line may have it.
type paced struct {
	*io.SectionReader
	v    *visit
	seat *pace.Seat // nil = nothing will be read
}

var errTurn = errors.New("others wait for this line")

func (p *paced) Read(b []byte) (int, error) {
	if p.seat == nil {
		return 0, io.ErrUnexpectedEOF
	}
	if p.seat.Over() {
		return 0, errTurn // the answer is cut, and the rest is asked for again
	}
	select {
	case <-p.v.s.ending:
		return 0, errTurn
	default:
	}
	n, err := p.SectionReader.Read(b[:min(len(b), updateChunk)])
	if n > 0 {
		if err := p.seat.Take(p.v.r.Context(), n); err != nil {
			return 0, err
		}
		http.NewResponseController(p.v.w).SetWriteDeadline(time.Now().Add(updateWithin))
	}
	return n, err
}
