package process

import "syscall"

// noProgram is what execve(2) says of other formats, of the file or of its interpreter.
var noProgram = []error{syscall.ENOEXEC, syscall.ELIBBAD}
