package process

import (
	"os/exec"
	"time"
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

type memoryCounters struct {
	size                                                         uint32
	pageFaults                                                   uint32
	peakWorkingSet, workingSet                                   uintptr
	quotaPeakPaged, quotaPaged, quotaPeakNonPaged, quotaNonPaged uintptr
	pagefile, peakPagefile                                       uintptr
}

var (
	kernel32       = windows.NewLazySystemDLL("kernel32.dll")
	getMemoryInfo  = kernel32.NewProc("K32GetProcessMemoryInfo")
	getHandleCount = kernel32.NewProc("GetProcessHandleCount")
	getIOCounters  = kernel32.NewProc("GetProcessIoCounters")
)

func usage(pid int) (u Usage, err error) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.PROCESS_VM_READ, false, uint32(pid))
	if err != nil {
		return u, err
	}
	defer windows.CloseHandle(h)
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return u, err
	}
	span := func(f windows.Filetime) time.Duration { // hundreds of nanoseconds
		return time.Duration(uint64(f.HighDateTime)<<32|uint64(f.LowDateTime)) * 100
	}
	m := memoryCounters{}
	m.size = uint32(unsafe.Sizeof(m))
	if ok, _, err := getMemoryInfo.Call(uintptr(h), uintptr(unsafe.Pointer(&m)), uintptr(m.size)); ok == 0 {
		return u, err
	}
	u.CPU, u.Memory = span(kernel)+span(user), uint64(m.workingSet)
	var handles uint32
	if ok, _, _ := getHandleCount.Call(uintptr(h), uintptr(unsafe.Pointer(&handles))); ok != 0 {
		u.Handles = int(handles)
	}
	var io windows.IO_COUNTERS
	if ok, _, _ := getIOCounters.Call(uintptr(h), uintptr(unsafe.Pointer(&io))); ok != 0 {
		u.Written = io.WriteTransferCount // what sockets send counts as other
	}
	return u, nil
}
