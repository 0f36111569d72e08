// Package site sets up a whole collector for a demo or a scenario: the real
// program in a process of its own, with schools, users and claims. Everything
// is done as an operator does it, by the program's own verbs and over its API;
// no row is put into the database by hand.
package site

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hausmeister/testenv/child"
)

// Config says where a site lives.
type Config struct {
	Bin  string   // folder with the programs
	Dir  string   // folder of this site; made if missing
	Host string   // name or address under which devices find the collector; "" = localhost
	Port int      // UDP and TCP
	Args []string // more arguments of serve
}

// A Site is one collector. Its methods are for one goroutine at a time, but for
// Run, which is for any.
type Site struct {
	c      Config
	server *child.Child
}

// startTime is how long a collector may take until it is ready.
const startTime = 30 * time.Second

// mostAnswer is how much of an answer is read.
const mostAnswer = 16 << 20

// New makes the folder; it starts nothing.
func New(c Config) (*Site, error) {
	if c.Host == "" {
		c.Host = "localhost"
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	return &Site{c: c}, nil
}

// DataDir is the collector's own folder.
func (s *Site) DataDir() string { return filepath.Join(s.c.Dir, "collector") }

// CAFile holds what a client needs to trust URL.
func (s *Site) CAFile() string { return filepath.Join(s.DataDir(), "browser-ca.crt") }

// URL is where the pages are, on this machine.
func (s *Site) URL() string { return "https://localhost:" + strconv.Itoa(s.c.Port) }

// LogFile is what the collector writes to.
func (s *Site) LogFile() string { return filepath.Join(s.c.Dir, "collector.log") }

func (s *Site) program() string { return filepath.Join(s.c.Bin, "hausmeister-collector") }

// Start starts the collector and waits until it is ready.
func (s *Site) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("the collector is not ready after %v", startTime))
	defer cancel()
	args := append([]string{"serve",
		"--data-dir", s.DataDir(),
		"--listen", ":" + strconv.Itoa(s.c.Port),
		"--public", s.c.Host + ":" + strconv.Itoa(s.c.Port),
	}, s.c.Args...)
	server, err := child.Start(child.Config{Program: s.program(), Args: args, Log: s.LogFile()})
	if err != nil {
		return err
	}
	s.server = server
	for {
		if err := s.ready(ctx); err == nil {
			return nil
		}
		select {
		case <-server.Done():
			return fmt.Errorf("the collector ended at its start: %v\n%s", server.Err(), server.LogTail())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), server.Stop(time.Second), errors.New(server.LogTail()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Site) ready(ctx context.Context) error { return s.Client().Get(ctx, "", "/readyz", nil) }

// Client asks this site's pages and API.
func (s *Site) Client() Client { return Client{URL: s.URL(), CAFile: s.CAFile()} }

// Server is the running collector's process.
func (s *Site) Server() *child.Child { return s.server }

// Kill ends the collector as no program can see coming.
func (s *Site) Kill() { s.server.Kill() }

// Stop ends the collector in order.
func (s *Site) Stop(grace time.Duration) error {
	if s.server == nil {
		return nil
	}
	return s.server.Stop(grace)
}

// Run runs one verb of the collector's program; the last line of what it wrote
// is the answer.
func (s *Site) Run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	args = append(args, "--data-dir", s.DataDir())
	return child.Output(ctx, stdin, s.program(), args...)
}

func (s *Site) runJSON(ctx context.Context, into any, stdin string, args ...string) error {
	out, err := s.Run(ctx, stdin, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// ImportSchools takes a list of schools.
func (s *Site) ImportSchools(ctx context.Context, csv []byte) error {
	name := filepath.Join(s.c.Dir, "schools.csv")
	if err := os.WriteFile(name, csv, 0o600); err != nil {
		return err
	}
	_, err := s.Run(ctx, "", "school", "import", name)
	return err
}

// AddUser makes a user for the pages.
func (s *Site) AddUser(ctx context.Context, name, role, password string) error {
	_, err := s.Run(ctx, password+"\n", "user", "add", name, "--role", role, "--password-stdin")
	return err
}

// AddToken makes an API token with a role.
func (s *Site) AddToken(ctx context.Context, name, role string) (string, error) {
	var answer struct{ Token string }
	err := s.runJSON(ctx, &answer, "", "user", "token", name, "--role", role)
	return answer.Token, err
}

// AddClaim makes a claim for so many devices of an owner, and of a school
// unless that is empty.
func (s *Site) AddClaim(ctx context.Context, owner, school string, devices int) (string, error) {
	args := []string{"claim", "create", "--owner", owner, "--cap", strconv.Itoa(devices), "--expires", "90d"}
	if school != "" {
		args = append(args, "--school", school)
	}
	var answer struct{ Claim string }
	err := s.runJSON(ctx, &answer, "", args...)
	return answer.Claim, err
}

// SetInventory gives a device its inventory number.
func (s *Site) SetInventory(ctx context.Context, device, number string) error {
	_, err := s.Run(ctx, "", "device", "set", device, "--inventory", number)
	return err
}

// OpenWindows lets updates begin at any time of day at every school, as the
// administrator does whose token it is.
func (s *Site) OpenWindows(ctx context.Context, token string) error {
	var owners struct{ Items []struct{ ID string } }
	if err := s.Client().Get(ctx, token, "/api/v1/owners", &owners); err != nil {
		return err
	}
	for _, o := range owners.Items {
		none := map[string]string{"lessons_from": "00:00", "lessons_to": "00:00"}
		if err := s.Client().Post(ctx, token, "/api/v1/owners/"+o.ID+"/updates", none, nil); err != nil {
			return err
		}
	}
	return nil
}

// Client asks pages and API over HTTPS.
type Client struct {
	URL    string
	CAFile string
}

// Get asks the API, with a token unless that is empty, and reads the JSON of a
// good answer unless into is nil.
func (c Client) Get(ctx context.Context, token, path string, into any) error {
	return c.ask(ctx, http.MethodGet, token, path, nil, into)
}

// Post sends JSON to the API, which is to make something of it.
func (c Client) Post(ctx context.Context, token, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPost, token, path, bytes.NewReader(data), into)
}

func (c Client) ask(ctx context.Context, method, token, path string, sent io.Reader, into any) error {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", c.CAFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, sent)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, body)
	}
	switch into := into.(type) {
	case nil:
		return nil
	case *string:
		*into = string(body)
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}
