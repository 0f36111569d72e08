package manifest_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/manifest"
)

// The tables of PROTOCOL.md say what the code does, no more and no less.
func TestProtocolTables(t *testing.T) {
	data, err := os.ReadFile("../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(data), "\n## Update metadata\n")
	if !ok {
		t.Fatal("PROTOCOL.md has no section on update metadata")
	}
	section, _, _ = strings.Cut(section, "\n## ")

	want := map[string]string{}
	for role, n := range manifest.Thresholds {
		want[role] = fmt.Sprintf("%d|%d|%d", n.Need, n.Of, manifest.MaxLengthForTest(role))
	}
	for _, d := range manifest.Delegations() {
		want[d.Role] = fmt.Sprintf("%d|n|%d", d.Threshold, manifest.MaxLengthForTest(d.Role))
		for _, p := range d.Paths {
			if !strings.Contains(section, "| "+d.Role+" | ") || !strings.Contains(section, "`"+p+"`") {
				t.Errorf("%s speaks for %s; the table does not say so", d.Role, p)
			}
		}
		if !d.Terminating {
			t.Errorf("%s does not end the search; the text says that each does", d.Role)
		}
	}
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z]+) \| (\d+) \| (\d+|n) \|.*\| (\d+) bytes \|$`).FindAllStringSubmatch(section, -1) {
		got[m[1]] = strings.Join(m[2:], "|")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles (-code +table):\n%s", diff)
	}

	var fields, named []string
	for i, r := 0, reflect.TypeFor[manifest.Release](); i < r.NumField(); i++ {
		if name, _, _ := strings.Cut(r.Field(i).Tag.Get("json"), ","); name != "-" {
			fields = append(fields, name)
		}
	}
	_, table, _ := strings.Cut(section, "| field | meaning |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, line := range strings.Split(table, "\n") {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		named = append(named, strings.Split(cell, ", ")...)
	}
	slices.Sort(fields)
	slices.Sort(named)
	if diff := cmp.Diff(fields, named); diff != "" {
		t.Errorf("fields of a release (-code +table):\n%s", diff)
	}
	if rings := strings.NewReplacer("[", "", "]", "", " ", ", ").Replace(fmt.Sprint(manifest.Rings[:4])); !strings.Contains(section, rings+" and 10000") {
		t.Errorf("the rings %v are not in the text", manifest.Rings)
	}
}
