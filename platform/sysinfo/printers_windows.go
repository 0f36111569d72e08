package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	winspool     = windows.NewLazySystemDLL("winspool.drv")
	enumPrinters = winspool.NewProc("EnumPrintersW")
)

// printerInfo is PRINTER_INFO_2W. Of its texts only the driver's name is read.
type printerInfo struct {
	server, printer, share, port, driver, comment, location *uint16
	devMode                                                 uintptr
	sepFile, processor, datatype, parameters                *uint16
	security                                                uintptr
	attributes, priority, defaultPriority                   uint32
	start, until, status, jobs, pagesPerMinute              uint32
}

// printers are those that are set up for the whole machine.
func (*windowsSource) printers(context.Context) ([]Printer, error) {
	if enumPrinters.Find() != nil {
		return nil, errAbsent{NotSupported}
	}
	const local, level = 2, 2
	var needed, count uint32
	buf := make([]uintptr, 2<<10) // of pointers, so that it lies as the structs want
	width := int(unsafe.Sizeof(buf[0]))
	for {
		ok, _, err := enumPrinters.Call(local, 0, level, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)*width),
			uintptr(unsafe.Pointer(&needed)), uintptr(unsafe.Pointer(&count)))
		if ok != 0 {
			break
		}
		const noSpooler = windows.Errno(1722) // RPC_S_SERVER_UNAVAILABLE
		switch {
		case errors.Is(err, noSpooler):
			return nil, errAbsent{NotSupported}
		case errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) && int(needed) > len(buf)*width && needed < 1<<20:
			buf = make([]uintptr, int(needed)/width+1)
		default:
			return nil, fmt.Errorf("listing printers: %w", err)
		}
	}
	if int(count)*int(unsafe.Sizeof(printerInfo{})) > len(buf)*width {
		return nil, errors.New("listing printers: the list is longer than its buffer")
	}
	var ps []Printer
	for _, info := range unsafe.Slice((*printerInfo)(unsafe.Pointer(&buf[0])), int(count)) {
		if info.driver != nil && !onPaper(windows.UTF16PtrToString(info.driver)) {
			continue
		}
		ps = append(ps, Printer{numbered("printer", len(ps)+1), printerState(info.status, info.attributes)})
	}
	if len(ps) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return ps, nil
}
