package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"hausmeister/platform/layout"
)

// SettingsFile is the name of the file, in the state folder. Nobody needs it in a
// school; tests and demonstrations shorten times with it.
const SettingsFile = "launcher.json"

// Settings of a launcher; zero values are the defaults.
type Settings struct {
	Times  Times
	Bounds Bounds
}

// file is the settings file: durations as Go writes them, "90s".
type file struct {
	AliveWithin string `json:"alive_within"`
	HangAfter   string `json:"hang_after"`
	BoundFor    string `json:"bound_for"`
	ProbeEvery  string `json:"probe_every"`
	GiveUpAfter string `json:"give_up_after"`
	Again       string `json:"again"`
	AgainMost   string `json:"again_most"`
	StopWithin  string `json:"stop_within"`
	AgeEvery    string `json:"age_every"`
	BackAgain   string `json:"back_again"`
	CPUPermille int    `json:"cpu_permille"`
	MemoryTimes int    `json:"memory_times"`
	MemoryMore  uint64 `json:"memory_more"`
	MemoryMost  uint64 `json:"memory_most"`
	Handles     int    `json:"handles"`
	Written     uint64 `json:"written"`
}

// ReadSettings reads the file; none is none. What is out of bounds is as if it were
// not there, and so is all of a file that cannot be read: a launcher starts.
func ReadSettings(d layout.Disk, path string) (Settings, error) {
	s, err := readSettings(d, path)
	if err != nil {
		return Settings{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}

func readSettings(d layout.Disk, path string) (s Settings, err error) {
	f, err := d.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		return s, err
	}
	var in file
	if err := json.Unmarshal(b, &in); err != nil {
		return s, err
	}
	for _, v := range []struct {
		text string
		to   *time.Duration
	}{
		{in.AliveWithin, &s.Times.AliveWithin}, {in.HangAfter, &s.Times.HangAfter}, {in.BoundFor, &s.Times.BoundFor},
		{in.ProbeEvery, &s.Times.ProbeEvery}, {in.GiveUpAfter, &s.Times.GiveUpAfter}, {in.Again, &s.Times.Again},
		{in.AgainMost, &s.Times.AgainMost}, {in.StopWithin, &s.Times.StopWithin}, {in.AgeEvery, &s.Times.AgeEvery},
		{in.BackAgain, &s.Times.BackAgain},
	} {
		if v.text == "" {
			continue
		}
		t, err := time.ParseDuration(v.text)
		if err != nil {
			return Settings{}, err
		}
		if t >= 10*time.Millisecond && t <= 24*time.Hour {
			*v.to = t
		}
	}
	if in.CPUPermille >= 10 && in.CPUPermille <= 100_000 {
		s.Bounds.CPUPermille = in.CPUPermille
	}
	if in.MemoryTimes >= 1 && in.MemoryTimes <= 100 {
		s.Bounds.MemoryTimes = in.MemoryTimes
	}
	if in.MemoryMore >= 1<<20 {
		s.Bounds.MemoryMore = in.MemoryMore
	}
	if in.MemoryMost >= 1<<20 {
		s.Bounds.MemoryMost = in.MemoryMost
	}
	if in.Handles >= 50 {
		s.Bounds.Handles = in.Handles
	}
	if in.Written >= 1<<20 {
		s.Bounds.Written = in.Written
	}
	return s, nil
}
