package sysinfo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"
)

// most is what is read of a program or file: far above what any of them says.
const most = 4 << 20

var errTooLong = errors.New("says more than it should")

// program runs one of the system's programs, without a shell, in English, and
// gives what it printed; also with the error when it ended with one.
func program(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C", "LANG=C", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	var out cappedBuffer
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return out.b.Bytes(), err
}

type cappedBuffer struct{ b bytes.Buffer }

func (l *cappedBuffer) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > most {
		return 0, errTooLong
	}
	return l.b.Write(p)
}

func file(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = errTooLong
	}
	return b, err
}

// isEnd: a folder without entries.
func isEnd(err error) bool { return errors.Is(err, io.EOF) }
