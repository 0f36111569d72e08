package netpath

import "strings"

// byProtocol reads ProxyServer of Windows: "host:port" for everything or
// "http=host:port;https=host:port".
func byProtocol(server string) map[string]string {
	m := map[string]string{}
	for part := range strings.FieldsFuncSeq(server, func(r rune) bool { return r == ';' || r == ' ' }) {
		if protocol, at, ok := strings.Cut(part, "="); ok {
			m[strings.ToLower(protocol)] = at
		} else {
			m[""] = part
		}
	}
	return m
}

// proxyFor gives the one for HTTPS; where there is only HTTP's, it most likely
// does both.
func proxyFor(protocols map[string]string) string {
	for _, protocol := range []string{"https", "", "http"} {
		if at := protocols[protocol]; at != "" {
			return at
		}
	}
	return ""
}

// noProxy turns ProxyOverride ("*.local;10.*;<local>") into the form of the
// environment's no_proxy. "<local>" are names without a dot, which has no such form
// and concerns no collector.
func noProxy(override string) string {
	var all []string
	for part := range strings.FieldsFuncSeq(override, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		switch {
		case strings.EqualFold(part, "<local>"), strings.EqualFold(part, "<-loopback>"):
		case strings.HasPrefix(part, "*."):
			all = append(all, part[1:])
		case strings.HasSuffix(part, ".*") && strings.Trim(part, "0123456789.*") == "":
			base := strings.TrimSuffix(part, ".*")
			octets := strings.Count(base, ".") + 1
			all = append(all, base+strings.Repeat(".0", 4-octets)+map[int]string{1: "/8", 2: "/16", 3: "/24"}[octets])
		default:
			all = append(all, part)
		}
	}
	return strings.Join(all, ",")
}
