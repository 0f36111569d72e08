package arch

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// Exceptions are the functions outside platform/supervise that may start a
// goroutine, each with the reason why it cannot outlive them: "package.Func" or
// "package.(*Type).Method" to reason.
type Exceptions map[string]string

// Allowed is the table for this repository. An entry is for a function that
// waits for what it started before it returns and cannot use supervise.Crew
// (proto may not know platform); an entry without a go statement is a breach too.
var Allowed = Exceptions{
	"proto/wire.newTCPSession": "yamux hands out streams without a context; this pump gives AcceptStream one, and Close waits for it",
	"testenv/child.Start":      "only waits for the process, ends with it, and Kill and Stop wait for that",
}

// checkGoroutines holds that only platform/supervise starts goroutines, in any
// of the ways that Go has: go, WaitGroup.Go, errgroup.Go, time.AfterFunc. Tests
// are free.
func checkGoroutines(t *Tree, allowed Exceptions) []Breach {
	var out []Breach
	used := map[string]bool{}
	for _, p := range t.Packages {
		if p.Path == "platform/supervise" {
			continue
		}
		groups := groupNames(p)
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, decl := range f.Syntax.Decls {
				where := p.Path + "." + funcName(decl)
				for _, how := range starts(f, decl, groups) {
					used[where] = true
					if allowed[where] == "" {
						out = append(out, Breach{"goroutine", fmt.Sprintf("%s (%s) has %s", where, f.Name, how)})
					}
				}
			}
		}
	}
	for where, reason := range allowed {
		if !used[where] {
			out = append(out, Breach{"goroutine", "the table's entry " + where + " starts none"})
		}
		if len(strings.Fields(reason)) < 3 {
			out = append(out, Breach{"goroutine", "the table's entry " + where + " gives no reason"})
		}
	}
	return out
}

// starts lists the ways in which decl starts goroutines.
func starts(f *File, decl ast.Decl, groups []string) (how []string) {
	timeName := f.importName("time")
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			how = append(how, "a go statement")
		case *ast.SelectorExpr:
			if timeName != "" && isSelector(n, timeName, "AfterFunc") {
				how = append(how, "time.AfterFunc")
			}
			if (n.Sel.Name == "Go" || n.Sel.Name == "TryGo") && slices.Contains(groups, lastName(n.X)) {
				how = append(how, lastName(n.X)+"."+n.Sel.Name+" of a WaitGroup or errgroup")
			}
		}
		return true
	})
	return how
}

// lastName is the name that an expression ends in: x, s.x, (&x), x[i].
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.ParenExpr:
		return lastName(e.X)
	case *ast.UnaryExpr:
		return lastName(e.X)
	case *ast.StarExpr:
		return lastName(e.X)
	case *ast.IndexExpr:
		return lastName(e.X)
	}
	return ""
}

// groupNames collects, without type-checking, the names that stand for a
// sync.WaitGroup or errgroup.Group somewhere in the package: variables,
// parameters, fields, and structs that embed one. A name that means a Crew
// elsewhere in the same package is caught too; it then wants another name.
func groupNames(p *Package) []string {
	names := []string{"WaitGroup", "Group"}
	for _, f := range p.Files {
		syncName, errName := f.importName("sync"), f.importName("golang.org/x/sync/errgroup")
		isGroup := func(e ast.Expr) bool {
			found := false
			ast.Inspect(e, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncLit); ok {
					return false
				}
				found = found || syncName != "" && isSelector(n, syncName, "WaitGroup") ||
					errName != "" && (isSelector(n, errName, "Group") || isSelector(n, errName, "WithContext"))
				return true
			})
			return found
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && embedsGroup(s, isGroup) {
					names = append(names, receivers(p, n.Name.Name)...)
				} else if !ok && isGroup(n.Type) {
					names = append(names, receivers(p, n.Name.Name)...)
				}
			case *ast.Field:
				if _, ok := n.Type.(*ast.StructType); !ok && isGroup(n.Type) {
					names = append(names, identNames(n.Names)...)
				}
			case *ast.ValueSpec:
				if n.Type != nil && isGroup(n.Type) || slices.ContainsFunc(n.Values, isGroup) {
					names = append(names, identNames(n.Names)...)
				}
			case *ast.AssignStmt:
				for i, right := range n.Rhs {
					if isGroup(right) && i < len(n.Lhs) {
						names = append(names, lastName(n.Lhs[i]))
					}
				}
			}
			return true
		})
	}
	return names
}

func embedsGroup(s *ast.StructType, isGroup func(ast.Expr) bool) bool {
	return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool { return len(f.Names) == 0 && isGroup(f.Type) })
}

// receivers lists the names under which the package's functions hold a value of
// the type: receivers, parameters and variables declared with it.
func receivers(p *Package, typeName string) (names []string) {
	for _, f := range p.Files {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				if lastName(n.Type) == typeName {
					names = append(names, identNames(n.Names)...)
				}
			case *ast.ValueSpec:
				if n.Type != nil && lastName(n.Type) == typeName {
					names = append(names, identNames(n.Names)...)
				}
			}
			return true
		})
	}
	return names
}

func identNames(ids []*ast.Ident) (names []string) {
	for _, id := range ids {
		names = append(names, id.Name)
	}
	return names
}

func funcName(decl ast.Decl) string {
	fn, ok := decl.(*ast.FuncDecl)
	if !ok {
		return "var"
	}
	if fn.Recv == nil {
		return fn.Name.Name
	}
	star := ""
	t := fn.Recv.List[0].Type
	if s, ok := t.(*ast.StarExpr); ok {
		star, t = "*", s.X
	}
	switch ix := t.(type) {
	case *ast.IndexExpr:
		t = ix.X
	case *ast.IndexListExpr:
		t = ix.X
	}
	return fmt.Sprintf("(%s%s).%s", star, lastName(t), fn.Name.Name)
}
