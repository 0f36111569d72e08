// Package arch holds the rules of the house (which package may know which, where
// a library lives, who may start a goroutine) as functions over the parsed
// source, so that a breach fails the build and not a review. It reads files
// only: nothing is compiled, and one tree is judged as linux, windows and darwin
// would see it. Its tests show that each rule fails on a planted breach.
package arch

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the path that every import of our own begins with.
const Module = "hausmeister"

// Systems are those that the rules are checked for.
var systems = []string{"linux", "windows", "darwin"}

// A Tree is the source of the module, or of one made up by a test.
type Tree struct {
	Root     string
	Fset     *token.FileSet
	Packages []*Package
}

// A Package is one folder with Go files.
type Package struct {
	Path  string // below the module, with slashes: "agent/spool"
	Name  string
	Files []*File
}

// A File is one Go file, parsed whether or not this system would build it.
type File struct {
	Path    string // below the root: "agent/spool/spool.go"
	Name    string // "spool.go"
	Test    bool
	Systems []string // those that build it
	Syntax  *ast.File
}

// A Breach is one place where a rule does not hold.
type Breach struct {
	Rule string
	Text string
}

func (b Breach) String() string { return b.Rule + ": " + b.Text }

// Load parses all packages below root; a folder with its own go.mod is another
// module and left out.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root, Fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if dir != root {
			name := d.Name()
			_, noModule := os.Stat(filepath.Join(dir, "go.mod"))
			if name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || noModule == nil {
				return filepath.SkipDir
			}
		}
		return t.loadFolder(dir)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the source below %s: %w", root, err)
	}
	return t, nil
}

func (t *Tree) loadFolder(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		return err
	}
	rel, err := filepath.Rel(t.Root, dir)
	if err != nil {
		return err
	}
	p := &Package{Path: filepath.ToSlash(rel)}
	for _, name := range names {
		syntax, err := parser.ParseFile(t.Fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f := &File{
			Path:   path.Join(p.Path, filepath.Base(name)),
			Name:   filepath.Base(name),
			Test:   strings.HasSuffix(name, "_test.go"),
			Syntax: syntax,
		}
		for _, goos := range systems {
			match, err := contextFor(goos).MatchFile(dir, f.Name)
			if err != nil {
				return err
			}
			if match {
				f.Systems = append(f.Systems, goos)
			}
		}
		if !f.Test {
			p.Name = syntax.Name.Name
		}
		p.Files = append(p.Files, f)
	}
	t.Packages = append(t.Packages, p)
	return nil
}

func contextFor(goos string) *build.Context {
	c := build.Default
	c.GOOS, c.GOARCH, c.CgoEnabled = goos, "amd64", false
	return &c
}

// Imports returns the import paths of f, unquoted.
func (f *File) Imports() []string {
	var paths []string
	for _, spec := range f.Syntax.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

// importName is the name under which f knows the package, or "".
func (f *File) importName(importPath string) string {
	for _, spec := range f.Syntax.Imports {
		if strings.Trim(spec.Path.Value, `"`) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// Check runs all rules and returns what they found, in a stable order.
func Check(t *Tree, x Exceptions) ([]Breach, error) {
	if len(t.Packages) == 0 {
		return nil, errors.New("no Go packages found: wrong folder?")
	}
	var all []Breach
	for _, rule := range []func(*Tree, Exceptions) []Breach{
		checkTopLevel, checkLayers, checkHomes, checkComments, checkSystems, checkGoroutines,
	} {
		all = append(all, rule(t, x)...)
	}
	slices.SortFunc(all, func(a, b Breach) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all), nil
}
