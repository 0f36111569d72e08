package netpath

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// scutilProxies reads what `scutil --proxy` of macOS prints: a dictionary of
// the network that is in use,
//
//	<dictionary> {
//	  ExceptionsList : <array> {
//	    0 : *.local
//	  }
//	  HTTPSEnable : 1
//	  HTTPSPort : 3128
//	  HTTPSProxy : proxy.example
//	}
//
// HTTPS's proxy is for us; where there is only HTTP's, it most likely does both.
func scutilProxies(out string, target *url.URL) ([]string, error) {
	values, exceptions := scutil(out)
	if values["ExcludeSimpleHostnames"] == "1" && !strings.Contains(target.Hostname(), ".") {
		return nil, nil
	}
	for _, pattern := range exceptions {
		if exempts(pattern, target.Hostname()) {
			return nil, nil
		}
	}
	for _, kind := range []string{"HTTPS", "HTTP"} {
		if values[kind+"Enable"] == "1" && values[kind+"Proxy"] != "" {
			port := values[kind+"Port"]
			if port == "" || port == "0" {
				port = "80"
			}
			return []string{net.JoinHostPort(values[kind+"Proxy"], port)}, nil
		}
	}
	if values["ProxyAutoConfigEnable"] == "1" || values["ProxyAutoDiscoveryEnable"] == "1" {
		return nil, fmt.Errorf("%w: it is found by a script, which macOS does not evaluate for us; name it in the settings", ErrProxy)
	}
	return nil, nil
}

func scutil(out string) (values map[string]string, exceptions []string) {
	values = map[string]string{}
	list := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, " : ")
		switch {
		case line == "}":
			list = ""
		case !ok:
		case strings.HasPrefix(value, "<array>"), strings.HasPrefix(value, "<dictionary>"):
			list = name
		case list == "ExceptionsList":
			exceptions = append(exceptions, value)
		case list == "": // not those of __SCOPED__ networks
			values[name] = value
		}
	}
	return values, exceptions
}

// exempts says whether an entry of the list is for host: a name with wildcards,
// an address, or a prefix in the form 169.254/16.
func exempts(pattern, host string) bool {
	if base, bits, ok := strings.Cut(pattern, "/"); ok {
		for strings.Count(base, ".") < 3 && !strings.Contains(base, ":") {
			base += ".0"
		}
		none, err := (&httpproxy.Config{HTTPSProxy: "http://proxy", NoProxy: base + "/" + bits}).ProxyFunc()(&url.URL{Scheme: "https", Host: net.JoinHostPort(host, "443")})
		return err == nil && none == nil
	}
	matched, err := path.Match(strings.ToLower(pattern), strings.ToLower(host))
	return err == nil && matched
}
