package manifest

import (
	_ "embed"
	"runtime/debug"
	"time"
)

// builtIn is the root of trust that a program was built with (make ROOT_JSON=...,
// hausmeister-release build); a build that nobody gave one has an empty file.
//
//go:embed root.json
var builtIn []byte

// BuiltInRoot is nil for a program that was built without one.
func BuiltInRoot() []byte {
	if len(builtIn) == 0 {
		return nil
	}
	return builtIn
}

// BuildTime is a time that has surely passed: that of the commit which this program is
// made of. A build that does not know its commit, as those of a release, has that of
// a commit before all of them.
func BuildTime() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
}
