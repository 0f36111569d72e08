// Package netpath knows what the operating system says about the way to a host:
// which proxies it names for it and whether it has a route to an address. It
// opens no connection.
//
// Where a proxy may be named, in this order: our caller's own setting, the
// environment of this process, and the system's settings. A service has neither
// a user's environment nor a user's settings, so each system is asked for what
// holds for the whole machine too:
//
//	Linux    /etc/environment
//	Windows  WinHTTP's setting, then that of each user who is logged on, with
//	         the result of their automatic configuration (PAC)
//	macOS    scutil --proxy; a PAC script it names, but does not evaluate for us
package netpath
