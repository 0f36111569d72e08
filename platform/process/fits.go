package process

import (
	"errors"
	"slices"
)

// NoProgram says of the error of a start that the system looked at the file and took it
// for no program of its own: one of another processor or system, one that is cut, or
// something else altogether. A file that is held, not there, or not allowed is none of
// that: such an error says nothing of what is in it.
func NoProgram(err error) bool {
	return slices.ContainsFunc(noProgram, func(e error) bool { return errors.Is(err, e) })
}
