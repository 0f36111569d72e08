//go:build unix

package process_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/platform/process"
)

// TestMain lets this program be the child.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCESS_TEST") {
	case "":
		os.Exit(m.Run())
	case "echo": // until it is told to end
		fmt.Println("up")
		b, _ := io.ReadAll(os.Stdin)
		fmt.Printf("told %s\n", strings.ReplaceAll(string(b), "\n", ","))
		os.Exit(75)
	case "tree": // starts a grandchild that holds the pipe
		cmd := exec.Command("sleep", "100")
		cmd.Stdout = os.Stdout
		_ = cmd.Start()
		fmt.Println(cmd.Process.Pid)
		if os.Getenv("LEAVE") != "" {
			os.Exit(3)
		}
		select {}
	case "long":
		os.Stdout.Write(append(bytes.Repeat([]byte("x"), 1<<20), '\n'))
		os.Exit(0)
	case "spin":
		fmt.Println("up")
		b := bytes.Repeat([]byte("x"), 64<<20)
		for i := 0; ; i++ {
			b[i%len(b)]++
		}
	}
}

func start(t *testing.T, what string, env ...string) *process.Child {
	t.Helper()
	c, err := process.Start(t.Context(), process.Config{Path: os.Args[0], Env: append(os.Environ(), append(env, "PROCESS_TEST="+what)...), Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

func TestLinesAndEnd(t *testing.T) {
	c := start(t, "echo")
	if got := <-c.Lines(); got != "up" {
		t.Errorf("first line %q", got)
	}
	c.Say("trial")
	c.Say("settled")
	c.Hangup()
	c.Say("too late")
	if got := <-c.Lines(); got != "told trial,settled," {
		t.Errorf("it says %q", got)
	}
	if _, open := <-c.Lines(); open {
		t.Error("there is more")
	}
	if got := c.Wait(); got != (process.Exit{Code: 75, Text: "exit 75"}) {
		t.Errorf("Wait = %+v", got)
	}
	if _, err := process.Start(t.Context(), process.Config{Path: "/nowhere"}); err == nil {
		t.Error("Start of nothing = nil")
	}
}

func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && syscall.Kill(pid, 0) != nil || err == nil && bytes.Contains(b, []byte(") Z")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d lives", pid)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestKillTakesAll(t *testing.T) {
	for _, leave := range []string{"", "LEAVE=1"} {
		c := start(t, "tree", leave)
		pid, err := strconv.Atoi(<-c.Lines())
		if err != nil {
			t.Fatal(err)
		}
		if leave == "" {
			c.Kill()
		}
		for range c.Lines() {
		}
		if e := c.Wait(); leave == "" && (e.Code != -1 || e.Text != "signal: killed") || leave != "" && e.Code != 3 {
			t.Errorf("Wait = %+v", e)
		}
		gone(t, pid)
		c.Kill() // again is no harm
	}
}

func TestLongLine(t *testing.T) {
	c := start(t, "long")
	for line := range c.Lines() {
		t.Errorf("a line of %d bytes", len(line))
	}
	if e := c.Wait(); e.Code != 0 {
		t.Errorf("Wait = %+v", e)
	}
}

func TestUsage(t *testing.T) {
	c := start(t, "spin")
	<-c.Lines()
	var cpu time.Duration
	var rss uint64
	for end := time.Now().Add(30 * time.Second); cpu < 100*time.Millisecond || rss < 64<<20; {
		var err error
		if cpu, rss, err = c.Usage(); err != nil || time.Now().After(end) {
			t.Fatalf("Usage = %v, %d, %v; want time and more than 64 MB", cpu, rss, err)
		}
		<-time.After(10 * time.Millisecond)
	}
	c.Kill()
	for range c.Lines() {
	}
	c.Wait()
	if _, _, err := c.Usage(); err == nil {
		t.Error("Usage of the dead = nil")
	}
}
