// Package bundle makes the packages by which the agent gets onto a device: for
// now the Debian one.
//
// The same programs, versions and time give the same bytes, so that anybody can
// check a package against the source. The package owns versions/<version>/,
// launcher/<version>/, the units (of the service, and of the timer that mends it) and
// the link in /usr/bin; what the agent makes
// while it runs (state, spool, log) is not listed in it, survives upgrade and
// removal, and goes only with purge. bin/, the pointer launcher/current and the
// note `packaged` are set by the scripts and not shipped, because an update moves
// the first two too: the note tells the launcher that somebody wants this version.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"

	"hausmeister/platform/service"
)

const (
	// Root is the agent's folder on Debian, as platform/layout has it.
	Root = "/opt/hausmeister"
	// Unit is the name of the service.
	Unit = "hausmeister-agent"
	// Program is the path that the unit runs.
	Program = Root + "/launcher/current/hausmeister-launcher"
	// Agent is the path of the agent that runs.
	Agent = Root + "/bin/hausmeister-agent"
)

// Config says what goes into a package.
type Config struct {
	Agent    string // path of the agent for that architecture
	Launcher string // path of the launcher
	Arch     string // as Go names it: amd64, arm64
	Version  string // semver without v: 1.2.3, 1.2.3-rc.1, 0.0.0-dev.7+g31d51de
	// LauncherVersion is the launcher's, which changes more seldom; "" = Version.
	LauncherVersion string
	Unit            string    // text of the systemd unit; it runs Program
	Modified        time.Time // time of all files: the commit's, for packages that repeat
}

