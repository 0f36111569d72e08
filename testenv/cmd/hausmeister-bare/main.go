// Command hausmeister-bare is the measure of hausmeister-collector: the least
// that anybody can do who holds devices by QUIC. Bare quic-go with certificates
// on both sides, one stream per connection that stays open, and on it an echo.
//
//	hausmeister-bare -serve 127.0.0.1:9000
//	hausmeister-bare -connect 127.0.0.1:9000 -devices 2000
//
// Who compares gives both servers the same GOGC.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"hausmeister/platform/supervise"
)

func main() {
	serving := flag.String("serve", "", "`address` to listen at")
	connect := flag.String("connect", "", "`address` of such a server")
	devices := flag.Int("devices", 100, "`number` of connections")
	atOnce := flag.Int("at-once", 32, "`number` of handshakes at the same time")
	perSocket := flag.Int("per-socket", 500, "`number` of connections that share a UDP socket")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *serving != "" && *connect == "":
		err = serve(ctx, *serving)
	case *connect != "" && *serving == "":
		err = hold(ctx, *connect, *devices, *atOnce, *perSocket)
	default:
		err = errors.New("give -serve ADDRESS or -connect ADDRESS")
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// serve echoes until ctx ends.
func serve(ctx context.Context, address string) error {
	conf, err := serverTLS()
	if err != nil {
		return err
	}
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	socket := &quic.Transport{Conn: conn}
	ln, err := socket.Listen(conf, &quic.Config{MaxIdleTimeout: maxIdle})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	crew := supervise.NewCrew(ctx, 1_000_000)
	defer crew.Wait()
	defer socket.Close() // ends all connections
	for {
		c, err := ln.Accept(ctx)
		if err != nil {
			return err
		}
		if err := crew.Go(func(ctx context.Context) { echo(ctx, c) }); err != nil {
			return err
		}
	}
}

// hold opens the connections and keeps them until ctx ends.
func hold(ctx context.Context, address string, devices, atOnce, perSocket int) error {
	conf, err := clientTLS()
	if err != nil {
		return err
	}
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	begin := time.Now()
	crew := supervise.NewCrew(ctx, atOnce)
	var socket *quic.Transport
	for i := range devices {
		if i%perSocket == 0 {
			conn, err := net.ListenUDP("udp", nil)
			if err != nil {
				return err
			}
			socket = &quic.Transport{Conn: conn}
			defer socket.Close()
		}
		from := socket
		err := crew.Go(func(ctx context.Context) {
			// The server's accept queue is 32 long and refuses what is above.
			for ctx.Err() == nil && visit(ctx, from, addr, conf) != nil {
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
		if err != nil {
			return err
		}
	}
	crew.Wait()
	fmt.Printf("%d devices connected in %v\n", devices, time.Since(begin).Round(time.Millisecond))
	<-ctx.Done()
	return nil
}
