package netpath

import (
	"context"
	"net/url"
	"strings"

	"github.com/mattn/go-ieproxy"
	"golang.org/x/net/http/httpproxy"
	"golang.org/x/sys/windows/registry"
)

const internetSettings = `Software\Microsoft\Windows\CurrentVersion\Internet Settings`

// systemProxies: as a service we are LocalSystem, whose own setting go-ieproxy
// reads together with WinHTTP's; what the people at the machine have set up is
// in the part of the registry that is loaded while they are logged on. It runs
// on a thread that may hang in WinHTTP; our caller cuts it off.
func systemProxies(_ context.Context, target *url.URL) ([]string, error) {
	all := proxiesOf(ieproxy.ReloadConf(), target)
	users, err := registry.USERS.ReadSubKeyNames(-1)
	if err != nil {
		return all, err
	}
	for _, sid := range users {
		if strings.HasPrefix(sid, "S-1-5-21-") && !strings.HasSuffix(sid, "_Classes") {
			all = append(all, proxiesOf(userConf(sid), target)...)
		}
	}
	return all, nil
}

// userConf reads a logged-on user's setting; what is missing is off.
func userConf(sid string) (c ieproxy.ProxyConf) {
	k, err := registry.OpenKey(registry.USERS, sid+`\`+internetSettings, registry.QUERY_VALUE)
	if err != nil {
		return c
	}
	defer k.Close()
	enabled, _, _ := k.GetIntegerValue("ProxyEnable")
	server, _, _ := k.GetStringValue("ProxyServer")
	override, _, _ := k.GetStringValue("ProxyOverride")
	script, _, _ := k.GetStringValue("AutoConfigURL")
	c.Static = ieproxy.StaticProxyConf{Active: enabled != 0, Protocols: byProtocol(server), NoProxy: override}
	c.Automatic = ieproxy.ProxyScriptConf{Active: script != "", PreConfiguredURL: script}
	return c
}

// proxiesOf asks the script first: where there is one, it decides.
func proxiesOf(c ieproxy.ProxyConf, target *url.URL) (all []string) {
	if c.Automatic.Active {
		if found := proxyFor(byProtocol(c.Automatic.FindProxyForURL(target.String()))); found != "" {
			all = append(all, found)
		}
	}
	if server := proxyFor(c.Static.Protocols); c.Static.Active && server != "" {
		found, _ := fromEnvironment(&httpproxy.Config{HTTPSProxy: server, NoProxy: noProxy(c.Static.NoProxy)}, target)
		all = append(all, found...)
	}
	return all
}
