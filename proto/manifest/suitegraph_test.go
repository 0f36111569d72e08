package manifest_test

import (
	"encoding/hex"
	"path/filepath"
	"strings"

	"hausmeister/testenv/tufrepo"
)

// edge is one delegation of a graph: who, to whom.
type edge struct {
	from, to    string
	terminating bool
	paths       string // * when empty
}

func (d *device) build(edges []edge) {
	touched := map[string]bool{targets: true}
	for _, e := range edges {
		p := e.paths
		if p == "" {
			p = "*"
		}
		d.repo.Delegate(e.from, tufrepo.Delegation{Role: e.to, Terminating: e.terminating, Paths: strings.Fields(p)})
		touched[e.to] = true
	}
	for role := range touched {
		d.repo.Publish(role)
	}
	d.repo.Publish(snapshot, timestamp)
}

func graphs() map[string]func(d *device) {
	m := map[string]func(d *device){}
	for name, c := range map[string]struct {
		edges []edge
		want  string
	}{
		"one":                       {[]edge{{from: targets, to: "A"}}, "A"},
		"two":                       {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}}, "A B"},
		"two levels":                {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}}, "A B C"},
		"two levels depth first":    {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C"}, {from: "A", to: "D"}}, "A C D B"},
		"three levels depth first":  {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C"}, {from: "C", to: "D"}}, "A C D B"},
		"two levels, terminating":   {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C", terminating: true}, {from: "A", to: "D"}}, "A C"},
		"three levels, terminating": {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C", terminating: true}, {from: "C", to: "D"}}, "A C D"},
		"two levels, paths":         {[]edge{{from: targets, to: "A", paths: "*.py"}, {from: targets, to: "B"}, {from: "A", to: "C"}}, "B"},
		"three levels, paths":       {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "A", to: "C", paths: "*.py"}, {from: "C", to: "D"}}, "A B"},
		"cycle":                     {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}, {from: "C", to: "D"}, {from: "D", to: "B"}}, "A B C D"},
		"two to a third":            {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}, {from: "A", to: "C"}}, "A C B"},
		"two to a third, paths":     {[]edge{{from: targets, to: "A"}, {from: targets, to: "B"}, {from: "B", to: "C"}, {from: "A", to: "C", paths: "*.py"}}, "A B C"},
	} {
		m["graph: "+name] = func(d *device) {
			d.build(c.edges)
			d.refused(d.fetch("missingpath", 0))
			var want []string
			for _, role := range strings.Fields(c.want) {
				want = append(want, role+" 1")
			}
			d.wantRequests(4, want...)
		}
	}
	return m
}

func searches() map[string]func(d *device) {
	m := map[string]func(d *device){}
	for path, c := range map[string]struct {
		found   bool
		visited []string
	}{
		"targetfile":          {true, nil},
		"README.md":           {true, []string{"A 1"}},
		"releases/x/x_v1":     {true, []string{"B 1", "C 1"}},
		"releases/y/y_v1.zip": {true, []string{"B 1", "D 1"}},
		"releases/z/z_v1.zip": {false, []string{"B 1"}},
	} {
		m["search "+path] = func(d *device) {
			edges := []edge{
				{from: targets, to: "A", paths: "*.doc *.md"}, {from: targets, to: "B", paths: "releases/*/*"},
				{from: "B", to: "C", paths: "releases/x/*"}, {from: "B", to: "D", paths: "releases/y/*.zip"},
			}
			d.build(edges)
			for role := range map[string]bool{targets: true, "A": true, "B": true, "C": true, "D": true} {
				d.repo.Unpublish(role)
				d.repo.SetVersion(role, 1)
			}
			for p, role := range map[string]string{
				"targetfile": targets, "README.md": "A", "releases/x/x_v1": "C", "releases/y/y_v1.zip": "D", "releases/z/z_v1.zip": "D",
			} {
				d.repo.AddTarget(role, p, []byte(p+" by "+role), nil)
			}
			d.repo.Publish(targets, "A", "B", "C", "D", snapshot, timestamp)
			err := d.fetch(path, 0)
			d.wantRequests(4, c.visited...)
			if !c.found {
				d.refused(err)
				d.wantFiles()
				return
			}
			d.ok(err)
			d.wantFiles(string(d.repo.Artifacts[path]))
		}
	}
	return m
}

func oddNames() map[string]func(d *device) {
	m := map[string]func(d *device){}
	for _, role := range []string{"?", "#", "/delegatedrole", "../delegatedrole", "..", ".", `a"b`, "ä ö%2f+", "c:d", "floor"} {
		m["role called "+hex.EncodeToString([]byte(role))] = func(d *device) {
			d.repo.Delegate(targets, tufrepo.Delegation{Role: role, Paths: []string{"*"}})
			d.repo.AddTarget(role, "file", []byte("content"), nil)
			d.repo.Publish(role, targets, snapshot, timestamp)
			d.refused(d.fetch("nonexistent", 0))
			if n := len(glob(d.t, d.dir, "*.json")); n != 5 {
				d.t.Fatalf("%d files of metadata, want 5", n)
			}
			d.ok(d.fetch("file", 0))
			if out := glob(d.t, filepath.Dir(d.dir), "*.json"); len(out) > 0 {
				d.t.Fatalf("files beside the folder: %q", out)
			}
		}
	}
	return m
}
