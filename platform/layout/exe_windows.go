package layout

const (
	exe           = ".exe"
	pointerIsLink = false
)
