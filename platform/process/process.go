// Package process runs one program as a child that is watched: it tells lines by
// its standard output, is told lines by its standard input, and is ended with all
// that it started. The end of the input is how it learns that its parent is gone.
//
// A child that does not read is given up by the kernel's own bound of a pipe: what
// is told is short and seldom. One that writes without end waits for its reader, who
// takes twenty lines a second; a line longer than 4 KiB ends what is read of it. After
// the parent's death the kernel closes the pipes; on Windows it also ends the child (job
// object).
//
// On Unix a descendant with a session of its own is not ended, and lives on: who only
// watches a child's group does not find it. It holds the child's output, of which
// no more is read after the child's end than was told by then. Nobody leaves the job.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"hausmeister/platform/supervise"
)

// maxLine is the longest line that is read.
const maxLine = 4 << 10

// ratePerSecond is how many lines are read in a second: each costs whoever reads them as
// much as it costs the child, and not only a few bytes.
const ratePerSecond = 20

// After a child's end its output is read until it brings nothing for readOn, or as much
// as a pipe holds: what it told at last is in there.
const (
	readOn    = time.Second
	pipeHolds = 64 << 10 // pipe(7)
)

// Config says what is run.
type Config struct {
	Path   string
	Args   []string
	Env    []string // all of it
	Stderr *os.File // nil: nowhere
}

// A Child is one process and its descendants. Whoever starts it calls Wait.
type Child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	crew  *supervise.Crew
	tree  tree
	used  ledger
	exit  Exit // once lines is closed

	mu sync.Mutex
	// below is guarded by mu
	shut bool // in is closed
	dead bool // its number may be another's
}

// Exit is how a child ended.
type Exit struct {
	Code int    // -1: by a signal
	Text string // "exit 2", "signal: killed": equal for equal ends
}

// Start runs the program. The context's end does not end the child: that is for
// Hangup and Kill.
func Start(ctx context.Context, c Config) (*Child, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = c.Env
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	// Not by StdoutPipe: Wait would close it before the last line is read.
	out, write, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	cmd.Stdout = write
	ch := &Child{cmd: cmd, in: in, lines: make(chan string), crew: supervise.NewCrew(context.WithoutCancel(ctx), 2)}
	err = ch.tree.start(cmd)
	write.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	ended, read := make(chan struct{}), make(chan struct{})
	err = errors.Join(
		ch.crew.Go(func(context.Context) {
			ch.await()
			close(ended)
			if out.SetReadDeadline(time.Now().Add(readOn)) != nil { // Windows has none
				pause(readOn, read)
				out.Close()
			}
		}),
		ch.crew.Go(func(context.Context) {
			defer close(ch.lines)
			ch.read(out, ended)
			close(read)
			<-ended
		}),
	)
	if err != nil { // there are places, and the context has no end
		panic(err)
	}
	return ch, nil
}

// await waits for the end, and ends what is left of the tree: a descendant would
// hold the pipe open. One that is out of reach does; without a bound nobody would learn
// of the child's end before that of the pipe.
func (c *Child) await() {
	err := c.cmd.Wait()
	c.Kill()
	c.Hangup()
	c.mu.Lock()
	c.dead = true
	c.tree.close()
	c.mu.Unlock()
	state := c.cmd.ProcessState
	c.exit = Exit{Code: state.ExitCode(), Text: state.String()}
	if ee := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ee) {
		c.exit.Text = "wait: " + err.Error()
	} else if c.exit.Code >= 0 {
		c.exit.Text = fmt.Sprintf("exit %d", c.exit.Code)
	}
}

// read hands lines on until there are no more.
func (c *Child) read(out *os.File, ended <-chan struct{}) {
	defer out.Close()
	from := &output{out, ended, pipeHolds}
	s := bufio.NewScanner(from)
	s.Buffer(make([]byte, 256), maxLine)
	for n := 1; s.Scan(); n++ {
		c.lines <- s.Text()
		if n%ratePerSecond == 0 {
			pause(time.Second, ended)
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		_, _ = io.Copy(io.Discard, from)
	}
}

// output is what a child tells, and after its end what is in the pipe then.
type output struct {
	pipe  *os.File
	ended <-chan struct{}
	left  int // bytes that are read after the end, of whoever holds the pipe
}

func (o *output) Read(b []byte) (int, error) {
	select {
	case <-o.ended:
	default:
		return o.pipe.Read(b)
	}
	if o.left <= 0 {
		return 0, io.EOF
	}
	// Its reader may have been busy since the end, and what was told is still there.
	_ = o.pipe.SetReadDeadline(time.Now().Add(readOn))
	n, err := o.pipe.Read(b[:min(len(b), o.left)])
	o.left -= n
	return n, err
}

// pause waits, but not beyond the end.
func pause(d time.Duration, end <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-end:
	}
}

// PID is its process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Lines are what it tells; closed when it has ended. They must be read to the end.
func (c *Child) Lines() <-chan string { return c.lines }

// Say tells it a line.
func (c *Child) Say(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shut {
		_, _ = io.WriteString(c.in, line+"\n") // one that has ended is found by its Lines
	}
}

// Hangup closes its standard input: it shall end.
func (c *Child) Hangup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shut {
		c.shut = true
		c.in.Close()
	}
}

// Kill ends it and all that it started, without a word.
func (c *Child) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dead {
		c.tree.kill(c.cmd)
	}
}

// Wait says how it ended, once Lines is closed.
func (c *Child) Wait() Exit {
	c.crew.Wait()
	return c.exit
}

// Usage is what a child takes with its descendants. What a system does not tell of other
// processes is 0: macOS without cgo tells neither handles nor what was written. Memory that
// several of them share counts for each.
type Usage struct {
	CPU     time.Duration // since it began, of those that ended too
	Memory  uint64        // resident now
	Handles int           // open now: files, sockets, and on Windows much else
	Written uint64        // bytes to disks since it began
}

// Usage is what it took so far and has now.
func (c *Child) Usage() (Usage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return Usage{}, fmt.Errorf("reading what process %d uses: %w", c.cmd.Process.Pid, os.ErrProcessDone)
	}
	now, err := c.tree.usage(c.cmd.Process.Pid)
	if err != nil {
		return Usage{}, fmt.Errorf("reading what process %d uses: %w", c.cmd.Process.Pid, err)
	}
	return c.used.add(now), nil
}
