package reading

const (
	kiB = 1 << 10
	miB = 1 << 20
	giB = 1 << 30
	piB = 1 << 50

	// Until here clocks may go wrong: 1980 (the oldest a firmware clock falls
	// back to) to 2100.
	year1980 = 315532800_000
	year2100 = 4102444800_000
)

// The numbers, for code that makes readings; table[id-1] is the row.
const (
	CPUUsed uint32 = iota + 1
	CPUCores
	Load1
	MemoryTotal
	MemoryUsed
	SwapTotal
	SwapUsed
	VolumeTotal
	VolumeFree
	BatteryCharge
	BatteryState
	BatteryHealth
	BatteryCycles
	PowerSource
	Temperature
	LinkState
	LinkSpeed
	BootTime
	OSName
	OSBuild
	Architecture
	Manufacturer
	Model
	Serial
	AgentMemory
	AgentCPU
	CPUCoreUsed
	CPUSpeedLimit
	CPUThrottled
	Pressure
	VolumeInodesFree
	VolumeErrors
	VolumeMode
	DiskHealth
	DiskWear
	DiskSpare
	DiskErrors
	DiskPowerOn
	BatteryFull
	BatteryDesign
	Charger
	FanSpeed
	LinkErrors
	LinkSignal
	Metered
	BootDuration
	OSPatch
	OSSupportEnd
	UpdatesPending
	UpdatesSecurity
	UpdatesLast
	RestartPending
	DiskEncryption
	Firewall
	Antivirus
	AntivirusAge
	SecureBoot
	TPM
	ClockOffset
	SystemCrashes
	ProgramCrashes
	HardPowerOffs
	SoftwareCount
	PrinterState
	CollectorPath
	NetworkTrouble
	InspectionIssuer
	SpoolWaiting
)

// onOff are the codes of what protects a device: partly means that one of
// several (volumes, profiles, programs) is not protected.
var onOff = []CodeValue{
	{"on", Words{"ein", "on"}},
	{"partly", Words{"teilweise", "partly"}},
	{"off", Words{"aus", "off"}},
}

