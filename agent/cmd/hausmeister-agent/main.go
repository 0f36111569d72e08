// Command hausmeister-agent runs on a loan device and tells the collector of
// its school authority how the device is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"hausmeister/platform/layout"
)

// version is set by the build.
var version = "dev"

func main() {
	p := &program{args: os.Args[1:], env: os.Getenv, in: os.Stdin, out: os.Stdout, errs: os.Stderr}
	os.Exit(p.main(context.Background()))
}

// program is one call of this command.
type program struct {
	args    []string
	env     func(string) string
	in      io.Reader
	out     io.Writer
	errs    io.Writer
	words   words
	json    bool
	replace bool
	dial    bool
	file    string
	root    string
	layout  layout.Layout
	rest    []string // arguments after verb and flags

	forClaim string // whose collector the doctor is to look for
}

// A verb is what the first argument may be; its text is "verb.NAME".
type verb struct {
	name string
	run  func(*program, context.Context) error
}

func verbs() []verb {
	return []verb{
		{name: "enroll", run: (*program).enroll},
		{name: "status", run: (*program).status},
		{name: "last-report", run: (*program).lastReport},
		{name: "looks", run: (*program).looks},
		{name: "update", run: (*program).update},
		{name: "doctor", run: (*program).doctor},
		{name: "selftest", run: (*program).selftest},
		{name: "mend", run: (*program).mend},
		{name: "install", run: (*program).install},
		{name: "uninstall", run: (*program).uninstall},
		{name: "start", run: (*program).start},
		{name: "stop", run: (*program).stop},
		{name: "run", run: (*program).run},
	}
}

func (p *program) main(ctx context.Context) int {
	p.words = wordsFor(language(p.env))
	do, err := p.parse()
	if errors.Is(err, flag.ErrHelp) {
		p.usage(p.out)
		return exitOK
	}
	if err == nil {
		// run has its own signals, from the service manager.
		if do.name != "run" {
			var stop context.CancelFunc
			ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			defer stop()
		}
		err = do.run(p, ctx)
	}
	return p.report(err)
}

// say prints one line for people; a reader of JSON does not want it.
func (p *program) say(key string, args ...any) {
	if !p.json {
		fmt.Fprintln(p.out, p.words.text(key, args...))
	}
}
