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
	case "behind": // it spins not itself
		cmd := again("spin")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: os.Getenv("SESSION") != ""}
		_ = cmd.Run()
	case "orphan": // as behind, but whoever started it is gone
		cmd := again("spin")
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `"$0" &`, os.Args[0]}
		_ = cmd.Run()
		time.Sleep(time.Hour)
	case "brood": // starts some that end, one after the other, and waits for each
		for range brood {
			_ = again("burn").Run()
		}
		fmt.Println("up")
		time.Sleep(time.Hour)
	case "burn":
		var u syscall.Rusage
		for u.Utime.Nano()+u.Stime.Nano() < int64(burns) {
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
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
		// In a session of its own nobody ends it: it does so itself, with its test's folder.
		for i, end := 0, time.Now().Add(3*time.Minute); ; i++ {
			b[i%len(b)]++
			if i%len(b) != 0 {
				continue
			}
			if _, err := os.Stat(os.Getenv("FILE")); err != nil || time.Now().After(end) {
				os.Exit(0)
			}
		}
	}
}

// again is this program as another child.
func again(what string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stdout = append(os.Environ(), "PROCESS_TEST="+what), os.Stdout
	return cmd
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
