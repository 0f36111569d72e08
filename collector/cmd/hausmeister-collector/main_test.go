package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hausmeister/collector/admin"
	"hausmeister/collector/db/dbtest"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/port"
	"hausmeister/testenv/tufrepo"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hausmeister-collector": main})
}

// The program as a program: each script has a free port in $PORT and a short
// data folder in $DATA.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			data, err := os.MkdirTemp("", "hmc")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(data) })
			free, err := port.Free()
			if err != nil {
				return err
			}
			e.Setenv("DATA", data)
			e.Setenv("PORT", strconv.Itoa(free))
			e.Setenv("HAUSMEISTER_DATA_DIR", data)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await":     await,
			"field":     field,
			"postgres":  func(ts *testscript.TestScript, _ bool, _ []string) { ts.Setenv("URL", dbtest.Postgres(t, nil).URL) },
			"occupy":    occupy,
			"terminate": terminate,
			"publish":   publish(map[string]*tufrepo.Fleet{}),
			"mode":      mode,
		},
	})
}

// publish [launcher] VERSION [OF] signs a version, as the way back from another one, and
// publishes the script's repository into repo; repo/root.json is its root.
func publish(repos map[string]*tufrepo.Fleet) func(ts *testscript.TestScript, neg bool, args []string) {
	var mu sync.Mutex // scripts run side by side
	return func(ts *testscript.TestScript, _ bool, args []string) {
		mu.Lock()
		defer mu.Unlock()
		repo := repos[ts.Getenv("DATA")]
		if repo == nil {
			repo = tufrepo.NewFleet(time.Now)
			repos[ts.Getenv("DATA")] = repo
		}
		role, product := manifest.RoleStable, manifest.ProductAgent
		if args[0] == manifest.ProductLauncher {
			role, product, args = manifest.RoleLauncher, manifest.ProductLauncher, args[1:]
		}
		r := manifest.Release{Product: product, Version: args[0]}
		if len(args) > 1 {
			r.RollbackOf = args[1]
		}
		repo.Release(role, r, []byte(map[string]string{manifest.ProductAgent: "program ", manifest.ProductLauncher: "launcher "}[product]+r.Version))
		ts.Check(repo.WriteTo(ts.MkAbs("repo")))
		ts.Check(os.WriteFile(ts.MkAbs("repo/root.json"), repo.Root(), 0o600))
	}
}

// await [PATH] waits until the collector at $PORT answers PATH, without it until
// it is ready.
func await(ts *testscript.TestScript, _ bool, args []string) {
	path := "/readyz"
	if len(args) > 0 {
		path = args[0]
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		conn, err := tls.Dial("tcp", "localhost:"+ts.Getenv("PORT"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err == nil {
			fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
			answer := make([]byte, 12)
			conn.SetDeadline(deadline)
			conn.Read(answer)
			conn.Close()
			if strings.HasSuffix(string(answer), " 200") {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the collector does not answer %s with 200: %v", path, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// field NAME VARIABLE takes a field of the JSON on the last standard output.
func field(ts *testscript.TestScript, _ bool, args []string) {
	var answer map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &answer))
	value, ok := answer[args[0]].(string)
	if !ok || value == "" {
		ts.Fatalf("the answer has no %s: %v", args[0], answer)
	}
	ts.Setenv(args[1], value)
}

// occupy tcp|udp takes $PORT for the rest of the script.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	var closer interface{ Close() error }
	var err error
	if args[0] == "tcp" {
		closer, err = net.Listen("tcp", ":"+ts.Getenv("PORT"))
	} else {
		closer, err = net.ListenPacket("udp", ":"+ts.Getenv("PORT"))
	}
	ts.Check(err)
	ts.Defer(func() { closer.Close() })
}

// terminate sends the running collector SIGTERM, as systemd does.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	var status admin.Status
	ts.Check(admin.NewClient(filepath.Join(ts.Getenv("DATA"), "admin.sock")).Do(context.Background(), "status", admin.None{}, &status))
	process, err := os.FindProcess(status.PID)
	ts.Check(err)
	ts.Check(process.Signal(syscall.SIGTERM))
}

// mode PATTERN FILE checks the rights of a file.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	if got := info.Mode().Perm(); got != fs.FileMode(want) {
		ts.Fatalf("%s has mode %v, want %v", args[1], got, fs.FileMode(want))
	}
}
