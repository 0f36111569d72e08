// Command hausmeister-release is the publisher's tool: keys, drafts, signatures,
// builds, the repository of updates, and the process that signs what is newest.
// installer/release/README.md walks through it.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"hausmeister/installer/release"
	"hausmeister/installer/release/online"
	"hausmeister/platform/layout"
	"hausmeister/proto/reading"
)

// version is set by the build.
var version = "dev"

// Exit codes, for scripts.
const (
	exitFailed     = 1 // disk, network, a tool that is missing
	exitUsage      = 2 // wrong arguments, or no reason
	exitRefused    = 3 // a rule of publishing
	exitNotFound   = 4
	exitUnverified = 5 // a signature, a hash, a chain
	exitExpiring   = 6 // expiry: somebody must act
	exitUnwritten  = 7 // done, and the record does not have it
)

const exitHelp = `
Exit codes: 0 done; 1 failed (disk, network, a missing tool); 2 wrong arguments, or no --reason; 3 refused by a rule of publishing; 4 not found;
5 does not verify (signature, hash, chain of the record); 6 expiry: a role ends within 30 days; 7 done, but the record could not be written.`

// recordPatience: an entry is written in a moment, and a pause of a rollout does not wait long.
const recordPatience = 5 * time.Second

var (
	errUsage     = errors.New("wrong arguments")
	errExpiring  = errors.New("a role ends soon")
	errUnwritten = errors.New("could not be written down")
)

type cli struct {
	Repo    string           `help:"Folder of the published repository." env:"HAUSMEISTER_REPO" default:"repository" placeholder:"DIR"`
	Drafts  string           `help:"Folder of drafts." env:"HAUSMEISTER_DRAFTS" default:"drafts" placeholder:"DIR"`
	Record  string           `help:"The record of who did what and why." env:"HAUSMEISTER_RECORD" default:"record.jsonl" placeholder:"FILE"`
	Reason  string           `help:"Why: every verb that changes something needs one." placeholder:"TEXT"`
	Who     string           `help:"Who does it, for the record." env:"HAUSMEISTER_WHO" placeholder:"NAME"`
	JSON    bool             `help:"Answer as JSON." name:"json"`
	Version kong.VersionFlag `help:"Show the version and end."`

	Keys    keysCmd    `cmd:"" help:"Persons' keys."`
	Root    rootCmd    `cmd:"" help:"The root: who may sign what."`
	Diff    diffCmd    `cmd:"" help:"What a draft changes, as a person must see it before signing."`
	Digest  digestCmd  `cmd:"" help:"The digest of a draft, to be read to each other."`
	Sign    signCmd    `cmd:"" help:"Sign a draft with one person's key, without a network."`
	Collect collectCmd `cmd:"" help:"Take signatures of other copies into the drafts."`
	Verify  verifyCmd  `cmd:"" help:"Follow the repository as a device does, and count signatures of drafts."`
	Build   buildCmd   `cmd:"" help:"Build the programs of a commit twice and compare."`
	Same    sameCmd    `cmd:"" help:"Compare two builders' builds."`
	Stage   stageCmd   `cmd:"" help:"Draft a release from a build: programs, packed, patches."`
	Back    backCmd    `cmd:"" name:"rollback" help:"Draft the return to a published version."`
	Policy  policyCmd  `cmd:"" help:"Draft a file of settings or rules."`
	Renew   renewCmd   `cmd:"" help:"Draft a new life for a role that changes nothing."`
	Drop    dropCmd    `cmd:"" help:"Give up a draft."`
	Block   blockCmd   `cmd:"" help:"Draft that bytes must not run."`
	Floor   floorCmd   `cmd:"" help:"Lowest versions that may run."`
	Publish publishCmd `cmd:"" help:"Publish drafts that enough persons have signed."`
	Expiry  expiryCmd  `cmd:"" help:"How long each role is still believed."`
	Audit   auditCmd   `cmd:"" help:"The record."`
	Online  onlineCmd  `cmd:"" help:"The process that signs snapshot and timestamp."`

	Rollout rolloutCmd `cmd:"" help:"A release's way over the fleet: the collector's API."`
	Doctor  doctorCmd  `cmd:"" help:"Why a device is not on the newest release."`

	stdin          io.Reader        `kong:"-"`
	stdout, stderr io.Writer        `kong:"-"`
	now            func() time.Time `kong:"-"`
	cost           release.Cost     `kong:"-"`
	random         io.Reader        `kong:"-"`
	patience       time.Duration    `kong:"-"` // with another verb at the same drafts or record
	held           []io.Closer      `kong:"-"` // until the verb ends
	unheld         bool             `kong:"-"` // and that was said
}

