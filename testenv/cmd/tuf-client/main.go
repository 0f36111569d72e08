// Command tuf-client is the update client of Hausmeister behind the command line
// that the public conformance suite of The Update Framework drives:
//
//	tuf-client --metadata-dir DIR init ROOT
//	tuf-client --metadata-dir DIR --metadata-url URL refresh
//	tuf-client --metadata-dir DIR --metadata-url URL --target-name NAME [--target-name NAME...]
//	    --target-base-url URL --target-dir DIR download
//
// It exits with 1 on every refusal and says why. init begins anew: what the folder held
// of a repository is trusted no more, also where it is the same one. Unlike a device it has no
// memory but the metadata: no time of its build, no floor. The time is
// FAKETIME's where that is set.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tuf-client:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var metadataDir, metadataURL, targetURL, targetDir string
	var targets []string
	fs := flag.NewFlagSet("tuf-client", flag.ContinueOnError)
	fs.StringVar(&metadataDir, "metadata-dir", "", "folder of the trusted metadata")
	fs.StringVar(&metadataURL, "metadata-url", "", "where the repository's metadata is")
	fs.Func("target-name", "path of a target; may stand there several times", func(s string) error {
		targets = append(targets, s)
		return nil
	})
	fs.StringVar(&targetURL, "target-base-url", "", "where the repository's targets are")
	fs.StringVar(&targetDir, "target-dir", "", "folder for targets")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if metadataDir == "" {
		return errors.New("--metadata-dir is needed")
	}
	if fs.Arg(0) == "init" {
		return start(metadataDir, fs.Arg(1))
	}

	now, err := tufrepo.FakeTime(os.Getenv("FAKETIME"), time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	web := &http.Client{Transport: &http.Transport{}}
	c, err := manifest.New(manifest.Config{
		Fetch: tufrepo.HTTP{Base: metadataURL, Client: web}, Store: tufrepo.Dir(metadataDir),
		Now: func() time.Time { return now }, NoFloor: true,
	})
	if err != nil {
		return err
	}
	switch fs.Arg(0) {
	case "refresh":
		_, err := c.Refresh(ctx)
		return err
	case "download":
		if len(targets) == 0 {
			return errors.New("--target-name is needed")
		}
		for _, name := range targets {
			t, _, err := c.Lookup(ctx, name)
			if err != nil {
				return err
			}
			if err := (tufrepo.HTTP{Base: targetURL, Client: web}).Download(ctx, t, targetDir); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%q is none of init, refresh, download", fs.Arg(0))
}

// start trusts a root because the caller says so, and nothing else. What is no root that
// a client could begin with changes nothing.
func start(dir, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, _, err := manifest.CheckRoot(data, time.Time{}); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := forget(dir, path); err != nil {
		return err
	}
	return tufrepo.Dir(dir).Write("root.json", data)
}

// forget removes what a manifest.Client keeps in a folder, of whatever roles: their files,
// the second copies and what was put aside. The client takes the highest of all roots that
// it finds, so that a copy that stayed would be trusted again. ROOT itself may lie there.
func forget(dir, root string) error {
	given, err := os.Stat(root)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".json", ".copy", ".bad":
		default:
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || os.SameFile(info, given) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
