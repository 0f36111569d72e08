package sysinfo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// software lists what dpkg or rpm, Flatpak and snap have installed for all.
func (l *linux) software(ctx context.Context) ([]Program, error) {
	found := make(map[string]string)
	switch {
	case l.hasDpkg():
		f, err := os.Open(l.path("/var/lib/dpkg/status"))
		if err != nil {
			return nil, err
		}
		err = addDpkg(found, f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the list of packages: %w", err)
		}
	case l.hasRPM():
		out, err := l.ask(ctx, "rpm", "-qa", "--qf", `%{NAME}\t%{EVR}\n`)
		if err != nil {
			return nil, err
		}
		addTabbed(found, out)
	}
	if l.exists("/var/lib/flatpak/app") {
		// Only those of the system: a person's own are that person's.
		out, err := l.ask(ctx, "flatpak", "list", "--system", "--app", "--columns=application,version")
		if err != nil && !errors.As(err, new(errAbsent)) {
			return nil, err
		}
		addTabbed(found, out)
	}
	l.addSnaps(found)
	if len(found) == 0 {
		return nil, errNotSupported
	}
	ps := make([]Program, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		ps = append(ps, Program{name, found[name]})
	}
	return ps, nil
}

// add keeps the highest version of each name: kernels are there several times,
// libraries for two architectures.
func add(found map[string]string, name, version string) {
	name, version = clean(name), clean(version)
	if old, ok := found[name]; name != "" && (!ok || naturally(version, old) > 0) {
		found[name] = version
	}
}

// addDpkg reads the status file (deb-control(5) paragraphs); removed packages
// whose settings are still there stand in it too. The file has several megabytes
// on a desktop, as much as the whole agent needs otherwise, so it is never held.
func addDpkg(found map[string]string, status io.Reader) error {
	var name, version string
	installed := false
	end := func() {
		if installed {
			add(found, name, version)
		}
		name, version, installed = "", "", false
	}
	sc := bufio.NewScanner(status)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Bytes()
		if len(line) == 0 {
			end()
			continue
		}
		switch line[0] {
		case 'P':
			if v, ok := bytes.CutPrefix(line, []byte("Package: ")); ok {
				name = string(v)
			}
		case 'V':
			if v, ok := bytes.CutPrefix(line, []byte("Version: ")); ok {
				version = string(v)
			}
		case 'S': // "install ok installed", "hold ok installed"
			if v, ok := bytes.CutPrefix(line, []byte("Status: ")); ok {
				installed = bytes.HasSuffix(v, []byte(" installed"))
			}
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	end()
	return nil
}

// addTabbed reads lines "name<TAB>version". rpm lists the keys of its
// repositories as packages.
func addTabbed(found map[string]string, out []byte) {
	for line := range strings.Lines(string(out)) {
		name, version, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if ok && name != "gpg-pubkey" {
			add(found, name, version)
		}
	}
}

// addSnaps reads the description of each mounted snap (snapcraft.io's snap.yaml:
// name and version at the left edge). It stands for a package of the same name,
// which in Ubuntu only installs the snap.
func (l *linux) addSnaps(found map[string]string) {
	for _, dir := range []string{"/snap", "/var/lib/snapd/snap"} {
		for _, f := range l.glob(dir + "/*/current/meta/snap.yaml") {
			text, err := l.read(f)
			if err != nil {
				continue
			}
			var name, version string
			for line := range strings.Lines(string(text)) {
				if v, ok := strings.CutPrefix(line, "name:"); ok {
					name = strings.Trim(clean(v), `"'`)
				}
				if v, ok := strings.CutPrefix(line, "version:"); ok {
					version = strings.Trim(clean(v), `"'`)
				}
			}
			if name != "" {
				found[name] = version
			}
		}
	}
}
