package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hausmeister/agent/enroll"
	"hausmeister/platform/layout"
	"hausmeister/platform/service"
)

// enrollWithin bounds one enrolment as a whole.
const enrollWithin = 90 * time.Second

func (p *program) enrollLock() string { return filepath.Join(p.layout.State(), "enroll.lock") }

// enroll makes this device known by a claim. It works beside a running agent,
// which waits for the identity, or finds another one within a minute; therefore it
// takes a lock of its own.
func (p *program) enroll(ctx context.Context) error {
	claim, err := p.claim()
	if err != nil {
		return err
	}
	if err := p.layout.Create(); err != nil {
		return err
	}
	lock, err := layout.Lock(p.enrollLock())
	if err != nil {
		return err
	}
	defer lock.Close()
	m, err := openMachine(p.layout)
	if err != nil {
		return err
	}
	defer m.Close()
	slog.SetLogLoggerLevel(slog.LevelWarn) // a person reads this, who is told the rest in sentences
	// Not exclusive by itself: the lock is ours already.
	keeper, err := m.keeper(nil)
	if err != nil {
		return err
	}
	_, before := keeper.Enrolled()
	ctx, cancel := context.WithTimeout(ctx, enrollWithin)
	defer cancel()
	enrollIt := keeper.Enroll
	if p.replace {
		enrollIt = keeper.Reenroll
	}
	p.say("enrolling")
	id, err := enrollIt(ctx, claim)
	if err != nil {
		return err
	}
	if before && p.replace {
		p.restart(ctx)
	}
	if p.json {
		return p.print(map[string]any{"device": id.Device, "collector": id.Address, "certificate_until": id.NotAfter.UTC()})
	}
	p.say("enrolled", id.Address, id.Device)
	return nil
}

// restart lets a running service take over a replaced identity.
func (p *program) restart(ctx context.Context) {
	if p.root != "" {
		return // a folder of its own has no service of ours
	}
	s, err := p.service()
	if err != nil {
		return
	}
	if st, err := s.Status(ctx); err != nil || st != service.Running {
		return
	}
	if err := errors.Join(s.Stop(ctx), s.Start(ctx)); err != nil {
		p.say("restart_failed", err)
	}
}

// claim comes as the argument, from a file, or from standard input.
func (p *program) claim() (string, error) {
	switch {
	case len(p.rest) == 1 && p.rest[0] != "-" && p.file != "":
		return "", p.misused(p.rest[0] + " --file " + p.file)
	case len(p.rest) == 1 && p.rest[0] != "-":
		return p.rest[0], nil
	case p.file != "":
		f, err := os.Open(p.file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		return firstClaim(f)
	}
	if len(p.rest) == 0 {
		p.say("ask_claim")
	}
	return firstClaim(p.in)
}

// firstClaim finds the claim in a text that may be a whole mail: the first
// line that holds something which begins like one, else all of it, so that the
// error is about what was given.
func firstClaim(r io.Reader) (string, error) {
	all := ""
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if i := strings.Index(strings.ToLower(line), "hausmeister://"); i >= 0 {
			return strings.Fields(line[i:])[0], nil
		}
		all += line
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if all == "" {
		return "", &failure{code: string(enroll.WordUnreadable), exit: exitUsage, err: errors.New("nothing was given")}
	}
	return all, nil
}
