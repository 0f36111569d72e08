package process

import "syscall"

// noProgram is what CreateProcess says of other formats, processors and releases of the
// system ("System Error Codes" of Microsoft, winerror.h).
var noProgram = []error{
	syscall.Errno(191),  // ERROR_INVALID_EXE_SIGNATURE
	syscall.Errno(192),  // ERROR_EXE_MARKED_INVALID
	syscall.Errno(193),  // ERROR_BAD_EXE_FORMAT
	syscall.Errno(216),  // ERROR_EXE_MACHINE_TYPE_MISMATCH
	syscall.Errno(1150), // ERROR_OLD_WIN_VERSION
}
