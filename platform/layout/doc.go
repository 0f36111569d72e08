// Package layout knows where the files of an installation live and with which
// rights, and changes files so that a crash leaves the old or the new one.
//
//	<root>/versions/<version>/  programs, readable for all
//	<root>/state/               identity, keys, settings: owner only
//	<root>/spool/               reports not yet acknowledged: owner only
//	<root>/log/                 owner only
//	<root>/public/              what everybody at this machine may read
//
// Root is /opt/hausmeister, %ProgramData%\Hausmeister, or
// /Library/Application Support/Hausmeister. The owner is the system's
// administrator where the agent runs as a service.
//
// A crash in WriteFile leaves the old file and at most one `<name>.tmp-*`
// beside it, which the next WriteFile of that name removes.
package layout
