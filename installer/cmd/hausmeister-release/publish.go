package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/online"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

type blockCmd struct {
	What   string `arg:"" help:"agent or launcher, or the sha256 of one program."`
	Number string `arg:"" optional:"" help:"The version that must not run, of all systems."`
}

func (b *blockCmd) Run(c *cli) error {
	d, err := c.editing()
	if err != nil {
		return err
	}
	if b.Number == "" {
		if err := d.Block(b.What); err != nil {
			return err
		}
		return c.staged("block", d, manifest.Targets, nil, map[string]string{"sha256": b.What})
	}
	sums, err := d.BlockVersion(b.What, b.Number)
	if err != nil {
		return err
	}
	return c.staged("block", d, manifest.Targets, nil, map[string]string{"product": b.What, "version": b.Number, "sha256": strings.Join(sums, ",")})
}

type floorCmd struct {
	Set  floorSetCmd  `cmd:"" help:"Draft a higher floor."`
	Show floorShowCmd `cmd:"" help:"Floors and what is blocked."`
}

type floorSetCmd struct {
	Product   string   `arg:"" help:"agent or launcher."`
	Number    string   `arg:"" help:"The lowest version that may run."`
	Platforms []string `help:"Systems that must be able to reach it." default:"${platforms}"`
}

func (f *floorSetCmd) Run(c *cli) error {
	d, err := c.editing()
	if err != nil {
		return err
	}
	if err := d.SetFloor(f.Product, f.Number, f.Platforms); err != nil {
		return err
	}
	return c.staged("floor set", d, manifest.Targets, nil, map[string]string{"product": f.Product, "version": f.Number})
}

type floorShowCmd struct{}

