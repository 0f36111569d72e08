package keystore

import "io/fs"

// ownerOnly has nothing to look at: mode bits say nothing here, and the folder's
// inherited access list, set by platform/layout, admits system, administrators
// and owner only.
func ownerOnly(fs.FileInfo) error { return nil }
