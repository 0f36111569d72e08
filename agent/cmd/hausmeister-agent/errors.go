package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"hausmeister/agent/enroll"
	"hausmeister/agent/link/path"
	"hausmeister/agent/spool"
	"hausmeister/platform/layout"
	"hausmeister/platform/service"
	"hausmeister/proto/ident"
)

// Exit codes; a script may rely on them, and the help lists them.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitAgain        = 3 // the same call may succeed later: network, busy collector
	exitRefused      = 4 // it will not succeed before somebody helps
	exitDenied       = 5 // this user may not
	exitBusy         = 6 // another agent works with the same folder
	exitNotEnrolled  = 7
	exitNotConnected = 8
)

// failure is an error with what people are told and how the program ends.
type failure struct {
	code string // for --json, and key of the text: "error."+code
	args []any
	exit int
	err  error // for those who help; nil = the text says it all
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.code
	}
	return f.code + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func (p *program) misused(what string) error {
	return &failure{code: "usage", args: []any{what}, exit: exitUsage}
}

// exits are the codes of enroll's words where it is not exitRefused.
var exits = map[enroll.Word]int{
	enroll.WordUnreadable:  exitUsage,
	enroll.WordTypo:        exitUsage,
	enroll.WordNotEnrolled: exitNotEnrolled,
	enroll.WordState:       exitFailed,
}

// failureOf finds the words for an error.
func failureOf(err error) *failure {
	var f *failure
	var e *enroll.Error
	var inspected *ident.InspectionError
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, fs.ErrPermission):
		return &failure{code: "denied", exit: exitDenied, err: err}
	case errors.Is(err, layout.ErrLocked):
		return &failure{code: "locked", exit: exitBusy, err: err}
	case errors.Is(err, layout.ErrForeign):
		return &failure{code: "foreign_folder", exit: exitFailed, err: err}
	case errors.Is(err, spool.ErrNewer):
		return &failure{code: "newer", exit: exitFailed, err: err}
	case errors.Is(err, service.ErrPackaged):
		return &failure{code: "packaged", exit: exitRefused, err: err}
	case errors.Is(err, service.ErrSlow):
		return &failure{code: "slow", exit: exitAgain, err: err}
	case errors.Is(err, context.Canceled):
		return &failure{code: "interrupted", exit: exitFailed}
	case path.ObstacleIn(err) != "":
		return &failure{code: string(path.ObstacleIn(err)), exit: exitAgain, err: err}
	case errors.As(err, &inspected):
		return &failure{code: string(enroll.WordInspected), args: []any{inspected.Issuer}, exit: exitAgain, err: err}
	case errors.As(err, &e):
		exit, ok := exits[e.Word]
		if !ok {
			exit = exitRefused
			if e.Again() {
				exit = exitAgain
			}
		}
		return &failure{code: string(e.Word), exit: exit, err: err}
	}
	return &failure{code: "failed", exit: exitFailed, err: err}
}

// report tells of an error, if there is one, and gives the exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	if s := silent(0); errors.As(err, &s) {
		return int(s)
	}
	f := failureOf(err)
	text := p.words.text("error."+f.code, f.args...)
	if p.json {
		told := map[string]any{"code": f.code, "text": text}
		if f.err != nil {
			told["detail"] = f.err.Error()
		}
		p.print(map[string]any{"error": told})
		return f.exit
	}
	fmt.Fprintln(p.errs, text)
	if f.err != nil {
		fmt.Fprintln(p.errs, p.words.text("detail", f.err))
	}
	return f.exit
}

// print writes v as JSON.
func (p *program) print(v any) error {
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
