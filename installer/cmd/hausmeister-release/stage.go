package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/build"
	"hausmeister/proto/manifest"
)

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
	d, err := c.editing()
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
			one := release.Program{File: filepath.Join(s.Dir, p.File), Name: p.Name, OS: p.OS, Arch: p.Arch, SHA256: p.SHA256}
			if p.SBOM != "" {
				one.SBOM = filepath.Join(s.Dir, p.SBOM)
			}
			st.Programs = append(st.Programs, one)
		}
	}
	if len(st.Programs) == 0 {
		return fmt.Errorf("%w: %s has no hausmeister-%s, which the role %s releases: look at build.json there", release.ErrRefused, s.Dir, st.Release.Product, s.Role)
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
	d, err := c.editing()
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
	Name     string    `arg:"" help:"Name of the policy: agent."`
	Number   string    `arg:"" help:"Its version."`
	File     string    `arg:"" help:"The file." type:"path"`
	Begin    time.Time `help:"No device takes it before (default: now)." format:"2006-01-02T15:04:05Z07:00" placeholder:"TIME"`
	Permille int64     `help:"So much of the fleet in an hour, at most." default:"50" placeholder:"N"`
	Soak     []int     `help:"Hours that each ring is watched (0.5, 2, 10, 30, 100 %)." default:"4,24,24,24" placeholder:"H,.."`
	AgentMin string    `help:"Oldest agent that understands it." placeholder:"VERSION"`
}

func (p *policyCmd) Run(c *cli) error {
	d, err := c.editing()
	if err != nil {
		return err
	}
	begin := p.Begin
	if begin.IsZero() {
		begin = c.now()
	}
	st := release.Staging{Drafts: d, Role: manifest.RolePolicy}
	st.Release.Ramp = manifest.Ramp{T0MS: begin.UnixMilli(), PermillePerHour: p.Permille, SoakH: p.Soak}
	file, err := st.SetPolicy(p.Name, p.Number, p.AgentMin, p.File)
	if err != nil {
		return err
	}
	return c.staged("policy", d, manifest.RolePolicy, []release.Staged{file}, map[string]string{"name": p.Name, "version": p.Number, "sha256": file.SHA256})
}

type renewCmd struct {
	Role string `arg:"" help:"The role."`
}

func (r *renewCmd) Run(c *cli) error {
	d, err := c.editing()
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
	d, err := c.editing()
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
