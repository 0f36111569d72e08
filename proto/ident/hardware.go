package ident

import (
	"encoding/hex"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"hausmeister/proto/hmpb"
)

// ErrOtherOwner is a machine whose record belongs to another owner than the claim
// it came with. It stands here because the keeper of records and the keeper of
// claims must both know it.
var ErrOtherOwner = errors.New("the record belongs to another owner")

// hardwareMax bounds each text of a Hardware, in bytes; SMBIOS strings end at 64.
const hardwareMax = 128

// Hardware is what identifies a machine, never a person.
type Hardware struct {
	Manufacturer string
	Model        string
	Serial       string   // as the maker wrote it, may be unusable
	InstallID    [16]byte // random, kept in the agent's state folder
	OS           string   // "linux", "windows", "darwin"
}

// HardwareOf reads the message of the wire. It bounds and cleans every text: a
// stranger wrote them and they end on pages and in logs.
func HardwareOf(m *hmpb.Hardware) Hardware {
	h := Hardware{
		Manufacturer: tidy(m.GetManufacturer()),
		Model:        tidy(m.GetModel()),
		Serial:       tidy(m.GetSerial()),
		OS:           tidy(m.GetOs()),
	}
	copy(h.InstallID[:], m.GetInstallId())
	return h
}

// Message is the reverse of HardwareOf. A serial that is unusable is not sent.
func (h Hardware) Message() *hmpb.Hardware {
	serial := ""
	if h.UsableSerial() {
		serial = tidy(h.Serial)
	}
	manufacturer, model, os := tidy(h.Manufacturer), tidy(h.Model), tidy(h.OS)
	return hmpb.Hardware_builder{
		Manufacturer: &manufacturer,
		Model:        &model,
		Serial:       &serial,
		InstallId:    h.InstallID[:],
		Os:           &os,
	}.Build()
}

// Key is by which a device's record is found again: manufacturer and serial, or
// the install id where the maker wrote no serial of use. It is empty when the
// machine says neither; such a machine cannot be admitted.
func (h Hardware) Key() string {
	switch {
	case h.UsableSerial():
		maker := strings.ReplaceAll(fold(h.Manufacturer), ":", " ") // a colon more could be another machine's key
		return "serial:" + maker + ":" + SerialKey(h.Serial)
	case h.InstallID != [16]byte{}:
		return "install:" + hex.EncodeToString(h.InstallID[:])
	}
	return ""
}

// SerialKey is the spelling in which two serials are compared: delivery lists and
// firmware differ in case and blanks.
func SerialKey(serial string) string { return strings.ReplaceAll(fold(serial), " ", "") }

// UsableSerial reports whether manufacturer and serial name one machine in the
// world. Virtual machines never do: a copy has its original's serial.
func (h Hardware) UsableSerial() bool {
	serial := SerialKey(h.Serial)
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, serial)
	if len(letters) < 4 || strings.Trim(letters, letters[:1]) == "" { // 00000000
		return false
	}
	return !placeholders[letters] && !h.virtual()
}

// placeholders are what makers leave in the serial field, without blanks and
// punctuation. Collected from dmidecode reports; add what the desk meets.
var placeholders = map[string]bool{
	"TOBEFILLEDBYOEM": true, "DEFAULTSTRING": true, "SYSTEMSERIALNUMBER": true, "SERIALNUMBER": true,
	"CHASSISSERIALNUMBER": true, "BASEBOARDSERIALNUMBER": true, "NOTSPECIFIED": true, "NOTAPPLICABLE": true,
	"NOTAVAILABLE": true, "NOTSET": true, "NONE": true, "NULL": true, "UNKNOWN": true, "UNDEFINED": true,
	"INVALID": true, "EMPTY": true, "DEFAULT": true, "STANDARD": true, "TBDBYOEM": true, "OEMSERIAL": true,
	"SYSTEMPRODUCTNAME": true, "SYSTEMMANUFACTURER": true, "OEM": true, "SERIAL": true, "TESTSERIAL": true,
	"1234": true, "12345": true, "123456": true, "1234567": true, "12345678": true, "123456789": true,
	"0123456789": true, "1234567890": true, "012345678": true, "01234567": true, "ABCDEFGH": true,
}

func (h Hardware) virtual() bool {
	maker, model := fold(h.Manufacturer), fold(h.Model)
	for _, m := range []string{"QEMU", "VMWARE", "INNOTEK", "XEN", "BOCHS", "PARALLELS", "AMAZON EC2", "NUTANIX", "OPENSTACK"} {
		if strings.HasPrefix(maker, m) {
			return true
		}
	}
	for _, m := range []string{"VIRTUAL MACHINE", "VIRTUALBOX", "VMWARE", "GOOGLE COMPUTE ENGINE", "HVM DOMU", "KVM", "STANDARD PC ("} {
		if strings.HasPrefix(model, m) {
			return true
		}
	}
	return false
}

// fold gives upper case with single blanks.
func fold(s string) string { return strings.ToUpper(strings.Join(strings.Fields(s), " ")) }

// tidy cuts to hardwareMax bytes of valid UTF-8 without control characters.
func tidy(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return -1
		}
		return r
	}, s))
	for len(s) > hardwareMax {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.TrimSpace(s)
}
