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
	Pressure     Opt[[]Pressure]
	Disks        Opt[[]Disk]
	Fans         Opt[[]Fan]
	Metered      Opt[bool] // the connection that is used costs by volume
	BootDuration Opt[time.Duration]
	Updates      Updates
	Restart      Opt[bool] // an update waits for one
	Protection   Protection
	Crashes      Crashes
	Printers     Opt[[]Printer]
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
	// CoreUsed is Used of each core, in the system's order.
	CoreUsed Opt[[]int64]
	// SpeedLimit is how fast the processor may run now, permille of what it was
	// made for; Throttled counts how often it was slowed down since the Read before.
	SpeedLimit, Throttled Opt[int64]
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
	// InodesFree is permille of the entries that the file system can have.
	InodesFree Opt[int64]
	Errors     Opt[int64] // that the file system has noted since it was made or last checked
	ReadOnly   Opt[bool]
}

// Pressure is the share of the last minute in which something waited for a
// resource, "cpu", "memory" or "io" (Linux: pressure stall information).
type Pressure struct {
	Name    string
	Stalled int64 // permille
}

// DiskHealth is the disk's judgement of itself.
type DiskHealth string

const (
	DiskOK      DiskHealth = "ok"
	DiskWarning DiskHealth = "warning" // a threshold of the maker's is passed
	DiskFailing DiskHealth = "failing" // it says so itself
)

// A Disk is a built-in disk: "disk", and "disk 2" for the second. Never its serial number.
type Disk struct {
	Name    string
	Health  Opt[DiskHealth]
	Wear    Opt[int64] // permille of the life that the maker promises; may pass 1000
	Spare   Opt[int64] // permille of the spare blocks that are left
	Errors  Opt[int64] // media errors, or sectors that were reallocated or cannot be read
	PowerOn Opt[int64] // seconds
}

// A Fan is "fan", and "fan 2" for the second.
type Fan struct {
	Name  string
	Speed int64 // revolutions per minute
}

// Updates of the operating system.
type Updates struct {
	Pending  Opt[int64]     // that could be installed now
	Security Opt[int64]     // of these, those that close a hole
	Last     Opt[time.Time] // when one was last installed
}

// Guard says whether something protects this machine.
type Guard string

const (
	On     Guard = "on"
	Partly Guard = "partly" // one of several volumes, profiles or programs does not
	Off    Guard = "off"
)

// Protection of this machine.
type Protection struct {
	Encryption   Opt[Guard] // of the volumes that hold data
	Firewall     Opt[Guard]
	Antivirus    Opt[Guard]
	AntivirusAge Opt[int64] // seconds since its patterns were made
	SecureBoot   Opt[Guard]
	TPM          Opt[string] // version, "2.0"
}

// Crashes within the last 30 days.
type Crashes struct {
	System    Opt[int64] // kernel panics, blue screens
	Programs  Opt[int64]
	PowerOffs Opt[int64] // boots after which the system found that it was not shut down
}

// PrinterState is what a queue does.
type PrinterState string

const (
	PrinterReady   PrinterState = "ready"
	Printing       PrinterState = "printing"
	PrinterStopped PrinterState = "stopped"
	PrinterOffline PrinterState = "offline"
	PrinterTrouble PrinterState = "trouble" // paper, toner, a jam
)

// A Printer is "printer", and "printer 2" for the second: the names of queues
// are people's and rooms' and are not read.
type Printer struct {
	Name  string
	State PrinterState
}

// A Program is one that is installed, as the system's package list names it.
type Program struct {
	Name, Version string
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
	// Full is what it holds now, Design what it held when new, in milliwatt hours.
	Full, Design Opt[int64]
	Charger      Opt[Charger]
}

// Charger is what the power supply does.
type Charger string

const (
	ChargerConnected    Charger = "connected"
	ChargerDisconnected Charger = "disconnected"
	ChargerTooWeak      Charger = "too_weak" // connected, and the battery empties all the same
)

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
	// Errors counts frames that were lost or broken since the Read before.
	Errors Opt[int64]
	Signal Opt[int64] // dBm, of radio links
}

// Identity is what the machine is. Maker's texts are cleaned; a text that
// stands for none ("To be filled by O.E.M.") is absent as NoHardware.
type Identity struct {
	OS      string // "linux", "windows", "darwin"
	OSName  Opt[string]
	OSBuild Opt[string]
	// OSPatch is how far the system is patched, in its maker's own terms;
	// SupportEnd the day when its maker stops patching it.
	OSPatch      Opt[string]
	SupportEnd   Opt[time.Time]
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
	case Unread:
		return "not known yet"
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
