package web_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// said is what a device's page says of a finding with these values.
type said struct {
	code, instance string
	values         []any
	de, en         string
}

// sentences of every finding, with one and with many where that makes a difference.
var sentences = []said{
	{finding.DiskLow, "C:", []any{4_100_000_000, 256_000_000_000}, "Auf dem Laufwerk C: sind nur noch 4,1 GB von 256 GB frei.", "Only 4.1 GB of 256 GB are free on volume C:."},
	{finding.InodesLow, "/", []any{20}, "Auf dem Laufwerk / sind nur noch 2,0 % der Dateieinträge frei.", "Only 2.0% of the file entries of volume / are free."},
	{finding.DiskFullSoon, "C:", []any{16, 3}, "Er reicht hochgerechnet noch für 16 Tage (± 3 Tage).", "At this rate it will last for 16 days (± 3 days)."},
	{finding.DiskFullSoon, "D:", []any{1, 1}, "Er reicht hochgerechnet noch für 1 Tag (± 1 Tag).", "At this rate it will last for 1 day (± 1 day)."},
	{finding.BatteryWorn, "", []any{570}, "Der Akku fasst nur noch 57 % seiner ursprünglichen Ladung.", "The battery holds only 57% of its original charge."},
	{finding.DiskWear, "nvme0", []any{910}, "Der Datenträger nvme0 hat 91 % der Lebensdauer verbraucht, die der Hersteller zusagt.", "Disk nvme0 has used up 91% of the life that its maker promises."},
	{finding.DiskFailing, "nvme0", []any{"failing"}, "Der Datenträger nvme0 meldet seinen baldigen Ausfall.", "Disk nvme0 reports that it will fail soon."},
	{finding.VolumeErrors, "C:", []any{3}, "Das Laufwerk C: hat 3-mal einen Fehler vermerkt.", "Volume C: has noted an error 3 times."},
	{finding.VolumeErrors, "D:", []any{1}, "Das Laufwerk D: hat einmal einen Fehler vermerkt.", "Volume D: has noted an error once."},
	{finding.VolumeReadOnly, "/home", nil, "Das Laufwerk /home nimmt nichts mehr an.", "Volume /home accepts no more data."},
	{finding.MemoryPressure, "", []any{8_053_063_680, 8_589_934_592}, "Vom Arbeitsspeicher sind seit einer halben Stunde fast durchgehend 7,5 GB von 8,0 GB belegt.", "For half an hour 7.5 GB of 8.0 GB of the memory have been in use nearly all the time."},
	{finding.Hot, "cpu", []any{97_000}, "Der Fühler „Prozessor“ misst 97 °C. Das ist zu heiß.", `The sensor "processor" measures 97 °C. That is too hot.`},
	{finding.Throttled, "", nil, "Der Prozessor läuft am Netzteil seit längerer Zeit gebremst.", "The processor has been slowed down for some time while on mains."},
	{finding.RestartPending, "", nil, "Eine Aktualisierung wartet seit Tagen auf einen Neustart.", "An update has been waiting for a restart for days."},
	{finding.SlowBoot, "", []any{143_000}, "Das Gerät braucht zum Starten meist 2 min 23 s.", "The device mostly takes 2 min 23 s to start."},
	{finding.OSUnsupported, "", []any{int(time.Date(2025, 10, 14, 0, 0, 0, 0, time.UTC).UnixMilli())}, "Der letzte Tag war Di 14.10.2025.", "The last day was Tue 14 Oct 2025."},
	{finding.OSSupportEnds, "", []any{int(time.Date(2027, 1, 12, 0, 0, 0, 0, time.UTC).UnixMilli())}, "Der Hersteller liefert nur noch bis Di 12.01.2027 Sicherheitsaktualisierungen für dieses Betriebssystem.", "The maker publishes security updates for this operating system only until Tue 12 Jan 2027."},
	{finding.UpdatesStuck, "", []any{45}, "Es stehen Aktualisierungen aus. Die letzte liegt 45 Tage zurück.", "Updates are pending. The last one was 45 days ago."},
	{finding.EncryptionOff, "", []any{"off"}, "Die Verschlüsselung des Datenträgers ist ausgeschaltet.", "The encryption of the disk is switched off."},
	{finding.FirewallOff, "", []any{"partly"}, "Die Firewall ist nur teilweise eingeschaltet.", "The firewall is only partly switched on."},
	{finding.AntivirusOff, "", []any{"off"}, "Der Virenschutz ist ausgeschaltet.", "Antivirus is switched off."},
	{finding.AntivirusStale, "", []any{23}, "Die Virenmuster sind 23 Tage alt.", "The antivirus patterns are 23 days old."},
	{finding.ClockOff, "", []any{2_940_000}, "Die Uhr des Geräts geht 49 min nach.", "The clock of the device is 49 min slow."},
	{finding.SystemCrashes, "", []any{12}, "Das System ist in den letzten 30 Tagen 12-mal abgestürzt.", "The system crashed 12 times within the last 30 days."},
	{finding.ProgramCrashes, "", []any{1}, "Programme sind in den letzten 30 Tagen einmal abgestürzt.", "Programs crashed once within the last 30 days."},
	{finding.HardPowerOffs, "", []any{9}, "Das Gerät ging in den letzten 30 Tagen 9-mal aus, ohne herunterzufahren.", "The device went off 9 times within the last 30 days without shutting down."},
	{finding.SoftwareMissing, "LibreOffice", nil, "Das Programm LibreOffice gehört auf dieses Gerät und ist nicht installiert.", "The program LibreOffice belongs on this device and is not installed."},
	{finding.SoftwareOld, "Firefox", []any{"144.0", "145.0"}, "Firefox ist in Version 144.0 installiert. Verlangt ist mindestens 145.0.", "Firefox is installed in version 144.0. At least 145.0 is required."},
	{finding.AgentUnwell, finding.UnwellStore, nil, "arbeitet nicht richtig, denn Meldungen lassen sich nicht speichern.", "because reports cannot be stored."},
	{finding.AgentUnwell, finding.UnwellSpool, nil, "arbeitet nicht richtig, denn die Warteschlange ist voll.", "because the queue is full."},
	{finding.AgentUnwell, finding.UnwellMemory, nil, "arbeitet nicht richtig, denn es braucht zu viel Arbeitsspeicher.", "because it uses too much memory."},
	{finding.AgentUnwell, finding.UnwellCPU, nil, "arbeitet nicht richtig, denn es braucht zu viel Prozessorzeit.", "because it uses too much of the processor."},
	{finding.AgentUnwell, finding.UnwellReadings, nil, "arbeitet nicht richtig, denn Messungen bleiben hängen.", "because readings hang."},
}

