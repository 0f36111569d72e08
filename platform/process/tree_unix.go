//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// tree is the process group of the child.
type tree struct{}

func (tree) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

// kill may come again: a group that is gone takes no signal, and its number is
// not given to another while we have not waited for its leader, nor while a
// member lives.
func (tree) kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// close: there is nothing to close.
func (tree) close() {}

func (tree) usage(pid int) (map[life]taken, error) { return usage(pid) }
