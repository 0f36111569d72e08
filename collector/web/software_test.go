package web_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// TestSoftwareOfOneName: two kernels that were updated on one day are two lines,
// on the page and in the API.
func TestSoftwareOfOneName(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", "DEMO7K1", "linux", "AH-1")
	for _, programs := range [][]inventory.Program{
		{{Name: "kernel", Version: "6.1.1"}, {Name: "kernel", Version: "6.1.2"}},
		{{Name: "kernel", Version: "6.1.3"}, {Name: "kernel", Version: "6.1.4"}, {Name: "kernel", Version: "6.1.5"}},
	} {
		m, err := inventory.Pack(programs)
		w.must(err)
		w.tell(id, hmpb.Entry_builder{Inventory: m}.Build())
	}
	var got struct {
		Changes []struct{ Day, Name, From, To string }
	}
	token := w.token("report", access.RoleRead, nil)
	w.api(token, "/api/v1/devices/"+id+"/inventory", &got)
	day := w.clock().UTC().Format("2006-01-02")
	want := []struct{ Day, Name, From, To string }{
		{day, "kernel", "6.1.1", "6.1.3"}, {day, "kernel", "6.1.2", "6.1.4"}, {day, "kernel", "", "6.1.5"},
	}
	if d := cmp.Diff(want, got.Changes); d != "" {
		t.Errorf("changes in the API (-want +got):\n%s", d)
	}
	w.user("anna", access.RoleRead, nil)
	page := w.signedIn("anna").get("/devices/" + id + "/software").body
	_, list, _ := strings.Cut(page, `<ul class="changes">`)
	list, _, _ = strings.Cut(list, "</ul>")
	lines := strings.Split(regexp.MustCompile(`</li>`).ReplaceAllString(list, "\n"), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "6.1.1 → 6.1.3") || !strings.Contains(lines[1], "6.1.2 → 6.1.4") || !strings.Contains(lines[2], "6.1.5") {
		t.Errorf("changes on the page: %q, want three lines", lines)
	}
}
