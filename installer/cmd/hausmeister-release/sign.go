package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hausmeister/installer/release"
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
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return release.Diff{}, fmt.Errorf("%w: %s", release.ErrNotFound, file)
	}
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
	Again  bool   `help:"Sign another root of a version that this person has signed: only if that one was not published and is destroyed."`
}

type signCmd struct {
	signing
	File string `arg:"" help:"A draft, named after its role." type:"path"`
}

func (s *signCmd) Run(c *cli) error { return s.sign(c, s.File) }

func (s signing) sign(c *cli, file string) error {
	passphrase, err := s.read(c, false)
	if err != nil {
		return err
	}
	key, err := release.OpenKey(s.Key, passphrase)
	if err != nil {
		return err
	}
	out := s.Out
	if out == "" { // beside others who sign the same file
		out = file
		if _, err := os.Stat(file); err == nil {
			if err := c.hold(filepath.Dir(file)); err != nil {
				return err
			}
		}
	}
	repo, err := c.repository()
	if err != nil {
		return err
	}
	sg := release.Signing{Path: file, Out: out, Key: key, Digest: s.Digest, Repo: repo, Record: c.record(), Reason: c.Reason, Now: c.now, Again: s.Again}
	signed, err := sg.Sign()
	diff, a := signed.Diff, signed.Approval
	if err != nil {
		if diff.Digest != "" && !c.JSON {
			c.note(diff.String())
		}
		return err
	}
	text := fmt.Sprintf("%s%s has signed: %d of %d", diff, key.Person, len(a.Signed), a.Need)
	if signed.Instead != "" {
		again, err := s.again(c, key, signed, filepath.Dir(out))
		if err != nil {
			return err
		}
		text += "\n" + again
	}
	return c.say(map[string]any{"diff": diff, "need": a.Need, "signed": a.Signed, "enough": a.Enough()}, text)
}

// again writes the transcript of a second root under one version: who was asked for it
// sees beside the draft that it is one, and what it stands for.
func (s signing) again(c *cli, key release.Key, signed release.Signed, dir string) (string, error) {
	title := fmt.Sprintf("%s signs root %d again", key.Person, signed.Diff.To)
	lines := []string{"signed before, not published and given up: " + signed.Instead, "signed now: " + signed.Diff.Digest}
	text := release.SignTranscript(release.Transcript(title, key.Person, c.Reason, nil, lines, c.now()), key)
	return text, writeTranscript(dir, fmt.Sprintf("again-root-%d-%s", signed.Diff.To, key.Person), text)
}

type collectCmd struct {
	Files []string `arg:"" help:"Signed copies, such as stable.anna.json." type:"path"`
}

func (k *collectCmd) Run(c *cli) error {
	d, err := c.editing()
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
	if err := c.isThere(); err != nil {
		return errors.Join(c.status(d, ""), err) // the drafts of a first root are beside none
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
