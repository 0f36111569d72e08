package process

import "syscall"

// noProgram is what intro(2) has of other formats, of other processors, and of files of
// ours that are malformed.
var noProgram = []error{syscall.ENOEXEC, syscall.EBADEXEC, syscall.EBADARCH, syscall.EBADMACHO}
