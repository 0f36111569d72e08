// Package admin is the operator's door to a running collector: a socket in the
// data folder that only the folder's owner can open, with JSON over HTTP, and
// the client that the command line's verbs use. Who gets in may do everything,
// as the system; each change is audited as system:operator.
//
// Verbs go through the running collector so that caches, live sessions and the
// one writer of the database hear of them. A crash leaves the socket's file
// behind, which the next start replaces: the lock on the data folder says that
// nobody listens there any more.
package admin

import (
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
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/rollout"
	"hausmeister/platform/supervise"
)

// Config is what the server works with.
type Config struct {
	Socket   string // path
	Status   Status
	DB       *db.DB
	Access   *access.Service
	Enroll   *enroll.Enroll
	Fleet    *fleet.Fleet
	Health   *health.Health
	Rollouts *rollout.Rollouts
	Now      func() time.Time
	Log      *slog.Logger
}

// Status is what a running collector says of itself.
type Status struct {
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	DataDir  string `json:"data_dir"`
	Listen   string `json:"listen"`
	Public   string `json:"public"`
	Database string `json:"database"`
	Schema   int64  `json:"schema"`
}

// operator is the caller of every verb.
var operator = access.System("operator")

// maxSocketPath is what every system's sockaddr_un holds (macOS: 104 with the
// ending zero).
const maxSocketPath = 103

const (
	maxBody    = 16 << 20 // a list of schools
	stopWithin = 3 * time.Second
)

// Server answers the verbs.
type Server struct {
	cfg Config
}

// New checks the Config.
func New(cfg Config) (*Server, error) {
	if len(cfg.Socket) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: its path has %d bytes, sockets take %d: use a data folder with a shorter path", cfg.Socket, len(cfg.Socket), maxSocketPath)
	}
	return &Server{cfg: cfg}, nil
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context, ready func()) error {
	if err := os.Remove(s.cfg.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the admin socket of an earlier run: %w", err)
	}
	ln, err := net.Listen("unix", s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("opening the admin socket: %w", err)
	}
	// The folder is closed to others already; this is the second lock.
	if err := os.Chmod(s.cfg.Socket, 0o600); err != nil {
		ln.Close()
		return fmt.Errorf("closing the admin socket to others: %w", err)
	}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	crew := supervise.NewCrew(ctx, 1)
	defer crew.Wait()
	defer crew.Stop()
	if err := crew.Go(func(crewCtx context.Context) {
		<-crewCtx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(crewCtx), stopWithin)
		defer cancel()
		if server.Shutdown(stop) != nil {
			server.Close()
		}
	}); err != nil {
		ln.Close()
		return nil
	}
	ready()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the admin socket: %w", err)
	}
	return nil
}

// Code says in one word what went wrong, for programs and for the exit code.
type Code string

const (
	CodeInvalid     Code = "invalid"
	CodeNotFound    Code = "not_found"
	CodeExists      Code = "exists"
	CodeUnavailable Code = "unavailable" // database full, locked or away
	CodeInternal    Code = "internal"
	CodeNotRunning  Code = "not_running" // only the client says this
)

// Error is the answer to a verb that failed.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"error"`
}

func (e *Error) Error() string { return e.Text }

// codes sorts the subjects' errors; the text goes along, since who asks is the
// operator.
var codes = []struct {
	err    error
	code   Code
	status int
}{
	{access.ErrNotFound, CodeNotFound, http.StatusNotFound},
	{access.ErrExists, CodeExists, http.StatusConflict},
	{fleet.ErrInventoryTaken, CodeExists, http.StatusConflict},
	{fs.ErrExist, CodeExists, http.StatusConflict},
	{access.ErrInvalid, CodeInvalid, http.StatusBadRequest},
	{access.ErrPassword, CodeInvalid, http.StatusBadRequest},
	{fleet.ErrInvalid, CodeInvalid, http.StatusBadRequest},
	{health.ErrStandard, CodeInvalid, http.StatusBadRequest},
	{fleet.ErrCursor, CodeInvalid, http.StatusBadRequest},
	{enroll.ErrInvalid, CodeInvalid, http.StatusBadRequest},
	{rollout.ErrReason, CodeInvalid, http.StatusBadRequest},
	{rollout.ErrInvalid, CodeInvalid, http.StatusBadRequest},
	{rollout.ErrRefused, CodeInvalid, http.StatusBadRequest},
	{rollout.ErrIncomplete, CodeInvalid, http.StatusBadRequest},
	{rollout.ErrState, CodeInvalid, http.StatusConflict},
	{rollout.ErrSecond, CodeInvalid, http.StatusForbidden},
	{rollout.ErrPerson, CodeInvalid, http.StatusForbidden},
	{rollout.ErrOlder, CodeInvalid, http.StatusConflict},
	{errRequest, CodeInvalid, http.StatusBadRequest},
	{db.ErrText, CodeInvalid, http.StatusBadRequest},
	{db.ErrFull, CodeUnavailable, http.StatusInsufficientStorage},
	{db.ErrUnavailable, CodeUnavailable, http.StatusServiceUnavailable},
}

var errRequest = errors.New("request not understood")

// verb adapts a function from request to answer to HTTP.
func verb[In, Out any](s *Server, run func(ctx context.Context, in In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&in)
		if errors.Is(err, io.EOF) {
			err = nil // a verb without arguments
		}
		if err != nil {
			s.answer(w, r, nil, fmt.Errorf("%w: %w", errRequest, err))
			return
		}
		out, err := run(r.Context(), in)
		s.answer(w, r, out, err)
	})
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		json.NewEncoder(w).Encode(out)
		return
	}
	answer, status := Error{Code: CodeInternal, Text: err.Error()}, http.StatusInternalServerError
	for _, c := range codes {
		if errors.Is(err, c.err) {
			answer.Code, status = c.code, c.status
			break
		}
	}
	if answer.Code == CodeInternal {
		s.cfg.Log.Error("verb failed", "verb", r.URL.Path, "error", err)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}