// readOnly are the verbs that change nothing. Every other one needs a reason.
var readOnly = []string{
	"keys show", "root verify", "diff", "digest", "verify", "same", "expiry", "audit export", "audit verify", "floor show", "online serve", "online state",
	"rollout list", "rollout releases", "rollout trains", "rollout status", "doctor",
}

func main() { os.Exit(newCLI(os.Stdin, os.Stdout, os.Stderr).run(os.Args[1:])) }

func newCLI(stdin io.Reader, stdout, stderr io.Writer) *cli {
	return &cli{stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now, cost: release.DefaultCost, random: rand.Reader, patience: time.Minute}
}

func (c *cli) run(args []string) int {
	ended := -1 // set by --help and --version
	parser, err := c.parser(func(code int) { ended = code })
	if err != nil {
		panic(err) // the struct above is wrong
	}
	ctx, err := parser.Parse(args)
	if ended >= 0 {
		return ended
	}
	if err != nil {
		return c.exit(fmt.Errorf("%w: %w; see hausmeister-release --help", errUsage, err))
	}
	c.Reason = strings.Join(strings.Fields(c.Reason), " ")
	if verb := verbOf(ctx.Command()); !isReadOnly(verb) && !isReason(c.Reason) {
		return c.exit(fmt.Errorf("%w: %s needs --reason: 5 to 200 characters, letters among them", errUsage, verb))
	}
	err = ctx.Run(c)
	for _, l := range c.held {
		err = errors.Join(err, l.Close())
	}
	return c.exit(err)
}

