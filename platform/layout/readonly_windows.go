package layout

import (
	"errors"

	"golang.org/x/sys/windows"
)

// ReadOnly says whether the disk below a folder takes nothing. A folder that is missing is
// on none.
func ReadOnly(dir string) bool {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return false
	}
	var volume [windows.MAX_PATH + 1]uint16
	if windows.GetVolumePathName(p, &volume[0], uint32(len(volume))) != nil {
		return false
	}
	var flags uint32
	err = windows.GetVolumeInformation(&volume[0], nil, 0, nil, nil, &flags, nil, 0)
	return err == nil && flags&windows.FILE_READ_ONLY_VOLUME != 0
}

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }
