package sysinfo

import (
	"errors"
	"io/fs"
	"time"

	"hausmeister/platform/supervise"
)

// Absence says whether there is a value and if not, why.
type Absence uint8

const (
	Unread       Absence = iota // not read yet; so the zero Opt is no value
	Present                     // there is a value
	NoHardware                  // the machine has none
	NotSupported                // this system cannot say
	Denied                      // access refused
	TimedOut                    // cut off
	Failed                      // failed otherwise
)

// Opt is a value that may be absent.
type Opt[T any] struct {
	Value T
	Why   Absence
}

// Some is a value that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Why: Present} }

// None is a value that is not.
func None[T any](why Absence) Opt[T] { return Opt[T]{Why: why} }

// Get gives the value and whether there is one.
func (o Opt[T]) Get() (T, bool) { return o.Value, o.Why == Present }

// Snapshot is how the machine was at Time.
type Snapshot struct {
	Time         time.Time
	CPU          CPU
	Memory       Memory
	Volumes      Opt[[]Volume]
	Power        Power
	Temperatures Opt[[]Temperature]
	Links        Opt[[]Link]
	BootTime     Opt[time.Time]
	Identity     Identity
	Self         Self
	// CutOff names the groups that hung, CouldNot those that failed, with the error.
	CutOff   []string
	CouldNot map[string]error
}

// CPU is the processor. Used and the process's own use are means since the
// Read before, so the first Read has none.
type CPU struct {
	Used  Opt[int64] // permille of all cores
	Cores Opt[int64] // logical
	Load1 Opt[int64] // thousandths; the mean length of the run queue over 1 minute
}

// Memory in bytes. Used is total minus what could be had without swapping.
type Memory struct {
	Total, Used         Opt[int64]
	SwapTotal, SwapUsed Opt[int64]
}

// A Volume is a local, fixed file system; name is its mount point where that is
// a common one ("/", "/home", "C:"), else "other", "other 2", ...
type Volume struct {
	Name        string
	Total, Free Opt[int64] // bytes; Free is what an ordinary program may use
}

// PowerSource is where the power comes from.
type PowerSource string

const (
	Mains   PowerSource = "mains"
	Battery PowerSource = "battery"
)

// BatteryState is what the battery does.
type BatteryState string

const (
	Charging    BatteryState = "charging"
	Discharging BatteryState = "discharging"
	Full        BatteryState = "full"
	Idle        BatteryState = "idle" // on mains, neither full nor charging
)

// Power is source and battery; several batteries are told as one.
type Power struct {
	Source Opt[PowerSource]
	State  Opt[BatteryState]
	Charge Opt[int64] // permille of what it holds now
	Health Opt[int64] // permille: what it holds now of what it held by design
	Cycles Opt[int64]
}

// Temperature is the hottest sensor at one place of the machine: "cpu", "disk",
// "case", "battery", "wifi", "gpu".
type Temperature struct {
	Place        string
	MilliCelsius int64
}

// Link is a network adapter: "wired", "wifi", "mobile", and "wired 2" for the second.
type Link struct {
	Name  string
	Up    bool
	Speed Opt[int64] // bits per second
}

// Identity is what the machine is. Maker's texts are cleaned; a text that
// stands for none ("To be filled by O.E.M.") is absent as NoHardware.
type Identity struct {
	OS           string // "linux", "windows", "darwin"
	OSName       Opt[string]
	OSBuild      Opt[string]
	Architecture Opt[string]
	Manufacturer Opt[string]
	Model        Opt[string]
	Serial       Opt[string]
}

// Self is this process.
type Self struct {
	Memory Opt[int64] // resident bytes
	CPU    Opt[int64] // millionths of one core
}

// errAbsent is a failure whose reason is known.
type errAbsent struct{ why Absence }

func (e errAbsent) Error() string {
	switch e.why {
	case NoHardware:
		return "the machine has none"
	case NotSupported:
		return "not supported by this system"
	}
	return "absent"
}

// why sorts an error of a reading.
func why(err error) Absence {
	var ea errAbsent
	switch {
	case errors.As(err, &ea):
		return ea.why
	case errors.Is(err, supervise.ErrCutOff):
		return TimedOut
	case errors.Is(err, fs.ErrPermission):
		return Denied
	case errors.Is(err, errors.ErrUnsupported):
		return NotSupported
	}
	return Failed
}

// orNone gives v, or its absence by the error.
func orNone[T any](v T, err error) Opt[T] {
	if err != nil {
		return None[T](why(err))
	}
	return Some(v)
}
