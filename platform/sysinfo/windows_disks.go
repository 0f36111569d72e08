package sysinfo

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// diskAnswers are what Windows says about its disks, by class.
type diskAnswers struct {
	disks     []row // MSFT_PhysicalDisk: DeviceId, HealthStatus, BusType, MediaType
	counters  []row // MSFT_StorageReliabilityCounter
	predicted []row // MSStorageDriver_FailurePredictStatus: InstanceName, PredictFailure
	drives    []row // Win32_DiskDrive: Index, PNPDeviceID
	// nvme holds the health log page of those disks that gave it, by DeviceId.
	nvme map[int64][]byte
}

// MSFT_PhysicalDisk.BusType: what is not built in (FireWire, USB, iSCSI, SD) or
// no disk (virtual, file backed, a pool).
var notBuiltIn = map[int64]bool{4: true, 7: true, 9: true, 12: true, 14: true, 15: true, 16: true}

// builtIn gives the numbers of the built-in disks, in order, with their rows.
func (a diskAnswers) builtIn() (numbers []int64, disks map[int64]row) {
	disks = make(map[int64]row)
	for _, d := range a.disks {
		n, ok := d.number("DeviceId")
		if bus, _ := d.number("BusType"); !ok || notBuiltIn[bus] || disks[n] != nil {
			continue
		}
		disks[n] = d
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, disks
}

// readings tells the disks. The counters are those that the driver knows, often
// none; an NVMe disk's own log knows more and is asked first.
func (a diskAnswers) readings() ([]Disk, error) {
	numbers, rows := a.builtIn()
	if len(numbers) == 0 {
		return nil, errAbsent{NoHardware}
	}
	var out []Disk
	for i, n := range numbers {
		d := blankDisk(numbered("disk", i+1), NotSupported)
		if status, ok := rows[n].number("HealthStatus"); ok {
			switch status {
			case 0:
				d.Health = Some(DiskOK)
			case 1:
				d.Health = Some(DiskWarning)
			case 2:
				d.Health = Some(DiskFailing)
			}
		}
		a.count(&d, n, rows[n])
		if log, ok := a.nvme[n]; ok {
			if h, err := parseNVMeHealth(log); err == nil {
				h.Name, h.Health = d.Name, graver(d.Health, h.Health)
				d = h
			}
		}
		if a.failing(n) {
			d.Health = Some(DiskFailing)
		}
		out = append(out, d)
	}
	return out, nil
}

// count adds what the reliability counters of disk n say.
func (a diskAnswers) count(d *Disk, n int64, disk row) {
	const spinning = 3 // MediaType
	if media, _ := disk.number("MediaType"); media == spinning {
		d.Wear, d.Spare = None[int64](NoHardware), None[int64](NoHardware)
	}
	for _, c := range a.counters {
		if id, ok := c.number("DeviceId"); !ok || id != n {
			continue
		}
		if wear, ok := c.number("Wear"); ok && d.Wear.Why != NoHardware {
			d.Wear = Some(10 * wear)
		}
		read, knowsRead := c.number("ReadErrorsUncorrected")
		written, knowsWritten := c.number("WriteErrorsUncorrected")
		if knowsRead || knowsWritten {
			d.Errors = Some(read + written)
		}
		if hours, ok := c.number("PowerOnHours"); ok && hours > 0 {
			d.PowerOn = Some(hours * 3600)
		}
	}
}

// failing says whether the disk's driver predicts a failure of disk n. The
// prediction has the name of the device with a "_0" behind, the disk its number.
func (a diskAnswers) failing(n int64) bool {
	for _, p := range a.predicted {
		if !p.yes("PredictFailure") {
			continue
		}
		for _, d := range a.drives {
			index, ok := d.number("Index")
			if id := d.text("PNPDeviceID"); ok && index == n && id != "" &&
				strings.HasPrefix(strings.ToLower(p.text("InstanceName")), strings.ToLower(id)) {
				return true
			}
		}
	}
	return false
}

func blankDisk(name string, why Absence) Disk {
	n := None[int64](why)
	return Disk{Name: name, Health: None[DiskHealth](why), Wear: n, Spare: n, Errors: n, PowerOn: n}
}

// graver of two judgements; one that is absent counts for nothing.
func graver(a, b Opt[DiskHealth]) Opt[DiskHealth] {
	rank := map[DiskHealth]int{DiskOK: 1, DiskWarning: 2, DiskFailing: 3}
	x, _ := a.Get()
	y, _ := b.Get()
	if cmp.Compare(rank[y], rank[x]) > 0 {
		return b
	}
	return a
}

// nvmeHealthSize is the size of the log page SMART / Health Information.
const nvmeHealthSize = 512

// parseNVMeHealth reads log page 02h (NVM Express Base Specification, "SMART /
// Health Information"); numbers are little-endian, of the 16-byte counters the
// lower half.
func parseNVMeHealth(b []byte) (Disk, error) {
	if len(b) < nvmeHealthSize {
		return Disk{}, errors.New("the disk's health log is too short")
	}
	const (
		spareLow, degraded, readOnly, backupLost = 1, 4, 8, 16 // 2: too hot, which is a temperature
	)
	d := Disk{
		Health: Some(DiskOK),
		Spare:  Some(10 * int64(b[3])),
		Wear:   Some(10 * int64(b[5])),
		Errors: counter(b[160:]),
	}
	switch warning := b[0]; {
	case warning&(degraded|readOnly) != 0:
		d.Health = Some(DiskFailing)
	case warning&(spareLow|backupLost) != 0:
		d.Health = Some(DiskWarning)
	}
	d.PowerOn = None[int64](NotSupported)
	if hours, ok := counter(b[128:]).Get(); ok && hours < 1<<24 {
		d.PowerOn = Some(hours * 3600)
	}
	return d, nil
}

func counter(b []byte) Opt[int64] {
	n := binary.LittleEndian.Uint64(b)
	if n > 1<<62 || binary.LittleEndian.Uint64(b[8:]) != 0 {
		return None[int64](NotSupported)
	}
	return Some(int64(n))
}
