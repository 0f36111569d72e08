package sysinfo

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"github.com/go-ole/go-ole"
	"github.com/go-ole/go-ole/oleutil"
)

// COM belongs to threads: each question here is asked on a thread of its own
// that is set up for it and given back, with all objects, before the function
// returns. A question that hangs therefore keeps one thread and no lock. That is
// why WMI is not asked through yusufpapurcu/wmi, as gopsutil does: there one
// lock is held over each query, and one that hangs would take every other
// reading with it.

// inCOM calls f on a thread that is set up for COM.
func inCOM[T any](f func(o *objects) (T, error)) (T, error) {
	var none T
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const alreadySetUp = 1 // S_FALSE: counts all the same
	if err := ole.CoInitializeEx(0, ole.COINIT_MULTITHREADED); err != nil {
		if oe := (*ole.OleError)(nil); !errors.As(err, &oe) || oe.Code() != alreadySetUp {
			return none, comReason(err)
		}
	}
	defer ole.CoUninitialize()
	o := &objects{}
	defer o.giveBack()
	v, err := f(o)
	if err != nil {
		return none, comReason(err)
	}
	return v, nil
}

// comReason finds the code within what go-ole reports: an exception of the
// object called is told as "exception occurred" with the real code inside.
func comReason(err error) error {
	oe := (*ole.OleError)(nil)
	if !errors.As(err, &oe) {
		return err
	}
	code := uint32(oe.Code())
	text := oe.Description()
	if inner, ok := oe.SubError().(ole.EXCEPINFO); ok && inner.SCODE() != 0 {
		code = inner.SCODE()
	}
	return comError(code, text)
}

// objects remembers what is to be given back, in reverse.
type objects struct{ release []func() }

func (o *objects) giveBack() {
	for i := len(o.release) - 1; i >= 0; i-- {
		o.release[i]()
	}
}

// create makes an object by its program id.
func (o *objects) create(id string) (*ole.IDispatch, error) {
	unknown, err := oleutil.CreateObject(id)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", id, err)
	}
	defer unknown.Release()
	d, err := unknown.QueryInterface(ole.IID_IDispatch)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", id, err)
	}
	o.release = append(o.release, func() { d.Release() })
	return d, nil
}

// call calls a method that gives an object.
func (o *objects) call(d *ole.IDispatch, method string, args ...any) (*ole.IDispatch, error) {
	v, err := oleutil.CallMethod(d, method, args...)
	return o.keep(v, err, method)
}

// object reads a property that is an object.
func (o *objects) object(d *ole.IDispatch, property string, args ...any) (*ole.IDispatch, error) {
	v, err := oleutil.GetProperty(d, property, args...)
	return o.keep(v, err, property)
}

func (o *objects) keep(v *ole.VARIANT, err error, name string) (*ole.IDispatch, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := v.ToIDispatch()
	if d == nil {
		v.Clear()
		return nil, fmt.Errorf("%s gave no object", name)
	}
	o.release = append(o.release, func() { v.Clear() })
	return d, nil
}

// value reads a property that is none.
func value(d *ole.IDispatch, property string, args ...any) (any, error) {
	v, err := oleutil.GetProperty(d, property, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", property, err)
	}
	defer v.Clear()
	return v.Value(), nil
}

// count reads the property Count, against a limit.
func count(d *ole.IDispatch, most int) (int, error) {
	v, err := value(d, "Count")
	if err != nil {
		return 0, err
	}
	n, ok := row{"Count": v}.number("Count")
	if !ok || n < 0 {
		return 0, errors.New("count is no number")
	}
	return min(int(n), most), nil
}

// Namespaces of WMI.
const (
	nsCIM      = `root\cimv2`
	nsWMI      = `root\wmi`
	nsStorage  = `root\Microsoft\Windows\Storage`
	nsSecurity = `root\SecurityCenter2`
	nsDefender = `root\Microsoft\Windows\Defender`
	nsVolumes  = `root\cimv2\Security\MicrosoftVolumeEncryption`
)

