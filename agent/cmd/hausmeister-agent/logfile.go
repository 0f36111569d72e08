package main

import (
	"os"
	"sync"
)

// logMax is where a log file ends; the one before it is kept.
const logMax = 1 << 20

// logFile is a log in a file that does not grow without end. Lines that cannot
// be written are lost: there is nowhere to say so, and a full disk must not
// stop the agent.
type logFile struct {
	path string

	mu   sync.Mutex
	f    *os.File
	size int64
}

// Write appends one line.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil && l.size+int64(len(b)) > logMax {
		l.closeLocked()
		os.Rename(l.path, l.path+".1")
	}
	if l.f == nil && !l.openLocked() {
		return len(b), nil
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	if err != nil {
		l.closeLocked()
	}
	return len(b), nil
}

func (l *logFile) openLocked() bool {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return false
	}
	l.f, l.size = f, info.Size()
	return true
}

func (l *logFile) closeLocked() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}

// Close ends the file; a later line opens it again.
func (l *logFile) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeLocked()
}
