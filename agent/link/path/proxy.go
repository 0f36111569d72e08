package path

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// connectThrough asks the proxy at the other end of conn for a connection to
// address (HTTP CONNECT, RFC 9110 section 9.3.6). It takes conn over.
func connectThrough(ctx context.Context, conn net.Conn, proxy *url.URL, address string) (_ net.Conn, err error) {
	open := conn
	defer func() {
		if err != nil {
			open.Close()
		}
	}()
	if proxy.Scheme == "https" {
		// Judged as a browser would: the system's roots, the machine's clock.
		tc := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
		open = tc
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
		}
	}
	got, err := ask(ctx, open, "CONNECT "+address+" HTTP/1.1\r\nHost: "+address+"\r\n"+authorization(proxy)+"\r\n")
	switch {
	case err != nil:
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	case got.status/100 == 2:
		return open, nil
	case got.status == 407:
		return nil, &Error{Obstacle: ProxyLogin, Proxy: proxy.Host, Err: fmt.Errorf("wants a login (407, %q)", got.scheme())}
	case got.isPortal(""):
		return nil, &Error{Obstacle: Portal, Proxy: proxy.Host, Err: fmt.Errorf("answers CONNECT with a page (%d)", got.status)}
	}
	return nil, &Error{Obstacle: ProxyRefused, Proxy: proxy.Host, Err: fmt.Errorf("refuses CONNECT to %s (%d)", address, got.status)}
}

// authorization is the header for a proxy whose name and password are set up.
func authorization(proxy *url.URL) string {
	if proxy.User == nil {
		return ""
	}
	password, _ := proxy.User.Password()
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
}

// answer is what we look at of an HTTP answer. net/http would read it too, for
// three megabytes more of program and memory on each device.
type answer struct {
	status       int
	location     string
	contentType  string
	authenticate string
}

// maxHead bounds the head of an answer.
const maxHead = 16 << 10

var errNoHTTP = errors.New("answer is not HTTP")

// ask sends a request and reads the head of the answer, and nothing after it:
// that may be somebody else's.
func ask(ctx context.Context, conn net.Conn, request string) (answer, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, request); err != nil {
		return answer{}, err
	}
	// Byte by byte, since what follows the head must stay unread. It is rare and short.
	var head []byte
	one := make([]byte, 1)
	for !strings.HasSuffix(string(head[max(0, len(head)-4):]), "\r\n\r\n") {
		if len(head) >= maxHead {
			return answer{}, fmt.Errorf("%w: no end of its head", errNoHTTP)
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			return answer{}, err
		}
		head = append(head, one[0])
		if len(head) == 5 && !isHTTP(head) {
			return answer{}, errNoHTTP
		}
	}
	return parseAnswer(string(head))
}

func isHTTP(b []byte) bool { return string(b) == "HTTP/" }

// isPage says whether what came instead of TLS is HTTP or already its page.
func isPage(b []byte) bool { return isHTTP(b) || b[0] == '<' }

func parseAnswer(head string) (a answer, err error) {
	lines := strings.Split(head, "\r\n")
	_, rest, ok := strings.Cut(lines[0], " ")
	code, _, _ := strings.Cut(rest, " ")
	if a.status, err = strconv.Atoi(code); !ok || err != nil || a.status < 100 || a.status > 999 || !strings.HasPrefix(lines[0], "HTTP/") {
		return answer{}, fmt.Errorf("%w: %.40q", errNoHTTP, lines[0])
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "location":
			a.location = value
		case "content-type":
			a.contentType = strings.ToLower(value)
		case "proxy-authenticate":
			a.authenticate += value + ", "
		}
	}
	return a, nil
}

// scheme is what a proxy wants: Basic, Negotiate, NTLM ...
func (a answer) scheme() string {
	first, _, _ := strings.Cut(a.authenticate, " ")
	return strings.Trim(first, ",")
}

// isPortal says whether this answer leads to a page to sign in at: it says so
// (511, RFC 6585 section 6), sends us elsewhere, or is a page. A redirect to host
// itself is what many a web server does with plain HTTP.
func (a answer) isPortal(host string) bool {
	switch {
	case a.status == 511:
		return true
	case a.status >= 300 && a.status < 400:
		to, err := url.Parse(a.location)
		return err == nil && to.Hostname() != "" && !strings.EqualFold(to.Hostname(), host)
	}
	return a.status == 200 && host == "" && strings.HasPrefix(a.contentType, "text/html")
}
