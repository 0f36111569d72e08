package sysinfo

import (
	"bytes"
	"encoding/binary"
	"time"
)

// A turn is a boot or a shutdown. Of the records of wtmp nothing else is kept:
// most are people logging on.
type turn struct {
	at   time.Time
	boot bool
}

// utmpSize is that of a record of glibc's on all 64-bit systems that we build for
// (utmp(5): kept at 32-bit times, so that wtmp is the same on both widths).
const utmpSize = 384

// parseWtmp reads the records BOOT_TIME, and RUN_LVL of the user "shutdown",
// which systemd writes at the end. It skips to whole records at a cut front.
func parseWtmp(b []byte) []turn {
	const bootTime, runLevel = 2, 1
	var turns []turn
	for b = b[len(b)%utmpSize:]; len(b) >= utmpSize; b = b[utmpSize:] {
		kind := binary.LittleEndian.Uint16(b)
		user, _, _ := bytes.Cut(b[44:76], []byte{0})
		at := time.Unix(int64(binary.LittleEndian.Uint32(b[340:])), 0)
		switch {
		case kind == bootTime:
			turns = append(turns, turn{at, true})
		case kind == runLevel && string(user) == "shutdown":
			turns = append(turns, turn{at, false})
		}
	}
	return turns
}

// hardOffs counts boots since a time that follow a boot without a shutdown
// between. The first record's past is not known.
func hardOffs(turns []turn, since time.Time) (n int64) {
	for i := 1; i < len(turns); i++ {
		if turns[i].boot && turns[i-1].boot && !turns[i].at.Before(since) {
			n++
		}
	}
	return n
}

// occasions counts events of which those within gap of the one before are the
// same: a panic leaves several files. ts must be sorted.
func occasions(ts []time.Time, gap time.Duration) (n int64) {
	var last time.Time
	for i, t := range ts {
		if i == 0 || t.Sub(last) > gap {
			n++
		}
		last = t
	}
	return n
}
