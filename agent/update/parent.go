package update

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/supervise"
)

var (
	// ErrSwap ends an agent that has armed an update: the launcher does the rest.
	// Its program's exit code is journal.ExitSwap.
	ErrSwap = errors.New("an update is armed")
	// ErrGone ends an agent whose launcher is gone, or wants it to end.
	ErrGone = errors.New("the launcher is gone, or stops")
)

// Standing is what the launcher said of this program.
type Standing string

const (
	Unknown    Standing = ""            // nothing yet, or there is no launcher
	OnTrial    Standing = "trial"       // not settled yet
	Settled    Standing = "settled"     // here to stay
	RolledBack Standing = "rolled-back" // settled, and another one failed after it
)

// quiet is the least time between two signs of life.
const quiet = 30 * time.Second

// Parent is the launcher, as its agent knows it. A nil Parent is nobody: its
// methods do nothing.
type Parent struct {
	version string
	in      io.Reader
	now     func() time.Time
	reading supervise.Cutoff[struct{}]

	mu sync.Mutex
	// below is guarded by mu
	out      io.Writer
	progress uint64
	told     time.Time // the last sign of life
	reached  bool
	checked  bool
	standing Standing
	changed  func() // nil = nobody wants to know of standing
}

// Attach finds the launcher that started this program: in and out are its standard
// input and output. It is nil for a program that was started otherwise.
func Attach(getenv func(string) string, in io.Reader, out io.Writer) *Parent {
	version := getenv(journal.EnvLauncher)
	if version == "" {
		return nil
	}
	return &Parent{version: version, in: in, out: out, now: time.Now}
}

// Version is the launcher's; "" = there is none.
func (p *Parent) Version() string {
	if p == nil {
		return ""
	}
	return p.version
}

// Standing is what the launcher said last.
func (p *Parent) Standing() Standing {
	if p == nil {
		return Unknown
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing
}

// Run listens until ctx ends, or until the launcher is gone.
func (p *Parent) Run(ctx context.Context, ready func()) error {
	ready()
	if p == nil {
		<-ctx.Done()
		return nil
	}
	// A read from a pipe knows no context; at the end it is left to the end of the
	// process, which is near.
	const forEver = 100 * 365 * 24 * time.Hour
	_, err := p.reading.Do(ctx, forEver, func(context.Context) (struct{}, error) {
		s := bufio.NewScanner(p.in)
		for s.Scan() {
			p.hear(s.Text())
		}
		return struct{}{}, supervise.Wanted(ErrGone)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (p *Parent) hear(line string) {
	word, _, _ := strings.Cut(line, " ")
	switch s := Standing(word); s {
	case OnTrial, Settled, RolledBack:
		p.mu.Lock()
		p.standing = s
		changed := p.changed
		p.mu.Unlock()
		if changed != nil {
			changed()
		}
	}
}

// follow has f called at each word of the launcher; it must not wait.
func (p *Parent) follow(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = f
}

func (p *Parent) sayLocked(format string, args ...any) {
	// Nobody to read it: Run sees that too, and ends the agent.
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// Alive says that the agent got on. Call it whenever that is so: it is told at
// most each half minute.
func (p *Parent) Alive() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress++
	if now := p.now(); p.told.IsZero() || now.Sub(p.told) >= quiet || now.Before(p.told) {
		p.told = now
		p.sayLocked("alive %d", p.progress)
	}
}

// Checked says what the agent found when it checked itself: nil, or why it must
// not stay. Once per start is enough.
func (p *Parent) Checked(err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.sayLocked("checked bad %s", strings.Join(strings.Fields(err.Error()), " "))
	case !p.checked:
		p.checked = true
		p.sayLocked("checked ok")
	}
}

// Welcomed says that the collector let this agent in, and which program it heard
// of; an older collector says none.
func (p *Parent) Welcomed(version string, hash []byte) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reached {
		p.reached = true
		p.sayLocked("reached")
	}
	if version != "" && len(hash) > 0 && !strings.ContainsAny(version, " \n") {
		p.sayLocked("heard %s %s", version, hex.EncodeToString(hash))
	}
}
