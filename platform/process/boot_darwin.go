package process

import "golang.org/x/sys/unix"

// Boot names the time since the machine was started: another string after each
// start; "" = unknown.
func Boot() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
