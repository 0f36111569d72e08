package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/build"
	"hausmeister/installer/release/online"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

type diffCmd struct {
	Files []string `arg:"" optional:"" help:"Drafts; all, if none is named." type:"path"`
}

func (d *diffCmd) Run(c *cli) error {
	drafts, err := c.drafts()
	if err != nil {
		return err
	}
	files := d.Files
	if len(files) == 0 {
		for _, role := range drafts.Roles() {
			files = append(files, drafts.Path(role))
		}
	}
	diffs, text := []release.Diff{}, ""
	for _, file := range files {
		diff, err := compare(drafts.Repo, file)
		if err != nil {
			return err
		}
		diffs, text = append(diffs, diff), text+diff.String()+"\n"
	}
	return c.say(diffs, text)
}

func compare(repo *release.Repository, file string) (release.Diff, error) {
	role, err := release.RoleOf(file)
	if err != nil {
		return release.Diff{}, err
	}
	f, err := release.ReadDraft(file, role)
	if err != nil {
		return release.Diff{}, err
	}
	return repo.Compare(role, f)
}

type digestCmd struct {
	File string `arg:"" help:"A draft." type:"path"`
}

func (d *digestCmd) Run(c *cli) error {
	repo, err := c.repository()
	if err != nil {
		return err
	}
	diff, err := compare(repo, d.File)
	if err != nil {
		return err
	}
	return c.say(map[string]string{"digest": diff.Digest}, diff.Digest)
}

// signing is shared by sign and root sign.
type signing struct {
	secret
	Key    string `help:"The person's PERSON.key." required:"" type:"path" placeholder:"FILE"`
	Digest string `help:"The digest of what was looked at (diff), eight digits or more." required:"" placeholder:"HEX"`
	Out    string `help:"Where the signed copy goes (default: in its place)." type:"path" placeholder:"FILE"`
}

type signCmd struct {
	signing
	File string `arg:"" help:"A draft, named after its role." type:"path"`
}

func (s *signCmd) Run(c *cli) error { return s.sign(c, s.File) }

func (s signing) sign(c *cli, file string) error {
	repo, err := c.repository()
	if err != nil {
		return err
	}
	passphrase, err := s.read(c, false)
	if err != nil {
		return err
	}
	key, err := release.OpenKey(s.Key, passphrase)
	if err != nil {
		return err
	}
	out := s.Out
	if out == "" {
		out = file
	}
	sg := release.Signing{Path: file, Out: out, Key: key, Digest: s.Digest, Repo: repo, Record: c.record(), Reason: c.Reason, Now: c.now}
	diff, a, err := sg.Sign()
	if err != nil {
		if diff.Digest != "" && !c.JSON {
			c.note(diff.String())
		}
		return err
	}
	text := fmt.Sprintf("%s%s has signed: %d of %d", diff, key.Person, len(a.Signed), a.Need)
	return c.say(map[string]any{"diff": diff, "need": a.Need, "signed": a.Signed, "enough": a.Enough()}, text)
}

type collectCmd struct {
	Files []string `arg:"" help:"Signed copies, such as stable.anna.json." type:"path"`
}

func (k *collectCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	roles, err := d.Collect(k.Files...)
	if err != nil {
		return err
	}
	if err := c.noted("collect", map[string]string{"roles": strings.Join(roles, ",")}); err != nil {
		return err
	}
	return c.status(d, "")
}

type verifyCmd struct{}

func (v *verifyCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	text := "nothing is published yet"
	if d.Repo.Version(manifest.Timestamp) > 0 {
		seen, err := d.Repo.Verify(context.Background(), c.now())
		if err != nil {
			return err
		}
		text = fmt.Sprintf("a device believes it, from root 1 as from root %d: timestamp %d, snapshot %d, targets %d, %d files of %d bytes, each as signed",
			seen.State.Root, seen.State.Timestamp, seen.State.Snapshot, seen.State.Targets, seen.Targets, seen.Bytes)
		if len(seen.State.Stale) > 0 {
			text += "\nover, and left out: " + strings.Join(seen.State.Stale, ", ")
		}
	}
	return c.status(d, text)
}

