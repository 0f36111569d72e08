package process

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

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

// usage is what the job took, with all that ended in it, and what those in it have now.
// Where the job does not tell (Wine) it is the child alone.
func (t *tree) usage(pid int) (map[life]taken, error) {
	all, err := usageOf(pid)
	if err != nil {
		return nil, err
	}
	for _, other := range t.members() {
		if p, err := usageOf(other); err == nil && other != pid {
			all.memory += p.memory
			all.handles += p.handles
		}
	}
	cpu, written := t.total()
	all.cpu, all.written = max(all.cpu, cpu), max(all.written, written)
	return map[life]taken{{pid: pid}: all}, nil
}

// accounting is JOBOBJECT_BASIC_AND_IO_ACCOUNTING_INFORMATION.
type accounting struct {
	user, kernel             int64 // hundreds of nanoseconds
	periodUser, periodKernel int64
	faults, total            uint32
	active, terminated       uint32
	io                       windows.IO_COUNTERS
}

func (t *tree) total() (cpu time.Duration, written uint64) {
	var a accounting
	if windows.QueryInformationJobObject(t.job, windows.JobObjectBasicAndIoAccountingInformation, uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil) != nil {
		return 0, 0
	}
	return time.Duration(a.user+a.kernel) * 100, a.io.WriteTransferCount
}

// members are those in the job, the first of them if there are very many.
func (t *tree) members() (pids []int) {
	var list struct { // JOBOBJECT_BASIC_PROCESS_ID_LIST
		assigned, listed uint32
		pids             [128]uintptr
	}
	err := windows.QueryInformationJobObject(t.job, windows.JobObjectBasicProcessIdList, uintptr(unsafe.Pointer(&list)), uint32(unsafe.Sizeof(list)), nil)
	if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
		return nil
	}
	for _, pid := range list.pids[:min(list.listed, uint32(len(list.pids)))] {
		pids = append(pids, int(pid))
	}
	return pids
}

func usageOf(pid int) (u taken, err error) {
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
	u.cpu, u.memory = span(kernel)+span(user), uint64(m.workingSet)
	var handles uint32
	if ok, _, _ := getHandleCount.Call(uintptr(h), uintptr(unsafe.Pointer(&handles))); ok != 0 {
		u.handles = int(handles)
	}
	var io windows.IO_COUNTERS
	if ok, _, _ := getIOCounters.Call(uintptr(h), uintptr(unsafe.Pointer(&io))); ok != 0 {
		u.written = io.WriteTransferCount // what sockets send counts as other
	}
	return u, nil
}
