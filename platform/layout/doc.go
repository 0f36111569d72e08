// Package layout knows where the files of an installation live and with which
// rights, and changes files so that a crash leaves the old or the new one.
//
//	<root>/versions/<version>/  good copies of the agent, readable for all
//	<root>/bin/                 the agent that runs, a copy of one of them
//	<root>/launcher/<version>/  what runs it; launcher/current leads to one of them
//	<root>/packaged             version and sum of a package's agent
//	<root>/state/               identity, keys, settings: owner only
//	<root>/state/update/        journal of updates, trusted metadata, downloads
//	<root>/spool/               reports not yet acknowledged: owner only
//	<root>/log/                 owner only
//	<root>/public/              what everybody at this machine may read
//	<root>/wishes/              where everybody at this machine may put a file
//
// Root is /opt/hausmeister, %ProgramData%\Hausmeister, or
// /Library/Application Support/Hausmeister. The owner is the system's
// administrator where the agent runs as a service.
//
// Only the administrator (root; the system and administrators) may write where
// programs lie. Whatever is run or copied from there is opened first, and its
// rights and its hash are those of the open file, so that nothing that is put in
// its place afterwards, no link and no second name, is taken for it. What
// changes programs goes through a Disk, which a test can end at any operation.
//
// A crash in WriteFile leaves the old file and at most one `<name>.tmp-*`
// beside it, which the next WriteFile of that name removes.
package layout
