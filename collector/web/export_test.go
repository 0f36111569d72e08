package web

import (
	"net/http"
	"reflect"
	"strings"

	"hausmeister/collector/access"
)

// Route is a line of the route table, for the test that walks all of them.
type Route struct {
	Method, Path string
	Door         string
}

func (s *Server) Routes() []Route {
	doors := map[door]string{open: "open", signed: "signed", program: "program", scrape: "scrape"}
	var out []Route
	for _, rt := range s.routes {
		out = append(out, Route{rt.method, rt.path, doors[rt.door]})
	}
	return out
}

// WithoutNPM makes the pages those of a program that was built without npm.
func (s *Server) WithoutNPM() {
	for _, name := range []string{"app.js", "chart.js", "icons.svg", "inter.woff2", "inter-ext.woff2"} {
		delete(s.assets.href, name)
	}
}

var LocalPath = localPath

// OpenMetrics sets the Config's MetricsOpen.
func (s *Server) OpenMetrics() { s.cfg.MetricsOpen = true }

var DescribedCalls = describedCalls

// TaggedBy is the path of the thing that a route reads or changes with an ETag.
func TaggedBy(method, path string) string { return taggedBy(route{method: method, path: path}) }

// OperationID is the name of a call for generated clients.
func OperationID(method, path string) string { return operationID(route{method: method, path: path}) }

// UntoldTexts are the texts of bodies, answers and parameters of the API of which
// nothing says what they can be, and the items of lists that have no id.
func UntoldTexts() (out []string) {
	seen := map[reflect.Type]bool{}
	var walk func(where string, t reflect.Type, kind string)
	walk = func(where string, t reflect.Type, kind string) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(where, t.Elem(), kind)
		case reflect.String:
			if kinds[kind] == nil {
				out = append(out, where)
			}
		case reflect.Int, reflect.Int64:
			if kind != "" && kinds[kind] == nil {
				out = append(out, where)
			}
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for _, f := range reflect.VisibleFields(t) {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if f.Anonymous {
					continue
				}
				walk(t.Name()+"."+name, f.Type, f.Tag.Get("is"))
				if item := f.Type; name == "items" {
					if _, ok := item.Elem().FieldByName("ID"); !ok {
						out = append(out, item.Elem().Name()+" has no id")
					}
				}
			}
		}
	}
	for name, c := range calls {
		for _, body := range []any{c.Body, c.Gives} {
			if body != nil {
				walk(name, reflect.TypeOf(body), "")
			}
		}
		for _, p := range c.Query {
			if p.Is != "" && kinds[p.Is] == nil {
				out = append(out, name+" "+p.Name)
			}
		}
	}
	walk("problem", reflect.TypeFor[apiProblem](), "")
	return out
}

// ColumnsWithoutValue are the columns of the list that the API does not know.
func ColumnsWithoutValue() (out []string) {
	for _, c := range listColumns {
		if columnValue[c.id] == nil {
			out = append(out, c.id)
		}
	}
	return out
}

// ProblemsOf are the types of problems that a request can be answered with as the
// description says; nil = it is no call.
func (s *Server) ProblemsOf(r *http.Request) []string {
	_, pattern := s.mux.Handler(r)
	c, ok := calls[pattern]
	if !ok {
		return nil
	}
	method, path, _ := strings.Cut(pattern, " ")
	return c.problems(route{method: method, path: path})
}

// AllProblems are all types.
var AllProblems = allProblems

// Needs is what a call needs, and whether it is for people only.
func Needs(operation string) (needs access.Permission, person bool) {
	for name, c := range calls {
		method, path, _ := strings.Cut(name, " ")
		if OperationID(method, path) == operation {
			return c.Needs, c.Person
		}
	}
	return "", false
}

// Makes says whether a call makes something new.
func Makes(path string) bool { return calls["POST "+path].Made }