func (c *cli) parser(exit func(int)) (*kong.Kong, error) {
	return kong.New(c, kong.Name("hausmeister-release"), kong.Vars{"version": version, "platforms": strings.Join(release.Platforms, ",")}, kong.Writers(c.stdout, c.stderr),
		kong.Description("Signed updates of Hausmeister, from keys to a published repository."+exitHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Exit(exit), kong.Bind(c))
}

// isReason has the collector's rule, so that a reason is one everywhere.
func isReason(s string) bool {
	return len(s) >= 5 && strings.ContainsFunc(s, unicode.IsLetter) && reading.Printable(s, 200)
}

// verbOf is the command without its arguments: "floor set <product>" is floor set.
func verbOf(command string) string {
	var words []string
	for w := range strings.FieldsSeq(command) {
		if !strings.HasPrefix(w, "<") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

func isReadOnly(verb string) bool {
	for _, r := range readOnly {
		if r == verb {
			return true
		}
	}
	return false
}

// exit tells the error and gives the exit code for it.
func (c *cli) exit(err error) int {
	if err == nil {
		return 0
	}
	code, word := exitFailed, "failed"
	switch {
	case errors.Is(err, errUsage):
		code, word = exitUsage, "usage"
	// Why it was not says nothing of the deed; but a chain that is broken is looked at first.
	case errors.Is(err, errUnwritten) && !errors.Is(err, release.ErrUnverified):
		code, word = exitUnwritten, "unwritten"
	case errors.Is(err, errExpiring):
		code, word = exitExpiring, "expiring"
	case errors.Is(err, release.ErrNotFound), errors.Is(err, online.ErrEmpty):
		code, word = exitNotFound, "not_found"
	// A rule that is not met because too few have signed is the rule's.
	case errors.Is(err, release.ErrRefused), errors.Is(err, online.ErrBusy):
		code, word = exitRefused, "refused"
	case errors.Is(err, release.ErrUnverified):
		code, word = exitUnverified, "unverified"
	}
	if c.JSON {
		_ = json.NewEncoder(c.stderr).Encode(map[string]any{"error": word, "text": err.Error(), "exit": code}) // nobody else to tell
	} else {
		fmt.Fprintf(c.stderr, "hausmeister-release: %v\n", err)
	}
	return code
}

// say answers: v as JSON, or the text.
func (c *cli) say(v any, text string) error {
	if c.JSON {
		enc := json.NewEncoder(c.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	_, err := fmt.Fprintln(c.stdout, strings.TrimRight(text, "\n"))
	return err
}

// note is said meanwhile, beside the answer.
func (c *cli) note(text string) { fmt.Fprintln(c.stderr, text) }

func (c *cli) who() string {
	if c.Who != "" {
		return c.Who
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

func (c *cli) record() release.Record {
	return release.Record{Path: c.Record, Now: c.now, Waiting: release.Waiting{Patience: min(c.patience, recordPatience), Lockless: c.lockless(c.Record)}}
}

// noted writes down what was done.
func (c *cli) noted(verb string, what map[string]string) error {
	if _, err := c.record().Add(c.who(), verb, c.Reason, what); err != nil {
		return fmt.Errorf("%s is done, but %w: %w", verb, errUnwritten, err)
	}
	return nil
}

// noting writes down what is about to be done; what cannot be is not done.
func (c *cli) noting(verb string, what map[string]string) error {
	if _, err := c.record().Add(c.who(), verb, c.Reason, what); err != nil {
		return fmt.Errorf("nothing was changed or sent: %s could not be written down before: %w", verb, err)
	}
	return nil
}

// notedFailure writes down that what was noted did not come about, beside why.
func (c *cli) notedFailure(verb string, why error) error {
	if _, err := c.record().Add(c.who(), verb, c.Reason, map[string]string{"error": why.Error()}); err != nil {
		return fmt.Errorf("%w (and that could not be written down: %v)", why, err)
	}
	return why
}

// readNamed reads a file that was named as an argument.
func readNamed(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s", release.ErrNotFound, path)
	}
	return data, err
}

func (c *cli) repository() (*release.Repository, error) { return release.OpenRepository(c.Repo) }

// isThere says whether the repository is, which a reader does not make: of a folder that
// is not there he would be told that nothing is published.
func (c *cli) isThere() error {
	info, err := os.Stat(c.Repo)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return fmt.Errorf("%w: there is no folder %s", release.ErrNotFound, c.Repo)
	}
	return err
}

func (c *cli) drafts() (*release.Drafts, error) {
	repo, err := c.repository()
	if err != nil {
		return nil, err
	}
	return &release.Drafts{Dir: c.Drafts, Repo: repo, Now: c.now, Said: c.note}, nil
}

// editing is drafts for a verb that changes them. Nobody else changes them until it ends.
func (c *cli) editing() (*release.Drafts, error) {
	if err := c.hold(c.Drafts); err != nil {
		return nil, err
	}
	return c.drafts()
}

func (c *cli) hold(dir string) error {
	l, err := release.LockDrafts(dir, release.Waiting{
		Patience: c.patience, Waits: func() { c.note("waiting for another hausmeister-release that changes " + dir) }, Lockless: c.lockless(dir),
	})
	if errors.Is(err, layout.ErrLocked) {
		return fmt.Errorf("nothing was changed: another hausmeister-release is still at work in %s: %w", dir, err)
	}
	if err == nil {
		c.held = append(c.held, l)
	}
	return err
}

// lockless says, once, that nobody waits here.
func (c *cli) lockless(path string) func() {
	return func() {
		if !c.unheld {
			c.note("the file system of " + path + " has no locks: nobody else may change anything there meanwhile")
		}
		c.unheld = true
	}
}
