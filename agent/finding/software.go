package finding

import (
	"slices"
	"strings"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

const (
	maxStandard     = 64
	maxAlternatives = 8
)

// standard is one program that the device must have.
type standard struct {
	name  string   // the first of its names: the finding's instance
	names []string // small
	least string
}

// standards takes what a Welcome said and leaves out what a finding could not name.
func standards(list []*hmpb.StandardSoftware) []standard {
	var out []standard
	for _, m := range list[:min(len(list), maxStandard)] {
		names := m.GetNames()
		names = names[:min(len(names), maxAlternatives)]
		if len(names) == 0 || names[0] == "" || !reading.Printable(names[0], finding.MaxInstance) || !reading.Printable(m.GetLeastVersion(), finding.MaxText) {
			continue
		}
		s := standard{name: names[0], least: m.GetLeastVersion()}
		for _, n := range names {
			s.names = append(s.names, strings.ToLower(n))
		}
		if !slices.ContainsFunc(out, func(o standard) bool { return o.name == s.name }) {
			out = append(out, s)
		}
	}
	return out
}

// software is what is installed of the standards, and nil while either is not known.
type software struct {
	standard  []standard
	programs  []inventory.Program
	known     struct{ standard, programs bool }
	installed map[string]string // by standard's name: its version, the newest of several
}

func (s *software) require(list []*hmpb.StandardSoftware) {
	s.standard, s.known.standard = standards(list), true
	s.match()
}

func (s *software) have(programs []inventory.Program) {
	s.programs, s.known.programs = programs, true
	s.match()
}

func (s *software) match() {
	if !s.known.standard || !s.known.programs {
		return
	}
	wanted := make(map[string][]string) // name to the standards that it fits
	for _, w := range s.standard {
		for _, n := range w.names {
			wanted[n] = append(wanted[n], w.name)
		}
	}
	s.installed = make(map[string]string)
	for _, p := range s.programs {
		for _, name := range fitting(wanted, p.Name) {
			if old, ok := s.installed[name]; !ok || compareVersions(p.Version, old) > 0 {
				s.installed[name] = p.Version
			}
		}
	}
}

// fitting are the standards that a program is: by its name as it stands in the
// list, or without what Windows' lists put behind it.
func fitting(wanted map[string][]string, program string) []string {
	name := strings.ToLower(program)
	if fit := wanted[name]; fit != nil {
		return fit
	}
	return wanted[plainName(name)]
}

// plainName leaves out versions and what stands in brackets at the end of a name:
// "mozilla firefox (x64 de)", "7-zip 24.08 (x64)" and "libreoffice 25.8.3.2" are
// mozilla firefox, 7-zip and libreoffice. A single number may be part of the name.
func plainName(name string) string {
	for {
		short := strings.TrimSpace(name)
		if open := strings.LastIndex(short, " ("); open > 0 && strings.HasSuffix(short, ")") {
			short = short[:open]
		}
		if space := strings.LastIndex(short, " "); space > 0 && isVersion(short[space+1:]) {
			short = short[:space]
		}
		if short == name {
			return name
		}
		name = short
	}
}

// isVersion: digits with dots between them, with or without a v before.
func isVersion(word string) bool {
	digits := strings.Trim(strings.TrimPrefix(word, "v"), ".")
	return strings.Contains(digits, ".") && strings.Trim(digits, "0123456789.") == ""
}

func (s *software) asked(name string) bool {
	return slices.ContainsFunc(s.standard, func(o standard) bool { return o.name == name })
}
