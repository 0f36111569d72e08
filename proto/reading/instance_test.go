package reading_test

import (
	"testing"

	"hausmeister/proto/reading"
)

func TestInstanceWord(t *testing.T) {
	for instance, want := range map[string]reading.Words{
		"wired": {DE: "Kabel", EN: "Wired"}, "wifi": {DE: "WLAN", EN: "Wi-Fi"}, "wifi 2": {DE: "WLAN 2", EN: "Wi-Fi 2"},
		"mobile 13": {DE: "Mobilfunk 13", EN: "Mobile 13"}, "cpu": {DE: "Prozessor", EN: "Processor"}, "gpu": {DE: "Grafik", EN: "Graphics"},
		"disk": {DE: "Datenträger", EN: "Disk"}, "battery": {DE: "Akku", EN: "Battery"}, "case": {DE: "Gehäuse", EN: "Case"},
		// Names of their own.
		"/": {DE: "/", EN: "/"}, "C:": {DE: "C:", EN: "C:"}, "": {}, "disk of mine": {DE: "disk of mine", EN: "disk of mine"},
		"wifi ": {DE: "wifi ", EN: "wifi "}, "WIFI": {DE: "WIFI", EN: "WIFI"},
	} {
		if got := reading.InstanceWord(instance); got != want {
			t.Errorf("InstanceWord(%q) = %v, want %v", instance, got, want)
		}
	}
}
