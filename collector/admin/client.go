package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// Client asks a running collector.
type Client struct {
	http *http.Client
}

// NewClient makes a client of the collector at this socket; it connects with
// the first verb.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return nil, &Error{Code: CodeNotRunning, Text: fmt.Sprintf("no collector is running here (%s): start it with `hausmeister-collector serve`, or give its --data-dir", socket)}
		case errors.Is(err, fs.ErrPermission):
			return nil, &Error{Code: CodeNotRunning, Text: fmt.Sprintf("no right to talk to the collector (%s): only the owner of its data folder may", socket)}
		}
		return conn, err
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Do runs a verb, such as "claim/create", and reads its answer into out. What
// the collector refused is an *Error.
func (c *Client) Do(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://collector/"+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var known *Error
		if errors.As(err, &known) {
			return known
		}
		return fmt.Errorf("asking the collector: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		refused := &Error{Code: CodeInternal, Text: resp.Status}
		json.NewDecoder(resp.Body).Decode(refused) // without JSON the status must do
		return refused
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the collector's answer: %w", err)
	}
	return nil
}