// TestFindingsInSentences raises every finding at one device and reads its page in
// both languages.
func TestFindingsInSentences(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", "DEMO7K1", "windows", "AH-1")
	for _, s := range sentences {
		row, ok := finding.ByCode(s.code)
		if !ok {
			t.Fatalf("no finding %s", s.code)
		}
		var arguments []*hmpb.Argument
		for i, a := range row.Arguments {
			b := hmpb.Argument_builder{Name: &a.Name}
			if text, ok := s.values[i].(string); ok {
				b.Text = &text
			} else {
				b.Number = new(int64(s.values[i].(int)))
			}
			arguments = append(arguments, b.Build())
		}
		w.raise(id, s.code, s.instance, row.Most, arguments...)
	}
	for row := range finding.All() {
		if !slices.ContainsFunc(sentences, func(s said) bool { return s.code == row.Code }) {
			t.Errorf("nobody has read what %s says", row.Code)
		}
	}
	b := w.signedIn("support")
	for _, lang := range []string{"de", "en"} {
		page := strings.Join(strings.Fields(strings.ReplaceAll(text(b.get("/devices/"+id, "Cookie", "__Host-lang="+lang).body), "·", " ")), " ")
		for _, s := range sentences {
			want := map[string]string{"de": s.de, "en": s.en}[lang]
			if !strings.Contains(page, want) {
				row, _ := finding.ByCode(s.code)
				_, got, _ := strings.Cut(page, map[string]string{"de": row.Title.DE, "en": row.Title.EN}[lang])
				t.Errorf("%s in %s: want %q, got %.220q", s.code, lang, want, got)
			}
		}
	}
}
