package netpath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"hausmeister/platform/supervise"
)

// None is the setting that turns proxies off.
const None = "none"

// most bounds how many proxies of the system are tried.
const most = 4

// ErrProxy is a proxy that cannot be used as it is written.
var ErrProxy = errors.New("no proxy that we can use")

// Finder finds proxies. The zero value asks this machine.
type Finder struct {
	// Setting is our own: "" = what the system says, None, or a URL.
	Setting string

	system supervise.Cutoff[[]string]
}

// systemWithin bounds the question to the system: a PAC script is fetched
// over the very network that may be broken.
const systemWithin = 4 * time.Second

// Proxies gives the proxies for address, HOST:PORT, best first; none is no error.
// What cannot be used is an error beside those that can.
func (f *Finder) Proxies(ctx context.Context, address string) ([]*url.URL, error) {
	switch f.Setting {
	case None:
		return nil, nil
	case "":
	default:
		u, err := Parse(f.Setting)
		if err != nil {
			return nil, err
		}
		return []*url.URL{u}, nil
	}
	target := &url.URL{Scheme: "https", Host: address}
	found, err := fromEnvironment(httpproxy.FromEnvironment(), target)
	system, serr := f.system.Do(ctx, systemWithin, func(ctx context.Context) ([]string, error) { return systemProxies(ctx, target) })
	all, perr := parseAll(append(found, system...))
	return all, errors.Join(err, serr, perr)
}

// Exempt says whether a proxy is set up here that address, for which Proxies gives
// none, is to be reached without: by NO_PROXY and its like, or since it is this
// machine itself.
func (f *Finder) Exempt(ctx context.Context, address string) bool {
	if f.Setting != "" {
		return false
	}
	if httpproxy.FromEnvironment().HTTPSProxy != "" {
		return true
	}
	others, _ := f.Proxies(ctx, "elsewhere.invalid:443") // no such name (RFC 6761)
	return len(others) > 0
}

// fromEnvironment asks a configuration in the environment's form.
func fromEnvironment(c *httpproxy.Config, target *url.URL) ([]string, error) {
	// What it cannot parse it leaves out without a word.
	if c.HTTPSProxy != "" {
		if _, err := Parse(c.HTTPSProxy); err != nil {
			return nil, err
		}
	}
	u, err := c.ProxyFunc()(target)
	if err != nil || u == nil {
		return nil, err
	}
	return []string{u.String()}, nil
}

// parseAll parses and leaves out what is there twice.
func parseAll(texts []string) (all []*url.URL, err error) {
	seen := map[string]bool{}
	for _, text := range texts {
		u, perr := Parse(text)
		if perr != nil {
			err = errors.Join(err, perr)
			continue
		}
		if !seen[u.Host] && len(all) < most {
			seen[u.Host] = true
			all = append(all, u)
		}
	}
	return all, err
}

// Parse reads a proxy: [http://|https://][USER:PASSWORD@]HOST[:PORT].
func Parse(text string) (*url.URL, error) {
	whole := strings.TrimSpace(text)
	if !strings.Contains(whole, "://") {
		whole = "http://" + whole
	}
	u, err := url.Parse(whole)
	if err != nil {
		// Not the cause: it holds the text, and that may hold a password.
		return nil, fmt.Errorf("%w: not a URL", ErrProxy)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	switch {
	case port == "":
		return nil, fmt.Errorf("%w: %s (only http and https)", ErrProxy, u.Scheme)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%w: no host", ErrProxy)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}, nil
}

// Routed says whether this machine has a route and an address of its own for ip.
// It sends nothing: connecting a datagram socket only asks the routing table.
func Routed(ip netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// environmentFile reads the proxies that a file of NAME=value lines names, such
// as /etc/environment (pam_env(8)), which a service does not get into its own.
func environmentFile(path string, target *url.URL) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil // there need not be one
	}
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(line, "#") {
			values[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return fromEnvironment(&httpproxy.Config{HTTPSProxy: values["https_proxy"], NoProxy: values["no_proxy"]}, target)
}
