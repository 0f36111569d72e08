package sysinfo

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// The kernel's counters that are not in sysctl come from Mach calls in
// libSystem; purego makes them without cgo. gopsutil v3 has them with cgo only.
type mach struct {
	hostStatistics func(host uint32, flavor int32, info unsafe.Pointer, count *uint32) int32
	taskInfo       func(task uint32, flavor int32, info unsafe.Pointer, count *uint32) int32
	processorInfo  func(host uint32, flavor int32, processors *uint32, info *unsafe.Pointer, count *uint32) int32
	deallocate     func(task uint32, address unsafe.Pointer, size uintptr) int32
	host           uint32
	task           uint32
}

// openMach finds the calls; for use once, as each mach_host_self takes a reference.
func openMach() (*mach, error) {
	lib, err := purego.Dlopen("/usr/lib/libSystem.B.dylib", purego.RTLD_LAZY|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	m := &mach{}
	var hostSelf func() uint32
	for name, f := range map[string]any{
		"mach_host_self": &hostSelf, "host_statistics": &m.hostStatistics, "task_info": &m.taskInfo,
		"host_processor_info": &m.processorInfo, "vm_deallocate": &m.deallocate,
	} {
		sym, err := purego.Dlsym(lib, name)
		if err != nil {
			return nil, err
		}
		purego.RegisterFunc(f, sym)
	}
	self, err := purego.Dlsym(lib, "mach_task_self_") // a variable; the C macro reads it
	if err != nil {
		return nil, err
	}
	m.host = hostSelf()
	m.task = **(**uint32)(unsafe.Pointer(&self))
	return m, nil
}

// cpuTicks are hundredths of seconds of all cores: user, system, idle, nice.
func (m *mach) cpuTicks() (t [4]uint32, err error) {
	const hostCPULoadInfo = 3
	count := uint32(len(t))
	if r := m.hostStatistics(m.host, hostCPULoadInfo, unsafe.Pointer(&t), &count); r != 0 {
		return t, fmt.Errorf("host_statistics: code %d", r)
	}
	return t, nil
}

// resident is the resident size of this process in bytes.
func (m *mach) resident() (int64, error) {
	const machTaskBasicInfo = 20
	var info struct {
		virtual, resident, residentMax uint64
		user, system                   [2]int32
		policy, suspended              int32
	}
	count := uint32(unsafe.Sizeof(info) / 4)
	if r := m.taskInfo(m.task, machTaskBasicInfo, unsafe.Pointer(&info), &count); r != 0 {
		return 0, fmt.Errorf("task_info: code %d", r)
	}
	return int64(info.resident), nil
}

// coreTicks are cpuTicks of each core.
func (m *mach) coreTicks() ([][4]uint32, error) {
	const processorCPULoadInfo, most = 2, 4096
	var cores, count uint32
	var info unsafe.Pointer
	if r := m.processorInfo(m.host, processorCPULoadInfo, &cores, &info, &count); r != 0 {
		return nil, fmt.Errorf("host_processor_info: code %d", r)
	}
	defer m.deallocate(m.task, info, uintptr(count)*4)
	if info == nil || cores == 0 || cores > most || count != cores*4 {
		return nil, fmt.Errorf("host_processor_info told %d numbers of %d cores", count, cores)
	}
	each := make([][4]uint32, cores)
	copy(each, unsafe.Slice((*[4]uint32)(info), cores))
	return each, nil
}
