package sysinfo

import (
	"strings"
	"unicode"
)

// clean makes a maker's text fit to be shown and compared: trimmed, inner blanks
// single, without what cannot be printed, at most 128 bytes.
func clean(s string) string {
	// Invalid bytes first: they would come through the map as U+FFFD.
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	const most = 128
	if len(s) > most {
		s = strings.TrimSpace(strings.ToValidUTF8(s[:most], ""))
	}
	return s
}

// fillers are texts that makers leave where a real one belongs, in lower case.
// Collected from the DMI quirks of fwupd, OCS Inventory and GLPI, and from
// machines seen.
var fillers = map[string]bool{
	"":                                true,
	"-":                               true,
	".":                               true,
	"..":                              true,
	"...":                             true,
	"*":                               true,
	"0":                               true,
	"1":                               true,
	"asset":                           true,
	"base board serial number":        true,
	"bsn12345678901234567":            true,
	"chassis serial number":           true,
	"default":                         true,
	"default string":                  true,
	"empty":                           true,
	"filled by o.e.m.":                true,
	"invalid":                         true,
	"n/a":                             true,
	"na":                              true,
	"no asset tag":                    true,
	"no enclosure":                    true,
	"none":                            true,
	"not applicable":                  true,
	"not available":                   true,
	"not defined":                     true,
	"not specified":                   true,
	"null":                            true,
	"o.e.m.":                          true,
	"oem":                             true,
	"oem_serial":                      true,
	"serial":                          true,
	"serial number":                   true,
	"sku":                             true,
	"sn":                              true,
	"standard":                        true,
	"sys-1234567890":                  true,
	"system manufacturer":             true,
	"system name":                     true,
	"system product name":             true,
	"system serial number":            true,
	"system version":                  true,
	"tbd":                             true,
	"to be filled":                    true,
	"to be filled by o.e.m":           true,
	"to be filled by o.e.m.":          true,
	"to be filled by oem":             true,
	"to be filled by o.e.m. (serial)": true,
	"type1productconfigid":            true,
	"undefined":                       true,
	"unknow":                          true,
	"unknown":                         true,
	"unspecified":                     true,
	"xxxxx":                           true,
	"123456789":                       true,
	"1234567890":                      true,
	"0123456789":                      true,
	"01234567890123456789":            true,
	"012345678901234567890123456789":  true,
	"0123456789abcdef":                true,
	"123456789abcdef":                 true,
}

// makersText cleans a maker's text; a filler is absent.
func makersText(s string) Opt[string] {
	s = clean(s)
	if fillers[strings.ToLower(s)] {
		return None[string](NoHardware)
	}
	return Some(s)
}

// virtualMakers mark virtual machines: a copy of one has the same serial, or a
// new one at each start.
var virtualMakers = []string{
	"qemu", "vmware", "innotek", "virtualbox", "parallels", "xen", "bochs", "bhyve", "kvm",
	"amazon ec2", "google compute", "openstack", "digitalocean", "hetzner", "red hat", "nutanix", "firecracker", "cloud hypervisor",
}

// virtual judges by maker and model. Microsoft makes Surface devices and
// virtual machines, and Google Chromebooks and virtual machines.
func virtual(maker, model string) bool {
	maker, model = strings.ToLower(maker), strings.ToLower(model)
	for _, v := range virtualMakers {
		if strings.Contains(maker, v) || strings.Contains(model, v) {
			return true
		}
	}
	return strings.Contains(model, "virtual machine") || strings.Contains(model, "virtual platform")
}

// usableSerial judges whether a serial number tells this machine from all
// others: not a filler, not of a virtual machine, not one character repeated,
// not shorter than any maker's.
func usableSerial(maker, model, serial string) Opt[string] {
	o := makersText(serial)
	s, ok := o.Get()
	switch {
	case !ok:
		return o
	case virtual(maker, model), len(s) < 4, strings.Trim(s, s[:1]) == "", !hasAlnum(s):
		return None[string](NoHardware)
	// "System Serial Number", "To be filled by ...", "Not Applicable 2" in the
	// many spellings that no list holds.
	case strings.Contains(strings.ToLower(s), "o.e.m"), strings.Contains(strings.ToLower(s), "serial number"),
		strings.HasPrefix(strings.ToLower(s), "to be filled"), strings.HasPrefix(strings.ToLower(s), "default string"):
		return None[string](NoHardware)
	}
	return o
}

func hasAlnum(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

// machine makes the maker's part of an identity.
func (id *Identity) machine(s smbiosSystem) {
	id.Manufacturer, id.Model = makersText(s.maker), makersText(s.model())
	id.Serial = usableSerial(s.maker, s.model(), s.serial)
}
