package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hausmeister/agent"
	"hausmeister/agent/link"
	"hausmeister/platform/layout"
	"hausmeister/platform/service"
)

func (p *program) version(context.Context) error {
	if p.json {
		return p.print(map[string]string{"version": version})
	}
	fmt.Fprintln(p.out, version)
	return nil
}

// shown is what status prints as JSON: the agent's own words and what this
// program found out beside them.
type shown struct {
	agent.Status
	// Running: unknown is null, for a user who may not know.
	Running *bool          `json:"running"`
	Service service.Status `json:"service,omitempty"`
	// ReadOnly: the disk takes nothing, so that nobody keeps the rest up to date.
	ReadOnly bool `json:"read_only,omitempty"`
}

// status tells how the agent is. It needs no rights for that.
func (p *program) status(ctx context.Context) error {
	s, known, err := p.now(ctx)
	if err != nil {
		return err
	}
	if !p.json {
		p.showStatus(s, known)
	} else if err := p.print(s); err != nil {
		return err
	}
	switch {
	case s.State == agent.StateNotEnrolled:
		return silent(exitNotEnrolled)
	case s.State != link.Connected:
		return silent(exitNotConnected)
	}
	return nil
}

// now is how the agent is, by what it said last and by whether it still runs;
// known says that it ever said something.
func (p *program) now(ctx context.Context) (s shown, known bool, err error) {
	s.Running, s.ReadOnly = p.running(), layout.ReadOnly(p.layout.Root)
	if p.root == "" {
		s.Service = p.serviceStatus(ctx)
		// On such a disk the service may be one that is started again and again, which its
		// manager calls running.
		if s.Running == nil && s.Service != "" && !(s.ReadOnly && s.Service == service.Running) {
			s.Running = new(s.Service == service.Running)
		}
	}
	err = p.read(agent.StatusFile, &s.Status)
	if known = err == nil; !known {
		s.Status = agent.Status{State: agent.StateNotEnrolled}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, false, err
	}
	if s.stopped() && s.State != agent.StateNotEnrolled {
		s.State = link.Stopped // it could not say so itself, after a power cut
	}
	return s, known, nil
}

// stopped: nobody keeps up to date what the status says.
func (s *shown) stopped() bool { return s.Running != nil && !*s.Running }

// silent ends the program with a code when all has been said.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit %d", int(s)) }

// running asks the lock that run holds; nil for a user who may not.
func (p *program) running() *bool {
	lock, err := layout.Lock(filepath.Join(p.layout.State(), "lock"))
	switch {
	case errors.Is(err, layout.ErrLocked):
		return new(true)
	case errors.Is(err, fs.ErrNotExist):
		return new(false)
	case err != nil:
		return nil
	}
	lock.Close()
	return new(false)
}

func (p *program) serviceStatus(ctx context.Context) service.Status {
	s, err := p.service()
	if err != nil {
		return ""
	}
	st, err := s.Status(ctx)
	if err != nil {
		return ""
	}
	return st
}

func (p *program) showStatus(s shown, known bool) {
	w := p.words
	line := func(label string, value string) {
		if value != "" {
			fmt.Fprintf(p.out, "%-*s %s\n", 22, w.text("label."+label), value)
		}
	}
	line("state", w.text("state."+string(s.State)))
	if s.Problem != link.NoProblem {
		line("problem", w.text("problem."+string(s.Problem)))
		line("detail", s.Detail)
	}
	if s.ReadOnly {
		line("problem", w.text("read_only"))
	}
	if s.Service != "" {
		line("service", w.text("service."+string(s.Service)))
	}
	if !known {
		return
	}
	line("retry", w.when(s.RetryAt))
	line("collector", s.Collector)
	if s.Transport != "" {
		line("transport", w.text("transport."+s.Transport))
	}
	if s.Inspection != "" {
		line("inspection", w.text("inspected", s.Inspected, s.Inspection))
	}
	line("device", s.Device)
	line("heard", w.when(s.LastHeard))
	if off := time.Duration(s.ClockOffset) * time.Millisecond; off.Abs() > time.Minute {
		line("clock", w.clockGoes(off))
	}
	line("certificate", w.when(s.Certificate))
	used := w.bytes(s.SpoolBytes)
	switch {
	case s.State == agent.StateNotEnrolled:
	case s.SpoolWaiting == 0:
		line("spool", w.text("spool_none", used))
	case s.SpoolWaiting == 1:
		line("spool", w.text("spool_one", used))
	default:
		line("spool", w.text("spool", w.whole(int64(s.SpoolWaiting)), used))
	}
	if s.SpoolFailing {
		line("problem", w.text("spool_failing"))
	}
	if s.SpoolDropped > 0 {
		line("dropped", w.whole(int64(s.SpoolDropped)))
	}
	line("version", s.Version)
	if s.Update != nil {
		line("update", w.update(*s.Update))
	}
	line("as_of", w.when(s.AsOf))
}

// read reads a file of the public folder.
func (p *program) read(name string, v any) error {
	data, err := os.ReadFile(filepath.Join(p.layout.Public(), name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}
