package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"hausmeister/installer/release"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

type keysCmd struct {
	Init   keysInitCmd   `cmd:"" help:"Make a person's key: PERSON.key, sealed, and PERSON.pub."`
	Show   keysShowCmd   `cmd:"" help:"Show and prove public keys."`
	Add    keysAddCmd    `cmd:"" help:"Draft that another person may release."`
	Rotate keysRotateCmd `cmd:"" help:"Draft that a new key takes the place of an old one."`
	Revoke keysRevokeCmd `cmd:"" help:"Draft that a key may sign nothing any more."`
}

// secret is how a passphrase gets here: a file, or by hand. Never an argument or
// the environment, which other programs can read.
type secret struct {
	PassphraseFile string `help:"File whose first line is the passphrase; else it is asked for." type:"path" placeholder:"FILE"`
}

func (s secret) read(c *cli, again bool) (string, error) {
	if s.PassphraseFile != "" {
		f, err := os.Open(s.PassphraseFile)
		if err != nil {
			return "", err
		}
		defer f.Close()
		line, err := bufio.NewReader(f).ReadString('\n')
		if line == "" && err != nil {
			return "", fmt.Errorf("reading the passphrase: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	in, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fmt.Errorf("%w: no terminal to ask for the passphrase: --passphrase-file", errUsage)
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(c.stderr, prompt)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(c.stderr)
		return string(b), err
	}
	first, err := ask("Passphrase: ")
	if err != nil || !again {
		return first, err
	}
	second, err := ask("Again: ")
	if err == nil && first != second {
		err = fmt.Errorf("%w: they differ", errUsage)
	}
	return first, err
}

type keysInitCmd struct {
	secret
	Person  string   `arg:"" help:"Name of the person, of [a-z0-9-]."`
	Role    []string `help:"Roles that the key is for: root, targets, or some of canary, stable, launcher, emergency, policy." required:""`
	Out     string   `help:"Folder for the files." default:"." placeholder:"DIR"`
	Witness []string `help:"Who saw it." placeholder:"NAME"`
}

func (k *keysInitCmd) Run(c *cli) error {
	for _, r := range k.Role {
		if r == manifest.Snapshot || r == manifest.Timestamp {
			return fmt.Errorf("%w: keys of %s are made by online init, where they are used", errUsage, r)
		}
	}
	passphrase, err := k.read(c, true)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.Out, 0o755); err != nil {
		return err
	}
	key, err := release.NewKey(k.Out, k.Person, k.Role, passphrase, c.cost, c.random, c.now())
	if err != nil {
		return err
	}
	text := release.SignTranscript(release.Transcript("a key for "+k.Person, c.who(), c.Reason, k.Witness, publicLines(key.Public), c.now()), key)
	if err := layout.WriteFile(filepath.Join(k.Out, k.Person+".ceremony.txt"), []byte(text), 0o644); err != nil {
		return err
	}
	if err := c.noted("keys init", map[string]string{"person": k.Person, "roles": strings.Join(k.Role, ","), "key": key.ID}); err != nil {
		return err
	}
	return c.say(key.Public, text)
}

func publicLines(p release.Public) []string {
	return []string{"person: " + p.Person, "roles: " + strings.Join(p.Roles, ", "), "keyid: " + p.ID, "public key (ed25519): " + p.Key, "since: " + p.Since.Format("2006-01-02 15:04:05Z")}
}

type keysShowCmd struct {
	Files []string `arg:"" help:"PERSON.pub"`
}

func (k *keysShowCmd) Run(c *cli) error {
	var all []release.Public
	var lines []string
	for _, f := range k.Files {
		p, err := release.ReadPublic(f)
		if err != nil {
			return err
		}
		all, lines = append(all, p), append(append(lines, publicLines(p)...), "")
	}
	return c.say(all, strings.Join(lines, "\n"))
}

type keysAddCmd struct {
	New     string   `arg:"" help:"PERSON.pub of who comes."`
	Witness []string `help:"Who saw it." placeholder:"NAME"`
}

func (k *keysAddCmd) Run(c *cli) error {
	p, err := release.ReadPublic(k.New)
	if err != nil {
		return err
	}
	d, err := c.editing()
	if err != nil {
		return err
	}
	roles, err := d.Add(p)
	if err != nil {
		return err
	}
	return c.ceremony("keys add", d, roles, k.Witness, publicLines(p), map[string]string{"person": p.Person, "key": p.ID})
}

type keysRotateCmd struct {
	Old     string   `arg:"" help:"PERSON.pub of the key that goes."`
	New     string   `arg:"" help:"PERSON.pub of the key that comes."`
	Witness []string `help:"Who saw it." placeholder:"NAME"`
}

func (k *keysRotateCmd) Run(c *cli) error {
	old, err1 := release.ReadPublic(k.Old)
	by, err2 := release.ReadPublic(k.New)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	d, err := c.editing()
	if err != nil {
		return err
	}
	roles, err := d.Replace(old, &by)
	if err != nil {
		return err
	}
	lines := append(append([]string{"goes:"}, publicLines(old)...), append([]string{"comes:"}, publicLines(by)...)...)
	return c.ceremony("keys rotate", d, roles, k.Witness, lines, map[string]string{"person": old.Person, "old": old.ID, "new": by.ID})
}

type keysRevokeCmd struct {
	Old     string   `arg:"" help:"PERSON.pub of the key that goes."`
	Witness []string `help:"Who saw it." placeholder:"NAME"`
}

func (k *keysRevokeCmd) Run(c *cli) error {
	old, err := release.ReadPublic(k.Old)
	if err != nil {
		return err
	}
	d, err := c.editing()
	if err != nil {
		return err
	}
	roles, err := d.Replace(old, nil)
	if err != nil {
		return err
	}
	return c.ceremony("keys revoke", d, roles, k.Witness, append([]string{"goes:"}, publicLines(old)...), map[string]string{"person": old.Person, "key": old.ID})
}

// ceremony writes the transcript beside the drafts that a change of keys made.
func (c *cli) ceremony(verb string, d *release.Drafts, roles, witnesses, lines []string, what map[string]string) error {
	var diffs []release.Diff
	for _, role := range roles {
		f, err := d.Read(role)
		if err != nil {
			return err
		}
		diff, err := d.Repo.Compare(role, f)
		if err != nil {
			return err
		}
		diffs = append(diffs, diff)
		lines = append(append(lines, ""), strings.Split(diff.String(), "\n")...)
		what["digest_"+role] = diff.Digest
	}
	text := release.Transcript(verb, c.who(), c.Reason, witnesses, lines, c.now())
	if err := writeTranscript(c.Drafts, "ceremony-"+c.now().UTC().Format("20060102-150405"), text); err != nil {
		return err
	}
	what["drafts"] = strings.Join(roles, ",")
	if err := c.noted(verb, what); err != nil {
		return err
	}
	return c.say(diffs, text)
}

// writeTranscript writes to a name of its own: two ceremonies may be within a second.
func writeTranscript(dir, base, text string) error {
	for n := 1; ; n++ {
		path := filepath.Join(dir, base+".txt")
		if n > 1 {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d.txt", base, n))
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
		return layout.WriteFile(path, []byte(text), 0o644) // whole, in the place that is ours now
	}
}

type rootCmd struct {
	Init    rootInitCmd    `cmd:"" help:"Draft the first root, and all roles below it, from a folder of PERSON.pub."`
	Sign    rootSignCmd    `cmd:"" help:"Sign the root's draft."`
	Verify  rootVerifyCmd  `cmd:"" help:"Check the chain of roots, the draft, and the root that a program has."`
	Publish rootPublishCmd `cmd:"" help:"Publish the root's draft alone."`
}

type rootInitCmd struct {
	People  string   `help:"Folder of PERSON.pub, those of the online process too." default:"people" placeholder:"DIR"`
	Witness []string `help:"Who saw it." placeholder:"NAME"`
}

func (r *rootInitCmd) Run(c *cli) error {
	people, err := release.ReadPeople(r.People)
	if err != nil {
		return err
	}
	d, err := c.editing()
	if err != nil {
		return err
	}
	if err := d.Init(people); err != nil {
		return err
	}
	var lines []string
	for _, p := range people {
		lines = append(lines, fmt.Sprintf("%s: %s, key %s", p.Person, strings.Join(p.Roles, ", "), p.ID))
	}
	return c.ceremony("root init", d, []string{manifest.Root, manifest.Targets}, r.Witness, lines, map[string]string{})
}

type rootSignCmd struct{ signing }

func (r *rootSignCmd) Run(c *cli) error {
	return r.sign(c, filepath.Join(c.Drafts, manifest.Root+".json"))
}

type rootVerifyCmd struct {
	Embedded string `help:"The root that a program is built with: refused if a newer one is published." type:"path" placeholder:"FILE"`
}

func (r *rootVerifyCmd) Run(c *cli) error {
	if err := c.isThere(); err != nil {
		return err
	}
	d, err := c.drafts()
	if err != nil {
		return err
	}
	out := map[string]any{"roots": len(d.Repo.Roots)}
	text := fmt.Sprintf("%d roots published, each follows the one before", len(d.Repo.Roots))
	if r.Embedded != "" {
		data, err := readNamed(r.Embedded)
		if err != nil {
			return err
		}
		if err := d.Repo.CheckEmbedded(data); err != nil {
			return err
		}
		text += "\nthe program has the newest"
	}
	if slices.Contains(d.Roles(), manifest.Root) {
		f, err := d.Read(manifest.Root)
		if err != nil {
			return err
		}
		a, err := d.SignaturesOf(manifest.Root, f)
		if err != nil {
			return err
		}
		out["draft"] = a
		text += "\ndraft: " + release.SignedText(manifest.Root, f, a)
	}
	return c.say(out, text)
}

type rootPublishCmd struct{ publishing }

func (r *rootPublishCmd) Run(c *cli) error { return r.publish(c, []string{manifest.Root}, nil, false) }
