package dbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/db"
)

// cluster is one PostgreSQL server on a socket in its own folder.
type cluster struct {
	dir   string
	stdin io.Closer // the server ends when this closes, thus with this process
	bin   string

	mu sync.Mutex
	// below is guarded by mu
	made int
	free []string // databases that a test has left
}

var theCluster = sync.OnceValues(startCluster)

// script runs the server and waits for the end of its standard input, which
// the kernel closes however the test program ends. Then it removes the folder.
const script = `
set -e
cd "$1"
"$2/initdb" -D data -U hm -A trust -E UTF8 --locale=C --no-sync --no-instructions >initdb.log 2>&1 ||
	{ cat initdb.log >failed; exit 1; }
"$2/postgres" -D data -k "$1" -c listen_addresses= -c max_connections=200 \
	-c fsync="$3" -c full_page_writes="$3" -c synchronous_commit="$3" >postgres.log 2>&1 </dev/null &
server=$!
trap '' INT
cat >/dev/null
kill -INT $server || true
wait $server || true
cd /
rm -rf "$1"
`

func startedCluster(t testing.TB) *cluster {
	t.Helper()
	if os.Getenv("HAUSMEISTER_NO_POSTGRES") == "1" {
		skip(t, "not run on PostgreSQL, because HAUSMEISTER_NO_POSTGRES=1 is set")
	}
	c, err := theCluster()
	if err != nil {
		t.Fatalf("starting PostgreSQL for this test: %v", err)
	}
	return c
}

// skip says so loudly, also in the list that make test prints at its end
// (testenv/need does the same, but stands above this package).
func skip(t testing.TB, why string) {
	t.Helper()
	fmt.Fprintf(os.Stderr, "\n*** %s: %s ***\n\n", t.Name(), why)
	if path := os.Getenv("HAUSMEISTER_SKIPPED"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatalf("noting a skipped test: %v", err)
		}
		_, err = fmt.Fprintf(f, "%s: %s\n", t.Name(), why)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatalf("noting a skipped test: %v", err)
		}
	}
	t.Skip(why)
}

func startCluster() (*cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	// Not below the test's own temporary folder: that one's path may be longer
	// than the 107 bytes of a socket's name, and closed to another user.
	dir, err := os.MkdirTemp("/tmp", "hm-postgres-")
	if err != nil {
		return nil, err
	}
	fsync := "off"
	if os.Getenv("HAUSMEISTER_POSTGRES_FSYNC") == "1" { // for benchmarks
		fsync = "on"
	}
	args := []string{"/bin/sh", "-c", script, "hm-postgres", dir, bin, fsync}
	if os.Geteuid() == 0 { // postgres refuses to run as root
		if out, err := exec.Command("chown", "postgres", dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("giving %s to user postgres: %w: %s", dir, err, out)
		}
		args = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, stdin: stdin, bin: bin}
	return c, c.waitReady()
}

func binaries() (string, error) {
	const wanted = "PostgreSQL is needed: apt-get install postgresql (or set HAUSMEISTER_NO_POSTGRES=1 to leave out the half of the tests that run on it)"
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New(wanted)
}

func (c *cluster) waitReady() error {
	// It takes two seconds alone, and minutes where dozens want each core.
	deadline := time.Now().Add(5 * time.Minute)
	for time.Now().Before(deadline) {
		pid, _ := os.ReadFile(filepath.Join(c.dir, "data", "postmaster.pid"))
		if bytes.Contains(pid, []byte("ready")) {
			return nil
		}
		if why, err := os.ReadFile(filepath.Join(c.dir, "failed")); err == nil {
			return fmt.Errorf("initdb: %s", why)
		}
		<-time.After(20 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(c.dir, "postgres.log"))
	return fmt.Errorf("PostgreSQL was not ready within five minutes: %s", log)
}

// create gives the address of an empty database. What a test has left is
// emptied and used again: that takes 20 ms, DROP DATABASE and CREATE DATABASE
// with their checkpoints 300.
func (c *cluster) create(t testing.TB) string {
	t.Helper()
	c.mu.Lock()
	var name string
	if n := len(c.free); n > 0 {
		name, c.free = c.free[n-1], c.free[:n-1]
	} else {
		c.made++
	}
	made := c.made
	c.mu.Unlock()
	if name == "" {
		name = fmt.Sprintf("test%d", made)
		c.createFrom(t, name, "template0")
	}
	t.Cleanup(func() {
		c.sql(t, name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		c.sql(t, name, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
		c.mu.Lock()
		defer c.mu.Unlock()
		c.free = append(c.free, name)
	})
	return c.dsn(name)
}

func (c *cluster) createFrom(t testing.TB, name, template string) {
	t.Helper()
	c.sql(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+template+" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
}

// copyOf gives the address of a database that holds what the template does, and
// drops it after the test.
func (c *cluster) copyOf(t testing.TB, template string) string {
	t.Helper()
	c.mu.Lock()
	c.made++
	name := fmt.Sprintf("test%d", c.made)
	c.mu.Unlock()
	c.createFrom(t, name, template)
	t.Cleanup(func() { c.sql(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	return c.dsn(name)
}

func (c *cluster) dsn(name string) string {
	return fmt.Sprintf("host=%s user=hm dbname=%s sslmode=disable", c.dir, name)
}

// sql runs a statement in one of the cluster's databases.
func (c *cluster) sql(t testing.TB, database, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := db.AdminExec(ctx, c.dsn(database), statement); err != nil {
		t.Fatalf("%s: %v", strings.SplitN(statement, " TEMPLATE", 2)[0], err)
	}
}
