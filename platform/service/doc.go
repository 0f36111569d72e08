// Package service runs a program as a service of the operating system and
// installs, starts, stops and removes it there.
//
// On Linux that is systemd, by a unit of our own (Unit): readiness and watchdog
// by sd_notify, restart always, and a sandbox in which the program may write to
// its own folders only and has no capabilities. Windows' service manager and
// macOS' launchd are served by kardianos/service; those two are compiled, but
// have not been tried on such a machine yet.
//
// Install, Uninstall, Start and Stop may be repeated: what is so already is no
// error. A crash between their steps is mended by repeating them.
package service
