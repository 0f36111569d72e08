package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	wevtapi   = windows.NewLazySystemDLL("wevtapi.dll")
	evtQuery  = wevtapi.NewProc("EvtQuery")
	evtNext   = wevtapi.NewProc("EvtNext")
	evtRender = wevtapi.NewProc("EvtRender")
	evtClose  = wevtapi.NewProc("EvtClose")
)

// events is a query's result. Events are counted by their handles and not
// opened: what crashed, and where it lay, never comes into our memory.
type events struct{ handle uintptr }

// queryEvents asks a log, newest first.
func queryEvents(channel, xpath string) (events, error) {
	if evtQuery.Find() != nil {
		return events{}, errAbsent{NotSupported}
	}
	c, err := windows.UTF16PtrFromString(channel)
	if err != nil {
		return events{}, err
	}
	q, err := windows.UTF16PtrFromString(xpath)
	if err != nil {
		return events{}, err
	}
	const channelPath, newestFirst = 0x1, 0x200
	h, _, err := evtQuery.Call(0, uintptr(unsafe.Pointer(c)), uintptr(unsafe.Pointer(q)), channelPath|newestFirst)
	const noSuchChannel = windows.Errno(15007) // ERROR_EVT_CHANNEL_NOT_FOUND
	switch {
	case h != 0:
		return events{h}, nil
	case errors.Is(err, noSuchChannel), errors.Is(err, windows.ERROR_CALL_NOT_IMPLEMENTED):
		return events{}, errAbsent{NotSupported}
	case errors.Is(err, windows.ERROR_SUCCESS): // Wine's says no more than that
		return events{}, errAbsent{NotSupported}
	}
	return events{}, fmt.Errorf("asking the log %s: %w", channel, err)
}

func (e events) close() { _, _, _ = evtClose.Call(e.handle) }

// next gives the handles of at most n further events; none at the end.
func (e events) next(into []uintptr) ([]uintptr, error) {
	var got uint32
	const wait = 1000 // milliseconds
	ok, _, err := evtNext.Call(e.handle, uintptr(len(into)), uintptr(unsafe.Pointer(&into[0])), wait, 0, uintptr(unsafe.Pointer(&got)))
	if ok == 0 {
		if errors.Is(err, windows.ERROR_NO_MORE_ITEMS) {
			return nil, nil
		}
		return nil, err
	}
	return into[:min(int(got), len(into))], nil
}

// countEvents counts, up to a limit.
func countEvents(ctx context.Context, channel, xpath string) (int64, error) {
	e, err := queryEvents(channel, xpath)
	if err != nil {
		return 0, err
	}
	defer e.close()
	const most = 10_000
	total := int64(0)
	handles := make([]uintptr, 64)
	for total < most {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		got, err := e.next(handles)
		if err != nil {
			return 0, err
		}
		if len(got) == 0 {
			break
		}
		for _, h := range got {
			_, _, _ = evtClose.Call(h)
		}
		total += int64(len(got))
	}
	return total, nil
}

// newestEvent gives the newest event as XML, nil when there is none.
func newestEvent(channel, xpath string) ([]byte, error) {
	e, err := queryEvents(channel, xpath)
	if err != nil {
		return nil, err
	}
	defer e.close()
	got, err := e.next(make([]uintptr, 1))
	if err != nil || len(got) == 0 {
		return nil, err
	}
	defer func() { _, _, _ = evtClose.Call(got[0]) }()
	const asXML = 1
	var used, properties uint32
	text := make([]uint16, 32<<10)
	ok, _, err := evtRender.Call(0, got[0], asXML, uintptr(2*len(text)), uintptr(unsafe.Pointer(&text[0])),
		uintptr(unsafe.Pointer(&used)), uintptr(unsafe.Pointer(&properties)))
	if ok == 0 {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	return []byte(windows.UTF16ToString(text)), nil
}

func (*windowsSource) bootDuration(context.Context) (time.Duration, error) {
	b, err := newestEvent("Microsoft-Windows-Diagnostics-Performance/Operational", "*[System[(EventID=100)]]")
	if err != nil {
		return 0, err
	}
	var began time.Time
	var took time.Duration
	if b != nil {
		if began, took, err = parseBootEvent(b); err != nil {
			return 0, err
		}
	}
	now := time.Now()
	return bootTook(began, took, now.Add(-windows.DurationSinceBoot()), now)
}

// crashes counts blue screens, starts after the power went away (event 41
// without a bug check: with one it is the blue screen again), and programs.
func (*windowsSource) crashes(ctx context.Context) (Crashes, error) {
	const month = "TimeCreated[timediff(@SystemTime) <= 2592000000]" // milliseconds
	var first error
	count := func(channel, which, rest string) Opt[int64] {
		n, err := countEvents(ctx, channel, "*[System["+which+" and "+month+"]"+rest+"]")
		if first == nil {
			first = err
		}
		return orNone(n, err)
	}
	c := Crashes{
		System:    count("System", "Provider[@Name='Microsoft-Windows-WER-SystemErrorReporting'] and (EventID=1001)", ""),
		PowerOffs: count("System", "Provider[@Name='Microsoft-Windows-Kernel-Power'] and (EventID=41)", " and EventData[Data[@Name='BugcheckCode']='0']"),
		Programs:  count("Application", "Provider[@Name='Application Error'] and (EventID=1000)", ""),
	}
	if c.System.Why != Present && c.PowerOffs.Why != Present && c.Programs.Why != Present {
		return Crashes{}, first
	}
	return c, ctx.Err()
}
