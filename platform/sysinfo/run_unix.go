//go:build unix

package sysinfo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// runFunc asks a program of the system and gives what it wrote to its standard
// output, also when it ended with an error. A program that is not installed is
// exec.ErrNotFound, one that may not do it fs.ErrPermission.
type runFunc func(ctx context.Context, name string, args ...string) ([]byte, error)

// Programs are looked for here and nowhere else: the agent is root, and a
// service's PATH lacks the sbin folders on some systems.
var programFolders = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// mostOutput is far above the longest answer that is asked for: a simulated
// upgrade of 5000 packages is 1.5 MB.
const mostOutput = 8 << 20

// runProgram runs without a shell, in the C locale and with nothing of our own
// environment, at low priority, and ends the program with all that it started
// when ctx ends.
func runProgram(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := findProgram(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=" + strings.Join(programFolders, ":"), "HOME=/"}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second // should something hold the pipe that left the group
	out, complaint := &limited{most: mostOutput}, &limited{most: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, complaint
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, 10) // the lesson goes first
	err = cmd.Wait()
	switch {
	case err == nil:
		return out.bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("asking %s: %w", name, ctx.Err())
	case refused(complaint.bytes()) || refused(out.bytes()):
		return out.bytes(), fmt.Errorf("asking %s: %w", name, fs.ErrPermission)
	}
	// Not what it complained of: that may hold names.
	return out.bytes(), fmt.Errorf("asking %s: %w", name, err)
}

func findProgram(name string) (string, error) {
	for _, dir := range programFolders {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// refused recognises the ways in which programs say that one must be root.
func refused(said []byte) bool {
	said = bytes.ToLower(said[:min(len(said), 4096)])
	for _, s := range []string{"permission denied", "not permitted", "must be root", "access denied"} {
		if bytes.Contains(said, []byte(s)) {
			return true
		}
	}
	return false
}

// limited keeps what is written to it and fails beyond most, which ends the
// writer. The buffer is no embedded one: io.Copy would find its ReadFrom and
// never call Write.
type limited struct {
	buf  bytes.Buffer
	most int
}

var errTooMuch = errors.New("too much output")

func (l *limited) Write(p []byte) (int, error) {
	if l.buf.Len()+len(p) > l.most {
		return 0, errTooMuch
	}
	return l.buf.Write(p)
}

func (l *limited) bytes() []byte { return l.buf.Bytes() }
