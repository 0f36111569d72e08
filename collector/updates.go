package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/rollout"
	"hausmeister/proto/manifest"
)

// The online process is asked over its socket, in HTTP/1.1, see `hausmeister-release
// online`: nothing of it is linked into this program.
const (
	onlineWithin  = 5 * time.Second
	onlineAtOnce  = 16
	maxOnlineSaid = 64 << 10
)

type online struct{ client *http.Client }

func newOnline(socket string) online {
	return online{&http.Client{Timeout: onlineWithin, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxConnsPerHost: onlineAtOnce, MaxIdleConnsPerHost: onlineAtOnce, IdleConnTimeout: time.Minute,
	}}}
}

func (o online) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://online"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := o.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxOnlineSaid))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		var said struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(data, &said) // then the status has to do
		return nil, fmt.Errorf("the online process says: %s (%d)", said.Error, res.StatusCode)
	}
	return data, nil
}

// onlineState is of it what the doctor compares.
type onlineState struct {
	Root      int64 `json:"root"`
	Timestamp int64 `json:"timestamp"`
}

func (o online) state(ctx context.Context) (s onlineState, err error) {
	data, err := o.ask(ctx, http.MethodGet, "/v1/state", nil)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// fresh gives what rollouts ask for statements; nil where nobody is to be asked. A
// process that is not there is said once and not at each device's question.
func (c Config) fresh() func(context.Context, manifest.Nonce, int64) ([]byte, error) {
	if c.UpdatesOnline == "" {
		return nil
	}
	o := newOnline(c.UpdatesOnline)
	var mu sync.Mutex
	said := "" // guarded by mu
	return func(ctx context.Context, nonce manifest.Nonce, _ int64) ([]byte, error) {
		statement, err := o.ask(ctx, http.MethodPost, "/v1/fresh", nonce[:])
		text := ""
		if err != nil {
			text = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case text == said || ctx.Err() != nil:
		case err != nil:
			c.Log.Warn("nobody states that update metadata is the newest; devices judge by their clocks", "socket", c.UpdatesOnline, "error", err)
			said = text
		default:
			c.Log.Info("the online process answers again", "socket", c.UpdatesOnline)
			said = text
		}
		if err != nil {
			return nil, nil // said above
		}
		return statement, nil
	}
}

// notThere: nobody listens at a socket.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// updates looks at the signed metadata that is imported, and at who renews it.
func (e *examination) updates(ctx context.Context) {
	const name = "updates"
	state, err := e.imported(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist): // said elsewhere
		return
	case errors.Is(err, access.ErrNotFound):
		e.say(name, Good, "nothing is imported, so that none are offered")
	case err != nil:
		e.say(name, Bad, "%v", err)
		return
	default:
		e.countdown(name, state)
	}
	e.signer(ctx, state)
}

func (e *examination) imported(ctx context.Context) (out rollout.Repository, err error) {
	if _, err := os.Stat(e.cfg.databasePath()); e.cfg.Database == "" && err != nil {
		return out, fs.ErrNotExist
	}
	d, err := db.OpenReadOnly(ctx, e.cfg.database())
	if err != nil {
		return out, fs.ErrNotExist
	}
	defer d.Close()
	r, err := rollout.New(rollout.Config{DB: d, Bus: bus.New(), Now: e.cfg.Now, Log: e.cfg.Log, Dir: e.cfg.updatesDir()})
	if err != nil {
		return out, err
	}
	return r.RepositoryState(ctx, access.System("doctor"))
}

// countdown says which role ends first, and how bad that is.
func (e *examination) countdown(name string, s rollout.Repository) {
	verdict := Good
	for _, role := range s.Roles {
		until := role.Expires.Format(time.DateOnly)
		switch {
		case role.Alarm < 0:
			e.say(name, Bad, "what %s signed ended on %s: no device takes updates until it is renewed and imported; agents go on", role.Role, until)
			verdict = Bad
		case role.Alarm > 0 && role.Alarm <= 30:
			e.say(name, Warning, "what %s signed ends on %s; renew it with hausmeister-release and import it", role.Role, until)
			verdict = Warning
		}
	}
	if s.NewerRoot > 0 {
		e.say(name, Bad, "a device trusts root %d, newer than ours (%d): import the repository, or find out who shows devices another one", s.NewerRoot, s.Root)
		verdict = Bad
	}
	if verdict == Good && len(s.Roles) > 0 {
		e.say(name, Good, "root %d, timestamp %d; the first that ends is %s on %s", s.Root, s.Timestamp, s.Roles[0].Role, s.Roles[0].Expires.Format(time.DateOnly))
	}
}

// signer asks the online process for its state and compares.
func (e *examination) signer(ctx context.Context, s rollout.Repository) {
	const name = "online signer"
	socket := e.cfg.UpdatesOnline
	if socket == "" {
		e.say(name, Warning, "none is set (updates_online): devices judge by their clocks whether metadata is the newest")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	o := newOnline(socket)
	defer o.client.CloseIdleConnections()
	state, err := o.state(ctx)
	switch {
	case notThere(err) && s.Timestamp == 0:
		e.say(name, Good, "none at %s, and nothing is imported that it would sign", socket)
	case notThere(err):
		e.say(name, Warning, "does not run (%s): metadata is not renewed, and devices judge by their clocks whether it is the newest; start hausmeister-online", socket)
	case err != nil:
		e.say(name, Bad, "%s: %v", socket, err)
	case state.Root != s.Root || state.Timestamp != s.Timestamp:
		e.say(name, Warning, "is at root %d, timestamp %d; imported is root %d, timestamp %d: set updates_repository, or import it", state.Root, state.Timestamp, s.Root, s.Timestamp)
	default:
		e.say(name, Good, "%s, root %d, timestamp %d, as imported", socket, state.Root, state.Timestamp)
	}
}
