package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A process is a child that may end by itself at any time.
type process struct {
	cmd *exec.Cmd
	log *os.File // unlinked; what the child wrote
}

func start(cmd *exec.Cmd) (*process, error) {
	log, err := os.CreateTemp("", "hausmeister-machine-")
	if err != nil {
		return nil, err
	}
	os.Remove(log.Name())
	// A file and not a pipe: a pipe would have to be read while nobody waits.
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, err
	}
	return &process{cmd: cmd, log: log}, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) output() []byte {
	buf := make([]byte, 1<<16)
	n, _ := p.log.ReadAt(buf, 0)
	return tail(bytes.TrimSpace(buf[:n]))
}

// ended looks whether the child is gone, without waiting for it.
func (p *process) ended() bool {
	if p.cmd.ProcessState != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		return false
	}
	p.cmd.Wait() // it is a zombie, so this returns at once
	p.log.Close()
	return true
}

// wait waits until the child is gone, at most that long.
func (p *process) wait(ctx context.Context, most time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for !p.ended() {
		if pause(ctx) != nil {
			return p.ended()
		}
	}
	return true
}

// firstProcess finds nspawn's child that is process 1 of its own world, or 0.
func firstProcess(nspawn int) int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	if err != nil {
		return 0
	}
	for _, child := range strings.Fields(string(children)) {
		status, err := os.ReadFile("/proc/" + child + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" {
				pid, _ := strconv.Atoi(child)
				return pid
			}
		}
	}
	return 0
}