var table = [...]Reading{
	{
		ID: CPUUsed, Name: "cpu_used", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 100,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Mean,
		Word:    Words{"Prozessorauslastung", "Processor use"},
		Purpose: Words{"Langsame Geräte erkennen", "Recognise slow devices"},
	},
	{
		ID: CPUCores, Name: "cpu_cores", Kind: Number, Unit: Count, Min: 1, Max: 4096,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Prozessorkerne", "Processor cores"},
		Purpose: Words{"Auslastung einordnen", "Judge processor use and load"},
	},
	{
		ID: Load1, Name: "load_1", Kind: Number, Unit: Milli, Max: 100_000_000, DeadBand: 2000,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Mean,
		Word:    Words{"Last (1 Minute)", "Load (1 minute)"},
		Purpose: Words{"Langsame Geräte erkennen", "Recognise slow devices"},
	},
	{
		ID: MemoryTotal, Name: "memory_total", Kind: Number, Unit: Bytes, Min: 1 * miB, Max: piB, DeadBand: 16 * miB,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Arbeitsspeicher", "Memory"},
		Purpose: Words{"Ausstattung und Austausch planen", "Plan equipment and replacement"},
	},
	{
		// A browser's tabs move it by 128 MiB each minute; the minutes are in the blocks.
		ID: MemoryUsed, Name: "memory_used", Kind: Number, Unit: Bytes, Max: piB, DeadBand: 256 * miB,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Mean,
		Word:    Words{"Arbeitsspeicher belegt", "Memory used"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: SwapTotal, Name: "swap_total", Kind: Number, Unit: Bytes, Max: piB, DeadBand: 64 * miB,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Auslagerungsspeicher", "Swap space"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: SwapUsed, Name: "swap_used", Kind: Number, Unit: Bytes, Max: piB, DeadBand: 128 * miB,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Max,
		Word:    Words{"Auslagerungsspeicher belegt", "Swap space used"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: VolumeTotal, Name: "volume_total", Kind: Number, Unit: Bytes, Min: 1, Max: 1024 * piB, DeadBand: 16 * miB, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Laufwerk", "Volume"},
		Purpose: Words{"Ausstattung und Austausch planen", "Plan equipment and replacement"},
	},
	{
		ID: VolumeFree, Name: "volume_free", Kind: Number, Unit: Bytes, Max: 1024 * piB, DeadBand: 256 * miB, Instanced: true,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Min,
		Word:    Words{"Laufwerk frei", "Volume free"},
		Purpose: Words{"Volle Laufwerke melden, bevor Aktualisierungen scheitern", "Tell of full volumes before updates fail"},
	},
	{
		ID: BatteryCharge, Name: "battery_charge", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 30,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Min,
		Word:    Words{"Akkustand", "Battery charge"},
		Purpose: Words{"Defekte Akkus und Netzteile erkennen", "Recognise broken batteries and chargers"},
	},
	{
		ID: BatteryState, Name: "battery_state", Kind: Code,
		Class: Use, Retain: Now, Basis: Operation,
		Codes: []CodeValue{
			{"charging", Words{"lädt", "charging"}},
			{"discharging", Words{"entlädt", "discharging"}},
			{"full", Words{"voll", "full"}},
			{"idle", Words{"lädt nicht", "not charging"}},
		},
		Word:    Words{"Akku", "Battery"},
		Purpose: Words{"Defekte Akkus und Netzteile erkennen", "Recognise broken batteries and chargers"},
	},
	{
		// Above 1000 is real: new batteries often hold more than their label says.
		ID: BatteryHealth, Name: "battery_health", Kind: Number, Unit: Permille, Max: 1500, DeadBand: 10,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Last,
		Word:    Words{"Akkuzustand", "Battery health"},
		Purpose: Words{"Akkutausch planen", "Plan battery replacement"},
	},
	{
		ID: BatteryCycles, Name: "battery_cycles", Kind: Number, Unit: Count, Min: 1, Max: 100_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Akku-Ladezyklen", "Battery charge cycles"},
		Purpose: Words{"Akkutausch planen", "Plan battery replacement"},
	},
	{
		ID: PowerSource, Name: "power_source", Kind: Code,
		Class: Use, Retain: Now, Basis: Operation,
		Codes: []CodeValue{
			{"mains", Words{"Netz", "mains"}},
			{"battery", Words{"Akku", "battery"}},
		},
		Word:    Words{"Stromquelle", "Power source"},
		Purpose: Words{"Seltener melden, um den Akku zu schonen", "Report less often to save the battery"},
	},
	{
		ID: Temperature, Name: "temperature", Kind: Number, Unit: MilliCelsius, Min: -40_000, Max: 150_000, DeadBand: 5000, Instanced: true,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Max,
		Word:    Words{"Temperatur", "Temperature"},
		Purpose: Words{"Überhitzung erkennen", "Recognise overheating"},
	},
	{
		ID: LinkState, Name: "link_state", Kind: Code, Instanced: true,
		Class: Use, Retain: Now, Basis: Operation,
		Codes: []CodeValue{
			{"up", Words{"verbunden", "up"}},
			{"down", Words{"getrennt", "down"}},
		},
		Word:    Words{"Netzwerkverbindung", "Network link"},
		Purpose: Words{"Netzwerkstörungen eingrenzen", "Narrow down network faults"},
	},
	{
		ID: LinkSpeed, Name: "link_speed", Kind: Number, Unit: BitPerSecond, Min: 1, Max: 10_000_000_000_000, DeadBand: 100_000_000, Instanced: true,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Mean,
		Word:    Words{"Verbindungsgeschwindigkeit", "Link speed"},
		Purpose: Words{"Netzwerkstörungen eingrenzen", "Narrow down network faults"},
	},
	{
		// The band is wide because some systems reckon it from the clock, which
		// is set now and then.
		ID: BootTime, Name: "boot_time", Kind: Number, Unit: UnixMilli, Min: year1980, Max: year2100, DeadBand: 300_000,
		Class: Use, Retain: Now, Basis: Operation,
		Word:    Words{"Letzter Neustart", "Last restart"},
		Purpose: Words{"Ausstehende Neustarts und Abstürze erkennen", "Recognise overdue restarts and crashes"},
	},
	{
		ID: OSName, Name: "os_name", Kind: Text,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Betriebssystem", "Operating system"},
		Purpose: Words{"Ende der Unterstützung erkennen", "Recognise the end of support"},
	},
	{
		ID: OSBuild, Name: "os_build", Kind: Text,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Betriebssystem-Stand", "Operating system build"},
		Purpose: Words{"Fehlende Aktualisierungen erkennen", "Recognise missing updates"},
	},
	{
		ID: Architecture, Name: "architecture", Kind: Text,
		Class: Thing, Retain: Now, Basis: Operation,
		Word:    Words{"Prozessorart", "Architecture"},
		Purpose: Words{"Passende Aktualisierung wählen", "Choose the fitting update"},
	},
	{
		ID: Manufacturer, Name: "manufacturer", Kind: Text,
		Class: Identity, Retain: Now, Basis: Operation,
		Word:    Words{"Hersteller", "Manufacturer"},
		Purpose: Words{"Gerät zuordnen", "Know the device"},
	},
	{
		ID: Model, Name: "model", Kind: Text,
		Class: Identity, Retain: Now, Basis: Operation,
		Word:    Words{"Modell", "Model"},
		Purpose: Words{"Gerät zuordnen", "Know the device"},
	},
	{
		ID: Serial, Name: "serial", Kind: Text,
		Class: Identity, Retain: Now, Basis: Operation,
		Word:    Words{"Seriennummer", "Serial number"},
		Purpose: Words{"Gerät zuordnen", "Know the device"},
	},
	{
		// After a rest (agent/health) it is lower by 5 MiB for a minute, which is no news.
		ID: AgentMemory, Name: "agent_memory", Kind: Number, Unit: Bytes, Min: 1, Max: 64 * giB, DeadBand: 8 * miB,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Max,
		Word:    Words{"Speicherbedarf von Hausmeister", "Memory used by Hausmeister"},
		Purpose: Words{"Eigenen Verbrauch offenlegen und begrenzen", "Show and limit our own footprint"},
	},
	{
		ID: AgentCPU, Name: "agent_cpu", Kind: Number, Unit: PPM, Max: 4096_000_000, DeadBand: 5000,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Mean,
		Word:    Words{"Prozessorbedarf von Hausmeister", "Processor used by Hausmeister"},
		Purpose: Words{"Eigenen Verbrauch offenlegen und begrenzen", "Show and limit our own footprint"},
	},
	{
		ID: CPUCoreUsed, Name: "cpu_core_used", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 1000, Instanced: true,
		Class: Use, Retain: Fine, Basis: Operation,
		Word:    Words{"Prozessorkern ausgelastet", "Processor core use"},
		Purpose: Words{"Einzelne überlastete Kerne erkennen", "Recognise single overloaded cores"},
	},
	{
		ID: CPUSpeedLimit, Name: "cpu_speed_limit", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 100,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Min,
		Word:    Words{"Zulässiger Prozessortakt", "Processor speed limit"},
		Purpose: Words{"Gedrosselte Geräte erkennen", "Recognise throttled devices"},
	},
	{
		ID: CPUThrottled, Name: "cpu_throttled", Kind: Number, Unit: Count, Max: 1_000_000_000, DeadBand: 1_000_000_000,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Sum,
		Word:    Words{"Drosselungen des Prozessors", "Processor throttle events"},
		Purpose: Words{"Überhitzung und schwache Netzteile erkennen", "Recognise overheating and weak chargers"},
	},
	{
		ID: Pressure, Name: "pressure", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 200, Instanced: true,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Mean,
		Word:    Words{"Wartezeit auf Betriebsmittel", "Time stalled on resources"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: VolumeInodesFree, Name: "volume_inodes_free", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 20, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Min,
		Word:    Words{"Freie Dateieinträge", "Free file entries"},
		Purpose: Words{"Volle Laufwerke melden, bevor Aktualisierungen scheitern", "Tell of full volumes before updates fail"},
	},
	{
		ID: VolumeErrors, Name: "volume_errors", Kind: Number, Unit: Count, Max: 1_000_000_000_000, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Max,
		Word:    Words{"Fehler des Dateisystems", "File system errors"},
		Purpose: Words{"Datenverlust vorbeugen", "Prevent loss of data"},
	},
	{
		ID: VolumeMode, Name: "volume_mode", Kind: Code, Instanced: true, Codes: []CodeValue{{"read_write", Words{"beschreibbar", "read and write"}}, {"read_only", Words{"nur lesbar", "read only"}}},
		Class: Thing, Retain: Now, Basis: Operation,
		Word:    Words{"Zugriff auf das Laufwerk", "Volume access"},
		Purpose: Words{"Datenverlust vorbeugen", "Prevent loss of data"},
	},
	{
		ID: DiskHealth, Name: "disk_health", Kind: Code, Instanced: true, Codes: []CodeValue{{"ok", Words{"in Ordnung", "good"}}, {"warning", Words{"auffällig", "warning"}}, {"failing", Words{"fällt aus", "failing"}}},
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Zustand des Datenträgers", "Disk health"},
		Purpose: Words{"Datenträger vor dem Ausfall tauschen", "Replace disks before they fail"},
	},
	{
		ID: DiskWear, Name: "disk_wear", Kind: Number, Unit: Permille, Max: 2550, DeadBand: 10, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Max,
		Word:    Words{"Abnutzung des Datenträgers", "Disk wear"},
		Purpose: Words{"Datenträger vor dem Ausfall tauschen", "Replace disks before they fail"},
	},
	{
		ID: DiskSpare, Name: "disk_spare", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 10, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Min,
		Word:    Words{"Reserve des Datenträgers", "Disk spare blocks"},
		Purpose: Words{"Datenträger vor dem Ausfall tauschen", "Replace disks before they fail"},
	},
	{
		ID: DiskErrors, Name: "disk_errors", Kind: Number, Unit: Count, Max: 1_000_000_000_000, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Max,
		Word:    Words{"Fehler des Datenträgers", "Disk errors"},
		Purpose: Words{"Datenträger vor dem Ausfall tauschen", "Replace disks before they fail"},
	},
	{
		ID: DiskPowerOn, Name: "disk_power_on", Kind: Number, Unit: Seconds, Max: 3_153_600_000, DeadBand: 86_400, Instanced: true,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Max,
		Word:    Words{"Betriebszeit des Datenträgers", "Disk power-on time"},
		Purpose: Words{"Austausch planen", "Plan replacement"},
	},
	{
		ID: BatteryFull, Name: "battery_full", Kind: Number, Unit: MilliwattHours, Min: 1, Max: 10_000_000, DeadBand: 500,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Akku fasst heute", "Battery holds today"},
		Purpose: Words{"Akkutausch planen", "Plan battery replacement"},
	},
	{
		ID: BatteryDesign, Name: "battery_design", Kind: Number, Unit: MilliwattHours, Min: 1, Max: 10_000_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Akku fasste neu", "Battery held when new"},
		Purpose: Words{"Akkutausch planen", "Plan battery replacement"},
	},
	{
		ID: Charger, Name: "charger", Kind: Code, Codes: []CodeValue{{"connected", Words{"angeschlossen", "connected"}}, {"disconnected", Words{"nicht angeschlossen", "not connected"}}, {"too_weak", Words{"zu schwach", "too weak"}}},
		Class: Use, Retain: Now, Basis: Operation,
		Word:    Words{"Netzteil", "Charger"},
		Purpose: Words{"Defekte Akkus und Netzteile erkennen", "Recognise broken batteries and chargers"},
	},
	{
		ID: FanSpeed, Name: "fan_speed", Kind: Number, Unit: PerMinute, Max: 100_000, DeadBand: 1000, Instanced: true,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Max,
		Word:    Words{"Lüfterdrehzahl", "Fan speed"},
		Purpose: Words{"Überhitzung erkennen", "Recognise overheating"},
	},
	{
		ID: LinkErrors, Name: "link_errors", Kind: Number, Unit: Count, Max: 1_000_000_000_000, DeadBand: 1_000_000_000_000, Instanced: true,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Sum,
		Word:    Words{"Übertragungsfehler", "Link errors"},
		Purpose: Words{"Netzwerkstörungen eingrenzen", "Narrow down network faults"},
	},
	{
		ID: LinkSignal, Name: "link_signal", Kind: Number, Unit: DecibelMilliwatts, Min: -130, Max: 30, DeadBand: 15, Instanced: true,
		Class: Use, Retain: Fine, Basis: Operation, Daily: Min,
		Word:    Words{"Signalstärke", "Signal strength"},
		Purpose: Words{"Netzwerkstörungen eingrenzen", "Narrow down network faults"},
	},
	{
		ID: Metered, Name: "metered", Kind: Code, Codes: []CodeValue{{"yes", Words{"ja", "yes"}}, {"no", Words{"nein", "no"}}},
		Class: Use, Retain: Now, Basis: Operation,
		Word:    Words{"Getaktete Verbindung", "Metered connection"},
		Purpose: Words{"Aktualisierungen nicht auf Kosten der Lehrkraft laden", "Do not load updates at the teacher's expense"},
	},
	{
		ID: BootDuration, Name: "boot_duration", Kind: Number, Unit: Milliseconds, Min: 1, Max: 86_400_000, DeadBand: 1000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Max,
		Word:    Words{"Startdauer", "Boot duration"},
		Purpose: Words{"Langsame Geräte erkennen", "Recognise slow devices"},
	},
	{
		ID: OSPatch, Name: "os_patch", Kind: Text,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Stand der Sicherheitsaktualisierungen", "Patch level"},
		Purpose: Words{"Fehlende Aktualisierungen erkennen", "Recognise missing updates"},
	},
	{
		ID: OSSupportEnd, Name: "os_support_end", Kind: Number, Unit: UnixMilli, Min: year1980, Max: year2100,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Ende der Unterstützung", "End of support"},
		Purpose: Words{"Ende der Unterstützung erkennen", "Recognise the end of support"},
	},
	{
		ID: UpdatesPending, Name: "updates_pending", Kind: Number, Unit: Count, Max: 1_000_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Ausstehende Aktualisierungen", "Pending updates"},
		Purpose: Words{"Fehlende Aktualisierungen erkennen", "Recognise missing updates"},
	},
	{
		ID: UpdatesSecurity, Name: "updates_security", Kind: Number, Unit: Count, Max: 1_000_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Davon sicherheitsrelevant", "Of these, security updates"},
		Purpose: Words{"Fehlende Aktualisierungen erkennen", "Recognise missing updates"},
	},
	{
		ID: UpdatesLast, Name: "updates_last", Kind: Number, Unit: UnixMilli, Min: year1980, Max: year2100, DeadBand: 3_600_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Letzte Aktualisierung", "Last update"},
		Purpose: Words{"Stehengebliebene Aktualisierungen erkennen", "Recognise stuck updates"},
	},
	{
		ID: RestartPending, Name: "restart_pending", Kind: Code, Codes: []CodeValue{{"yes", Words{"ja", "yes"}}, {"no", Words{"nein", "no"}}},
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Neustart steht aus", "Restart pending"},
		Purpose: Words{"Ausstehende Neustarts erkennen", "Recognise pending restarts"},
	},
	{
		ID: DiskEncryption, Name: "disk_encryption", Kind: Code, Codes: onOff,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Festplattenverschlüsselung", "Disk encryption"},
		Purpose: Words{"Daten bei Verlust schützen", "Protect data when a device is lost"},
	},
	{
		ID: Firewall, Name: "firewall", Kind: Code, Codes: onOff,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Firewall", "Firewall"},
		Purpose: Words{"Ungeschützte Geräte erkennen", "Recognise unprotected devices"},
	},
	{
		ID: Antivirus, Name: "antivirus", Kind: Code, Codes: onOff,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Virenschutz", "Antivirus"},
		Purpose: Words{"Ungeschützte Geräte erkennen", "Recognise unprotected devices"},
	},
	{
		ID: AntivirusAge, Name: "antivirus_age", Kind: Number, Unit: Seconds, Max: 3_153_600_000, DeadBand: 86_400,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Max,
		Word:    Words{"Alter der Virenmuster", "Age of antivirus patterns"},
		Purpose: Words{"Ungeschützte Geräte erkennen", "Recognise unprotected devices"},
	},
	{
		ID: SecureBoot, Name: "secure_boot", Kind: Code, Codes: onOff,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Secure Boot", "Secure boot"},
		Purpose: Words{"Ungeschützte Geräte erkennen", "Recognise unprotected devices"},
	},
	{
		ID: TPM, Name: "tpm", Kind: Text,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Sicherheitschip (TPM)", "Security chip (TPM)"},
		Purpose: Words{"Austausch und Systemwechsel planen", "Plan replacement and change of system"},
	},
	{
		ID: ClockOffset, Name: "clock_offset", Kind: Number, Unit: Milliseconds, Min: -year2100, Max: year2100, DeadBand: 5000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Uhr geht nach um", "Clock is slow by"},
		Purpose: Words{"Falsche Uhren erkennen, an denen Anmeldungen scheitern", "Recognise wrong clocks, which make sign-ins fail"},
	},
	{
		ID: SystemCrashes, Name: "system_crashes", Kind: Number, Unit: Count, Max: 100_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Systemabstürze (30 Tage)", "System crashes (30 days)"},
		Purpose: Words{"Defekte Geräte erkennen", "Recognise broken devices"},
	},
	{
		ID: ProgramCrashes, Name: "program_crashes", Kind: Number, Unit: Count, Max: 1_000_000, DeadBand: 5,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Programmabstürze (30 Tage)", "Program crashes (30 days)"},
		Purpose: Words{"Störungen der Standardsoftware erkennen", "Recognise faults of the standard software"},
	},
	{
		ID: HardPowerOffs, Name: "hard_power_offs", Kind: Number, Unit: Count, Max: 100_000,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Harte Abschaltungen (30 Tage)", "Hard power-offs (30 days)"},
		Purpose: Words{"Defekte Akkus und Netzteile erkennen", "Recognise broken batteries and chargers"},
	},
	{
		ID: SoftwareCount, Name: "software_count", Kind: Number, Unit: Count, Max: 1_000_000, DeadBand: 10,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Installierte Programme", "Installed programs"},
		Purpose: Words{"Standardsoftware prüfen", "Check the standard software"},
	},
	{
		ID: PrinterState, Name: "printer_state", Kind: Code, Instanced: true, Codes: []CodeValue{{"ready", Words{"bereit", "ready"}}, {"printing", Words{"druckt", "printing"}}, {"stopped", Words{"angehalten", "stopped"}}, {"offline", Words{"nicht erreichbar", "offline"}}, {"trouble", Words{"gestört", "in trouble"}}},
		Class: Thing, Retain: Now, Basis: Operation,
		Word:    Words{"Drucker", "Printer"},
		Purpose: Words{"Druckstörungen eingrenzen", "Narrow down printing faults"},
	},
	{
		ID: CollectorPath, Name: "collector_path", Kind: Code, Codes: []CodeValue{{"quic", Words{"QUIC (UDP)", "QUIC (UDP)"}}, {"tcp", Words{"nur TCP", "TCP only"}}, {"tcp_proxy", Words{"TCP über Proxy", "TCP through a proxy"}}},
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Weg zum Collector", "Path to the collector"},
		Purpose: Words{"Netzwerkstörungen der Schulen erkennen", "Recognise network faults of schools"},
	},
	{
		ID: NetworkTrouble, Name: "network_trouble", Kind: Code, Codes: []CodeValue{{"none", Words{"keines", "none"}}, {"udp_blocked", Words{"UDP gesperrt", "UDP blocked"}}, {"proxy_needs_login", Words{"Proxy verlangt Anmeldung", "proxy needs a sign-in"}}, {"inspected", Words{"TLS-Prüfung erkannt", "TLS inspection recognised"}}, {"captive_portal", Words{"Anmeldeseite des Netzes", "captive portal"}}},
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Hindernis im Netz", "Network obstacle"},
		Purpose: Words{"Netzwerkstörungen der Schulen erkennen", "Recognise network faults of schools"},
	},
	{
		ID: InspectionIssuer, Name: "inspection_issuer", Kind: Text,
		Class: Thing, Retain: Days, Basis: Operation, Daily: Last,
		Word:    Words{"Aussteller der TLS-Prüfung", "Issuer of the TLS inspection"},
		Purpose: Words{"Netzwerkstörungen der Schulen erkennen", "Recognise network faults of schools"},
	},
	{
		ID: SpoolWaiting, Name: "spool_waiting", Kind: Number, Unit: Count, Max: 1_000_000_000, DeadBand: 1000,
		Class: Thing, Retain: Fine, Basis: Operation, Daily: Max,
		Word:    Words{"Wartende Meldungen", "Waiting reports"},
		Purpose: Words{"Eigene Störungen erkennen", "Recognise our own faults"},
	},
}