// status tells what is published and how far drafts have come.
func (c *cli) status(d *release.Drafts, text string) error {
	type state struct {
		Role    string   `json:"role"`
		Version int64    `json:"version"`
		Need    int      `json:"need"`
		Signed  []string `json:"signed"`
		Foreign []string `json:"foreign"`
	}
	drafts := []state{}
	for _, role := range d.Roles() {
		f, err := d.Read(role)
		if err != nil {
			return err
		}
		a, err := d.SignaturesOf(role, f)
		if err != nil {
			return err
		}
		drafts = append(drafts, state{role, f.Version(), a.Need, a.Signed, a.Foreign})
		text += "\ndraft: " + release.SignedText(role, f, a)
	}
	published := map[string]int64{}
	for role, f := range d.Repo.Files {
		published[role] = f.Version()
	}
	return c.say(map[string]any{"published": published, "drafts": drafts}, strings.TrimLeft(text, "\n"))
}

type buildCmd struct {
	Number    string   `name:"number" help:"Version of the programs, such as 1.4.0." required:"" placeholder:"VERSION"`
	Source    string   `help:"A clone of the source." default:"." placeholder:"DIR"`
	Commit    string   `help:"What to build." default:"HEAD"`
	Program   []string `help:"Folders of programs (default: the agent and its launcher)." default:"agent/cmd/hausmeister-agent,agent/cmd/hausmeister-launcher"`
	Platforms []string `help:"Systems." default:"${platforms}"`
	Out       string   `help:"A new folder." required:"" placeholder:"DIR"`
	Cache     string   `help:"The second builder's own cache." placeholder:"DIR"`
	trustFlags
}

func (b *buildCmd) Run(c *cli) error {
	root, err := b.root(c)
	if err != nil {
		return err
	}
	cache := b.Cache
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(dir, "hausmeister-release", "second-builder")
	}
	cache, err = filepath.Abs(cache)
	if err != nil {
		return err
	}
	made, err := build.Run(context.Background(), build.Config{
		Source: b.Source, Commit: b.Commit, Version: b.Number, Programs: b.Program, Platforms: b.Platforms, Out: b.Out, Cache: cache, Said: c.note, Root: root, Rootless: b.NoRoot,
	})
	if err != nil {
		return err
	}
	text := ""
	for _, p := range made.Programs {
		text += fmt.Sprintf("%s  %s  %d bytes\n", p.SHA256, p.File, p.Size)
	}
	text += rootText(made)
	what := map[string]string{"version": made.Version, "commit": made.Commit, "sha256_of_all": made.Builders[0].Sum, "root": fmt.Sprint(made.Root)}
	if err := c.noted("build", what); err != nil {
		return err
	}
	return c.say(made, text+"both builders made the same bytes")
}

type sameCmd struct {
	A string `arg:"" help:"A build's folder." type:"path"`
	B string `arg:"" help:"Another builder's." type:"path"`
}

func (s *sameCmd) Run(c *cli) error {
	a, err := build.Read(s.A)
	if err != nil {
		return err
	}
	b, err := build.Read(s.B)
	if err != nil {
		return err
	}
	if err := a.Same(b); err != nil {
		return err
	}
	return c.say(map[string]any{"same": true, "programs": len(a.Programs)}, fmt.Sprintf("%d programs, the same bytes", len(a.Programs)))
}

// pacing is what is signed about the speed of a release.
type pacing struct {
	Channel     string    `help:"canary or stable (default: as the role)." placeholder:"NAME"`
	Begin       time.Time `help:"No device begins before (default: now)." format:"2006-01-02T15:04:05Z07:00" placeholder:"TIME"`
	Permille    int64     `help:"So much of the fleet in an hour, at most." default:"50" placeholder:"N"`
	Soak        []int     `help:"Hours that each ring is watched (0.5, 2, 10, 30, 100 %)." default:"4,24,24,24" placeholder:"H,.."`
	Floor       string    `help:"Nothing older may run once this was seen." placeholder:"VERSION"`
	MinFrom     string    `help:"Oldest version that can take it directly." placeholder:"VERSION"`
	LauncherMin string    `help:"Oldest launcher that can start it." placeholder:"VERSION"`
	Life        string    `help:"How long it is believed, in days (default: 182)." placeholder:"DAYS"`
	Keep        int       `help:"Versions that stay in the role." default:"4"`
	Deltas      int       `help:"Patches from so many versions before." default:"3"`
	Zstd        string    `help:"The reference tool." default:"zstd" placeholder:"PROGRAM"`
}

