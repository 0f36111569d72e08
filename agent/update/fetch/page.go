package fetch

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxHead bounds the head of an answer, which net/http reads without a bound.
	maxHead = 64 << 10
	// problemType is what the collector's own errors are, RFC 9457. An error of
	// anybody between has none, and is no word of the collector's.
	problemType = "application/problem+json"
)

// openPage asks by HTTP/1.1, a connection each time. Nothing that says which device
// this is is sent: no lease, no name, no cookie.
func (c *Client) openPage(ctx context.Context, a ask) (*body, error) {
	conn, host, err := c.c.Page(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	b, err := c.exchange(ctx, conn, host, a)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return b, nil
}

func (c *Client) exchange(ctx context.Context, conn net.Conn, host string, a ask) (*body, error) {
	conn.SetDeadline(time.Now().Add(openWithin))
	if ctx.Err() != nil { // behind it, so that ctx's own is not lost
		return nil, context.Cause(ctx)
	}
	req := c.request(host, a)
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("%w: %w", errCut, err)
	}
	head := &io.LimitedReader{R: conn, N: maxHead}
	res, err := http.ReadResponse(bufio.NewReader(head), req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	head.N = math.MaxInt64
	b := &body{Reader: res.Body, length: res.ContentLength, expire: func(t time.Time) { conn.SetReadDeadline(t) }, close: func() { conn.Close() }}
	return b, c.judge(res, a, b)
}

func (c *Client) request(host string, a ask) *http.Request {
	u := &url.URL{Scheme: "https", Host: host, Path: "/updates/" + hex.EncodeToString(a.sha256)}
	if a.name != "" {
		u.Path = "/updates/metadata/" + a.name
		if len(a.nonce) > 0 {
			u.RawQuery = "nonce=" + hex.EncodeToString(a.nonce) + "&root=" + strconv.FormatUint(a.root, 10)
		}
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"hausmeister"}}}
	if a.name == "" {
		req.Header.Set("Hausmeister-Turn", c.turn)
	}
	if a.offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", a.offset))
		req.Header.Set("If-Range", `"`+hex.EncodeToString(a.sha256)+`"`)
	}
	return req
}

// judge says what an answer means. Whatever does not look like the collector's own
// is a portal's, a proxy's or a broken cache's, and worth another try.
func (c *Client) judge(res *http.Response, a ask, b *body) error {
	own := strings.HasPrefix(res.Header.Get("Content-Type"), problemType)
	tag := res.Header.Get("ETag")
	switch {
	case own && res.StatusCode == http.StatusNotFound:
		return ErrNotFound
	case own && (res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusTooManyRequests):
		if n, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 31); err == nil {
			return c.later(time.Duration(n) * time.Second)
		}
	case res.Header.Get("Content-Encoding") != "" || strings.HasPrefix(res.Header.Get("Content-Type"), "text/"):
	case a.name == "" && tag != "" && tag != `"`+hex.EncodeToString(a.sha256)+`"`:
	case res.StatusCode == http.StatusOK:
		if fresh := res.Header.Get("Hausmeister-Freshness"); fresh != "" {
			var err error
			if b.fresh, err = base64.StdEncoding.DecodeString(fresh); err != nil {
				break
			}
		}
		return nil
	case res.StatusCode == http.StatusPartialContent && a.offset > 0:
		var first, last, whole int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &whole); err == nil &&
			first == a.offset && last == whole-1 && whole > first {
			b.at, b.length = first, whole
			return nil
		}
	}
	return fmt.Errorf("%w: %s, %.40q", errForeign, res.Status, res.Header.Get("Content-Type"))
}
