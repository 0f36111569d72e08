// Package child runs the real programs as children that cannot outlive us: each
// is in a process group of its own, so that Ctrl-C reaches only us and we end
// them in order, and on Linux the kernel ends them when we die without a word.
//
// A child is started from the program's first thread (see Start), writes to a
// log file and is waited for by whoever stops it.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Child is one running program.
type Child struct {
	cmd  *exec.Cmd
	log  string
	from int64 // size of log when it started
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

// Config says what to run.
type Config struct {
	Program string
	Args    []string
	Env     []string // beside ours
	Log     string   // file that its output is appended to
}

// Start runs the program. The kernel ties a child to the thread that made it,
// and Go ends a thread when a goroutine locked to it returns: do not call this
// from such a one.
func Start(c Config) (*Child, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.Program, err)
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("reading the log of %s: %w", c.Program, err)
	}
	cmd := exec.Command(c.Program, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = tied()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Program, err)
	}
	ch := &Child{cmd: cmd, log: c.Log, from: from, done: make(chan struct{})}
	go func() {
		ch.err = cmd.Wait()
		close(ch.done)
	}()
	return ch, nil
}

// PID is its process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how it ended; nil for exit code 0. Only after Done.
func (c *Child) Err() error { return c.err }

// Signal sends it a signal; one that has ended takes none.
func (c *Child) Signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Stop asks the child to end and kills it when it has not within grace. The
// error says that it had to be killed or ended badly.
func (c *Child) Stop(grace time.Duration) error {
	name := c.cmd.Path[strings.LastIndexByte(c.cmd.Path, '/')+1:]
	select {
	case <-c.done:
		return nil
	default:
	}
	if err := c.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("%s, asked to stop: %w", name, c.err)
		}
		return nil
	case <-time.After(grace):
	}
	c.Kill()
	return fmt.Errorf("%s did not stop within %v and was killed", name, grace)
}

// Kill ends the child as no program can see coming (kill -9), and waits for that.
func (c *Child) Kill() {
	c.cmd.Process.Kill()
	<-c.done
}

// LogTail is the end of what it wrote, for messages: it, not whoever wrote to the
// same file before it.
func (c *Child) LogTail() string {
	const most = 2000
	f, err := os.Open(c.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	from := c.from
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-most)
	}
	f.Seek(from, io.SeekStart)
	text, _ := io.ReadAll(io.LimitReader(f, most))
	return strings.TrimSpace(string(text))
}

// Output runs a program to its end and returns what it wrote to standard
// output; an error holds what it wrote to standard error.
func Output(ctx context.Context, stdin string, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = tied()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.Bytes(), nil
}
