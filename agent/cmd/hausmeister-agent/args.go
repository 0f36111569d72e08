package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"hausmeister/platform/layout"
)

// parse finds the verb and the flags, which may stand before and after it and
// between arguments.
func (p *program) parse() (verb, error) {
	fs := flag.NewFlagSet("hausmeister-agent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&p.json, "json", false, "")
	fs.StringVar(&p.root, "dir", "", "")
	fs.Func("lang", "", func(lang string) error { // at once, so that an error after it is in that language
		if lang != "de" && lang != "en" {
			return errors.New("-lang " + lang)
		}
		p.words = wordsFor(lang)
		return nil
	})
	fs.StringVar(&p.file, "file", "", "")
	fs.BoolVar(&p.replace, "replace", false, "")
	fs.BoolVar(&p.dial, "dial", false, "")
	fs.StringVar(&p.forClaim, "claim", "", "")
	showVersion := fs.Bool("version", false, "")
	args := p.args
	for {
		if err := fs.Parse(args); err != nil {
			if err == flag.ErrHelp {
				return verb{}, err
			}
			return verb{}, p.misused(err.Error())
		}
		if fs.NArg() == 0 {
			break
		}
		p.rest = append(p.rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
	if *showVersion {
		return verb{name: "version", run: (*program).version}, nil
	}
	p.layout = layout.Default()
	if p.root != "" {
		p.layout = layout.Layout{Root: p.root}
	}
	if len(p.rest) == 0 {
		return verb{}, flag.ErrHelp
	}
	i := slices.IndexFunc(verbs(), func(v verb) bool { return v.name == p.rest[0] })
	if i < 0 {
		return verb{}, p.misused(p.rest[0])
	}
	v := verbs()[i]
	p.rest = p.rest[1:]
	if len(p.rest) > 0 && !slices.Contains([]string{"enroll", "doctor", "update"}, v.name) || len(p.rest) > 1 {
		return verb{}, p.misused(strings.Join(p.rest, " "))
	}
	return v, nil
}

func (p *program) usage(w io.Writer) {
	fmt.Fprintln(w, p.words.text("usage"))
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-12s %s\n", v.name, p.words.text("verb."+v.name))
	}
	fmt.Fprintln(w)
	for _, name := range []string{"json", "dir", "lang", "file", "replace", "claim", "dial", "version"} {
		fmt.Fprintf(w, "  --%-10s %s\n", name, p.words.text("flag."+name))
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, p.words.text("exits"))
}
