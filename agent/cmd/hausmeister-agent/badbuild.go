//go:build badbuild && (amd64 || arm64)

package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/supervise"
)

// silenced is in the environment of what noNetwork has begun anew.
const silenced = "HAUSMEISTER_SILENCED"

// This file makes a release that passes its own test and then fails in one of the
// ways that a launcher must undo. It is in builds with the tag badbuild only, which
// testenv/scenario makes: what is shipped has no trace of it. It comes before main
// as a broken dependency would, and the rest of the agent is the real one.
//
// It is for Linux, where that test runs. How it fails says the file state/badbuild of the installation.
func init() {
	if len(os.Args) != 4 || os.Args[1] != "run" || os.Getenv(journal.EnvLauncher) == "" || os.Getenv(silenced) != "" {
		return
	}
	how, _ := os.ReadFile(filepath.Join(os.Args[3], "state", "badbuild"))
	switch strings.TrimSpace(string(how)) {
	case "hangs":
		for {
			time.Sleep(time.Hour)
		}
	case "mute":
		panic(noNetwork())
	case "hog":
		crew := supervise.NewCrew(context.Background(), 2)
		for range 2 { // it gets its core also beside others
			crew.TryGo(func(context.Context) {
				for n := 0; ; n++ {
				}
			})
		}
	default:
		panic("a build that crashes at its start")
	}
}

// noNetwork begins this program anew, in which nothing leaves over a socket: a seccomp
// filter, for which a service without rights needs none, stays through an exec. It
// returns only when that fails.
func noNetwork() error {
	const (
		load, equal, give = 0x20, 0x15, 0x06 // BPF: ld abs, jeq, ret
		allow, errno      = 0x7fff0000, 0x00050000
		setNoNewPrivs     = 38
		setSeccomp        = 22
		modeFilter        = 2
	)
	// syscall lacks its number.
	sendMany := map[string]uint32{"amd64": 307, "arm64": 269}[runtime.GOARCH]
	type instruction struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
	program := []instruction{
		{load, 0, 0, 0}, // the call's number
		{equal, 4, 0, syscall.SYS_CONNECT},
		{equal, 3, 0, syscall.SYS_SENDTO},
		{equal, 2, 0, syscall.SYS_SENDMSG},
		{equal, 1, 0, sendMany},
		{give, 0, 0, allow},
		{give, 0, 0, errno | uint32(syscall.ENETUNREACH)},
	}
	filter := struct {
		n  uint16
		at *instruction
	}{uint16(len(program)), &program[0]}
	// Both hold for this thread, which main keeps until it begins, and so for what it
	// becomes.
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, setSeccomp, modeFilter, uintptr(unsafe.Pointer(&filter))); e != 0 {
		return e
	}
	path, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(path, os.Args, append(os.Environ(), silenced+"=1"))
}
