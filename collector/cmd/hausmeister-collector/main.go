// Command hausmeister-collector serves devices and people, and holds the verbs
// by which its operator works on a running one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"hausmeister/collector"
	"hausmeister/collector/admin"
)

// version is set by the build.
var version = "dev"

// Exit codes, for scripts.
const (
	exitFailed     = 1
	exitUsage      = 2 // wrong arguments or settings
	exitNotRunning = 3
	exitNotFound   = 4
	exitExists     = 5
)

type cli struct {
	DataDir string           `help:"Folder of the collector's data." aliases:"data" env:"HAUSMEISTER_DATA_DIR" placeholder:"DIR"`
	Config  string           `help:"Config file (default: /etc/hausmeister/collector.toml if there is one)." env:"HAUSMEISTER_CONFIG" placeholder:"FILE"`
	JSON    bool             `help:"Answer as JSON." name:"json"`
	Version kong.VersionFlag `help:"Show the version and end."`

	Serve    serveCmd    `cmd:"" help:"Run the collector."`
	Claim    claimCmd    `cmd:"" help:"Claims, with which devices enrol."`
	School   schoolCmd   `cmd:"" help:"Schools and their owners."`
	User     userCmd     `cmd:"" help:"People and programs with access."`
	Device   deviceCmd   `cmd:"" help:"Devices."`
	Settings settingsCmd `cmd:"" help:"What devices of an owner should have and do."`
	Release  releaseCmd  `cmd:"" help:"Releases of the agent that were signed."`
	Rollout  rolloutCmd  `cmd:"" help:"Releases on their way over the fleet."`
	Backup   backupCmd   `cmd:"" help:"Copy the database of the running collector into a file."`
	Restore  restoreCmd  `cmd:"" help:"Replace the database by a backup. The collector must not run."`
	Doctor   doctorCmd   `cmd:"" help:"Look for what is wrong or soon will be."`
	Print    printCmd    `cmd:"" name:"config" help:"Print a config file with every setting and its default."`

	stdin          io.Reader `kong:"-"`
	stdout, stderr io.Writer `kong:"-"`
}

// cmdName is the command that was given, as kong spells it: "user add <login>".
type cmdName string

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr}
	ended := -1 // set by --help and --version
	parser, err := kong.New(c, kong.Name("hausmeister-collector"), kong.Vars{"version": version}, kong.Writers(stdout, stderr),
		kong.Description("The collector of Hausmeister: it keeps the health of school devices and shows it."),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Exit(func(code int) { ended = code }), kong.Bind(c))
	if err != nil {
		panic(err) // the struct above is wrong
	}
	ctx, err := parser.Parse(args)
	if ended >= 0 {
		return ended
	}
	if err != nil {
		fmt.Fprintf(stderr, "hausmeister-collector: %v\nSee hausmeister-collector --help.\n", err)
		return exitUsage
	}
	return c.exit(ctx.Run(cmdName(ctx.Command())))
}

// exit tells the error and gives the exit code for it.
func (c *cli) exit(err error) int {
	if err == nil {
		return 0
	}
	code, word := exitFailed, admin.CodeInternal
	var refused *admin.Error
	switch {
	case errors.As(err, &refused):
		word = refused.Code
		switch refused.Code {
		case admin.CodeInvalid:
			code = exitUsage
		case admin.CodeNotRunning:
			code = exitNotRunning
		case admin.CodeNotFound:
			code = exitNotFound
		case admin.CodeExists:
			code = exitExists
		}
	case errors.Is(err, collector.ErrConfig):
		code, word = exitUsage, admin.CodeInvalid
	case errors.Is(err, errUnhealthy): // the doctor has said all
		return exitFailed
	}
	if c.JSON {
		writeJSON(c.stderr, admin.Error{Code: word, Text: err.Error()})
	} else {
		fmt.Fprintf(c.stderr, "hausmeister-collector: %v\n", err)
	}
	return code
}
