package arch

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// topLevel are the names that may stand beside go.mod. Folders are rooms that
// the design names; a seventh needs a change of the design first.
var topLevel = []string{
	"agent", "collector", "installer", "platform", "proto", "testenv",
	"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum",
	".ci", ".git", ".gitignore",
	"bin", "dist", // what make builds, not in git
}

func checkTopLevel(t *Tree, _ Exceptions) []Breach {
	entries, err := os.ReadDir(t.Root)
	if err != nil {
		return []Breach{{"top level", err.Error()}}
	}
	var out []Breach
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) {
			out = append(out, Breach{"top level", e.Name() + " is not one of the fixed names"})
		}
	}
	return out
}

// rooms are the packages of each side in layers, top first. An import goes from
// a room to one further down, never up or across; a package below a room
// belongs to it. A new room is a line here, in a commit that says why.
var rooms = map[string][][]string{
	"agent": {
		{"cmd"},
		{""},         // the root package
		{"launcher"}, // runs the agent as a child; of its code it knows the journal only
		{"enroll", "link", "health", "update", "support", "ipad"},
		{"config", "spool", "finding"},
	},
	"collector": {
		{"cmd"},
		{""},
		{"gateway", "web", "admin"},
		{"enroll", "fleet", "health", "rollout", "support", "desk", "privacy", "notify", "question"},
		{"access"},
		{"audit"},
		{"db", "bus", "pace", "calendar", "crowd"}, // gateway and web send what rollout has, at one pace; fleet and question hide what is of few alike
	},
	"installer": {
		{"cmd"},
		{"bundle", "release"},
	},
	"proto": {
		{"wire", "ident", "block", "inventory", "finding", "manifest"},
		{"reading"}, // what may be told; the packers above ask it
		{"hmpb"},
	},
	"platform": {
		{"service", "sysinfo", "keystore", "desktop", "pty", "swap", "wake", "netpath", "memory", "process"},
		{"supervise", "layout"},
	},
}

// below says which other sides a side stands on. Nothing stands on testenv.
var below = map[string][]string{
	"agent":     {"proto", "platform"},
	"collector": {"proto", "platform"},
	"installer": {"proto", "platform"},
	"testenv":   {"agent", "collector", "installer", "proto", "platform"},
}

// place finds a package's side and layer; ok is false for an unknown room.
func place(pkg string) (side, room string, layer int, ok bool) {
	side, rest, _ := strings.Cut(pkg, "/")
	room, _, _ = strings.Cut(rest, "/")
	if side == "testenv" {
		return side, rest, 0, true
	}
	for layer, names := range rooms[side] {
		if slices.Contains(names, room) {
			return side, room, layer, true
		}
	}
	return side, room, 0, false
}

// checkLayers holds the direction of imports. Tests may reach across to a
// neighbour of their own side and to testenv, never to another side: what needs
// both ends is a scenario.
func checkLayers(t *Tree, _ Exceptions) []Breach {
	var out []Breach
	add := func(f *File, imp, why string) {
		out = append(out, Breach{"imports", fmt.Sprintf("%s imports %s: %s", f.Path, imp, why)})
	}
	for _, p := range t.Packages {
		side, room, layer, ok := place(p.Path)
		if !ok {
			out = append(out, Breach{"imports", p.Path + " is a room that the table of testenv/arch does not know"})
			continue
		}
		for _, f := range p.Files {
			for _, imp := range f.Imports() {
				pkg, ours := strings.CutPrefix(imp, Module+"/")
				if !ours {
					continue
				}
				toSide, toRoom, toLayer, known := place(pkg)
				switch {
				case side == "testenv":
				case toSide == "testenv":
					if !f.Test {
						add(f, pkg, "production never imports testenv")
					}
				case !known:
					// Said once, where that package itself is judged.
				case toSide != side:
					if !slices.Contains(below[side], toSide) {
						add(f, pkg, side+" does not stand on "+toSide)
					}
				case toRoom == room || f.Test:
				case toLayer == layer:
					add(f, pkg, "neighbours never import each other")
				case toLayer < layer:
					add(f, pkg, "imports go down only")
				}
			}
		}
	}
	return out
}
