package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"hausmeister/agent"
	"hausmeister/proto/reading"
)

// lastReport shows the last message of each kind that left this device, all of it.
func (p *program) lastReport(ctx context.Context) error {
	var r agent.Report
	err := p.read(agent.LastReportFile, &r)
	if errors.Is(err, fs.ErrNotExist) {
		s, _, err := p.now(ctx)
		if err != nil {
			return err
		}
		if s.State == agent.StateNotEnrolled {
			return &failure{code: "no_report", exit: exitNotEnrolled}
		}
		return &failure{code: "no_report", exit: exitNotConnected}
	}
	if err != nil {
		return err
	}
	if p.json {
		return p.print(r)
	}
	p.showState(r)
	p.showBlock(r.Block)
	p.showFindings(r.Findings)
	p.showUpdates(r.Updates)
	p.showInventory(r.Inventory)
	p.showLive(r.Live)
	p.say("report_all")
	return nil
}

// wide is the column of values.
const wide = 44

func (p *program) showState(r agent.Report) {
	at := r.SentAt // in a file that an older version wrote
	switch {
	case r.State != nil:
		at = r.State.SentAt
	case len(r.Readings) == 0:
		return
	}
	p.say("report", p.words.when(at))
	for _, v := range r.Readings {
		fmt.Fprintf(p.out, "  %s  %s\n", pad(p.words.name(v), wide), p.words.value(v))
	}
}

func (p *program) showBlock(b *agent.ReportBlock) {
	if b == nil {
		return
	}
	p.say("report_block", p.words.when(b.SentAt), p.words.when(b.Start))
	if b.Damaged != "" {
		p.say("report_damaged", b.Damaged)
	}
	for _, s := range b.Series {
		v := agent.ReportReading{Name: s.Name, Instance: s.Instance, Unit: s.Unit, WordDE: s.WordDE, WordEN: s.WordEN}
		fmt.Fprintf(p.out, "  %s  %s\n", pad(p.words.name(v), wide), p.words.series(v, s.Values))
	}
}

func (p *program) showFindings(all []agent.ReportFinding) {
	for i, f := range all {
		if i == 0 {
			p.say("report_findings", p.words.when(f.SentAt))
		}
		title := p.words.pick(reading.Words{DE: f.TitleDE, EN: f.TitleEN})
		if title == "" {
			title = f.Code
		}
		if f.Instance != "" {
			title += " (" + p.words.pick(reading.InstanceWord(f.Instance)) + ")"
		}
		what := p.words.text("report_cleared")
		if f.Raised {
			what = p.words.text("report_raised")
		}
		fmt.Fprintf(p.out, "  %s  %s\n", pad(title, wide), what)
		for _, a := range f.Arguments {
			fmt.Fprintf(p.out, "    %s  %s\n", pad(a.Name, wide-2), p.words.value(agent.ReportReading{Unit: a.Unit, Number: a.Number, Text: a.Text}))
		}
	}
}

func (p *program) showUpdates(all []agent.ReportUpdate) {
	for i, u := range all {
		if i == 0 {
			p.say("report_updates", p.words.when(u.SentAt))
		}
		what := u.State
		if u.Reason != "" {
			what += ": " + u.Reason
		}
		fmt.Fprintf(p.out, "  %s  %s\n", pad(u.From+" -> "+u.To, wide), what)
		for _, line := range [][2]string{
			{"lease", u.Lease}, {"from_sha256", u.FromSum}, {"to_sha256", u.ToSum}, {"launcher_version", u.Launcher}, {"crash_signature", u.Signature},
		} {
			if line[1] != "" {
				fmt.Fprintf(p.out, "    %s  %s\n", pad(line[0], wide-2), line[1])
			}
		}
		fmt.Fprintf(p.out, "    %s  %s\n", pad("starts", wide-2), p.words.whole(int64(u.Starts)))
		fmt.Fprintf(p.out, "    %s  %s\n", pad("fetched_bytes", wide-2), p.words.whole(int64(u.Fetched)))
	}
}

func (p *program) showInventory(v *agent.ReportInventory) {
	if v == nil {
		return
	}
	p.say("report_inventory", p.words.when(v.SentAt), p.words.whole(int64(v.Count)))
	if v.Damaged != "" {
		p.say("report_damaged", v.Damaged)
	}
	for _, one := range v.Programs {
		fmt.Fprintf(p.out, "  %s  %s\n", pad(one.Name, wide), one.Version)
	}
}

func (p *program) showLive(v *agent.ReportLive) {
	if v == nil {
		return
	}
	p.say("report_live", p.words.when(v.Since), p.words.whole(int64(v.Samples)), p.words.when(v.SentAt))
	for _, one := range v.Readings {
		fmt.Fprintf(p.out, "  %s  %s\n", pad(p.words.name(one), wide), p.words.value(one))
	}
}

// pad fills s up to n characters.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-len([]rune(s))))
}
