package arch

import (
	"fmt"
	"strings"
)

// anywhere is the home of a library that every package may know.
const anywhere = "*"

// homes names the packages in which a library lives; the longest prefix
// decides. Everybody else asks the home, so that changing the library is a
// change of one package. What is missing here has no home and may not be
// imported.
var homes = map[string][]string{
	"database/sql":  {"collector/db"},
	"html/template": {"collector/web"},

	"github.com/CycloneDX/cyclonedx-go":        {"installer/release"},
	"github.com/BurntSushi/toml":               {"agent/config", "collector"},
	"github.com/alecthomas/kong":               {"agent/cmd", "collector/cmd", "installer/cmd"},
	"github.com/distatus/battery":              {"platform/sysinfo"},
	"github.com/go-ole/go-ole":                 {"platform/sysinfo"},
	"github.com/goreleaser/nfpm/v2":            {"installer/bundle"},
	"github.com/jackc/pgx/v5":                  {"collector/db"},
	"github.com/kardianos/service":             {"platform/service"},
	"github.com/klauspost/compress":            {"proto/wire", "proto/block", "proto/inventory", "agent/update", "installer/release"},
	"github.com/libp2p/go-yamux/v5":            {"proto/wire"},
	"github.com/mattn/go-ieproxy":              {"platform/netpath"},
	"github.com/minio/selfupdate":              {"platform/swap"},
	"github.com/nicksnyder/go-i18n/v2":         {"collector/web"},
	"github.com/pressly/goose/v3":              {"collector/db"},
	"github.com/prometheus/client_golang":      {"collector/web", "collector"},
	"github.com/quic-go/quic-go":               {"proto/wire", "testenv/cmd/hausmeister-bare"}, // the latter to compare with
	"github.com/santhosh-tekuri/jsonschema/v6": {"collector/web", "installer/release"},         // of their tests
	"rsc.io/qr":                               {"collector/web"},
	"github.com/shirou/gopsutil/v3":           {"platform/sysinfo"},
	"github.com/yusufpapurcu/wmi":             {"platform/sysinfo"},
	"github.com/sigstore/sigstore":            {"proto/manifest"}, // go-tuf signs with its signers
	"github.com/theupdateframework/go-tuf/v2": {"proto/manifest", "installer/release"},
	"golang.org/x/crypto/argon2":              {"collector/access", "installer/release"},
	"golang.org/x/crypto/cryptobyte":          {"proto/ident"},
	"golang.org/x/crypto/chacha20poly1305":    {"installer/release"}, // with argon2 around a person's key
	"github.com/ebitengine/purego":            {"platform/sysinfo"},
	"golang.org/x/net/http/httpproxy":         {"platform/netpath"},
	"golang.org/x/net/route":                  {"platform/sysinfo"},
	"golang.org/x/net":                        {"proto/wire", "collector/web"},
	"golang.org/x/sync/errgroup":              {"platform/supervise"},
	"golang.org/x/sys":                        {"platform"},
	"golang.org/x/term":                       {"installer/cmd"}, // a passphrase that is not shown
	"golang.org/x/text":                       {"collector/web", "collector/fleet", "collector/access"},
	"golang.org/x/time":                       {"collector/gateway", "collector/web", "collector/access", "agent/link"},
	"howett.net/plist":                        {"platform/sysinfo"},
	"modernc.org/sqlite":                      {"collector/db"},
	"github.com/quic-go/quic-go/testutils":    {"testenv/netsim"},
	"github.com/chromedp":                     {"collector/web", "testenv/cmd"},
	"golang.org/x/tools/txtar":                {"testenv/arch"},
	"google.golang.org/protobuf":              {anywhere}, // its messages are the tongue that all rooms share
	"github.com/google/go-cmp":                {"testenv"},
	"github.com/rogpeppe/go-internal":         {"testenv"},
	"pgregory.net/rapid":                      {"testenv"},
}

// testTools may be imported by any test; they never reach a program.
var testTools = []string{"github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "pgregory.net/rapid"}

func checkHomes(t *Tree, _ Exceptions) []Breach {
	var out []Breach
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, imp := range f.Imports() {
				if why := homeless(imp, p.Path, f.Test); why != "" {
					out = append(out, Breach{"one home", fmt.Sprintf("%s imports %s, %s", f.Path, imp, why)})
				}
			}
		}
	}
	return out
}

// homeless says why pkg may not import imp, or "".
func homeless(imp, pkg string, test bool) string {
	library, ok := longestHome(imp)
	if !ok {
		first, _, _ := strings.Cut(imp, "/")
		if strings.Contains(first, ".") {
			return "which has no home in the table of testenv/arch"
		}
		return "" // standard library or our own
	}
	if test {
		for _, tool := range testTools {
			if library == tool {
				return ""
			}
		}
	}
	for _, home := range homes[library] {
		if home == anywhere || pkg == home || strings.HasPrefix(pkg, home+"/") && home != "collector" {
			return ""
		}
	}
	return "which lives in " + strings.Join(homes[library], ", ")
}

func longestHome(imp string) (library string, ok bool) {
	for l := range homes {
		if (imp == l || strings.HasPrefix(imp, l+"/")) && len(l) > len(library) {
			library, ok = l, true
		}
	}
	return library, ok
}
