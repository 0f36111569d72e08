package sysinfo

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// smartReport is what we read of smartctl's JSON (smartmontools 7.0 and later;
// its exit status is a set of bits and no measure of success).
type smartReport struct {
	Smartctl struct {
		Messages []struct{ String string }
	}
	Status *struct{ Passed bool } `json:"smart_status"`
	NVMe   *struct {
		CriticalWarning int    `json:"critical_warning"`
		Spare           *int64 `json:"available_spare"`
		SpareThreshold  int64  `json:"available_spare_threshold"`
		Used            *int64 `json:"percentage_used"`
		MediaErrors     *int64 `json:"media_errors"`
	} `json:"nvme_smart_health_information_log"`
	ATA *struct {
		Table []smartAttribute
	} `json:"ata_smart_attributes"`
	PowerOn *struct {
		Hours, Minutes int64
	} `json:"power_on_time"`
	// smartctl 7.5 tells these for all makers alike (github.com/nasty-project/nasty pull 378).
	Endurance *struct {
		Percent int64 `json:"current_percent"`
	} `json:"endurance_used"`
	SpareLeft *struct {
		Percent int64 `json:"current_percent"`
	} `json:"spare_available"`
}

type smartAttribute struct {
	ID         int
	Name       string
	Value      int64
	WhenFailed string `json:"when_failed"`
	Flags      struct{ Prefailure bool }
	Raw        struct{ String string }
}

// raw is the count; some makers add others to it: "24 (1 3 20)", "12h+03m".
func (a smartAttribute) raw() (int64, bool) {
	digits := strings.IndexFunc(a.Raw.String+" ", func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.ParseInt(a.Raw.String[:digits], 10, 64)
	return n, err == nil
}

func noDisk(why Absence) Disk {
	n := None[int64](why)
	return Disk{Health: None[DiskHealth](why), Wear: n, Spare: n, Errors: n, PowerOn: n}
}

// parseSmart reads one disk's report; asleep says that it was left to sleep.
func parseSmart(out []byte) (d Disk, asleep bool, err error) {
	var r smartReport
	if err := json.Unmarshal(out, &r); err != nil {
		return d, false, fmt.Errorf("reading smartctl's report: %w", err)
	}
	for _, m := range r.Smartctl.Messages {
		switch {
		case strings.Contains(m.String, "STANDBY") || strings.Contains(m.String, "SLEEP mode"):
			return d, true, nil
		case strings.Contains(m.String, "ermission denied"):
			return d, false, fs.ErrPermission
		}
	}
	d = noDisk(NotSupported)
	if r.Status != nil {
		d.Health = Some(DiskOK)
		if !r.Status.Passed {
			d.Health = Some(DiskFailing)
		}
	}
	if r.PowerOn != nil {
		d.PowerOn = Some(3600*r.PowerOn.Hours + 60*r.PowerOn.Minutes)
	}
	switch {
	case r.NVMe != nil:
		r.nvme(&d)
	case r.ATA != nil:
		r.ata(&d)
	}
	if r.Endurance != nil {
		d.Wear = Some(10 * r.Endurance.Percent)
	}
	if r.SpareLeft != nil {
		d.Spare = Some(10 * r.SpareLeft.Percent)
	}
	return d, false, nil
}

// nvme reads log page 2 (NVM Express base specification, SMART / Health
// Information). smartctl counts every warning as failed; of the bits only the
// lost reliability (2) and the disk that went read-only (3) say so, the others
// are a threshold: spare (0), temperature (1), memory backup (4).
func (r *smartReport) nvme(d *Disk) {
	n := r.NVMe
	switch {
	case n.CriticalWarning&(1<<2|1<<3) != 0:
		d.Health = Some(DiskFailing)
	case n.CriticalWarning != 0, n.Used != nil && *n.Used >= 100, n.Spare != nil && *n.Spare < n.SpareThreshold:
		d.Health = Some(DiskWarning)
	default:
		d.Health = Some(DiskOK)
	}
	if n.Used != nil {
		d.Wear = Some(10 * *n.Used)
	}
	if n.Spare != nil {
		d.Spare = Some(10 * *n.Spare)
	}
	if n.MediaErrors != nil {
		d.Errors = Some(*n.MediaErrors)
	}
}

// remaining are the attributes whose normalised value is the percentage of life
// that is left, best first, by number and by a part of smartctl's name for it,
// since makers use one number for different things: 233 is written gigabytes on
// many, and SanDisk's and WD's wear-out indicator (230) counts upwards
// (github.com/v-zhuravlev/zbx-smartctl issue 148).
var remaining = []struct {
	id   int
	name string
}{
	{202, "remain"},              // Crucial, Micron
	{231, "life"},                // SandForce, Phison, Kingston: SSD_Life_Left
	{233, "media_wearout"},       // Intel, Solidigm
	{177, "wear_leveling_count"}, // Samsung
	{173, "wear_leveling_count"}, // Samsung for makers, older Micron
	{169, "remain"},              // Toshiba, Apple
}

// ata reads the attributes; their meaning is nowhere standardised.
func (r *smartReport) ata(d *Disk) {
	at := make(map[int]smartAttribute)
	for _, a := range r.ATA.Table {
		at[a.ID] = a
		switch {
		case a.WhenFailed == "now" && a.Flags.Prefailure:
			d.Health = Some(DiskFailing)
		case a.WhenFailed != "" && d.Health.Value != DiskFailing:
			d.Health = Some(DiskWarning)
		}
	}
	for _, k := range remaining {
		a, ok := at[k.id]
		if ok && a.Value <= 100 && strings.Contains(strings.ToLower(a.Name), k.name) {
			d.Wear = Some(10 * (100 - a.Value))
			break
		}
	}
	// Intel's and others' reserve is a percentage too.
	for _, id := range []int{232, 170} {
		if a, ok := at[id]; ok && a.Value <= 100 && strings.Contains(strings.ToLower(a.Name), "reserv") {
			d.Spare = Some(10 * a.Value)
			break
		}
	}
	var counts []int64
	for _, id := range []int{5, 197, 198} { // reallocated; pending; uncorrectable
		n, _ := at[id].raw()
		counts = append(counts, n)
	}
	if len(at) > 0 && slices.ContainsFunc([]int{5, 197, 198}, func(id int) bool { _, ok := at[id]; return ok }) {
		// A pending sector is often counted as uncorrectable too.
		d.Errors = Some(counts[0] + max(counts[1], counts[2]))
	}
}
