package service

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// A Notifier tells systemd how the service is (sd_notify(3)). Where nobody
// listens, because there is another service manager or none, it does nothing:
// what it tells is a courtesy, and an error of telling it is nobody's problem
// but systemd's, which then restarts the service.
type Notifier struct {
	socket   string
	watchdog time.Duration // 0: no watchdog
}

// NewNotifier reads what systemd put into the environment.
func NewNotifier(getenv func(string) string) *Notifier {
	n := &Notifier{socket: getenv("NOTIFY_SOCKET")}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	pid := getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

func (n *Notifier) send(state string) {
	if n.socket == "" {
		return
	}
	// "@..." is an abstract address, which net knows as systemd writes it.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

// Ready says that the start is over.
func (n *Notifier) Ready() { n.send("READY=1") }

// Stopping says that the end has begun.
func (n *Notifier) Stopping() { n.send("STOPPING=1") }

// Alive says that the service lives, once: for a service that knows itself when it
// gets on, and does so more often than the watchdog asks for.
func (n *Notifier) Alive() {
	if n.watchdog > 0 {
		n.send("WATCHDOG=1")
	}
}

// Status is one line that `systemctl status` shows.
func (n *Notifier) Status(line string) { n.send("STATUS=" + line) }

// Watchdog says that the service lives, three times in the time after which
// systemd gives it up as long as alive agrees; it returns when ctx ends. Without
// a watchdog it only waits. timer makes what fires after that time, more or less
// half of it, and what begins it anew; nil = time's own.
func (n *Notifier) Watchdog(ctx context.Context, timer func(time.Duration) (c <-chan time.Time, again func()), alive func() bool) error {
	if n.watchdog == 0 || n.socket == "" {
		<-ctx.Done()
		return nil
	}
	if timer == nil {
		timer = ticker
	}
	due, again := timer(n.watchdog / 3)
	for {
		if alive() {
			n.send("WATCHDOG=1")
		}
		select {
		case <-due:
			again()
		case <-ctx.Done():
			return nil
		}
	}
}

func ticker(every time.Duration) (c <-chan time.Time, again func()) {
	return time.Tick(every), func() {}
}
