package process

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
)

// NoProgram says of the error of a start of path that the system looked at the file and
// took it for no program of its own: one of another processor or system, one that is cut,
// or something else altogether. A file that is held, not there, not allowed, or on a disk
// that does not give it, is none of that: such an error says nothing of what is in it.
func NoProgram(path string, err error) bool {
	if errors.Is(err, syscall.EIO) {
		return readable(path) // Linux says it, too, where a header points beyond the end of the file
	}
	return slices.ContainsFunc(noProgram, func(e error) bool { return errors.Is(err, e) })
}

// readable says that the disk gives the whole of a file.
func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err == nil
}
