package sysinfo

import (
	"context"
	"time"
)

// unsupported is embedded by a source for the groups that its system cannot
// tell: absent as NotSupported, which is an answer and no failure.
type unsupported struct{}

var errNotSupported = errAbsent{NotSupported}

func (unsupported) coreTimes(context.Context) ([]cpuTimes, error)       { return nil, errNotSupported }
func (unsupported) speed(context.Context) (speed, error)                { return speed{}, errNotSupported }
func (unsupported) pressure(context.Context) ([]Pressure, error)        { return nil, errNotSupported }
func (unsupported) disks(context.Context) ([]Disk, error)               { return nil, errNotSupported }
func (unsupported) fans(context.Context) ([]Fan, error)                 { return nil, errNotSupported }
func (unsupported) metered(context.Context) (bool, error)               { return false, errNotSupported }
func (unsupported) bootDuration(context.Context) (time.Duration, error) { return 0, errNotSupported }
func (unsupported) updates(context.Context) (Updates, error)            { return Updates{}, errNotSupported }
func (unsupported) restart(context.Context) (bool, error)               { return false, errNotSupported }
func (unsupported) encryption(context.Context) (Guard, error)           { return "", errNotSupported }
func (unsupported) firewall(context.Context) (Guard, error)             { return "", errNotSupported }
func (unsupported) antivirus(context.Context) (antivirus, error)        { return antivirus{}, errNotSupported }
func (unsupported) secureBoot(context.Context) (Guard, error)           { return "", errNotSupported }
func (unsupported) tpm(context.Context) (string, error)                 { return "", errNotSupported }
func (unsupported) crashes(context.Context) (Crashes, error)            { return Crashes{}, errNotSupported }
func (unsupported) printers(context.Context) ([]Printer, error)         { return nil, errNotSupported }
func (unsupported) software(context.Context) ([]Program, error)         { return nil, errNotSupported }
