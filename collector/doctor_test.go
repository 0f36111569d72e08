package collector_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/collector"
	"hausmeister/collector/access"
	"hausmeister/collector/admin"
	"hausmeister/collector/db"
)

// verdicts gives the worst verdict of each name, and the texts.
func verdicts(t *testing.T, cfg collector.Config) (map[string]collector.Verdict, string) {
	t.Helper()
	checks, err := collector.Doctor(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	worst, text := map[string]collector.Verdict{}, ""
	byName := map[string][]collector.Check{}
	for _, c := range checks {
		byName[c.Name] = append(byName[c.Name], c)
		worst[c.Name] = collector.Worst(byName[c.Name])
		text += string(c.Verdict) + " " + c.Name + ": " + c.Text + "\n"
	}
	return worst, text
}

func TestDoctor(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg collector.Config) {
		fresh := cfg
		fresh.DataDir = filepath.Join(cfg.DataDir, "later")
		if got, text := verdicts(t, fresh); got["data folder"] != collector.Warning || got["collector"] != collector.Warning || got["port"] != collector.Good {
			t.Errorf("before the first start:\n%s", text)
		}
		if _, err := os.Stat(fresh.DataDir); err == nil {
			t.Error("the doctor made the folder")
		}
		r := start(t, cfg)
		r.do("user/add", admin.User{Login: "berta", Role: access.RoleRead, Password: "ein langes wort"}, &admin.User{})
		got, text := verdicts(t, cfg)
		for _, name := range []string{"data folder", "collector", "disk space", "database", "audit chain", "clock", "browser certificate", "port"} {
			if got[name] != collector.Good {
				t.Errorf("running, %s is %q:\n%s", name, got[name], text)
			}
		}
		if got["device authority"] != collector.Warning || !strings.Contains(text, "root.key") {
			t.Errorf("running, the root's key on the machine is not mentioned:\n%s", text)
		}
		r.stop()
		got, text = verdicts(t, cfg)
		if got["collector"] != collector.Warning || got["database"] != collector.Good || got["audit chain"] != collector.Good {
			t.Errorf("stopped:\n%s", text)
		}
	})
}

func TestDoctorFinds(t *testing.T) {
	tests := []struct {
		name, check, word string
		harm              func(t *testing.T, cfg *collector.Config)
	}{
		{"folder open to others", "data folder", "chmod 700", func(t *testing.T, cfg *collector.Config) { must(t, os.Chmod(cfg.DataDir, 0o755)) }},
		{"tampered audit record", "audit chain", "entry 1 was changed", func(t *testing.T, cfg *collector.Config) {
			d, err := db.Open(t.Context(), collector.DatabaseOf(*cfg))
			must(t, err)
			must(t, d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `UPDATE audit SET action = 'user.praised' WHERE seq = 1`)
				return err
			}))
			must(t, d.Close())
		}},
		{"damaged database", "database", "not a database", func(t *testing.T, cfg *collector.Config) {
			must(t, os.WriteFile(filepath.Join(cfg.DataDir, "hausmeister.db"), []byte(strings.Repeat("gone", 9000)), 0o600))
		}},
		{"authority's key open to others", "device authority", "open to others", func(t *testing.T, cfg *collector.Config) {
			must(t, os.Chmod(filepath.Join(cfg.DataDir, "ca", "root.key"), 0o644))
		}},
		{"authority's certificate missing", "device authority", "root.crt", func(t *testing.T, cfg *collector.Config) {
			must(t, os.Remove(filepath.Join(cfg.DataDir, "ca", "root.crt")))
		}},
		{"browser certificate ended", "browser certificate", "ended on", func(t *testing.T, cfg *collector.Config) {
			cfg.Now = func() time.Time { return time.Now().Add(400 * 24 * time.Hour) }
		}},
		{"key of another certificate", "browser certificate", "private key", func(t *testing.T, cfg *collector.Config) {
			other := config(t)
			start(t, other).stop()
			key, err := os.ReadFile(filepath.Join(other.DataDir, "browser.key"))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(cfg.DataDir, "browser.key"), key, 0o600))
		}},
		{"clock before the last entry", "clock", "before the last audit entry", func(t *testing.T, cfg *collector.Config) {
			cfg.Now = func() time.Time { return time.Now().Add(-time.Hour) }
		}},
		{"clock of 1970", "clock", "certificates would not be valid", func(t *testing.T, cfg *collector.Config) {
			cfg.Now = func() time.Time { return time.Unix(0, 0) }
		}},
		{"port taken", "port", "another program uses this port", func(t *testing.T, cfg *collector.Config) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			t.Cleanup(func() { ln.Close() })
			cfg.Listen = ln.Addr().String()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t)
			r := start(t, cfg)
			r.do("user/add", admin.User{Login: "berta", Role: access.RoleRead, Password: "ein langes wort"}, &admin.User{})
			r.stop()
			tt.harm(t, &cfg)
			got, text := verdicts(t, cfg)
			if got[tt.check] != collector.Bad || !strings.Contains(text, tt.word) {
				t.Errorf("%s is %q, want bad with %q:\n%s", tt.check, got[tt.check], tt.word, text)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
