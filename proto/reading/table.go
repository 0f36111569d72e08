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
)

var table = [...]Reading{
	{
		ID: CPUUsed, Name: "cpu_used", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 100,
		Word:    Words{"Prozessorauslastung", "Processor use"},
		Purpose: Words{"Langsame Geräte erkennen", "Recognise slow devices"},
	},
	{
		ID: CPUCores, Name: "cpu_cores", Kind: Number, Unit: Count, Min: 1, Max: 4096,
		Word:    Words{"Prozessorkerne", "Processor cores"},
		Purpose: Words{"Auslastung einordnen", "Judge processor use and load"},
	},
	{
		ID: Load1, Name: "load_1", Kind: Number, Unit: Milli, Max: 100_000_000, DeadBand: 1000,
		Word:    Words{"Last (1 Minute)", "Load (1 minute)"},
		Purpose: Words{"Langsame Geräte erkennen", "Recognise slow devices"},
	},
	{
		ID: MemoryTotal, Name: "memory_total", Kind: Number, Unit: Bytes, Min: 1 * miB, Max: piB, DeadBand: 16 * miB,
		Word:    Words{"Arbeitsspeicher", "Memory"},
		Purpose: Words{"Ausstattung und Austausch planen", "Plan equipment and replacement"},
	},
	{
		ID: MemoryUsed, Name: "memory_used", Kind: Number, Unit: Bytes, Max: piB, DeadBand: 128 * miB,
		Word:    Words{"Arbeitsspeicher belegt", "Memory used"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: SwapTotal, Name: "swap_total", Kind: Number, Unit: Bytes, Max: piB, DeadBand: 64 * miB,
		Word:    Words{"Auslagerungsspeicher", "Swap space"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: SwapUsed, Name: "swap_used", Kind: Number, Unit: Bytes, Max: piB, DeadBand: 128 * miB,
		Word:    Words{"Auslagerungsspeicher belegt", "Swap space used"},
		Purpose: Words{"Überlastete Geräte erkennen", "Recognise overloaded devices"},
	},
	{
		ID: VolumeTotal, Name: "volume_total", Kind: Number, Unit: Bytes, Min: 1, Max: 1024 * piB, DeadBand: 16 * miB, Instanced: true,
		Word:    Words{"Laufwerk", "Volume"},
		Purpose: Words{"Ausstattung und Austausch planen", "Plan equipment and replacement"},
	},
	{
		ID: VolumeFree, Name: "volume_free", Kind: Number, Unit: Bytes, Max: 1024 * piB, DeadBand: 256 * miB, Instanced: true,
		Word:    Words{"Laufwerk frei", "Volume free"},
		Purpose: Words{"Volle Laufwerke melden, bevor Aktualisierungen scheitern", "Tell of full volumes before updates fail"},
	},
	{
		ID: BatteryCharge, Name: "battery_charge", Kind: Number, Unit: Permille, Max: 1000, DeadBand: 30,
		Word:    Words{"Akkustand", "Battery charge"},
		Purpose: Words{"Defekte Akkus und Netzteile erkennen", "Recognise broken batteries and chargers"},
	},
	{
		ID: BatteryState, Name: "battery_state", Kind: Code,
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
		Word:    Words{"Akkuzustand", "Battery health"},
		Purpose: Words{"Akkutausch planen", "Plan battery replacement"},
	},
	{
		ID: BatteryCycles, Name: "battery_cycles", Kind: Number, Unit: Count, Min: 1, Max: 100_000,
		Word:    Words{"Akku-Ladezyklen", "Battery charge cycles"},
		Purpose: Words{"Akkutausch planen", "Plan battery replacement"},
	},
	{
		ID: PowerSource, Name: "power_source", Kind: Code,
		Codes: []CodeValue{
			{"mains", Words{"Netz", "mains"}},
			{"battery", Words{"Akku", "battery"}},
		},
		Word:    Words{"Stromquelle", "Power source"},
		Purpose: Words{"Seltener melden, um den Akku zu schonen", "Report less often to save the battery"},
	},
	{
		ID: Temperature, Name: "temperature", Kind: Number, Unit: MilliCelsius, Min: -40_000, Max: 150_000, DeadBand: 5000, Instanced: true,
		Word:    Words{"Temperatur", "Temperature"},
		Purpose: Words{"Überhitzung erkennen", "Recognise overheating"},
	},
	{
		ID: LinkState, Name: "link_state", Kind: Code, Instanced: true,
		Codes: []CodeValue{
			{"up", Words{"verbunden", "up"}},
			{"down", Words{"getrennt", "down"}},
		},
		Word:    Words{"Netzwerkverbindung", "Network link"},
		Purpose: Words{"Netzwerkstörungen eingrenzen", "Narrow down network faults"},
	},
	{
		ID: LinkSpeed, Name: "link_speed", Kind: Number, Unit: BitPerSecond, Min: 1, Max: 10_000_000_000_000, DeadBand: 100_000_000, Instanced: true,
		Word:    Words{"Verbindungsgeschwindigkeit", "Link speed"},
		Purpose: Words{"Netzwerkstörungen eingrenzen", "Narrow down network faults"},
	},
	{
		// The band is wide because some systems reckon it from the clock, which
		// is set now and then.
		ID: BootTime, Name: "boot_time", Kind: Number, Unit: UnixMilli, Min: year1980, Max: year2100, DeadBand: 300_000,
		Word:    Words{"Letzter Neustart", "Last restart"},
		Purpose: Words{"Ausstehende Neustarts und Abstürze erkennen", "Recognise overdue restarts and crashes"},
	},
	{
		ID: OSName, Name: "os_name", Kind: Text,
		Word:    Words{"Betriebssystem", "Operating system"},
		Purpose: Words{"Ende der Unterstützung erkennen", "Recognise the end of support"},
	},
	{
		ID: OSBuild, Name: "os_build", Kind: Text,
		Word:    Words{"Betriebssystem-Stand", "Operating system build"},
		Purpose: Words{"Fehlende Aktualisierungen erkennen", "Recognise missing updates"},
	},
	{
		ID: Architecture, Name: "architecture", Kind: Text,
		Word:    Words{"Prozessorart", "Architecture"},
		Purpose: Words{"Passende Aktualisierung wählen", "Choose the fitting update"},
	},
	{
		ID: Manufacturer, Name: "manufacturer", Kind: Text,
		Word:    Words{"Hersteller", "Manufacturer"},
		Purpose: Words{"Gerät zuordnen", "Know the device"},
	},
	{
		ID: Model, Name: "model", Kind: Text,
		Word:    Words{"Modell", "Model"},
		Purpose: Words{"Gerät zuordnen", "Know the device"},
	},
	{
		ID: Serial, Name: "serial", Kind: Text,
		Word:    Words{"Seriennummer", "Serial number"},
		Purpose: Words{"Gerät zuordnen", "Know the device"},
	},
	{
		ID: AgentMemory, Name: "agent_memory", Kind: Number, Unit: Bytes, Min: 1, Max: 64 * giB, DeadBand: 4 * miB,
		Word:    Words{"Speicherbedarf von Hausmeister", "Memory used by Hausmeister"},
		Purpose: Words{"Eigenen Verbrauch offenlegen und begrenzen", "Show and limit our own footprint"},
	},
	{
		ID: AgentCPU, Name: "agent_cpu", Kind: Number, Unit: PPM, Max: 4096_000_000, DeadBand: 5000,
		Word:    Words{"Prozessorbedarf von Hausmeister", "Processor used by Hausmeister"},
		Purpose: Words{"Eigenen Verbrauch offenlegen und begrenzen", "Show and limit our own footprint"},
	},
}
