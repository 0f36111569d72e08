package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"

	"hausmeister/agent"
)

// looks shows who looked at this device by the minute, and why.
func (p *program) looks(context.Context) error {
	var l agent.Looks
	err := p.read(agent.LooksFile, &l)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := err == nil
	if p.json {
		if l.Looks == nil {
			l.Looks = []agent.Look{}
		}
		return p.print(l)
	}
	switch {
	case !known: // also an agent that never was connected says so: it may have been looked at elsewhere
		p.say("looks_unknown")
	case len(l.Looks) == 0:
		p.say("looks_nobody")
	default:
		p.showLooks(l.Looks)
	}
	return nil
}

func (p *program) showLooks(all []agent.Look) {
	w := p.words
	p.say("looks_title")
	// Widths by what there is: names are the collector's accounts and may be long.
	rows := [][3]string{{w.text("looks_from"), w.text("looks_until"), w.text("looks_who")}}
	for _, l := range all {
		rows = append(rows, [3]string{w.when(l.Opened), w.when(l.Until), l.Name + " (" + w.role(l.Role) + ")"})
	}
	var wide [3]int
	for _, r := range rows {
		for i, cell := range r {
			wide[i] = max(wide[i], len([]rune(cell)))
		}
	}
	for i, r := range rows {
		reason := w.text("looks_reason")
		if i > 0 {
			reason = strings.Map(printable, all[i-1].Reason)
		}
		fmt.Fprintf(p.out, "  %s  %s  %s  %s\n", pad(r[0], wide[0]), pad(r[1], wide[1]), pad(r[2], wide[2]), reason)
	}
}

// printable leaves out what a terminal would take for a command.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return -1
}

// role in words; a newer collector's may have none here.
func (w words) role(code string) string {
	if text, ok := w.texts["role."+code]; ok {
		return text
	}
	return code
}
