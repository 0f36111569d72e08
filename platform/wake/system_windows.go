package wake

import (
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	kernel32          = windows.NewLazySystemDLL("kernel32.dll")
	powrprof          = windows.NewLazySystemDLL("powrprof.dll")
	queryUnbiasedTime = kernel32.NewProc("QueryUnbiasedInterruptTime")
	registerSuspend   = powrprof.NewProc("PowerRegisterSuspendResumeNotification")
	unregisterSuspend = powrprof.NewProc("PowerUnregisterSuspendResumeNotification")
)

// setEvent is the callback of all notices: it sets the event whose handle it was
// registered with. Made once, since the memory of a callback is never freed.
var setEvent = sync.OnceValue(func() uintptr {
	return windows.NewCallback(func(event, _, _ uintptr) uintptr {
		_ = windows.SetEvent(windows.Handle(event))
		return 0
	})
})

type windowsSystem struct{}

func newSystem() system { return windowsSystem{} }

// slept: the time since start counts sleep, the "unbiased" time does not.
func (windowsSystem) slept() (time.Duration, error) {
	var ticks uint64 // of 100 ns
	if ok, _, err := queryUnbiasedTime.Call(uintptr(unsafe.Pointer(&ticks))); ok == 0 {
		return 0, err
	}
	return windows.DurationSinceBoot() - time.Duration(ticks)*100, nil
}

func (windowsSystem) network() (string, error) { return addresses() }

func (windowsSystem) place() (string, error) { return prefixes() }

// open has the system set one event at each change of an address or a route,
// and when the machine goes to sleep or wakes. The callbacks come on threads of
// the system's pool; all they do is to set the event, whose handle is the
// context that they are registered with.
func (windowsSystem) open(hints chan<- hint) (_ *notices, err error) {
	var undo []func()
	rollback := func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	defer func() {
		if err != nil {
			rollback()
		}
	}()
	event := func() (windows.Handle, error) {
		h, err := windows.CreateEvent(nil, 0, 0, nil) // resets itself
		if err == nil {
			undo = append(undo, func() { _ = windows.CloseHandle(h) })
		}
		return h, err
	}
	changed, err := event()
	if err != nil {
		return nil, fmt.Errorf("making an event: %w", err)
	}
	stop, err := event()
	if err != nil {
		return nil, fmt.Errorf("making an event: %w", err)
	}
	if err := notifyNetwork(changed, &undo); err != nil {
		return nil, err
	}
	notifySuspend(changed, &undo)

	wait := func() error {
		for {
			which, err := windows.WaitForMultipleObjects([]windows.Handle{stop, changed}, false, windows.INFINITE)
			switch {
			case err != nil:
				rollback()
				return fmt.Errorf("waiting for changes: %w", err)
			case which == windows.WAIT_OBJECT_0:
				rollback() // here, since the wait may not lose its handles
				return nil
			}
			send(hints, hint{})
		}
	}
	return &notices{loops: []func() error{wait}, close: func() { _ = windows.SetEvent(stop) }}, nil
}

func notifyNetwork(changed windows.Handle, undo *[]func()) error {
	var addresses, routes windows.Handle
	// The context is a handle, not a pointer: nothing of ours is referred to.
	context := *(*unsafe.Pointer)(unsafe.Pointer(&changed))
	if err := windows.NotifyUnicastIpAddressChange(windows.AF_UNSPEC, setEvent(), context, false, &addresses); err != nil {
		return fmt.Errorf("asking for changes of addresses: %w", err)
	}
	*undo = append(*undo, func() { _ = windows.CancelMibChangeNotify2(addresses) })
	if err := windows.NotifyRouteChange2(windows.AF_UNSPEC, setEvent(), context, false, &routes); err != nil {
		return fmt.Errorf("asking for changes of routes: %w", err)
	}
	*undo = append(*undo, func() { _ = windows.CancelMibChangeNotify2(routes) })
	return nil
}

// notifySuspend asks for sleep and waking. Windows before 8 cannot; then the
// look each minute must do.
func notifySuspend(changed windows.Handle, undo *[]func()) {
	if registerSuspend.Find() != nil {
		return
	}
	// DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS
	params := struct{ callback, context uintptr }{setEvent(), uintptr(changed)}
	var registered uintptr
	const deviceNotifyCallback = 2
	if r, _, _ := registerSuspend.Call(deviceNotifyCallback, uintptr(unsafe.Pointer(&params)), uintptr(unsafe.Pointer(&registered))); r == 0 {
		*undo = append(*undo, func() { _, _, _ = unregisterSuspend.Call(registered) })
	}
}
