package finding

import (
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

const (
	notice   = hmpb.Severity_SEVERITY_NOTICE
	warning  = hmpb.Severity_SEVERITY_WARNING
	critical = hmpb.Severity_SEVERITY_CRITICAL
)

// The codes, for code that raises findings.
const (
	DiskLow         = "disk_low"
	InodesLow       = "inodes_low"
	DiskFullSoon    = "disk_full_soon"
	BatteryWorn     = "battery_worn"
	DiskWear        = "disk_wear"
	DiskFailing     = "disk_failing"
	VolumeErrors    = "volume_errors"
	VolumeReadOnly  = "volume_read_only"
	MemoryPressure  = "memory_pressure"
	Hot             = "hot"
	Throttled       = "throttled"
	RestartPending  = "restart_pending"
	SlowBoot        = "slow_boot"
	OSUnsupported   = "os_unsupported"
	OSSupportEnds   = "os_support_ends"
	UpdatesStuck    = "updates_stuck"
	EncryptionOff   = "encryption_off"
	FirewallOff     = "firewall_off"
	AntivirusOff    = "antivirus_off"
	AntivirusStale  = "antivirus_stale"
	ClockOff        = "clock_off"
	SystemCrashes   = "system_crashes"
	ProgramCrashes  = "program_crashes"
	HardPowerOffs   = "hard_power_offs"
	SoftwareMissing = "software_missing"
	SoftwareOld     = "software_old"
	AgentUnwell     = "agent_unwell"
)

// The Known instances of AgentUnwell.
const (
	UnwellStore    = "store"    // the queue does not take new reports
	UnwellSpool    = "spool"    // the queue is full and gives up reports
	UnwellMemory   = "memory"   // above budget
	UnwellCPU      = "cpu"      // above budget
	UnwellReadings = "readings" // groups of readings that hang
)

// words and code keep the table readable.
func words(de, en string) reading.Words { return reading.Words{DE: de, EN: en} }

func code(c, de, en string) reading.CodeValue {
	return reading.CodeValue{Code: c, Word: words(de, en)}
}

func count(name string) Argument {
	return Argument{Name: name, Kind: reading.Number, Unit: reading.Count, Max: 1_000_000_000_000}
}

// times is a count of what happened, said as how often.
func times(name string) Argument {
	a := count(name)
	a.Said = Times
	return a
}

func bytes(name string) Argument {
	return Argument{Name: name, Kind: reading.Number, Unit: reading.Bytes, Max: 1 << 60}
}

func permille(name string) Argument {
	return Argument{Name: name, Kind: reading.Number, Unit: reading.Permille, Max: 2550}
}

func days(name string) Argument {
	return Argument{Name: name, Kind: reading.Number, Unit: Days, Max: 36_525} // a century
}

func day(name string) Argument {
	return Argument{Name: name, Kind: reading.Number, Unit: reading.UnixMilli, Max: 4102444800_000} // to 2100
}

func text(name string) Argument { return Argument{Name: name, Kind: reading.Text} }

var protection = Argument{Name: "state", Kind: reading.Code, Codes: []reading.CodeValue{
	code("partly", "nur teilweise eingeschaltet", "only partly switched on"),
	code("off", "ausgeschaltet", "switched off"),
}}

var table = [...]Finding{
	{
		Code: DiskLow, Several: Named, Least: warning, Most: critical,
		Arguments: []Argument{bytes("free"), bytes("total")},
		Title:     words("Speicher fast voll", "Storage almost full"),
		Cause:     words("Auf dem Laufwerk {instance} sind nur noch {free} von {total} frei.", "Only {free} of {total} are free on volume {instance}."),
		Teacher:   words("Löschen Sie große Dateien, die Sie nicht mehr brauchen. Leeren Sie danach den Papierkorb.", "Delete large files that you no longer need. Then empty the bin."),
		Support:   words("Temporäre Dateien und alte Systemstände entfernen. Reicht das nicht, einen größeren Datenträger planen.", "Remove temporary files and old system states. If that is not enough, plan a larger disk."),
	},
	{
		Code: InodesLow, Several: Named, Least: warning, Most: warning,
		Arguments: []Argument{permille("free")},
		Title:     words("Zu viele kleine Dateien", "Too many small files"),
		Cause:     words("Auf dem Laufwerk {instance} sind nur noch {free} der Dateieinträge frei. Sind alle belegt, lässt sich nichts mehr speichern.", "Only {free} of the file entries of volume {instance} are free. When all are taken, nothing can be saved."),
		Teacher:   words("Sie müssen nichts tun. Der Support räumt auf.", "Nothing to do for you. Support will clean up."),
		Support:   words("Den Ordner mit den meisten Dateien suchen, oft ein Zwischenspeicher. Dort alte Dateien löschen.", "Find the folder with the most files, often a cache. Delete old files there."),
	},
	{
		Code: DiskFullSoon, Several: Named, Least: warning, Most: critical,
		Arguments: []Argument{days("days"), days("error_days")},
		Title:     words("Speicher bald voll", "Storage full soon"),
		Cause:     words("Der freie Platz auf dem Laufwerk {instance} nimmt seit Tagen ab. Er reicht hochgerechnet noch für {days} (± {error_days}).", "Free space on volume {instance} has been shrinking for days. At this rate it will last for {days} (± {error_days})."),
		Teacher:   words("Prüfen Sie, ob Sie große Dateien auslagern oder löschen können.", "See whether you can move or delete large files."),
		Support:   words("Feststellen, welcher Ordner wächst. Häufig sind es Protokolle, Abbilder oder ein Cloud-Ordner.", "Find out which folder grows. Often it is logs, images or a cloud folder."),
	},
	{
		Code: BatteryWorn, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{permille("health")},
		Title:     words("Akku verbraucht", "Battery worn"),
		Cause:     words("Der Akku fasst nur noch {health} seiner ursprünglichen Ladung.", "The battery holds only {health} of its original charge."),
		Teacher:   words("Nehmen Sie das Netzteil mit, bis der Akku getauscht ist.", "Carry the charger with you until the battery is replaced."),
		Support:   words("Akkutausch einplanen oder Reservegerät anbieten. Gewährleistung prüfen.", "Plan a new battery or offer a spare device. Check the warranty."),
	},
	{
		Code: DiskWear, Several: Named, Least: notice, Most: warning,
		Arguments: []Argument{permille("wear")},
		Title:     words("Datenträger abgenutzt", "Disk worn"),
		Cause:     words("Der Datenträger {instance} hat {wear} der Lebensdauer verbraucht, die der Hersteller zusagt.", "Disk {instance} has used up {wear} of the life that its maker promises."),
		Teacher:   words("Speichern Sie Wichtiges auch an einem zweiten Ort.", "Keep a second copy of what matters."),
		Support:   words("Austausch des Datenträgers einplanen. Prüfen, was so viel schreibt.", "Plan to replace the disk. Find out what writes so much."),
	},
	{
		Code: DiskFailing, Several: Named, Least: warning, Most: critical,
		Arguments: []Argument{{Name: "health", Kind: reading.Code, Codes: []reading.CodeValue{
			code("warning", "auffällige Werte", "suspicious values"),
			code("failing", "seinen baldigen Ausfall", "that it will fail soon"),
		}}},
		Title:   words("Datenträger fällt aus", "Disk failing"),
		Cause:   words("Der Datenträger {instance} meldet {health}.", "Disk {instance} reports {health}."),
		Teacher: words("Sichern Sie Ihre Dateien heute an einem anderen Ort. Wenden Sie sich dann an den Support.", "Copy your files to another place today. Then turn to support."),
		Support: words("Daten sichern und Datenträger tauschen oder Gerät austauschen. Bis dahin keine großen Aktualisierungen.", "Save the data and replace the disk or swap the device. No large updates until then."),
	},
	{
		Code: VolumeErrors, Several: Named, Least: warning, Most: warning,
		Arguments: []Argument{times("errors")},
		Title:     words("Fehler im Dateisystem", "File system errors"),
		Cause:     words("Das Laufwerk {instance} hat {errors} einen Fehler vermerkt.", "Volume {instance} has noted an error {errors}."),
		Teacher:   words("Speichern Sie Wichtiges auch an einem zweiten Ort.", "Keep a second copy of what matters."),
		Support:   words("Dateisystem prüfen und reparieren. Danach den Zustand des Datenträgers ansehen.", "Check and repair the file system. Then look at the health of the disk."),
	},
	{
		Code: VolumeReadOnly, Several: Named, Least: critical, Most: critical,
		Title:   words("Laufwerk nur noch lesbar", "Volume became read only"),
		Cause:   words("Das Laufwerk {instance} nimmt nichts mehr an. Meist ist das die Folge eines Fehlers.", "Volume {instance} accepts no more data. Most often that follows an error."),
		Teacher: words("Starten Sie das Gerät neu. Hilft das nicht, wenden Sie sich an den Support.", "Restart the device. If that does not help, turn to support."),
		Support: words("Systemprotokoll lesen, Daten sichern, Dateisystem prüfen.", "Read the system log, save the data, check the file system."),
	},
	{
		Code: MemoryPressure, Several: One, Least: notice, Most: notice,
		Arguments: []Argument{bytes("used"), bytes("total")},
		Title:     words("Arbeitsspeicher knapp", "Memory short"),
		Cause:     words("Vom Arbeitsspeicher sind seit einer halben Stunde fast durchgehend {used} von {total} belegt.", "For half an hour {used} of {total} of the memory have been in use nearly all the time."),
		Teacher:   words("Schließen Sie Programme und Browser-Tabs, die Sie gerade nicht brauchen.", "Close programs and browser tabs that you do not need now."),
		Support:   words("Autostart prüfen. Tritt es oft auf, mehr Arbeitsspeicher oder ein anderes Gerät planen.", "Check what starts with the system. If it happens often, plan more memory or another device."),
	},
	{
		Code: Hot, Several: Known, Least: warning, Most: critical,
		Instances: []reading.CodeValue{
			code("cpu", "Prozessor", "processor"), code("gpu", "Grafik", "graphics"), code("disk", "Datenträger", "disk"),
			code("battery", "Akku", "battery"), code("wifi", "WLAN-Modul", "Wi-Fi module"), code("case", "Gehäuse", "case"),
		},
		Arguments: []Argument{{Name: "temperature", Kind: reading.Number, Unit: reading.MilliCelsius, Min: -40_000, Max: 150_000}},
		Title:     words("Gerät zu heiß", "Device too hot"),
		Cause:     words("Der Fühler „{instance}“ misst {temperature}. Das ist zu heiß.", "The sensor \"{instance}\" measures {temperature}. That is too hot."),
		Teacher:   words("Stellen Sie das Gerät auf eine feste, freie Fläche. Halten Sie die Lüftungsschlitze frei.", "Put the device on a firm, clear surface. Keep the air vents free."),
		Support:   words("Lüfter und Lüftungsschlitze prüfen und reinigen. Bei heißem Akku das Gerät aus dem Verkehr ziehen.", "Check and clean fan and vents. With a hot battery, take the device out of use."),
	},
	{
		Code: Throttled, Several: One, Least: notice, Most: notice,
		Title:   words("Prozessor gedrosselt", "Processor throttled"),
		Cause:   words("Der Prozessor läuft am Netzteil seit längerer Zeit gebremst. Meist ist er zu heiß oder das Netzteil zu schwach.", "The processor has been slowed down for some time while on mains. Most often it is too hot or the charger too weak."),
		Teacher: words("Verwenden Sie das mitgelieferte Netzteil. Halten Sie die Lüftungsschlitze frei.", "Use the charger that came with the device. Keep the air vents free."),
		Support: words("Temperatur, Lüfter und Netzteil prüfen. Auch die Energieeinstellungen ansehen.", "Check temperature, fan and charger. Look at the power settings as well."),
	},
	{
		Code: RestartPending, Several: One, Least: notice, Most: notice,
		Title:   words("Neustart steht aus", "Restart pending"),
		Cause:   words("Eine Aktualisierung wartet seit Tagen auf einen Neustart. Bis dahin wirkt sie nicht.", "An update has been waiting for a restart for days. Until then it has no effect."),
		Teacher: words("Starten Sie das Gerät nach dem Unterricht neu. Zuklappen genügt nicht.", "Restart the device after school. Closing the lid is not enough."),
		Support: words("Um einen Neustart bitten. Besteht der Hinweis danach weiter, die Aktualisierung prüfen.", "Ask for a restart. If the finding stays, check the update."),
	},
	{
		Code: SlowBoot, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{{Name: "duration", Kind: reading.Number, Unit: reading.Milliseconds, Min: 1, Max: 86_400_000}},
		Title:     words("Startet langsam", "Slow to start"),
		Cause:     words("Das Gerät braucht zum Starten meist {duration}.", "The device mostly takes {duration} to start."),
		Teacher:   words("Schalten Sie das Gerät vor der ersten Stunde ein. Der Support sieht sich die Ursache an.", "Switch the device on before the first lesson. Support will look into it."),
		Support:   words("Autostart und Dienste prüfen. Auch Zustand und Belegung des Datenträgers ansehen.", "Check services and what starts with the system. Look at health and space of the disk as well."),
	},
	{
		Code: OSUnsupported, Several: One, Least: warning, Most: critical,
		Arguments: []Argument{day("end")},
		Title:     words("Betriebssystem ohne Unterstützung", "Operating system unsupported"),
		Cause:     words("Sicherheitsaktualisierungen für dieses Betriebssystem gibt es nicht mehr. Der letzte Tag war {end}.", "There are no security updates for this operating system any more. The last day was {end}."),
		Teacher:   words("Sie müssen nichts tun. Der Support plant den Wechsel mit Ihnen.", "Nothing to do for you. Support plans the change with you."),
		Support:   words("Auf eine unterstützte Version wechseln. Lässt die Hardware das nicht zu, das Gerät austauschen.", "Change to a supported version. If the hardware does not allow it, replace the device."),
	},
	{
		Code: OSSupportEnds, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{day("end")},
		Title:     words("Unterstützung endet bald", "Support ends soon"),
		Cause:     words("Der Hersteller liefert nur noch bis {end} Sicherheitsaktualisierungen für dieses Betriebssystem.", "The maker publishes security updates for this operating system only until {end}."),
		Teacher:   words("Sie müssen nichts tun. Der Support plant den Wechsel mit Ihnen.", "Nothing to do for you. Support plans the change with you."),
		Support:   words("Prüfen, ob das Gerät die nächste Version trägt. Wechsel oder Austausch rechtzeitig einplanen.", "Check whether the device can run the next version. Plan change or replacement in time."),
	},
	{
		Code: UpdatesStuck, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{days("days")},
		Title:     words("Aktualisierungen stehen still", "Updates stuck"),
		Cause:     words("Es stehen Aktualisierungen aus. Die letzte liegt {days} zurück.", "Updates are pending. The last one was {days} ago."),
		Teacher:   words("Lassen Sie das Gerät nach dem Unterricht am Netzteil und im WLAN eingeschaltet.", "Leave the device switched on after school, on mains and Wi-Fi."),
		Support:   words("Dienst, Quelle und freien Platz der Aktualisierung prüfen. Dann eine Aktualisierung von Hand anstoßen.", "Check service, source and free space of the update. Then start an update by hand."),
	},
	{
		Code: EncryptionOff, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{protection},
		Title:     words("Verschlüsselung fehlt", "Encryption missing"),
		Cause:     words("Die Verschlüsselung des Datenträgers ist {state}. Bei Verlust wären die Daten lesbar.", "The encryption of the disk is {state}. If the device is lost, its data can be read."),
		Teacher:   words("Sie müssen nichts tun. Speichern Sie bis dahin keine Schülerdaten auf dem Gerät.", "Nothing to do for you. Until then, keep no pupils' data on the device."),
		Support:   words("Verschlüsselung einschalten und den Wiederherstellungsschlüssel hinterlegen.", "Switch encryption on and deposit the recovery key."),
	},
	{
		Code: FirewallOff, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{protection},
		Title:     words("Firewall aus", "Firewall off"),
		Cause:     words("Die Firewall ist {state}.", "The firewall is {state}."),
		Teacher:   words("Nutzen Sie bis dahin keine fremden WLANs.", "Until then, do not use other people's Wi-Fi."),
		Support:   words("Firewall einschalten. Klären, welches Programm oder welche Regel sie abgeschaltet hat.", "Switch the firewall on. Find out which program or policy switched it off."),
	},
	{
		Code: AntivirusOff, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{protection},
		Title:     words("Virenschutz aus", "Antivirus off"),
		Cause:     words("Der Virenschutz ist {state}.", "Antivirus is {state}."),
		Teacher:   words("Öffnen Sie bis dahin keine fremden Anhänge und USB-Sticks.", "Until then, open no attachments or USB sticks from strangers."),
		Support:   words("Virenschutz einschalten. Prüfen, ob zwei Programme sich gegenseitig abschalten.", "Switch antivirus on. Check whether two programs switch each other off."),
	},
	{
		Code: AntivirusStale, Several: One, Least: warning, Most: warning,
		Arguments: []Argument{days("days")},
		Title:     words("Virenschutz veraltet", "Antivirus out of date"),
		Cause:     words("Die Virenmuster sind {days} alt.", "The antivirus patterns are {days} old."),
		Teacher:   words("Lassen Sie das Gerät eine Stunde am Netzteil und im WLAN eingeschaltet.", "Leave the device switched on for an hour, on mains and Wi-Fi."),
		Support:   words("Quelle und Dienst der Virenmuster prüfen. Dann die Aktualisierung von Hand anstoßen.", "Check source and service of the patterns. Then start their update by hand."),
	},
	{
		Code: ClockOff, Several: One, Least: warning, Most: critical,
		Arguments: []Argument{{Name: "offset", Kind: reading.Number, Unit: reading.Milliseconds, Min: -4102444800_000, Max: 4102444800_000}},
		Title:     words("Uhr geht falsch", "Clock wrong"),
		Cause:     words("Die Uhr des Geräts geht {offset}. Anmeldungen und sichere Verbindungen scheitern daran.", "The clock of the device is {offset}. Sign-ins and secure connections fail because of that."),
		Teacher:   words("Stellen Sie Datum und Uhrzeit auf automatisch.", "Set date and time to automatic."),
		Support:   words("Zeitdienst und Zeitzone prüfen. Geht die Uhr nach jedem Ausschalten falsch, die Knopfzelle tauschen.", "Check time service and time zone. If the clock is wrong after each power-off, replace the coin cell."),
	},
	{
		Code: SystemCrashes, Several: One, Least: warning, Most: critical,
		Arguments: []Argument{times("count")},
		Title:     words("System stürzt ab", "System crashes"),
		Cause:     words("Das System ist in den letzten 30 Tagen {count} abgestürzt.", "The system crashed {count} within the last 30 days."),
		Teacher:   words("Speichern Sie oft. Merken Sie sich, was Sie vor dem Absturz getan haben.", "Save often. Note what you did before the crash."),
		Support:   words("Absturzberichte auswerten. Treiber, Arbeitsspeicher und Datenträger prüfen.", "Read the crash reports. Check drivers, memory and disk."),
	},
	{
		Code: ProgramCrashes, Several: One, Least: notice, Most: notice,
		Arguments: []Argument{times("count")},
		Title:     words("Programme stürzen ab", "Programs crash"),
		Cause:     words("Programme sind in den letzten 30 Tagen {count} abgestürzt.", "Programs crashed {count} within the last 30 days."),
		Teacher:   words("Starten Sie das Gerät neu. Nennen Sie dem Support das Programm, das abstürzt.", "Restart the device. Tell support which program crashes."),
		Support:   words("Betroffenes Programm aktualisieren oder neu installieren.", "Update or reinstall the program in question."),
	},
	{
		Code: HardPowerOffs, Several: One, Least: notice, Most: warning,
		Arguments: []Argument{times("count")},
		Title:     words("Nicht heruntergefahren", "Not shut down"),
		Cause:     words("Das Gerät ging in den letzten 30 Tagen {count} aus, ohne herunterzufahren.", "The device went off {count} within the last 30 days without shutting down."),
		Teacher:   words("Fahren Sie das Gerät über das Menü herunter. Laden Sie den Akku rechtzeitig.", "Shut the device down by its menu. Charge the battery in time."),
		Support:   words("Akku und Netzteil prüfen. Nachfragen, ob das Gerät hängen bleibt.", "Check battery and charger. Ask whether the device freezes."),
	},
	{
		Code: SoftwareMissing, Several: Named, Least: warning, Most: warning,
		Title:   words("Standardsoftware fehlt", "Standard software missing"),
		Cause:   words("Das Programm {instance} gehört auf dieses Gerät und ist nicht installiert.", "The program {instance} belongs on this device and is not installed."),
		Teacher: words("Sie müssen nichts tun. Der Support installiert das Programm.", "Nothing to do for you. Support installs the program."),
		Support: words("{instance} installieren. Fehlt es auf vielen Geräten, die Verteilung prüfen.", "Install {instance}. If many devices lack it, check how it is distributed."),
	},
	{
		Code: SoftwareOld, Several: Named, Least: notice, Most: notice,
		Arguments: []Argument{text("installed"), text("least")},
		Title:     words("Standardsoftware veraltet", "Standard software too old"),
		Cause:     words("{instance} ist in Version {installed} installiert. Verlangt ist mindestens {least}.", "{instance} is installed in version {installed}. At least {least} is required."),
		Teacher:   words("Sie müssen nichts tun. Der Support aktualisiert das Programm.", "Nothing to do for you. Support updates the program."),
		Support:   words("{instance} aktualisieren. Betrifft es viele Geräte, die Verteilung prüfen.", "Update {instance}. If it concerns many devices, check how it is distributed."),
	},
	{
		Code: AgentUnwell, Several: Known, Least: notice, Most: warning,
		Instances: []reading.CodeValue{
			code(UnwellStore, "Meldungen lassen sich nicht speichern", "reports cannot be stored"),
			code(UnwellSpool, "die Warteschlange ist voll", "the queue is full"),
			code(UnwellMemory, "es braucht zu viel Arbeitsspeicher", "it uses too much memory"),
			code(UnwellCPU, "es braucht zu viel Prozessorzeit", "it uses too much of the processor"),
			code(UnwellReadings, "Messungen bleiben hängen", "readings hang"),
		},
		Title:   words("Hausmeister gestört", "Hausmeister unwell"),
		Cause:   words("Das Programm Hausmeister auf diesem Gerät arbeitet nicht richtig, denn {instance}.", "The Hausmeister program on this device does not work as it should, because {instance}."),
		Teacher: words("Sie müssen nichts tun. Ihre Arbeit ist nicht betroffen.", "Nothing to do for you. Your work is not affected."),
		Support: words("Auf dem Gerät „hausmeister-agent doctor“ ausführen und das Protokoll lesen.", "Run \"hausmeister-agent doctor\" on the device and read its log."),
	},
}