func (p pacing) staging(c *cli, d *release.Drafts, role string) (release.Staging, error) {
	r := manifest.Release{Product: manifest.ProductAgent, Channel: p.Channel, Floor: p.Floor, MinFrom: p.MinFrom, LauncherMin: p.LauncherMin}
	switch role {
	case manifest.RoleLauncher:
		r.Product = manifest.ProductLauncher
	case manifest.RoleEmergency:
		r.Urgent = true
	case manifest.RoleCanary, manifest.RoleStable:
		if r.Channel == "" {
			r.Channel = role
		}
	default:
		return release.Staging{}, fmt.Errorf("%w: %s releases no program", errUsage, role)
	}
	if r.Channel == "" {
		r.Channel = manifest.RoleStable
	}
	begin := p.Begin
	if begin.IsZero() {
		begin = c.now()
	}
	r.Ramp = manifest.Ramp{T0MS: begin.UnixMilli(), PermillePerHour: p.Permille, SoakH: p.Soak}
	s := release.Staging{Drafts: d, Role: role, Release: r, Bases: p.Deltas, Keep: p.Keep, Zstd: p.Zstd}
	if !c.JSON {
		s.Said = c.note
	}
	if p.Life != "" {
		days, err := time.ParseDuration(p.Life + "h")
		if err != nil || days <= 0 {
			return s, fmt.Errorf("%w: --life %q is no number of days", errUsage, p.Life)
		}
		s.Life = 24 * days
	}
	return s, nil
}

type stageCmd struct {
	pacing
	Dir  string `arg:"" help:"A build's folder." type:"path"`
	Role string `help:"Who releases it: canary, stable, launcher, emergency." required:"" placeholder:"ROLE"`
}

func (s *stageCmd) Run(c *cli) error {
	made, err := build.Read(s.Dir)
	if err != nil {
		return err
	}
	d, err := c.drafts()
	if err != nil {
		return err
	}
	if err := notOlder(d.Repo, made); err != nil {
		return err
	}
	st, err := s.staging(c, d, s.Role)
	if err != nil {
		return err
	}
	st.Release.Version, st.Release.Commit = made.Version, made.Commit
	for _, p := range made.Programs {
		if strings.TrimSuffix(p.Name, ".exe") == "hausmeister-"+st.Release.Product {
			st.Programs = append(st.Programs, release.Program{File: filepath.Join(s.Dir, p.File), Name: p.Name, OS: p.OS, Arch: p.Arch, SHA256: p.SHA256})
		}
	}
	files, err := st.Stage(context.Background())
	if err != nil {
		return err
	}
	return c.staged("stage", d, s.Role, files, map[string]string{"version": made.Version, "commit": made.Commit})
}

// staged tells what was made, and what the draft would change.
func (c *cli) staged(verb string, d *release.Drafts, role string, files []release.Staged, what map[string]string) error {
	diff, err := compare(d.Repo, d.Path(role))
	if err != nil {
		return err
	}
	sums := map[string]int64{}
	for _, f := range files {
		sums[f.Kind] += f.Length
	}
	text := diff.String()
	for _, kind := range []string{"program", "packed", "delta"} {
		if sums["program"] > 0 {
			text += fmt.Sprintf("%s: %d bytes, %.1f %% of the programs\n", kind, sums[kind], 100*float64(sums[kind])/float64(sums["program"]))
		}
	}
	what["role"], what["digest"] = role, diff.Digest
	if err := c.noted(verb, what); err != nil {
		return err
	}
	return c.say(map[string]any{"files": files, "diff": diff}, text)
}

