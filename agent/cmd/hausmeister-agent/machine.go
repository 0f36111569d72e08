package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/enroll"
	"hausmeister/agent/health"
	"hausmeister/agent/link/path"
	"hausmeister/platform/keystore"
	"hausmeister/platform/layout"
	"hausmeister/platform/netpath"
	"hausmeister/platform/sysinfo"
	"hausmeister/platform/wake"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
	"hausmeister/proto/wire"
)

// machine is this real machine, as an agent needs it.
type machine struct {
	layout   layout.Layout
	endpoint *wire.Endpoint
	dialer   *path.Dialer
	reader   *sysinfo.Reader
	proxies  netpath.Finder
	settings error // why the settings could not be read
	networks *config.Networks
	ways     path.Config // of a dialler that remembers nothing
}

// openMachine opens the one socket. It is bound to no address, so that it goes
// on when the machine's addresses change, and a send that fails for want of a
// network is a lost packet and not the end.
func openMachine(l layout.Layout) (*machine, error) {
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	m := &machine{layout: l, reader: sysinfo.New(sysinfo.Config{})}
	m.endpoint = wire.NewEndpoint(wire.TolerantSocket(conn, wake.Transient), wire.EndpointConfig{})
	files := enroll.Dir(l.State())
	settings, wrong := config.ReadSettings(files)
	m.settings = wrong
	m.proxies.Setting = settings.Proxy
	m.networks = config.OpenNetworks(files)
	m.ways = path.Config{
		Endpoint: m.endpoint,
		Connect: func(ctx context.Context, address string) (net.Conn, error) {
			var tcp net.Dialer
			return tcp.DialContext(ctx, "tcp", address)
		},
		Proxies:     m.proxies.Proxies,
		Network:     wake.Network,
		PortalProbe: settings.PortalProbe,
	}
	all := m.ways
	all.Networks = m.networks
	m.dialer = path.New(all)
	return m, nil
}

func (m *machine) Close() error { return m.endpoint.Close() }

// keeper opens the identity in the state folder; exclusive as in enroll.Config.
func (m *machine) keeper(exclusive func() (release func() error, err error)) (*enroll.Keeper, error) {
	return enroll.Open(enroll.Config{
		Files:     enroll.Dir(m.layout.State()),
		Keys:      keystore.Open(filepath.Join(m.layout.State(), "keys")),
		Hardware:  m.hardware,
		BuildTime: manifest.BuildTime(),
		Exclusive: exclusive,
		Dial:      m.dialer.Dial,
	})
}

func (m *machine) hardware(ctx context.Context) ident.Hardware {
	id := m.reader.Identify(ctx)
	return ident.Hardware{
		Manufacturer: id.Manufacturer.Value,
		Model:        id.Model.Value,
		Serial:       id.Serial.Value,
		OS:           id.OS,
	}
}

// liveWithin is how long a group may take that is read each second.
const liveWithin = time.Second

// live reads this machine for somebody who watches it.
func live() health.Source { return sysinfo.NewLive(sysinfo.Config{Within: liveWithin}) }

// publish replaces a file of the public folder.
func (m *machine) publish(name string, data []byte) error {
	return layout.WriteFile(filepath.Join(m.layout.Public(), name), data, 0o644)
}

// programHash is the SHA-256 of the running program, for the desk to know it by.
func programHash() ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, errors.Join(errors.New("reading the program"), err)
	}
	return h.Sum(nil), nil
}
