package need_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMakefileRunsThePlainTests: what is left out or made smaller under the race
// detector is run without it by make test, or it would be run by nobody.
func TestMakefileRunsThePlainTests(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) []string {
		m := regexp.MustCompile(`(?m)^` + name + ` *:= (.*)$`).FindSubmatch(makefile)
		if m == nil {
			t.Fatalf("the Makefile has no %s", name)
		}
		return slices.Sorted(strings.FieldsSeq(string(m[1])))
	}
	var tests, packages []string
	for _, root := range []string{"agent", "collector", "installer", "platform", "proto", "testenv"} {
		err := filepath.WalkDir("../../"+root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "node_modules" {
				return fs.SkipDir
			}
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			names := plainIn(t, path)
			if len(names) > 0 {
				rel, _ := filepath.Rel("../..", filepath.Dir(path))
				tests, packages = append(tests, names...), append(packages, "./"+filepath.ToSlash(rel))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(tests)
	tests = slices.Compact(tests) // one may ask twice
	slices.Sort(packages)
	if want := value("PLAIN"); len(tests) == 0 || !slices.Equal(tests, want) {
		t.Errorf("tests that ask for need.Plain or need.Shorter: %v, the Makefile's PLAIN: %v", tests, want)
	}
	if want := value("PLAIN_PKGS"); !slices.Equal(slices.Compact(packages), want) {
		t.Errorf("their packages: %v, the Makefile's PLAIN_PKGS: %v", packages, want)
	}
}

// plainIn names the functions of a file that call need.Plain or need.Shorter.
func plainIn(t *testing.T, path string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "need" && (sel.Sel.Name == "Plain" || sel.Sel.Name == "Shorter") {
				names = append(names, fn.Name.Name)
			}
			return true
		})
	}
	return names
}
