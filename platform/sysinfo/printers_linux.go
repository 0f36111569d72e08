package sysinfo

import (
	"context"
	"errors"
	"io/fs"
	"strings"
)

// printers asks CUPS's client while the server runs, and does not wake it
// otherwise: then its file tells how it left them.
func (l *linux) printers(ctx context.Context) ([]Printer, error) {
	var states []PrinterState
	text, err := l.lpstat(ctx)
	switch {
	case err == nil:
		states = parseLpstat(string(text))
	case errors.As(err, new(errAbsent)):
		if text, err = l.read("/etc/cups/printers.conf"); err == nil {
			states = parsePrintersConf(string(text))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		} else if !l.exists("/etc/cups") {
			return nil, errNotSupported
		}
	// lpstat fails when there are no queues; that it was ended is another matter.
	case ctx.Err() != nil || errors.Is(err, fs.ErrPermission):
		return nil, err
	}
	if len(states) == 0 {
		return nil, errAbsent{NoHardware}
	}
	ps := make([]Printer, len(states))
	for i, s := range states {
		ps[i] = Printer{numbered("printer", i+1), s}
	}
	return ps, nil
}

func (l *linux) lpstat(ctx context.Context) ([]byte, error) {
	if !l.serviceRuns("cups.service") {
		return nil, errNotSupported
	}
	return l.ask(ctx, "lpstat", "-l", "-p")
}

// parseLpstat reads `lpstat -l -p` of CUPS in the C locale, a line for each
// printer and indented ones after it, of which "Alerts" has the reasons:
//
//	printer NAME is idle.  enabled since Tue 24 Nov 2026 08:15:00
//		Alerts: media-empty-warning
func parseLpstat(text string) (states []PrinterState) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, "printer "); ok {
			_, rest, _ = strings.Cut(rest, " ") // not the name
			switch {
			case strings.HasPrefix(rest, "now printing"):
				states = append(states, Printing)
			case strings.HasPrefix(rest, "disabled"):
				states = append(states, PrinterStopped)
			default:
				states = append(states, PrinterReady)
			}
			continue
		}
		alerts, ok := strings.CutPrefix(strings.TrimSpace(line), "Alerts:")
		if ok && len(states) > 0 {
			last := &states[len(states)-1]
			*last = worse(*last, strings.Fields(alerts))
		}
	}
	return states
}

// parsePrintersConf reads the state and the reasons of each queue of
// printers.conf(5) and nothing else of it.
func parsePrintersConf(text string) (states []PrinterState) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case key == "<Printer" || key == "<DefaultPrinter":
			states = append(states, PrinterReady)
		case len(states) == 0:
		case key == "State" && value == "Stopped":
			states[len(states)-1] = PrinterStopped
		case key == "Reason":
			last := &states[len(states)-1]
			*last = worse(*last, []string{value})
		}
	}
	return states
}

// troubles are printer-state-reasons (RFC 8011 section 5.4.12) for which
// somebody must go there; "low" ones are not.
var troubles = []string{
	"media-empty", "media-jam", "media-needed", "toner-empty", "marker-supply-empty", "marker-waste-full",
	"developer-empty", "fuser-over-temp", "input-tray-missing", "output-tray-missing", "output-area-full",
	"door-open", "cover-open", "interlock-open", "opc-life-over",
}

// worse makes of a state what the reasons say.
func worse(s PrinterState, reasons []string) PrinterState {
	for _, r := range reasons {
		r = strings.TrimSuffix(r, ",")
		for _, suffix := range []string{"-report", "-warning", "-error"} {
			r = strings.TrimSuffix(r, suffix)
		}
		switch {
		case r == "offline" || r == "shutdown" || r == "timed-out":
			return PrinterOffline
		case r == "paused" && s == PrinterReady:
			s = PrinterStopped
		default:
			for _, t := range troubles {
				if r == t {
					s = PrinterTrouble
				}
			}
		}
	}
	return s
}