// semver is what may become a folder name and a Debian version unharmed.
var semver = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?(\+[0-9A-Za-z.]+)?$`)

//go:embed debian
var scripts embed.FS

func (c Config) check() error {
	var errs []error
	if !semver.MatchString(c.Version) {
		errs = append(errs, fmt.Errorf("version %q is not like 1.2.3", c.Version))
	}
	if c.Arch != "amd64" && c.Arch != "arm64" {
		errs = append(errs, fmt.Errorf("architecture %q is none that the agent is made for", c.Arch))
	}
	if !strings.Contains(c.Unit, "ExecStart="+Program) {
		errs = append(errs, fmt.Errorf("the unit does not run %s", Program))
	}
	if c.Modified.IsZero() {
		errs = append(errs, errors.New("the time of the files is missing"))
	}
	if !semver.MatchString(c.launcherVersion()) {
		errs = append(errs, fmt.Errorf("launcher version %q is not like 1.2.3", c.LauncherVersion))
	}
	for _, program := range []string{c.Agent, c.Launcher} {
		if info, err := os.Stat(program); err != nil {
			errs = append(errs, err)
		} else if !info.Mode().IsRegular() {
			errs = append(errs, fmt.Errorf("%s is not a program", program))
		}
	}
	return errors.Join(errs...)
}

func (c Config) launcherVersion() string {
	if c.LauncherVersion == "" {
		return c.Version
	}
	return c.LauncherVersion
}

// DebName is the file name that Debian expects for the package.
func DebName(c Config) string {
	return deb.Default.ConventionalFileName(nfpm.WithDefaults(c.info(nil)))
}

// Deb makes the Debian package.
func Deb(c Config) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("making a Debian package: %w", err)
	}
	// nfpm reads its inputs from files.
	dir, err := os.MkdirTemp("", "hausmeister-bundle-")
	if err != nil {
		return nil, fmt.Errorf("making a Debian package: %w", err)
	}
	defer os.RemoveAll(dir)
	inputs, err := c.writeInputs(dir)
	if err != nil {
		return nil, fmt.Errorf("writing the package's scripts: %w", err)
	}
	info := nfpm.WithDefaults(c.info(inputs))
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return nil, fmt.Errorf("preparing the Debian package: %w", err)
	}
	var buf bytes.Buffer
	if err := deb.Default.Package(info, &buf); err != nil {
		return nil, fmt.Errorf("making the Debian package: %w", err)
	}
	return buf.Bytes(), nil
}

// AgentUnit is the systemd unit of an installed agent.
func AgentUnit() string { return service.Unit(agentService()) }

func agentService() service.Config {
	return service.Config{
		Name:        Unit,
		DisplayName: "Hausmeister",
		Description: "tells the school authority how this loan device is",
		Executable:  Program,
		Arguments:   []string{"run"},
		WritePaths:  []string{Root},
		Mend:        []string{Agent, "mend"},
	}
}

// writeInputs puts unit and scripts into dir and returns their paths by name.
func (c Config) writeInputs(dir string) (map[string]string, error) {
	program, err := os.ReadFile(c.Agent)
	if err != nil {
		return nil, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(program))
	inputs := map[string]string{}
	mend, timer := service.MendUnits(agentService())
	for name, text := range map[string]string{"unit": c.Unit, "mend": mend, "timer": timer, "sum": sum + "  hausmeister-agent\n"} {
		inputs[name] = filepath.Join(dir, name)
		if err := os.WriteFile(inputs[name], []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		text, err := scripts.ReadFile("debian/" + name)
		if err != nil {
			return nil, err
		}
		for place, with := range map[string]string{"@VERSION@": c.Version, "@SUM@": sum, "@LAUNCHER@": c.launcherVersion()} {
			text = bytes.ReplaceAll(text, []byte(place), []byte(with))
		}
		inputs[name] = filepath.Join(dir, name)
		if err := os.WriteFile(inputs[name], text, 0o755); err != nil {
			return nil, err
		}
	}
	return inputs, nil
}

func (c Config) info(inputs map[string]string) *nfpm.Info {
	return &nfpm.Info{
		Name:        "hausmeister-agent",
		Arch:        c.Arch,
		Platform:    "linux",
		Version:     c.Version,
		Section:     "admin",
		Priority:    "optional",
		Maintainer:  "Hausmeister <hausmeister@schule.invalid>",
		Description: "Agent of Hausmeister\nTells the collector of the school authority how this loan device is.",
		License:     "Apache-2.0",
		MTime:       c.Modified.UTC(),
		// Contents are ours to the letter: nothing in a path is a pattern.
		DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			// deb-systemd-helper; its absence would leave the service off silently.
			Depends: []string{"init-system-helpers (>= 1.52)"},
			Contents: files.Contents{
				{Source: c.Agent, Destination: path.Join(Root, "versions", c.Version, "hausmeister-agent"), FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: c.Modified}},
				{Source: inputs["sum"], Destination: path.Join(Root, "versions", c.Version, "hausmeister-agent.sha256"), FileInfo: &files.ContentFileInfo{Mode: 0o644, MTime: c.Modified}},
				{Source: c.Launcher, Destination: path.Join(Root, "launcher", c.launcherVersion(), "hausmeister-launcher"), FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: c.Modified}},
				{Source: inputs["unit"], Destination: "/usr/lib/systemd/system/" + Unit + ".service", FileInfo: &files.ContentFileInfo{Mode: 0o644, MTime: c.Modified}},
				{Source: inputs["mend"], Destination: "/usr/lib/systemd/system/" + Unit + "-mend.service", FileInfo: &files.ContentFileInfo{Mode: 0o644, MTime: c.Modified}},
				{Source: inputs["timer"], Destination: "/usr/lib/systemd/system/" + Unit + "-mend.timer", FileInfo: &files.ContentFileInfo{Mode: 0o644, MTime: c.Modified}},
				{Source: Agent, Destination: "/usr/bin/hausmeister-agent", Type: files.TypeSymlink, FileInfo: &files.ContentFileInfo{Mode: 0o777, MTime: c.Modified}},
			},
			Scripts: nfpm.Scripts{
				PostInstall: inputs["postinst"],
				PreRemove:   inputs["prerm"],
				PostRemove:  inputs["postrm"],
			},
		},
	}
}
