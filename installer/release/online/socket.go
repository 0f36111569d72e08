package online

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"hausmeister/installer/release"
	"hausmeister/platform/supervise"
	"hausmeister/proto/manifest"
)

// The socket speaks HTTP/1.1, so that any program can ask:
//
//	GET  /v1/state    -> State
//	POST /v1/publish  {"files": {"stable": base64, ...}} -> State
//	POST /v1/renew    -> State
//	POST /v1/fresh    32 bytes of nonce -> the statement, 176 bytes
//
// 400 is a question that is none, 404 nothing is published, 409 a rule, 422 what
// does not verify, 429 too often; the body then says why: {"error": "..."}.
const (
	mostPublished = 48 << 20
	pace          = time.Minute // between two looks whether something must be renewed
	graceful      = 5 * time.Second
)

// Listen makes the socket, for this user and, if one is named, a group. A socket
// that a dead process left is taken away; a living one keeps the lock.
func Listen(path, group string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("%s is there and no socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// In a folder of its own until its rights are set, whatever the umask is.
	private, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would take away another's of the old name
	if err = share(made, group); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// share lets the owner in, and a group.
func share(path, group string) error {
	if group == "" {
		return os.Chmod(path, 0o600)
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return err
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, id); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// Run serves the socket and renews in time, until ctx ends.
func (s *Signer) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s.Handler(), ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn)}
	return supervise.Run(ctx, s.cfg.Log,
		supervise.Part{Name: "socket", StopWithin: 2 * graceful, Run: func(ctx context.Context, ready func()) error {
			ready()
			crew := supervise.NewCrew(ctx, 1)
			err := crew.Go(func(ctx context.Context) {
				<-ctx.Done()
				end, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceful)
				defer cancel()
				_ = server.Shutdown(end) // late ones are cut with the process
			})
			if err != nil {
				return err
			}
			err = server.Serve(l)
			crew.Stop()
			crew.Wait()
			if !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}},
		supervise.Part{Name: "renewal", Run: func(ctx context.Context, ready func()) error {
			ready()
			return s.renewing(ctx)
		}})
}

func (s *Signer) renewing(ctx context.Context) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		if err := s.Renew(false); err != nil && !errors.Is(err, ErrEmpty) {
			s.cfg.Log.Error("renewing failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Handler answers the socket.
func (s *Signer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.State(), nil) })
	mux.HandleFunc("POST /v1/publish", func(w http.ResponseWriter, q *http.Request) {
		var body struct {
			Files map[string][]byte `json:"files"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, mostPublished)).Decode(&body); err != nil || len(body.Files) == 0 {
			reply(w, nil, errNoQuestion)
			return
		}
		err := s.Publish(q.Context(), body.Files)
		if err != nil {
			s.cfg.Log.Warn("publishing refused", "error", err)
		} else {
			s.cfg.Log.Info("published", "state", s.State())
		}
		reply(w, s.State(), err)
	})
	mux.HandleFunc("POST /v1/renew", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.State(), s.Renew(true)) })
	mux.HandleFunc("POST /v1/fresh", func(w http.ResponseWriter, q *http.Request) {
		var nonce manifest.Nonce
		raw, err := io.ReadAll(http.MaxBytesReader(w, q.Body, int64(len(nonce))))
		if err != nil || copy(nonce[:], raw) != len(nonce) {
			reply(w, nil, errNoQuestion)
			return
		}
		statement, err := s.Fresh(nonce)
		if err != nil {
			reply(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(statement) // who asked is gone: his affair
	})
	return mux
}

var errNoQuestion = errors.New("this is no question")

func statusOf(err error) int {
	switch {
	case errors.Is(err, errNoQuestion):
		return http.StatusBadRequest
	case errors.Is(err, ErrEmpty):
		return http.StatusNotFound
	case errors.Is(err, release.ErrUnverified), errors.Is(err, manifest.ErrRefused):
		return http.StatusUnprocessableEntity
	case errors.Is(err, release.ErrRefused):
		return http.StatusConflict
	case errors.Is(err, ErrBusy):
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(statusOf(err))
		v = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // who asked is gone: his affair
}

// Client asks the process behind a socket.
type Client struct{ Socket string }

func (c Client) do(ctx context.Context, method, path string, body []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
	}, DisableKeepAlives: true}
	q, err := http.NewRequestWithContext(ctx, method, "http://online"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := transport.RoundTrip(q)
	if err != nil {
		return nil, fmt.Errorf("asking the online process at %s: %w", c.Socket, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, limit))
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return data, nil
	}
	var said struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(data, &said) // then the status has to do
	err = fmt.Errorf("the online process says: %s (%d)", said.Error, res.StatusCode)
	switch res.StatusCode {
	case http.StatusConflict, http.StatusTooManyRequests:
		err = fmt.Errorf("%w: %w", release.ErrRefused, err)
	case http.StatusUnprocessableEntity:
		err = fmt.Errorf("%w: %w", release.ErrUnverified, err)
	case http.StatusNotFound:
		err = fmt.Errorf("%w: %w", release.ErrNotFound, err)
	}
	return nil, err
}

// Publish makes Client a release.Online.
func (c Client) Publish(ctx context.Context, files map[string][]byte) error {
	body, err := json.Marshal(map[string]any{"files": files})
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, "/v1/publish", body, 1<<20)
	return err
}

// Renew asks for a new timestamp.
func (c Client) Renew(ctx context.Context) (State, error) {
	return c.state(c.do(ctx, http.MethodPost, "/v1/renew", nil, 1<<20))
}

// State of the process.
func (c Client) State(ctx context.Context) (State, error) {
	return c.state(c.do(ctx, http.MethodGet, "/v1/state", nil, 1<<20))
}

func (Client) state(data []byte, err error) (State, error) {
	var st State
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	return st, err
}

// Fresh asks for a statement.
func (c Client) Fresh(ctx context.Context, nonce manifest.Nonce) ([]byte, error) {
	return c.do(ctx, http.MethodPost, "/v1/fresh", nonce[:], 4096)
}
