package service

import (
	_ "embed"
	"strings"
)

//go:embed hausmeister.service.tmpl
var unitText string

// Unit is the text of the systemd unit, for Install and for packages.
// Executable must be set.
func Unit(c Config) string {
	var words []string
	for _, w := range append([]string{c.Executable}, c.Arguments...) {
		// Only command lines know variables.
		words = append(words, quote(strings.ReplaceAll(w, "$", "$$")))
	}
	var paths []string
	for _, p := range c.WritePaths {
		// "-": one that is missing is not a reason not to start; Run's own
		// message about it is better than systemd's.
		paths = append(paths, quote("-"+p))
	}
	// Not by text/template: it calls methods by name, for which the linker keeps
	// every exported method of the whole program; the agent would be 1.8 MB larger.
	return strings.NewReplacer(
		"{{.DisplayName}}", escape(c.DisplayName),
		"{{.Description}}", escape(c.Description),
		"{{.Command}}", strings.Join(words, " "),
		"{{.WritePaths}}", strings.Join(paths, " "),
	).Replace(unitText)
}

// escape keeps systemd from seeing a specifier in a text, which is one line.
func escape(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ReplaceAll(s, "%", "%%")
}

// quote makes one word of a command line or list (systemd.syntax(7)).
func quote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(s)
	if s != "" && !strings.ContainsAny(s, " \t'\"\\;") {
		return s
	}
	return `"` + s + `"`
}
