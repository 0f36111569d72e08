package finding

import "strings"

// atLeast says whether an installed version is least or newer. An epoch counts
// only when least has one: owners write "24.8", packages say "4:24.8.4-1". Who
// writes one means it, and what has none is older, as for dpkg.
func atLeast(installed, least string) bool {
	if _, _, ok := cutEpoch(least); !ok {
		_, installed, _ = cutEpoch(installed)
	}
	return compareVersions(installed, least) >= 0
}

// compareVersions orders version texts of Debian, Windows and macOS as a person
// would: epoch, then what its maker calls it, then the packager's revision, each
// part by part, numbers as numbers. "1.2" and "1.2.0" are the same; "~" and words
// like rc and beta come before the version that they lead to. What stands in
// brackets ("14.1 (23B74)", "115.0 (x64 de)") is a build or an architecture and
// does not count.
func compareVersions(a, b string) int {
	aEpoch, a, _ := cutEpoch(a)
	bEpoch, b, _ := cutEpoch(b)
	if c := compareParts(aEpoch, bEpoch); c != 0 {
		return c
	}
	aMain, aRevision := cutRevision(a)
	bMain, bRevision := cutRevision(b)
	if c := compareParts(aMain, bMain); c != 0 {
		return c
	}
	return compareParts(aRevision, bRevision)
}

// cutEpoch takes "4:24.8" apart (deb-version(7)).
func cutEpoch(s string) (epoch, rest string, ok bool) {
	epoch, rest, ok = strings.Cut(s, ":")
	if !ok || epoch == "" || strings.Trim(epoch, "0123456789") != "" {
		return "", s, false
	}
	return epoch, rest, true
}

// cutRevision takes "1.2-3" apart at the last hyphen, but not "1.2-rc1".
func cutRevision(s string) (main, revision string) {
	s, _, _ = strings.Cut(s, "(")
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s, ""
	}
	if p := parts(s[i+1:]); len(p) > 0 && p[0].kind <= early {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// A part is a run of digits or letters, or "~". Kinds are in their order; a
// version is read as if it went on with zeros for ever, which makes this an order.
type part struct {
	kind partKind
	text string // digits without leading zeros, or small letters
}

type partKind int

const (
	tilde partKind = iota
	early          // a word that says: not yet
	zero
	letters
	digits
)

var earlyWords = map[string]bool{"alpha": true, "beta": true, "dev": true, "pre": true, "preview": true, "rc": true}

func compareParts(a, b string) int {
	as, bs := parts(a), parts(b)
	for i := range max(len(as), len(bs)) {
		x, y := part{kind: zero}, part{kind: zero}
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if c := x.compare(y); c != 0 {
			return c
		}
	}
	return 0
}

func (p part) compare(q part) int {
	switch {
	case p.kind != q.kind:
		return int(p.kind) - int(q.kind)
	case p.kind == digits && len(p.text) != len(q.text):
		return len(p.text) - len(q.text)
	}
	return strings.Compare(p.text, q.text)
}

func parts(s string) []part {
	var out []part
	s = strings.ToLower(s)
	// "v1.2" is 1.2.
	if len(s) > 1 && s[0] == 'v' && isDigit(s[1]) {
		s = s[1:]
	}
	for s != "" {
		n := 1
		switch c := s[0]; {
		case c == '~':
			out = append(out, part{kind: tilde})
		case isDigit(c):
			n = run(s, isDigit)
			p := part{kind: digits, text: strings.TrimLeft(s[:n], "0")}
			if p.text == "" {
				p.kind = zero
			}
			out = append(out, p)
		case isLetter(c):
			n = run(s, isLetter)
			p := part{kind: letters, text: s[:n]}
			if earlyWords[p.text] {
				p.kind = early
			}
			out = append(out, p)
		}
		s = s[n:]
	}
	return out
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isLetter takes the bytes of letters beyond ASCII for letters too.
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || c >= 0x80 }

func run(s string, is func(byte) bool) int {
	n := 1
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}
