package wire

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/hmpb"
)

// Each table of PROTOCOL.md says what the code does, no more and no less.
func TestProtocolTables(t *testing.T) {
	data, err := os.ReadFile("../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)

	t.Run("frame limits", func(t *testing.T) {
		want := map[string]string{}
		for message, n := range limits {
			want[string(message.Name())] = strconv.Itoa(n)
		}
		diff(t, want, column(t, doc, "message", "limit"))
	})
	t.Run("constants", func(t *testing.T) {
		values := map[string]any{
			"MaxStreams": MaxStreams, "MaxBatch": MaxBatch, "MaxCloseText": MaxCloseText, "HeaderTimeout": HeaderTimeout,
			"DefaultKeepAlive": DefaultKeepAlive, "MinKeepAlive": MinKeepAlive, "MaxKeepAlive": MaxKeepAlive, "Idle": Idle, "MaxIdle": MaxIdle,
		}
		want := map[string]string{}
		for _, name := range exportedConsts(t, "limits.go") {
			v, ok := values[name]
			if !ok {
				t.Errorf("constant %s is not known to this test", name)
			}
			want[name] = fmt.Sprint(v)
		}
		got := column(t, doc, "constant", "value")
		for name, v := range got {
			if d, err := time.ParseDuration(v); err == nil {
				got[name] = d.String()
			}
		}
		diff(t, want, got)
	})
	t.Run("stream types", func(t *testing.T) {
		diff(t, enum(hmpb.StreamType_name), column(t, doc, "stream", "number"))
	})
	t.Run("codes", func(t *testing.T) {
		want := enum(hmpb.Code_name)
		want[hmpb.Code_CODE_UNSPECIFIED.String()] = "0"
		diff(t, want, column(t, doc, "code", "number"))
	})
	t.Run("versions", func(t *testing.T) {
		got := column(t, doc, "version", "since")
		for v := VersionMin; v <= VersionMax; v++ {
			if day := got[fmt.Sprint(v)]; !regexp.MustCompile(`^\d{4}-\d\d-\d\d$`).MatchString(day) {
				t.Errorf("version %d since %q, want a day", v, day)
			}
		}
		if newest := fmt.Sprint(VersionMax + 1); got[newest] != "" {
			t.Errorf("version %s is described and not spoken", newest)
		}
	})
	t.Run("names", func(t *testing.T) {
		for _, name := range regexp.MustCompile(`\bCODE_[A-Z_]+\b`).FindAllString(doc, -1) {
			if _, ok := hmpb.Code_value[name]; !ok {
				t.Errorf("%s is no code", name)
			}
		}
		if !strings.Contains(doc, "`"+ALPN+"`") {
			t.Errorf("ALPN %s is not in it", ALPN)
		}
	})
}

// enum gives the numbers that may be sent.
func enum(names map[int32]string) map[string]string {
	m := map[string]string{}
	for n, name := range names {
		if n != 0 {
			m[name] = strconv.Itoa(int(n))
		}
	}
	return m
}

func diff(t *testing.T, code, doc map[string]string) {
	t.Helper()
	if d := cmp.Diff(code, doc); d != "" {
		t.Errorf("code and PROTOCOL.md differ (-code +PROTOCOL.md):\n%s", d)
	}
}

// column gives one column of the table that begins with the head named key, by
// its first column. A row whose meaning is left empty is an error.
func column(t *testing.T, doc, key, value string) map[string]string {
	t.Helper()
	var heads []string
	m := map[string]string{}
	for line := range strings.Lines(doc) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			heads = nil
			if len(m) > 0 {
				return m
			}
		case heads == nil:
			heads = cells
		case heads[0] != key || strings.HasPrefix(cells[0], "--"):
		default:
			if len(cells) != len(heads) {
				t.Fatalf("row %q has %d cells, its head %d", line, len(cells), len(heads))
			}
			row := map[string]string{}
			for i, head := range heads {
				row[head] = cells[i]
			}
			if meaning, there := row["meaning"]; there && meaning == "" {
				t.Errorf("%s has no meaning", cells[0])
			}
			if _, twice := m[cells[0]]; twice {
				t.Errorf("%s stands there twice", cells[0])
			}
			m[cells[0]] = row[value]
		}
	}
	if len(m) == 0 {
		t.Fatalf("PROTOCOL.md has no table with %q", key)
	}
	return m
}

func exportedConsts(t *testing.T, file string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					found[n.Name] = n.IsExported()
				}
			}
		}
	}
	maps.DeleteFunc(found, func(_ string, exported bool) bool { return !exported })
	for name := range found {
		names = append(names, name)
	}
	return names
}
