package layout

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// openOurs opens a plain file for reading. All is asked of the open file: it is
// no link (neither kind), and nobody but system, administrators and ourselves may
// write to it. While it is open it can be renamed and read, but not written.
func openOurs(name string) (*os.File, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(p, windows.GENERIC_READ|windows.READ_CONTROL, windows.FILE_SHARE_READ|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	if err := plainAndOurs(h); err != nil {
		windows.CloseHandle(h)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(h), name), nil
}

func plainAndOurs(h windows.Handle) error {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return err
	}
	switch {
	case info.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0:
		return fmt.Errorf("%w: a link", ErrForeign)
	case info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0:
		return fmt.Errorf("%w: a folder", ErrForeign)
	case info.NumberOfLinks != 1:
		return fmt.Errorf("%w: it has other names", ErrForeign)
	}
	sd, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	return oursAlone(sd)
}

// mayChange are the rights with which a file's bytes or its rights can be changed.
const mayChange = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER |
	windows.GENERIC_ALL | windows.GENERIC_WRITE

// oursAlone refuses what somebody else owns or may write to.
func oursAlone(sd *windows.SECURITY_DESCRIPTOR) error {
	trusted, err := trustedSIDs()
	if err != nil {
		return err
	}
	isTrusted := func(sid *windows.SID) bool {
		for _, t := range trusted {
			if sid.Equals(t) {
				return true
			}
		}
		return false
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return err
	}
	if !isTrusted(owner) {
		return fmt.Errorf("%w: owned by %s", ErrForeign, owner)
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	if dacl == nil { // full access for everybody
		return fmt.Errorf("%w: others may write", ErrForeign)
	}
	for i := range dacl.AceCount {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(dacl, uint32(i), &ace); err != nil {
			return err
		}
		const inheritOnly = 0x8
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || ace.Header.AceFlags&inheritOnly != 0 || ace.Mask&mayChange == 0 {
			continue
		}
		if sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)); !isTrusted(sid) {
			return fmt.Errorf("%w: %s may write", ErrForeign, sid)
		}
	}
	return nil
}

// trustedSIDs are system, administrators, "the owner", Windows' own installer,
// and this process's user.
func trustedSIDs() ([]*windows.SID, error) {
	var all []*windows.SID
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinLocalSystemSid, windows.WinBuiltinAdministratorsSid, windows.WinCreatorOwnerRightsSid} {
		sid, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return nil, err
		}
		all = append(all, sid)
	}
	installer, err := windows.StringToSid("S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464")
	if err != nil {
		return nil, err
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return append(all, installer, user.User.Sid), nil
}

// checkFolder refuses a folder in which somebody else could put another program
// in the place of ours. Those above the root are Windows' own, in which users
// may make folders but not rename or remove those of others.
func checkFolder(path string) error {
	attr, err := fileAttributes(path)
	if err != nil {
		return err
	}
	if attr&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 || attr&windows.FILE_ATTRIBUTE_DIRECTORY == 0 {
		return fmt.Errorf("%s: %w", path, ErrForeign)
	}
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	if err := oursAlone(sd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// setPointer notes the folder in a file: links need a right here that even
// services may lack. The service manager's own entry names the folder itself.
func setPointer(d Disk, pointer, to string) error {
	return WriteOn(d, pointer, []byte(to+"\n"), 0o644)
}

func pointsTo(d Disk, pointer string) (string, error) {
	f, err := d.Open(pointer)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1000))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	to := strings.TrimSpace(string(b))
	if to == "" || to != filepath.Base(to) {
		return "", errors.New("the pointer's file names no folder")
	}
	return to, nil
}
