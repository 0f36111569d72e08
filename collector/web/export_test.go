package web

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
