// Command hausmeister-bundle makes the agent's Debian package.
//
//	hausmeister-bundle -agent bin/hausmeister-agent -launcher bin/hausmeister-launcher -version 1.2.3 -out dist
//
// All files in it carry the time in SOURCE_DATE_EPOCH, so that the same source
// gives the same package.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"hausmeister/installer/bundle"
	"hausmeister/platform/layout"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hausmeister-bundle:", err)
		os.Exit(1)
	}
}

func run() error {
	agent := flag.String("agent", "", "the agent's `program`")
	launcher := flag.String("launcher", "", "the launcher's `program`")
	arch := flag.String("arch", runtime.GOARCH, "`architecture` that it was built for")
	version := flag.String("version", "", "`version` of the agent")
	launcherVersion := flag.String("launcher-version", "", "`version` of the launcher, if it is not the agent's")
	out := flag.String("out", ".", "`folder` that the package is written to")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return errors.New("SOURCE_DATE_EPOCH must hold the time of the source in seconds since 1970 (git log -1 --format=%ct)")
	}
	c := bundle.Config{
		Agent:    *agent,
		Launcher: *launcher,

		LauncherVersion: *launcherVersion,

		Arch:     *arch,
		Version:  *version,
		Unit:     bundle.AgentUnit(),
		Modified: time.Unix(epoch, 0),
	}
	name := filepath.Join(*out, bundle.DebName(c))
	deb, err := bundle.Deb(c)
	if err != nil {
		return err
	}
	if err := layout.WriteFile(name, deb, 0o644); err != nil {
		return err
	}
	fmt.Println(name)
	return nil
}
