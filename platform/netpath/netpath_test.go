package netpath

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpproxy"
)

var target = &url.URL{Scheme: "https", Host: "collector.example:443"}

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"proxy.example:3128", "http://proxy.example:3128"},
		{" http://proxy.example/ ", "http://proxy.example:80"},
		{"https://proxy.example", "https://proxy.example:443"},
		{"http://anna:geheim@proxy.example:8080/x?y", "http://anna:geheim@proxy.example:8080"},
		{"[2001:db8::1]:3128", "http://[2001:db8::1]:3128"},
		{"socks5://proxy.example:1080", ""},
		{"http://", ""},
		{"http://anna:geheim@pro xy", ""},
	} {
		got, err := Parse(c.text)
		switch {
		case c.want == "" && (err == nil || !errors.Is(err, ErrProxy)):
			t.Errorf("Parse(%q) = %v, %v, want ErrProxy", c.text, got, err)
		case c.want == "" && strings.Contains(err.Error(), "geheim"):
			t.Errorf("Parse(%q): the error holds the password: %v", c.text, err)
		case c.want != "" && (err != nil || got.String() != c.want):
			t.Errorf("Parse(%q) = %v, %v, want %s", c.text, got, err, c.want)
		}
	}
}

// hosts shows proxies without what no test is about.
func hosts(all []*url.URL) (h []string) {
	for _, u := range all {
		h = append(h, u.Host)
	}
	return h
}

func TestProxies(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	ask := func(setting string) ([]string, error) {
		f := Finder{Setting: setting}
		all, err := f.Proxies(context.Background(), target.Host)
		return hosts(all), err
	}
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	for _, c := range []struct {
		setting string
		want    string
	}{{"", "proxy.example:3128"}, {None, ""}, {"other.example:8080", "other.example:8080"}} {
		if got, err := ask(c.setting); err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("Proxies with setting %q = %v, %v, want %s", c.setting, got, err, c.want)
		}
	}
	if got, err := ask("gopher://x"); err == nil {
		t.Errorf("Proxies with a setting that cannot be = %v, want an error", got)
	}
	t.Setenv("NO_PROXY", ".example")
	if got, err := ask(""); err != nil || len(got) > 0 {
		t.Errorf("Proxies for an exempt host = %v, %v, want none", got, err)
	}
}

// TestExempt: that there is no proxy is another thing than that this address is to
// be reached without the one there is.
func TestExempt(t *testing.T) {
	for _, c := range []struct {
		setting, proxy, not, address string
		want                         bool
	}{
		{"", "", "", target.Host, false},
		{"", "proxy.example:3128", "collector.example", target.Host, true},
		{"", "proxy.example:3128", "*", target.Host, true},
		{"", "proxy.example:3128", "", "127.0.0.1:443", true},
		{None, "proxy.example:3128", "*", target.Host, false}, // our own setting turns it off
	} {
		for _, name := range []string{"HTTP_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
			t.Setenv(name, "")
		}
		t.Setenv("HTTPS_PROXY", c.proxy)
		t.Setenv("NO_PROXY", c.not)
		f := Finder{Setting: c.setting}
		if got := f.Exempt(t.Context(), c.address); got != c.want {
			t.Errorf("%+v: Exempt = %v", c, got)
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "environment")
	const text = `PATH="/usr/bin"
# https_proxy=commented.example:1
export HTTPS_PROXY="http://schule.example:3128"
no_proxy=localhost,10.0.0.0/8
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := environmentFile(path, target)
	if err != nil || strings.Join(got, " ") != "http://schule.example:3128" {
		t.Errorf("environmentFile = %v, %v", got, err)
	}
	if got, err := environmentFile(path, &url.URL{Scheme: "https", Host: "10.1.2.3:443"}); err != nil || got != nil {
		t.Errorf("environmentFile for an exempt address = %v, %v", got, err)
	}
	if got, err := environmentFile(path+"x", target); err != nil || got != nil {
		t.Errorf("environmentFile of no file = %v, %v, want nothing", got, err)
	}
}

// Synthetic, in the form that scutil(8) prints; see testdata for whole outputs.
func TestScutil(t *testing.T) {
	tests := []struct {
		file, host string
		want       string
		wantErr    bool
	}{
		{"manual.txt", "collector.example:443", "proxy.schule.example:3128", false},
		{"manual.txt", "drucker.local:443", "", false},
		{"manual.txt", "169.254.7.7:443", "", false},
		{"http-only.txt", "collector.example:443", "10.20.0.1:8080", false},
		{"script.txt", "collector.example:443", "", true},
		{"none.txt", "collector.example:443", "", false},
		{"none.txt", "", "", false},
	}
	for _, c := range tests {
		out, err := os.ReadFile(filepath.Join("testdata", "scutil", c.file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := scutilProxies(string(out), &url.URL{Scheme: "https", Host: c.host})
		if (err != nil) != c.wantErr || strings.Join(got, " ") != c.want {
			t.Errorf("%s for %s = %v, %v, want %q", c.file, c.host, got, err, c.want)
		}
	}
}

func TestWindowsForms(t *testing.T) {
	for server, want := range map[string]string{
		"proxy:8080": "proxy:8080", "http=a:1;https=b:2": "b:2", "http=a:1": "a:1", "ftp=a:1": "", "": "",
	} {
		if got := proxyFor(byProtocol(server)); got != want {
			t.Errorf("ProxyServer %q for HTTPS = %q, want %q", server, got, want)
		}
	}
	if d := cmp.Diff(".schule.local,10.0.0.0/8,192.168.0.0/16,kasse", noProxy("*.schule.local;10.*;192.168.*;<local>;kasse")); d != "" {
		t.Errorf("noProxy (-want +got):\n%s", d)
	}
	for host, through := range map[string]bool{"a.schule.local:443": false, "10.9.9.9:443": false, "172.16.0.1:443": true, "collector.example:443": true} {
		got, err := fromEnvironment(&httpproxy.Config{HTTPSProxy: "p:1", NoProxy: noProxy("*.schule.local;10.*;<local>")}, &url.URL{Scheme: "https", Host: host})
		if err != nil || (len(got) > 0) != through {
			t.Errorf("%s through the proxy: %v, %v, want %v", host, got, err, through)
		}
	}
}

func TestRouted(t *testing.T) {
	if !Routed(netip.MustParseAddr("127.0.0.1")) {
		t.Error("no route to this machine itself")
	}
	if Routed(netip.MustParseAddr("fe80::1")) {
		t.Error("a route to a link-local address without a link")
	}
}

func FuzzScutil(f *testing.F) {
	f.Add("<dictionary> {\n  HTTPSEnable : 1\n  ExceptionsList : <array> {\n    0 : *\n  }\n}\n")
	f.Fuzz(func(_ *testing.T, out string) { _, _ = scutilProxies(out, target) })
}
