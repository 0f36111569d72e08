package reading

import "strings"

// places are the instances that name a kind of thing: adapters, printers, and
// the places where temperatures are taken. Volumes bear names of their own.
var places = map[string]Words{
	"battery": {"Akku", "Battery"},
	"case":    {"Gehäuse", "Case"},
	"cpu":     {"Prozessor", "Processor"},
	"disk":    {"Datenträger", "Disk"},
	"fan":     {"Lüfter", "Fan"},
	"gpu":     {"Grafik", "Graphics"},
	"io":      {"Datenträger", "Disk"},
	"memory":  {"Arbeitsspeicher", "Memory"},
	"mobile":  {"Mobilfunk", "Mobile"},
	"printer": {"Drucker", "Printer"},
	"wifi":    {"WLAN", "Wi-Fi"},
	"wired":   {"Kabel", "Wired"},
}

// InstanceWord is what people call an instance: "wifi 2" is "WLAN 2". One that
// names no kind of thing is called by its name.
func InstanceWord(instance string) Words {
	kind, number, numbered := strings.Cut(instance, " ")
	w, ok := places[kind]
	if !ok || numbered && (number == "" || strings.Trim(number, "0123456789") != "") {
		return Words{instance, instance}
	}
	if numbered {
		w.DE, w.EN = w.DE+" "+number, w.EN+" "+number
	}
	return w
}
