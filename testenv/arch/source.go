package arch

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"slices"
	"strings"
)

// checkComments holds that each package has one comment, on each system, and
// that it begins as godoc wants it.
func checkComments(t *Tree, _ Exceptions) []Breach {
	var out []Breach
	for _, p := range t.Packages {
		if slices.Contains([]string{"util", "utils", "common", "models", "handlers", "helpers"}, p.Name) {
			out = append(out, Breach{"package name", p.Path + " is named after a layer, not after a subject"})
		}
		for _, goos := range systems {
			var source int
			var with []*File
			for _, f := range p.Files {
				if f.Test || !slices.Contains(f.Systems, goos) {
					continue
				}
				source++
				if f.Syntax.Doc != nil && strings.TrimSpace(f.Syntax.Doc.Text()) != "" {
					with = append(with, f)
				}
			}
			if source > 0 && len(with) != 1 {
				out = append(out, Breach{"package comment", fmt.Sprintf("%s has %d on %s, wants 1", p.Path, len(with), goos)})
			}
			for _, f := range with {
				want := "Package " + p.Name + " "
				if p.Name == "main" {
					want = "Command " + p.Path[strings.LastIndex(p.Path, "/")+1:] + " "
				}
				if text := strings.ReplaceAll(f.Syntax.Doc.Text(), "\n", " "); !strings.HasPrefix(text, want) {
					out = append(out, Breach{"package comment", fmt.Sprintf("%s does not begin with %q", f.Path, want)})
				}
			}
		}
	}
	return out
}

// Words that Go reads as an operating system in file names and constraints.
var systemWords = strings.Fields("aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 windows zos unix")

// checkSystems holds that what differs by operating system stays in platform,
// installer and testenv.
func checkSystems(t *Tree, _ Exceptions) []Breach {
	var out []Breach
	for _, p := range t.Packages {
		if side, _, _ := strings.Cut(p.Path, "/"); slices.Contains([]string{"platform", "installer", "testenv"}, side) {
			continue
		}
		for _, f := range p.Files {
			for _, why := range systemDependence(f) {
				out = append(out, Breach{"operating system", f.Path + " " + why})
			}
		}
	}
	return out
}

func systemDependence(f *File) (why []string) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimSuffix(f.Name, ".go"), "_test"), "_")
	for _, part := range parts[1:] {
		if slices.Contains(systemWords, part) && part != "unix" {
			why = append(why, "is built by its name for "+part+" only")
		}
	}
	for _, group := range f.Syntax.Comments {
		for _, c := range group.List {
			expr, err := constraint.Parse(c.Text)
			if err != nil {
				continue
			}
			for _, word := range systemWords {
				if mentions(expr, word) {
					why = append(why, "has a build tag for "+word)
				}
			}
		}
	}
	if name := f.importName("runtime"); name != "" {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if isSelector(n, name, "GOOS") {
				why = append(why, "asks runtime.GOOS")
			}
			return true
		})
	}
	return why
}

func mentions(expr constraint.Expr, word string) bool {
	found := false
	// Eval need not look at both sides of an operator, so walk it ourselves.
	switch e := expr.(type) {
	case *constraint.TagExpr:
		found = e.Tag == word
	case *constraint.NotExpr:
		found = mentions(e.X, word)
	case *constraint.AndExpr:
		found = mentions(e.X, word) || mentions(e.Y, word)
	case *constraint.OrExpr:
		found = mentions(e.X, word) || mentions(e.Y, word)
	}
	return found
}

func isSelector(n ast.Node, x, sel string) bool {
	s, ok := n.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != sel {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == x
}
