package sysinfo

import (
	"context"
	"slices"
	"strings"
)

// fans reads the tachometers (Documentation/hwmon/sysfs-interface). Boards have
// more connectors than fans and read 0 from the empty ones, so a fan is told
// from when it first turned; the numbers are those of all, and stay.
func (l *linux) fans(context.Context) ([]Fan, error) {
	inputs := l.glob("/sys/class/hwmon/hwmon*/fan*_input")
	slices.SortFunc(inputs, naturally)
	var fs []Fan
	for i, in := range inputs {
		rpm, err := l.number(in)
		if err != nil || rpm < 0 || rpm > 50_000 { // asleep, or nonsense (65535)
			continue
		}
		if fault, err := l.number(strings.TrimSuffix(in, "_input") + "_fault"); err == nil && fault != 0 {
			continue
		}
		if rpm > 0 {
			l.spun[in] = true
		}
		if l.spun[in] {
			fs = append(fs, Fan{numbered("fan", i+1), rpm})
		}
	}
	if len(fs) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return fs, nil
}
