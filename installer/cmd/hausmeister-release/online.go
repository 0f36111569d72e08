package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"hausmeister/installer/release/online"
)

type onlineCmd struct {
	Init  onlineInitCmd  `cmd:"" help:"Make keys for snapshot and timestamp; again: the next ones."`
	Trust onlineTrustCmd `cmd:"" help:"Put the first root there, signed."`
	Serve onlineServeCmd `cmd:"" help:"Sign, until it is ended."`
	State onlineStateCmd `cmd:"" help:"What was signed last."`
	Renew onlineRenewCmd `cmd:"" help:"Sign a new timestamp now."`
}

// place of the process's own state.
type place struct {
	State string `help:"Folder of its keys and numbers, for its own user alone." env:"HAUSMEISTER_ONLINE_STATE" default:"online" placeholder:"DIR"`
}

func (p place) open(c *cli) (*online.Signer, error) {
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(p.State)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read %s: chmod 700", p.State)
	}
	return online.Open(online.Config{State: p.State, Repo: c.Repo, Now: c.now, Log: slog.New(slog.NewTextHandler(c.stderr, nil))})
}

type onlineInitCmd struct {
	place
	Out string `help:"Folder for the public halves." default:"people" placeholder:"DIR"`
}

func (o *onlineInitCmd) Run(c *cli) error {
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	s, err := o.open(c)
	if err != nil {
		return err
	}
	defer s.Close()
	made, err := s.NewKeys(c.random, o.Out)
	if err != nil {
		return err
	}
	var lines []string
	what := map[string]string{}
	for _, p := range made {
		lines = append(lines, publicLines(p)...)
		what[p.Roles[0]] = p.ID
	}
	if err := c.noted("online init", what); err != nil {
		return err
	}
	return c.say(made, strings.Join(lines, "\n"))
}

type onlineTrustCmd struct {
	place
	File string `arg:"" help:"The first root, signed by enough." type:"path"`
}

func (o *onlineTrustCmd) Run(c *cli) error {
	data, err := readNamed(o.File)
	if err != nil {
		return err
	}
	s, err := o.open(c)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Trust(data); err != nil {
		return err
	}
	st := s.State()
	what := map[string]string{"file": filepath.Base(o.File), "root": fmt.Sprint(st.Root), "snapshot": fmt.Sprint(st.Snapshot), "timestamp": fmt.Sprint(st.Timestamp)}
	if err := c.noted("online trust", what); err != nil {
		return err
	}
	text := "root 1 is trusted; everything else follows from it"
	if st.Timestamp > 0 {
		text = "goes on above what is published: " + stateText(st)
	}
	return c.say(st, text)
}

type onlineServeCmd struct {
	place
	publishing
	Group string `help:"Group that may use the socket: the collector's and the publishers'." placeholder:"NAME"`
}

func (o *onlineServeCmd) Run(c *cli) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := o.open(c)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Remembers(); err != nil {
		return err
	}
	l, err := online.Listen(o.Socket, o.Group)
	if err != nil {
		return err
	}
	c.note("signing at " + o.Socket)
	return s.Run(ctx, l)
}

type onlineStateCmd struct{ publishing }

func (o *onlineStateCmd) Run(c *cli) error {
	st, err := (online.Client{Socket: o.Socket}).State(context.Background())
	if err != nil {
		return err
	}
	return c.say(st, stateText(st))
}

type onlineRenewCmd struct{ publishing }

func (o *onlineRenewCmd) Run(c *cli) error {
	st, err := (online.Client{Socket: o.Socket}).Renew(context.Background())
	if err != nil {
		return err
	}
	if err := c.noted("online renew", map[string]string{"timestamp": fmt.Sprint(st.Timestamp)}); err != nil {
		return err
	}
	return c.say(st, stateText(st))
}

func stateText(s online.State) string {
	text := fmt.Sprintf("root %d, snapshot %d, timestamp %d", s.Root, s.Snapshot, s.Timestamp)
	for _, role := range slices.Sorted(maps.Keys(s.Roles)) {
		text += fmt.Sprintf(", %s %d", role, s.Roles[role])
	}
	return text
}
