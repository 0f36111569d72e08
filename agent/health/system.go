package health

import (
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/proto/reading"
)

func (l *list) boot(s sysinfo.Snapshot) {
	l.time(reading.BootTime, s.BootTime)
	l.number(reading.BootDuration, "", convert(s.BootDuration, time.Duration.Milliseconds))
}

func (l *list) identity(id sysinfo.Identity) {
	text(l, reading.OSName, "", id.OSName)
	text(l, reading.OSBuild, "", id.OSBuild)
	text(l, reading.OSPatch, "", id.OSPatch)
	l.time(reading.OSSupportEnd, id.SupportEnd)
	text(l, reading.Architecture, "", id.Architecture)
	text(l, reading.Manufacturer, "", id.Manufacturer)
	text(l, reading.Model, "", id.Model)
	text(l, reading.Serial, "", id.Serial)
}

func (l *list) updates(s sysinfo.Snapshot) {
	l.number(reading.UpdatesPending, "", s.Updates.Pending)
	l.number(reading.UpdatesSecurity, "", s.Updates.Security)
	l.time(reading.UpdatesLast, s.Updates.Last)
	yesNo(l, reading.RestartPending, s.Restart)
}

func (l *list) protection(p sysinfo.Protection) {
	text(l, reading.DiskEncryption, "", p.Encryption)
	text(l, reading.Firewall, "", p.Firewall)
	text(l, reading.Antivirus, "", p.Antivirus)
	l.number(reading.AntivirusAge, "", wholeDays(p.AntivirusAge))
	text(l, reading.SecureBoot, "", p.SecureBoot)
	text(l, reading.TPM, "", p.TPM)
}

func (l *list) crashes(c sysinfo.Crashes) {
	l.number(reading.SystemCrashes, "", c.System)
	l.number(reading.ProgramCrashes, "", c.Programs)
	l.number(reading.HardPowerOffs, "", c.PowerOffs)
}

func (l *list) self(s sysinfo.Self) {
	l.number(reading.AgentMemory, "", s.Memory)
	l.number(reading.AgentCPU, "", s.CPU)
}
