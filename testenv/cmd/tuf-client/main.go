// Command tuf-client is the update client of Hausmeister behind the command line
// that the public conformance suite of The Update Framework drives:
//
//	tuf-client --metadata-dir DIR init ROOT
//	tuf-client --metadata-dir DIR --metadata-url URL refresh
//	tuf-client --metadata-dir DIR --metadata-url URL --target-name NAME [--target-name NAME...]
//	    --target-base-url URL --target-dir DIR download
//
// It exits with 1 on every refusal and says why. Unlike a device it has no
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
	store := tufrepo.Dir(metadataDir)
	if fs.Arg(0) == "init" {
		return start(store, fs.Arg(1))
	}

	now, err := tufrepo.FakeTime(os.Getenv("FAKETIME"), time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	web := &http.Client{Transport: &http.Transport{}}
	c, err := manifest.New(manifest.Config{
		Fetch: tufrepo.HTTP{Base: metadataURL, Client: web}, Store: store,
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

// start trusts a root because the caller says so.
func start(store manifest.Store, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return store.Write("root.json", data)
}
