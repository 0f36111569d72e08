package reading

// A Field is one thing that leaves a device, for the people who have a right to
// know (GDPR Art. 13, HPVG): the readings of the table, and what else the
// messages of proto/hmpb carry. What is in no Field is not sent; a test holds
// the messages' fields against Sources.
type Field struct {
	Name      string
	Unit      Unit
	Word      Words
	Purpose   Words
	Basis     Basis
	Class     Class
	Retain    Words
	Audience  Words
	Instanced bool // comes once per volume, sensor or link
	// Sources are the fields of proto/hmpb that carry it, as message.field.
	Sources []string
}

// Catalogue gives all fields: the readings in their order, then the others.
func Catalogue() []Field {
	out := make([]Field, 0, len(table)+len(others))
	for _, r := range table {
		out = append(out, Field{Name: r.Name, Unit: r.Unit, Word: r.Word, Purpose: r.Purpose, Basis: r.Basis, Class: r.Class,
			Retain: r.Kept(), Audience: r.Class.Audience(), Instanced: r.Instanced,
			Sources: []string{"Reading.id", "Reading.instance", "Reading.number", "Reading.text", "Reading.absent", "Block.packed"}})
	}
	return append(out, others...)
}

var (
	inBooks     = Words{"solange das Gerät im Bestand steht, auch gesperrt", "as long as the device is in the books, revoked or not"}
	withKey     = Words{"bleibt, damit ein gesperrter Schlüssel gesperrt bleibt", "stays, so that a revoked key stays revoked"}
	session     = Words{"bis zum Ende der Sitzung", "until the session ends"}
	cursors     = Words{"400 Tage nach der letzten Meldung", "400 days after the last report"}
	times       = Words{"3 Tage, der Minutenwerte 30 Tage, der Hinweise 12 Monate nach deren Ende", "3 days, of values by the minute 30 days, of findings 12 months after their end"}
	monthAfter  = Words{"die letzte, 30 Tage nach deren Ende", "the last one, 30 days after its end"}
	oneYear     = Words{"12 Monate nach dem Ende, offene bis 30 Tage nach der Sperrung", "12 months after its end, open ones until 30 days after revocation"}
	twoYears    = Words{"der letzte Stand bis 30 Tage nach der Sperrung, Änderungen 24 Monate", "the latest state until 30 days after revocation, changes for 24 months"}
	updateYears = Words{"der letzte Stand, Änderungen 24 Monate", "the latest state, changes for 24 months"}
	notKept     = Words{"wird nicht gespeichert", "not kept"}
	onlySupport = Words{"Support und Verwaltung mit Begründung", "support and administration with a reason"}
	nobody      = Words{"niemand, nur das Programm selbst", "nobody, only the program itself"}
)

