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
		for _, name := range wanted[strings.ToLower(p.Name)] {
			if old, ok := s.installed[name]; !ok || compareVersions(p.Version, old) > 0 {
				s.installed[name] = p.Version
			}
		}
	}
}

func (s *software) asked(name string) bool {
	return slices.ContainsFunc(s.standard, func(o standard) bool { return o.name == name })
}