func (f *floorShowCmd) Run(c *cli) error {
	repo, err := c.repository()
	if err != nil {
		return err
	}
	targets := repo.Files[manifest.Targets]
	if targets == nil {
		return fmt.Errorf("%w: nothing is published yet", release.ErrNotFound)
	}
	rules, err := targets.Rules()
	if err != nil {
		return err
	}
	text := ""
	for _, p := range []string{manifest.ProductAgent, manifest.ProductLauncher} {
		text += fmt.Sprintf("floor of %s: %s\n", p, orNone(rules.Floors[p]))
	}
	for _, h := range rules.Blocked {
		text += "blocked: " + h + "\n"
	}
	return c.say(rules, text)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// publishing is shared by publish and root publish.
type publishing struct {
	Socket string `help:"Socket of the online process." env:"HAUSMEISTER_ONLINE" default:"online.sock" placeholder:"PATH"`
}

type publishCmd struct {
	publishing
	Roles     []string `arg:"" optional:"" help:"Drafts; all, if none is named."`
	Platforms []string `help:"Systems that each release must have." default:"${platforms}"`
	DryRun    bool     `help:"Check everything and change nothing."`
}

func (p *publishCmd) Run(c *cli) error { return p.publish(c, p.Roles, p.Platforms, p.DryRun) }

func (p publishing) publish(c *cli, roles, platforms []string, dry bool) error {
	open := c.editing
	if dry {
		open = c.drafts
	}
	d, err := open()
	if err != nil {
		return err
	}
	if len(roles) == 0 {
		roles = nil
	}
	pub := release.Publication{Drafts: d, Roles: roles, Platforms: platforms, Online: online.Client{Socket: p.Socket}, Now: c.now}
	ready, err := pub.Check()
	if err != nil {
		return err
	}
	text, what := "", map[string]string{}
	for _, diff := range ready.Diffs {
		text += diff.String() + "\n"
	}
	for _, diff := range slices.Concat(ready.Stand, ready.Diffs) {
		diff.Named(what)
	}
	for _, e := range d.Repo.Expiries(c.now()) {
		if _, new := ready.Files[e.Role]; e.Alarm && !new {
			text += fmt.Sprintf("WARNING: %s ends in %d days\n", e.Role, e.Days)
		}
	}
	if dry {
		return c.say(ready.Diffs, text+"nothing was changed")
	}
	// Before it goes out: what devices may see is in the record.
	if err := c.noting(release.VerbPublish, what); err != nil {
		return err
	}
	if err := pub.Publish(context.Background(), ready); err != nil {
		return c.notedFailure(release.VerbPublishFailed, err)
	}
	return c.say(map[string]any{"published": ready.Diffs, "bytes": ready.Bytes}, text+fmt.Sprintf("published; %d bytes of new files; a device believes it", ready.Bytes))
}

type expiryCmd struct{}

func (e *expiryCmd) Run(c *cli) error {
	repo, err := c.repository()
	if err != nil {
		return err
	}
	all := repo.Expiries(c.now())
	if len(all) == 0 {
		return fmt.Errorf("%w: nothing is published yet", release.ErrNotFound)
	}
	text, alarm := "", []string{}
	for _, x := range all {
		mark := "   "
		if x.Step > 0 {
			mark = " ! "
		}
		if x.Alarm {
			mark, alarm = "!!!", append(alarm, x.Role)
		}
		text += fmt.Sprintf("%s %-10s %4d days, until %s  %s\n", mark, x.Role, x.Days, x.Expires.Format(time.RFC3339), x.Note)
	}
	if err := c.say(all, text); err != nil {
		return err
	}
	if len(alarm) > 0 {
		return fmt.Errorf("%w: %s", errExpiring, strings.Join(alarm, ", "))
	}
	return nil
}

type auditCmd struct {
	Export auditExportCmd `cmd:"" help:"The record and all published metadata as one file."`
	Verify auditVerifyCmd `cmd:"" help:"Walk the chain of the record; of an export, check also its metadata and signatures."`
}

type auditExportCmd struct {
	Out string `help:"The file." required:"" type:"path" placeholder:"FILE"`
}

func (a *auditExportCmd) Run(c *cli) error {
	if err := c.isThere(); err != nil {
		return err
	}
	repo, err := c.repository()
	if err != nil {
		return err
	}
	out, err := c.record().Export(repo)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	if err := layout.WriteFile(a.Out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return c.say(map[string]any{"entries": len(out.Entries), "published": len(out.Published), "head": out.Head},
		fmt.Sprintf("%d entries, %d files of metadata; head %s", len(out.Entries), len(out.Published), out.Head))
}

type auditVerifyCmd struct {
	File string  `arg:"" optional:"" help:"An export (default: the record)." type:"path"`
	Head *string `help:"Hash of an entry that was written down elsewhere: up to it all must be as it was. Of later entries, and without one, nobody can tell." placeholder:"HEX"`
}

func (a *auditVerifyCmd) Run(c *cli) error {
	given := ""
	if a.Head != nil {
		if given = *a.Head; given == "" { // such as from a file of heads that is not there: nothing would be compared
			return fmt.Errorf("%w: --head is empty", errUsage)
		}
	}
	if a.File != "" {
		data, err := readNamed(a.File)
		if err != nil {
			return err
		}
		seen, err := release.VerifyExport(data, given)
		if err != nil {
			return err
		}
		return c.say(seen, fmt.Sprintf("%d entries and %d files of metadata, %s; head %s%s", seen.Entries, seen.Published, sureness(seen.Proven, seen.Entries), seen.Head, unsure(seen.Proven, seen.Entries)))
	}
	entries, torn, err := c.record().Kept(c.Repo)
	if err != nil {
		return err
	}
	proven := 0
	if given != "" {
		if proven, err = release.CheckHead(entries, given); err != nil {
			return err
		}
	}
	head := entries[len(entries)-1].Hash
	text := fmt.Sprintf("%d entries, %s; head %s%s", len(entries), sureness(proven, len(entries)), head, unsure(proven, len(entries)))
	if torn >= 0 {
		text += "\nafter them half a line, of a verb that did not end"
	}
	return c.say(map[string]any{"entries": len(entries), "proven": proven, "head": head, "torn": torn >= 0}, text)
}

// sureness is what a head that vouches for so many of the entries allows to say.
func sureness(proven, entries int) string {
	if proven == entries {
		return "unaltered"
	}
	return "which hold together"
}

// unsure says what it does not.
func unsure(proven, entries int) string {
	const anew = "can have been changed, put in or taken out, with all hashes made anew"
	switch proven {
	case entries: // whether there were later ones, only a later hash says
		return ""
	case 0:
		return "\nwithout --head entries " + anew + ": give the hash of the last one that was written down elsewhere"
	}
	return fmt.Sprintf("\nunaltered are the first %d, up to the hash given; those after it %s: give a later hash", proven, anew)
}
