package sysinfo

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/go-ole/go-ole"
	"github.com/go-ole/go-ole/oleutil"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// updates asks the update agent for what it found at its own last search: this
// one stays offline, costs no network and may yet take a minute. Its answer is
// kept when the group was cut off meanwhile.
func (w *windowsSource) updates(context.Context) (Updates, error) {
	return w.keptUpdates.get(time.Hour, func() (Updates, error) { return inCOM(searchUpdates) })
}

func searchUpdates(o *objects) (Updates, error) {
	session, err := o.create("Microsoft.Update.Session")
	if err != nil {
		return Updates{}, err
	}
	searcher, err := o.call(session, "CreateUpdateSearcher")
	if err != nil {
		return Updates{}, err
	}
	if _, err := oleutil.PutProperty(searcher, "Online", false); err != nil {
		return Updates{}, err
	}
	result, err := o.call(searcher, "Search", "IsInstalled=0 and IsHidden=0")
	if err != nil {
		return Updates{}, err
	}
	waiting, err := o.object(result, "Updates")
	if err != nil {
		return Updates{}, err
	}
	const most = 500
	n, err := count(waiting, most)
	if err != nil {
		return Updates{}, err
	}
	var pending []osUpdate
	for i := range n {
		u, err := o.waiting(waiting, i)
		if err != nil {
			return Updates{}, err
		}
		pending = append(pending, u)
	}
	past, err := o.history(searcher)
	if err != nil {
		return Updates{}, err
	}
	return updatesOf(pending, past), nil
}

func (o *objects) waiting(updates *ole.IDispatch, i int) (osUpdate, error) {
	item, err := o.object(updates, "Item", i)
	if err != nil {
		return osUpdate{}, err
	}
	severity, _ := value(item, "MsrcSeverity") // null for most
	text, _ := severity.(string)
	ids, err := o.categories(item)
	if err != nil {
		return osUpdate{}, err
	}
	var u osUpdate
	u.categorize(ids, text)
	return u, nil
}

// history gives the newest entries that say of an installation that it went well.
func (o *objects) history(searcher *ole.IDispatch) ([]osUpdate, error) {
	v, err := oleutil.CallMethod(searcher, "GetTotalHistoryCount")
	if err != nil {
		return nil, err
	}
	total, _ := row{"n": v.Value()}.number("n")
	v.Clear()
	if total <= 0 {
		return nil, nil
	}
	// Patterns of the antivirus come several times a day.
	const most = 200
	entries, err := o.call(searcher, "QueryHistory", 0, int(min(total, most)))
	if err != nil {
		return nil, err
	}
	n, err := count(entries, most)
	if err != nil {
		return nil, err
	}
	var past []osUpdate
	for i := range n {
		item, err := o.object(entries, "Item", i)
		if err != nil {
			return nil, err
		}
		const installation, succeeded = 1, 2
		r := row{}
		r["Operation"], _ = value(item, "Operation")
		r["ResultCode"], _ = value(item, "ResultCode")
		date, _ := value(item, "Date")
		day, ok := date.(time.Time)
		if op, _ := r.number("Operation"); op != installation || !ok {
			continue
		}
		if result, _ := r.number("ResultCode"); result != succeeded {
			continue
		}
		u := osUpdate{date: day}
		if ids, err := o.categories(item); err == nil {
			u.categorize(ids, "")
		}
		past = append(past, u)
	}
	return past, nil
}

func (o *objects) categories(item *ole.IDispatch) ([]string, error) {
	all, err := o.object(item, "Categories")
	if err != nil {
		return nil, err
	}
	const most = 20
	n, err := count(all, most)
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range n {
		category, err := o.object(all, "Item", i)
		if err != nil {
			return nil, err
		}
		if id, err := value(category, "CategoryID"); err == nil {
			s, _ := id.(string)
			ids = append(ids, s)
		}
	}
	return ids, nil
}

const currentVersion = `SOFTWARE\Microsoft\Windows\CurrentVersion\`

// restart looks where Windows, its component store and installers write that a
// restart is due, and whether the computer's new name waits for one. (The names
// are compared and not kept.)
func (*windowsSource) restart(context.Context) (bool, error) {
	for _, path := range []string{
		currentVersion + `Component Based Servicing\RebootPending`,
		currentVersion + `WindowsUpdate\Auto Update\RebootRequired`,
	} {
		k, err := openKey(path)
		if err == nil {
			k.Close()
			return true, nil
		}
		if !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
			return false, err
		}
	}
	pairs, err := read(`SYSTEM\CurrentControlSet\Control\Session Manager`, func(k registry.Key) ([]string, error) {
		s, _, err := k.GetStringsValue("PendingFileRenameOperations")
		return s, err
	})
	if err != nil && !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return false, err
	}
	if renamesWait(pairs) {
		return true, nil
	}
	const names = `SYSTEM\CurrentControlSet\Control\ComputerName\`
	name := func(k registry.Key) (string, error) {
		s, _, err := k.GetStringValue("ComputerName")
		return s, err
	}
	active, err := read(names+"ActiveComputerName", name)
	next, err2 := read(names+"ComputerName", name)
	return err == nil && err2 == nil && active != next, nil
}

// openKey opens a key of the machine's registry in the view of 64-bit programs.
func openKey(path string) (registry.Key, error) {
	return registry.OpenKey(registry.LOCAL_MACHINE, path, registry.READ|registry.WOW64_64KEY)
}

func read[T any](path string, get func(registry.Key) (T, error)) (T, error) {
	k, err := openKey(path)
	if err != nil {
		var none T
		return none, err
	}
	defer k.Close()
	return get(k)
}

// software lists what the registry of the machine says can be removed, of both
// widths of programs. What a user installed for themselves is theirs.
func (*windowsSource) software(ctx context.Context) ([]Program, error) {
	var entries []uninstall
	for _, view := range []uint32{registry.WOW64_64KEY, registry.WOW64_32KEY} {
		list, err := registry.OpenKey(registry.LOCAL_MACHINE, currentVersion+"Uninstall", registry.READ|view)
		if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
			continue // nothing of this width
		}
		if err != nil {
			return nil, err
		}
		names, err := list.ReadSubKeyNames(10_000)
		if err != nil && len(names) == 0 && !errors.Is(err, io.EOF) {
			list.Close()
			return nil, err
		}
		for _, name := range names {
			if ctx.Err() != nil {
				list.Close()
				return nil, ctx.Err()
			}
			if k, err := registry.OpenKey(list, name, registry.READ|view); err == nil {
				entries = append(entries, uninstallEntry(k))
				k.Close()
			}
		}
		list.Close()
	}
	return programsOf(entries), nil
}

func uninstallEntry(k registry.Key) uninstall {
	text := func(name string) string {
		s, _, _ := k.GetStringValue(name)
		return s
	}
	system, _, _ := k.GetIntegerValue("SystemComponent")
	return uninstall{
		name: text("DisplayName"), version: text("DisplayVersion"),
		release: text("ReleaseType"), parent: text("ParentKeyName"), system: system == 1,
	}
}
