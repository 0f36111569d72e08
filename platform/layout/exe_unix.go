//go:build unix

package layout

const (
	exe           = ""
	pointerIsLink = true
)
