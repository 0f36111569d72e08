package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	attacks    = "../../proto/ATTACKS.md"
	attackRows = 50
)

var (
	testName   = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	attackName = regexp.MustCompile(`^TestAttack(\d\d(?:_\d\d)*)`)
)

// attackRow is a row of the table: tests by folder, and why something is not shown.
type attackRow struct {
	shown map[string][]string
	not   string
}

// readAttacks reads the table's rows, in order.
func readAttacks(text string) (rows map[int]attackRow, problems []string) {
	rows = map[int]attackRow{}
	last := 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		n, err := strconv.Atoi(strings.TrimSpace(cells[min(1, len(cells)-1)]))
		if err != nil {
			continue
		}
		if len(cells) != 7 {
			problems = append(problems, fmt.Sprintf("row %d has %d cells", n, len(cells)-2))
			continue
		}
		if n != last+1 {
			problems = append(problems, fmt.Sprintf("row %d follows row %d", n, last))
		}
		last = n
		if strings.TrimSpace(cells[2]) == "" || strings.TrimSpace(cells[3]) == "" {
			problems = append(problems, fmt.Sprintf("row %d does not say what it is, or what must come of it", n))
		}
		row := attackRow{shown: map[string][]string{}, not: strings.TrimSpace(cells[5])}
		for part := range strings.SplitSeq(cells[4], ";") {
			dir, names, ok := strings.Cut(strings.TrimSpace(part), ":")
			for _, m := range testName.FindAllStringSubmatch(names, -1) {
				row.shown[dir] = append(row.shown[dir], m[1])
			}
			if strings.TrimSpace(part) != "" && (!ok || len(row.shown[dir]) == 0) {
				problems = append(problems, fmt.Sprintf("row %d: %q names no test of a folder", n, part))
			}
		}
		if len(row.shown) == 0 && row.not == "" {
			problems = append(problems, fmt.Sprintf("row %d is shown by nothing, and does not say why", n))
		}
		rows[n] = row
	}
	if last != attackRows {
		problems = append(problems, fmt.Sprintf("the last row is %d, want %d", last, attackRows))
	}
	return rows, problems
}

// checkAttacks holds the table against the tests that there are, by folder.
func checkAttacks(rows map[int]attackRow, tests map[string][]string) (problems []string) {
	for n, row := range rows {
		for dir, names := range row.shown {
			for _, name := range names {
				if !slices.Contains(tests[dir], name) {
					problems = append(problems, fmt.Sprintf("row %d names %s, which %s has not", n, name, dir))
				}
			}
		}
	}
	for dir, names := range tests {
		for _, name := range names {
			m := attackName.FindStringSubmatch(name)
			if m == nil {
				continue
			}
			for digits := range strings.SplitSeq(m[1], "_") {
				if n, _ := strconv.Atoi(digits); !slices.Contains(rows[n].shown[dir], name) {
					problems = append(problems, fmt.Sprintf("row %d does not name %s of %s", n, name, dir))
				}
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// testsInTree are the tests and fuzz targets of each folder, as functions and not as
// words that stand somewhere.
func testsInTree(t *testing.T) map[string][]string {
	t.Helper()
	const root = "../.."
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "node_modules" || strings.HasPrefix(e.Name(), ".") && path != root) {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				found[filepath.ToSlash(dir)] = append(found[filepath.ToSlash(dir)], f.Name.Name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestAttacks: the table of attacks and faults is whole, and says what is so.
func TestAttacks(t *testing.T) {
	text, err := os.ReadFile(attacks)
	if err != nil {
		t.Fatal(err)
	}
	rows, problems := readAttacks(string(text))
	for _, p := range append(problems, checkAttacks(rows, testsInTree(t))...) {
		t.Error(p)
	}
}

// TestAttacksAreHeld: what the test above is for.
func TestAttacksAreHeld(t *testing.T) {
	text, err := os.ReadFile(attacks)
	if err != nil {
		t.Fatal(err)
	}
	tests := testsInTree(t)
	good := string(text)
	for name, spoil := range map[string]func() string{
		"a row is gone": func() string { return regexp.MustCompile(`(?m)^\| 31 .*\n`).ReplaceAllString(good, "") },
		"a test is not named": func() string {
			return strings.Replace(good, "`TestAttack31_CannotReachTheCollector`", "`TestUsage`", 1)
		},
		"a test is not there": func() string {
			return strings.Replace(good, "`TestAttack07RootWithheld`", "`TestAttack07RootWithheld`, `TestAttack07Nothing`", 1)
		},
		"nothing and no reason": func() string {
			return regexp.MustCompile(`(?m)^\| 33 .*$`).ReplaceAllString(good, "| 33 | a | b | | |")
		},
		"no outcome is required": func() string { return regexp.MustCompile(`(?m)^(\| 47 \|[^|]*\|)[^|]*`).ReplaceAllString(good, "$1 ") },
	} {
		changed := spoil()
		rows, problems := readAttacks(changed)
		if changed == good || len(problems)+len(checkAttacks(rows, tests)) == 0 {
			t.Errorf("%s: nobody would see it", name)
		}
	}
}
