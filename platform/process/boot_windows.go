package process

import (
	"strconv"

	"golang.org/x/sys/windows/registry"
)

// Boot names the time since the machine was started: another string after each
// start; "" = unknown. Windows counts them.
func Boot() string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`, registry.QUERY_VALUE)
	if err != nil {
		return ""
	}
	defer k.Close()
	n, _, err := k.GetIntegerValue("BootId")
	if err != nil {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