// others are what a device tells that is no reading.
var others = []Field{
	{
		Name: "device_manufacturer", Word: Words{"Hersteller bei der Aufnahme", "Manufacturer at enrolment"},
		Purpose: Words{"Gerät wiedererkennen", "Recognise the device"}, Basis: Operation, Class: Identity,
		Retain: inBooks, Audience: Identity.Audience(), Sources: []string{"Hardware.manufacturer"},
	},
	{
		Name: "device_model", Word: Words{"Modell bei der Aufnahme", "Model at enrolment"},
		Purpose: Words{"Gerät wiedererkennen", "Recognise the device"}, Basis: Operation, Class: Identity,
		Retain: inBooks, Audience: Identity.Audience(), Sources: []string{"Hardware.model"},
	},
	{
		Name: "device_serial", Word: Words{"Seriennummer bei der Aufnahme", "Serial number at enrolment"},
		Purpose: Words{"Gerät wiedererkennen", "Recognise the device"}, Basis: Operation, Class: Identity,
		Retain: inBooks, Audience: Identity.Audience(), Sources: []string{"Hardware.serial"},
	},
	{
		Name: "install_id", Word: Words{"Zufällige Kennung der Installation", "Random id of the installation"},
		Purpose: Words{"Gerät ohne Seriennummer wiedererkennen", "Recognise a device without a serial number"}, Basis: Operation, Class: Identity,
		Retain: inBooks, Audience: nobody, Sources: []string{"Hardware.install_id"},
	},
	{
		Name: "device_os", Word: Words{"Art des Betriebssystems", "Kind of operating system"},
		Purpose: Words{"Passende Hilfe und Aktualisierung wählen", "Choose fitting help and updates"}, Basis: Operation, Class: Thing,
		Retain: inBooks, Audience: Thing.Audience(), Sources: []string{"Hardware.os"},
	},
	{
		Name: "device_key", Word: Words{"Öffentlicher Schlüssel des Geräts", "Public key of the device"},
		Purpose: Words{"Gerät sicher erkennen", "Know the device for certain"}, Basis: Operation, Class: Identity,
		Retain: withKey, Audience: nobody, Sources: []string{"EnrollRequest.csr", "EnrollRequest.claim_secret", "RenewRequest.csr"},
	},
	{
		Name: "agent_version", Word: Words{"Version von Hausmeister", "Version of Hausmeister"},
		Purpose: Words{"Aktualisierungen steuern", "Steer updates"}, Basis: Operation, Class: Thing,
		Retain: twoYears, Audience: Thing.Audience(), Sources: []string{"Hello.agent_version"},
	},
	{
		Name: "agent_build", Word: Words{"Prüfsumme von Hausmeister", "Checksum of Hausmeister"},
		Purpose: Words{"Aktualisierungen steuern", "Steer updates"}, Basis: Operation, Class: Thing,
		Retain: session, Audience: Thing.Audience(), Sources: []string{"Hello.agent_hash", "Hello.version_min", "Hello.version_max",
			"EnrollHeader.version_min", "EnrollHeader.version_max", "RenewHeader.version_min", "RenewHeader.version_max"},
	},
	{
		Name: "agent_abilities", Word: Words{"Fähigkeiten von Hausmeister, Versionen von Starter und Richtlinie", "Capabilities of Hausmeister, versions of launcher and policy"},
		Purpose: Words{"Aktualisierungen steuern", "Steer updates"}, Basis: Operation, Class: Thing,
		Retain: inBooks, Audience: Thing.Audience(), Sources: []string{"Hello.capabilities"},
	},
	{
		Name: "boot_id", Word: Words{"Zufällige Kennung des Neustarts", "Random id of the boot"},
		Purpose: Words{"Meldungen einem Start zuordnen", "Assign reports to a boot"}, Basis: Operation, Class: Thing,
		Retain: session, Audience: nobody, Sources: []string{"Hello.boot_id"},
	},
	{
		Name: "connection_epoch", Unit: Count, Word: Words{"Zähler der Verbindungen", "Counter of connections"},
		Purpose: Words{"Kopierte Geräte erkennen", "Recognise copied devices"}, Basis: Operation, Class: Thing,
		Retain: withKey, Audience: nobody, Sources: []string{"Hello.connection_epoch"},
	},
	{
		Name: "spool_position", Unit: Count, Word: Words{"Nummern der wartenden Meldungen", "Numbers of the waiting reports"},
		Purpose: Words{"Jede Meldung genau einmal speichern", "Store each report exactly once"}, Basis: Operation, Class: Thing,
		Retain: cursors, Audience: nobody, Sources: []string{"Hello.spool_epoch", "Hello.spool_first", "Hello.spool_last", "Hello.store_id",
			"Batch.spool_epoch", "Batch.first_seq", "Entry.offset", "Range.from", "Range.to"},
	},
	{
		Name: "device_time", Unit: UnixMilli, Word: Words{"Uhrzeit des Geräts", "Time of the device"},
		Purpose: Words{"Meldungen ordnen und falsche Uhren erkennen", "Order reports and recognise wrong clocks"}, Basis: Operation, Class: Use,
		Retain: times, Audience: Use.Audience(), Sources: []string{"Hello.time_ms", "Entry.device_ms", "Block.start_ms", "Block.step_s", "Block.steps"},
	},
	{
		Name: "last_look", Word: Words{"Neueste Einsicht, von der das Gerät weiß", "Newest look that the device knows of"},
		Purpose: Words{"Der Lehrkraft am Gerät zeigen, wer hineingesehen hat", "Show the teacher on the device who looked"}, Basis: Operation, Class: Thing,
		Retain: session, Audience: nobody, Sources: []string{"Hello.last_look"},
	},
	{
		Name: "goodbye", Word: Words{"Grund des Verbindungsendes", "Reason of the end of a connection"},
		Purpose: Words{"Ausgeschaltet von gestört unterscheiden", "Tell switched off from broken"}, Basis: Operation, Class: Thing,
		Retain: notKept, Audience: nobody, Sources: []string{"Goodbye.reason", "StillHere.padding", "Ping.id"},
	},
	{
		Name: "connection", Unit: UnixMilli, Word: Words{"Beginn und Ende der letzten Verbindung", "Begin and end of the last connection"},
		Purpose: Words{"Störungen der Verbindung eingrenzen", "Narrow down faults of the connection"}, Basis: Operation, Class: Use,
		Retain: monthAfter, Audience: Words{"Alle Rollen, ob verbunden und den Tag; die Uhrzeit nur Support und Verwaltung mit Begründung",
			"All roles whether connected, and the day; the time only support and administration with a reason"},
	},
	{
		Name: "finding", Word: Words{"Hinweis", "Finding"},
		Purpose: Words{"Probleme früh erkennen und erklären", "Recognise and explain problems early"}, Basis: Operation, Class: Thing,
		Retain: oneYear, Audience: Thing.Audience(), Instanced: true,
		Sources: []string{"Finding.code", "Finding.raised", "Finding.instance", "Finding.severity", "Argument.name", "Argument.number", "Argument.text"},
	},
	{
		Name: "software", Word: Words{"Installierte Programme mit Version", "Installed programs with version"},
		Purpose: Words{"Standardsoftware und Sicherheitslücken prüfen", "Check the standard software and security holes"}, Basis: Operation, Class: Thing,
		Retain: twoYears, Audience: Thing.Audience(), Instanced: true,
		Sources: []string{"Inventory.hash", "Inventory.packed", "Inventory.programs", "Program.name", "Program.version"},
	},
	{
		Name: "update", Word: Words{"Schritte einer Aktualisierung von Hausmeister", "Steps of an update of Hausmeister"},
		Purpose: Words{"Aktualisierungen steuern und Fehlschläge anhalten", "Steer updates and stop failing ones"}, Basis: Operation, Class: Thing,
		Retain: updateYears, Audience: Thing.Audience(),
		Sources: []string{"Update.lease", "Update.from_version", "Update.from_sha256", "Update.to_version", "Update.to_sha256", "Update.state", "Update.reason",
			"Update.starts", "Update.launcher_version", "Update.fetched", "Update.signature"},
	},
	{
		Name: "update_request", Word: Words{"Abruf einer Aktualisierung", "Request for an update"},
		Purpose: Words{"Aktualisierungen sicher übertragen", "Transfer updates safely"}, Basis: Operation, Class: Thing,
		Retain: notKept, Audience: nobody,
		Sources: []string{"MetadataFile.name", "MetadataFile.nonce", "MetadataFile.root_version", "FetchHeader.sha256", "FetchHeader.offset", "FetchHeader.lease"},
	},
	{
		Name: "update_turn", Word: Words{"Zufällige Nummer beim Abruf über HTTPS", "Random number of a request by HTTPS"},
		Purpose: Words{"Geräte hinter einer Adresse gerecht bedienen", "Serve devices behind one address fairly"}, Basis: Operation, Class: Thing,
		Retain: notKept, Audience: nobody, // the header Hausmeister-Turn of agent/update/fetch, new at each start
	},
	{
		Name: "live_sample", Word: Words{"Werte im Sekundentakt während einer Einsicht", "Values each second during a look"},
		Purpose: Words{"Störungen gemeinsam mit der Lehrkraft eingrenzen", "Narrow down faults together with the teacher"}, Basis: Operation, Class: Use,
		Retain: notKept, Audience: onlySupport, Sources: []string{"LiveUp.device_ms"},
	},
}