// wmi asks for properties of all objects of a class, and for nothing else of
// them: names and serial numbers that are not asked for never arrive.
func wmi(namespace, class string, properties ...string) ([]row, error) {
	return inCOM(func(o *objects) ([]row, error) {
		locator, err := o.create("WbemScripting.SWbemLocator")
		if err != nil {
			return nil, err
		}
		service, err := o.call(locator, "ConnectServer", ".", namespace)
		if err != nil {
			return nil, err
		}
		// The volumes' namespace wants its answers encrypted on the way.
		if security, err := o.object(service, "Security_"); err == nil {
			const packetPrivacy, impersonate = 6, 3
			_, _ = oleutil.PutProperty(security, "AuthenticationLevel", packetPrivacy)
			_, _ = oleutil.PutProperty(security, "ImpersonationLevel", impersonate)
		}
		const atOnce, forwardOnly = 0x10, 0x20
		set, err := o.call(service, "ExecQuery", "SELECT "+strings.Join(properties, ", ")+" FROM "+class, "WQL", atOnce|forwardOnly)
		if err != nil {
			return nil, err
		}
		return rowsOf(set, properties)
	})
}

func rowsOf(set *ole.IDispatch, properties []string) ([]row, error) {
	const most = 256
	var rows []row
	err := oleutil.ForEach(set, func(v *ole.VARIANT) error {
		defer v.Clear()
		if len(rows) == most {
			return errors.New("too many objects")
		}
		item := v.ToIDispatch()
		if item == nil {
			return errors.New("an object is none")
		}
		r := row{}
		for _, p := range properties {
			x, err := property(item, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			if x != nil {
				r[p] = x
			}
		}
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

// property reads one as scripts do, who cannot tell it from a method: Wine
// answers to nothing else. An object that lacks it has nil.
func property(item *ole.IDispatch, name string) (any, error) {
	v, err := item.InvokeWithOptionalArgs(name, ole.DISPATCH_METHOD|ole.DISPATCH_PROPERTYGET, nil)
	if err != nil {
		const unknownName = 0x80020006 // DISP_E_UNKNOWNNAME
		if oe := (*ole.OleError)(nil); errors.As(err, &oe) && uint32(oe.Code()) == unknownName {
			return nil, nil
		}
		return nil, err
	}
	defer v.Clear()
	return v.Value(), nil
}

// Network List Manager (netlistmgr.h).
var (
	clsidNetworkListManager = ole.NewGUID("{DCB00C01-570F-4A9B-8D69-199FDBA5723B}")
	iidNetworkCostManager   = ole.NewGUID("{DCB00008-570F-4A9B-8D69-199FDBA5723B}")
)

// networkCost asks INetworkCostManager::GetCost, which is no automation object:
// the method after IUnknown's three is called by its place in the table.
func networkCost() (uint32, error) {
	return inCOM(func(*objects) (uint32, error) {
		manager, err := ole.CreateInstance(clsidNetworkListManager, iidNetworkCostManager)
		if err != nil {
			return 0, err
		}
		defer manager.Release()
		methods := (*[4]uintptr)(unsafe.Pointer(manager.RawVTable))
		var cost uint32
		r, _, _ := syscall.SyscallN(methods[3], uintptr(unsafe.Pointer(manager)), uintptr(unsafe.Pointer(&cost)), 0)
		if r != 0 {
			return 0, ole.NewError(r)
		}
		return cost, nil
	})
}

// firewallProfiles asks HNetCfg.FwPolicy2 whether the firewall is on in each.
func firewallProfiles() ([]bool, error) {
	return inCOM(func(o *objects) ([]bool, error) {
		policy, err := o.create("HNetCfg.FwPolicy2")
		if err != nil {
			return nil, err
		}
		const domain, private, public = 1, 2, 4
		var on []bool
		for _, profile := range []int{domain, private, public} {
			v, err := value(policy, "FirewallEnabled", profile)
			if err != nil {
				return nil, err
			}
			enabled, ok := v.(bool)
			if !ok {
				return nil, errors.New("the firewall's state is no yes or no")
			}
			on = append(on, enabled)
		}
		return on, nil
	})
}
