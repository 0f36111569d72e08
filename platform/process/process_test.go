//go:build unix

package process_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
		if os.Getenv("TELL") != "" {
			cmd = exec.Command("sh", "-c", "sleep 0.2; exec yes alive")
		}
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: os.Getenv("SESSION") != ""}
		_ = cmd.Start()
		fmt.Println(cmd.Process.Pid)
		if os.Getenv("LEAVE") != "" {
			os.Exit(3)
		}
		select {}
	case "long":
		os.Stdout.Write(append(bytes.Repeat([]byte("x"), 1<<20), '\n'))
		os.Exit(0)
	case "many": // a few kilobytes: the pipe holds them
		for i := range 400 {
			fmt.Println("line", i+1)
		}
		os.Exit(0)
	case "flood":
		for i := 1; ; i++ {
			if _, err := fmt.Println("alive", i); err != nil {
				os.Exit(0)
			}
		}
	case "spin":
		f, err := os.Create(os.Getenv("FILE"))
		if err == nil {
			_, err = f.Write(bytes.Repeat([]byte("x"), 4<<20))
		}
		for range 100 {
			if err == nil {
				f, err = os.Open(os.Getenv("FILE"))
				held = append(held, f)
			}
		}
		fmt.Println("up", err)
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

// TestAttack30_LeavesAProcessBehind: one that is out of reach, in a session of its own,
// and holds the pipe does not keep its child's end from being known.
func TestAttack30_LeavesAProcessBehind(t *testing.T) {
	for _, tell := range []string{"", "TELL=1"} {
		c := start(t, "tree", "LEAVE=1", "SESSION=1", tell)
		pid, err := strconv.Atoi(<-c.Lines())
		if err != nil || pid < 2 {
			t.Fatalf("the one left behind is %d, %v", pid, err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		for range c.Lines() {
		}
		if e := c.Wait(); e.Code != 3 {
			t.Errorf("Wait = %+v", e)
		}
		if err := syscall.Kill(pid, 0); err != nil && tell == "" { // the other one has nobody to tell
			t.Errorf("the one left behind: %v; the case was to be that it lives", err)
		}
	}
}

// TestReadLate: a reader that is busy for longer than an end is waited for hears all that
// was told before.
func TestReadLate(t *testing.T) {
	c := start(t, "many")
	time.Sleep(1500 * time.Millisecond)
	n, last := 0, ""
	for line := range c.Lines() {
		n, last = n+1, line
	}
	if e := c.Wait(); n != 400 || last != "line 400" || e.Code != 0 {
		t.Errorf("%d lines of 400, the last %q, %+v", n, last, e)
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

// TestAttack32_FloodOfLines: who tells more than anybody needs waits for its reader.
func TestAttack32_FloodOfLines(t *testing.T) {
	c := start(t, "flood")
	began, n := time.Now(), 0
	for range c.Lines() {
		if n++; n == 50 {
			break
		}
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("%d lines in %v", n, took)
	}
	c.Kill()
	for range c.Lines() {
	}
	if e := c.Wait(); e.Code != -1 {
		t.Errorf("Wait = %+v", e)
	}
}

// held keeps the garbage collector from closing them.
var held []*os.File

// written is what the kernel counts for this process; not every file system counts.
func written() (n uint64) {
	b, _ := os.ReadFile("/proc/self/io")
	for line := range strings.Lines(string(b)) {
		if digits, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ = strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
		}
	}
	return n
}

func TestUsage(t *testing.T) {
	c := start(t, "spin", "FILE="+filepath.Join(t.TempDir(), "file"))
	<-c.Lines()
	before := written()
	if err := os.WriteFile(filepath.Join(t.TempDir(), "own"), bytes.Repeat([]byte("x"), 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	counted := written()-before >= 4<<20
	enough := func(u process.Usage) bool {
		return u.CPU >= 100*time.Millisecond && u.Memory >= 64<<20 && (runtime.GOOS != "linux" || u.Handles >= 100) && (!counted || u.Written >= 4<<20)
	}
	var u process.Usage
	for end := time.Now().Add(2 * time.Minute); !enough(u); {
		var err error
		if u, err = c.Usage(); err != nil || time.Now().After(end) {
			t.Fatalf("Usage = %+v, %v; want time, 64 MB of memory, 100 open files and 4 MB written", u, err)
		}
		<-time.After(10 * time.Millisecond)
	}
	c.Kill()
	for range c.Lines() {
	}
	c.Wait()
	if _, err := c.Usage(); err == nil {
		t.Error("Usage of the dead = nil")
	}
}
