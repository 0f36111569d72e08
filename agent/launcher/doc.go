// Package launcher is what the operating system runs as the service: it runs the
// agent, and sees to it that one runs that is known to be whole.
//
// Before each start it compares the program in bin/ with the journal, by hash,
// finishes a swap that the agent armed, mends what was taken away or damaged from
// the copies in versions/, and goes back when the journal's machine says so. While
// the agent runs it listens to its lines, counts starts, looks at CPU and memory,
// and ends it when it hangs. All that it decides comes from the journal, from
// hashes, and from what it measured: the agent's word alone changes nothing.
//
// Where the program that should run cannot be had now, held by a scanner or on a full
// disk, another one runs for minutes, an hour at most, and is ended to try again: a bad
// one does not stay because it gets on. Where there is no copy of it any more, a whole
// one that runs instead, and did not fail here, is the one that should from then on.
//
// A folder of the installation that is gone is made again, before a start and where a step
// of the journal misses it. A journal that is lost so while an agent runs is begun anew
// from what bin/ holds, as at a start; who was barred is then forgotten.
//
// It has no network and reads no metadata. Where one copy of the journal cannot be read
// it goes on from the other, a step behind at most; where none can, it takes what bin/
// holds, if versions/ vouches for that, else the newest settled copy; it never ends a
// service for want of one, it tries again. A crash at any moment is mended by the next
// start, from the journal, whose state is on the disk before anything is done for it.
//
// Its files are: launcher.go what is done before a start, mend.go how bin/ comes to hold
// what should run, watch.go what is done during a run, installed.go the real programs.
package launcher
