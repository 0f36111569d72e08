// Package sysinfo reads how this machine is: processor, memory, volumes, disks,
// power, temperatures, network links, updates, protection, crashes, printers, and
// what it is: operating system, maker, model, serial number, installed programs.
// It gives raw values and knows nothing of who wants them.
//
// What cannot be read is absent with a reason, never 0 or empty. Readings come
// in groups; one that hangs is cut off, named, and costs the others nothing.
// Host names, user names, addresses, network names and what might hold them
// (mount points below /media, volume labels, interface names, names of printers,
// crashed programs, serial numbers of disks) are never read into a Snapshot.
//
// Linux reads /proc, /sys and files of its package managers, and asks the
// programs smartctl, busctl, systemctl, nft, apt-get, dnf, rpm, flatpak, lpstat
// and journalctl where they are; Windows the Win32 calls, WMI and a few other COM
// objects; macOS sysctl, Mach, a few system programs and property lists; gopsutil
// does a part of it on each. The Linux side is tested on recorded trees and on
// live machines; what the other two answer is judged in portable files
// (windows_*.go, darwin_*.go) that are tested on recordings, and Windows runs in
// Wine as far as that goes (testenv/scenario).
package sysinfo
