package admin

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hausmeister/collector/rollout"
)

// refusals are all errors that package rollout names.
var refusals = map[string]error{
	"ErrIncomplete": rollout.ErrIncomplete, "ErrInvalid": rollout.ErrInvalid, "ErrNoRepository": rollout.ErrNoRepository, "ErrNoRollout": rollout.ErrNoRollout, "ErrOlder": rollout.ErrOlder,
	"ErrPerson": rollout.ErrPerson, "ErrReason": rollout.ErrReason, "ErrRefused": rollout.ErrRefused, "ErrSecond": rollout.ErrSecond, "ErrState": rollout.ErrState,
}

// TestNoRefusalIsInternal: what a rollout refuses is the operator's to know, and no fault
// of the collector.
func TestNoRefusalIsInternal(t *testing.T) {
	if named, known := errorsOf(t, "../rollout"), slices.Sorted(maps.Keys(refusals)); !slices.Equal(named, known) {
		t.Errorf("package rollout has the errors %v, this test knows %v", named, known)
	}
	s := &Server{}
	s.cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	for name, err := range refusals {
		w := httptest.NewRecorder()
		s.answer(w, httptest.NewRequest(http.MethodPost, "/rollout/resume", nil), nil, fmt.Errorf("rollout resumed: %w", err))
		if w.Code >= 500 || strings.Contains(w.Body.String(), string(CodeInternal)) || !strings.Contains(w.Body.String(), err.Error()) {
			t.Errorf("%s answers %d %s, want its text and no fault of ours", name, w.Code, w.Body)
		}
	}
}

// errorsOf are the exported error variables of a package, sorted.
func errorsOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			vars, ok := d.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			for _, s := range vars.Specs {
				for _, name := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						out = append(out, name.Name)
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
