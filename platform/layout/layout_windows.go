package layout

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

func defaultRoot() string {
	// Asked from the shell and not from the environment, which a user can set
	// for a program that he starts.
	base, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		base = `C:\ProgramData`
	}
	return filepath.Join(base, "Hausmeister")
}

// Rights of the folders, inherited by what is made in them and themselves cut
// off from inheritance (P): full for the system, administrators and the owner;
// public ones may be read by users (0x1200a9 = read and execute).
const (
	sddlPrivate = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"
	sddlPublic  = sddlPrivate + "(A;OICI;0x1200a9;;;BU)"
	sddlWishes  = sddlPrivate + "(A;;0x100002;;;BU)" // add a file to the folder, wait for it
)

// takeOver sets owner and rights. Everybody may make folders in ProgramData, so
// a folder that was there first may belong to a user who wants to read what we
// write: it is made the administrators' own, and refused when that fails and it
// is neither theirs, the system's nor this process's user's.
func takeOver(path string, _ os.FileInfo, r rights) error {
	if attr, err := fileAttributes(path); err != nil {
		return err
	} else if attr&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 {
		return fmt.Errorf("%w: a junction or link", ErrForeign)
	}
	admins, err := windows.CreateWellKnownSid(windows.WinBuiltinAdministratorsSid)
	if err != nil {
		return err
	}
	err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION, admins, nil, nil, nil)
	if err != nil {
		if err := checkOwner(path, admins); err != nil {
			return err
		}
	}
	sddl := [...]string{forNobody: sddlPrivate, forReaders: sddlPublic, forWishes: sddlWishes}[r]
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return err
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, dacl, nil)
}

func fileAttributes(path string) (uint32, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	return windows.GetFileAttributes(p)
}

// checkOwner accepts a folder of the administrators, the system or ourselves.
func checkOwner(path string, admins *windows.SID) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return err
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	if owner.Equals(admins) || owner.IsWellKnown(windows.WinLocalSystemSid) || owner.Equals(user.User.Sid) {
		return nil
	}
	return fmt.Errorf("%w: owned by %s", ErrForeign, owner)
}
