package process

import (
	"os/exec"
	"unsafe"

	"golang.org/x/sys/windows"
)

// tree is a job object: all that the child starts is in it, and it ends with the
// last handle, which is ours.
type tree struct{ job windows.Handle }

// start has a moment between the child's start and the job; the agent starts
// nothing in it.
func (t *tree) start(cmd *exec.Cmd) error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return err
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		windows.CloseHandle(job)
		return err
	}
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(job, h)
		windows.CloseHandle(h)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		windows.CloseHandle(job)
		return err
	}
	t.job = job
	return nil
}

func (t *tree) kill(cmd *exec.Cmd) {
	_ = windows.TerminateJobObject(t.job, 1)
	_ = cmd.Process.Kill()
}

// close gives the job back once its child has ended: whoever starts children for years
// would keep one of each.
func (t *tree) close() { windows.CloseHandle(t.job) }