type backCmd struct {
	pacing
	To   string `arg:"" help:"The version to go back to, published before."`
	Of   string `help:"The newer version that devices leave." required:"" placeholder:"VERSION"`
	Role string `help:"Who releases it." default:"stable" placeholder:"ROLE"`
}

func (b *backCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	st, err := b.staging(c, d, b.Role)
	if err != nil {
		return err
	}
	files, err := st.Rollback(context.Background(), b.To, b.Of)
	if err != nil {
		return err
	}
	return c.staged("rollback", d, b.Role, files, map[string]string{"version": b.To, "of": b.Of})
}

type policyCmd struct {
	Name   string `arg:"" help:"Name of the policy."`
	Number string `arg:"" help:"Its version."`
	File   string `arg:"" help:"The file." type:"path"`
}

func (p *policyCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	file, err := release.Staging{Drafts: d, Role: manifest.RolePolicy}.SetPolicy(p.Name, p.Number, p.File)
	if err != nil {
		return err
	}
	return c.staged("policy", d, manifest.RolePolicy, []release.Staged{file}, map[string]string{"name": p.Name, "version": p.Number, "sha256": file.SHA256})
}

type renewCmd struct {
	Role string `arg:"" help:"The role."`
}

func (r *renewCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	if err := d.Renew(r.Role); err != nil {
		return err
	}
	return c.staged("renew", d, r.Role, nil, map[string]string{})
}

type dropCmd struct {
	Roles []string `arg:"" help:"The roles."`
}

func (r *dropCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	for _, role := range r.Roles {
		if !slices.Contains(d.Roles(), role) {
			return fmt.Errorf("%w: a draft of %s", release.ErrNotFound, role)
		}
	}
	if err := d.Drop(r.Roles...); err != nil {
		return err
	}
	if err := c.noted("drop", map[string]string{"roles": strings.Join(r.Roles, ",")}); err != nil {
		return err
	}
	return c.status(d, "dropped")
}

type blockCmd struct {
	SHA256 string `arg:"" name:"sha256" help:"Of the program that must not run."`
}

func (b *blockCmd) Run(c *cli) error {
	d, err := c.drafts()
	if err != nil {
		return err
	}
	if err := d.Block(b.SHA256); err != nil {
		return err
	}
	return c.staged("block", d, manifest.Targets, nil, map[string]string{"sha256": b.SHA256})
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
	d, err := c.drafts()
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
	d, err := c.drafts()
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
		what["version_"+diff.Role], what["digest_"+diff.Role] = fmt.Sprint(diff.To), diff.Digest
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
	if err := c.noted("publish", what); err != nil {
		return err
	}
	if err := pub.Publish(context.Background(), ready); err != nil {
		return fmt.Errorf("%w (%v)", err, c.noted("publish failed", map[string]string{"error": err.Error()}))
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
	Verify auditVerifyCmd `cmd:"" help:"Walk the chain of the record, or of an export."`
}

type auditExportCmd struct {
	Out string `help:"The file." required:"" type:"path" placeholder:"FILE"`
}

func (a *auditExportCmd) Run(c *cli) error {
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
	File string `arg:"" optional:"" help:"An export (default: the record)." type:"path"`
	Head string `help:"A hash that was written down: it must still be there." placeholder:"HEX"`
}

func (a *auditVerifyCmd) Run(c *cli) error {
	if a.File != "" {
		data, err := readNamed(a.File)
		if err != nil {
			return err
		}
		n, err := release.VerifyExport(data)
		if err != nil {
			return err
		}
		return c.say(map[string]int{"entries": n}, fmt.Sprintf("%d entries, unaltered", n))
	}
	entries, torn, err := c.record().Read()
	if err != nil {
		return err
	}
	if a.Head != "" {
		if err := release.CheckHead(entries, a.Head); err != nil {
			return err
		}
	}
	head, text := "", fmt.Sprintf("%d entries, unaltered", len(entries))
	if len(entries) > 0 {
		head = entries[len(entries)-1].Hash
		text += "; head " + head
	}
	if torn >= 0 {
		text += "\nafter them half a line, of a verb that did not end"
	}
	return c.say(map[string]any{"entries": len(entries), "head": head, "torn": torn >= 0}, text)
}
