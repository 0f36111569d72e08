package update_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
)

func launched(name string) string {
	if name == journal.EnvLauncher {
		return "1.2.3"
	}
	return ""
}

func TestParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inRead, in := io.Pipe()
		outRead, out := io.Pipe()
		p := update.Attach(launched, inRead, out)
		lines := make(chan string, 100)
		go func() {
			for s := bufio.NewScanner(outRead); s.Scan(); {
				lines <- s.Text()
			}
			close(lines)
		}()
		ended := make(chan error, 1)
		go func() { ended <- p.Run(t.Context(), func() {}) }()
		for _, c := range []struct {
			line string
			want update.Standing
		}{{"trial", update.OnTrial}, {"nonsense", update.OnTrial}, {"settled", update.Settled}, {"rolled-back crashed", update.RolledBack}} {
			io.WriteString(in, c.line+"\n")
			synctest.Wait()
			if got := p.Standing(); got != c.want {
				t.Errorf("after %q it stands as %q, want %q", c.line, got, c.want)
			}
		}
		p.Alive()
		p.Alive() // too soon to say again
		time.Sleep(31 * time.Second)
		p.Alive()
		p.Checked(nil)
		p.Checked(nil)
		p.Checked(errors.New("state is\nnewer"))
		p.Welcomed("", nil) // an old collector
		p.Welcomed("1.0.0", []byte{0xab, 1})
		p.Welcomed("1 .0", []byte{1})
		out.Close()
		var got []string
		for line := range lines {
			got = append(got, line)
		}
		if want := "alive 1|alive 3|checked ok|checked bad state is newer|reached|heard 1.0.0 ab01"; strings.Join(got, "|") != want {
			t.Errorf("told %q\nwant %q", strings.Join(got, "|"), want)
		}
		in.Close()
		if err := <-ended; !errors.Is(err, update.ErrGone) {
			t.Errorf("Run after the launcher's end = %v", err)
		}
		if p.Version() != "1.2.3" {
			t.Errorf("Version = %s", p.Version())
		}
	})
}

func TestNoParent(t *testing.T) {
	p := update.Attach(func(string) string { return "" }, strings.NewReader(""), io.Discard)
	p.Alive()
	p.Checked(nil)
	p.Welcomed("1.0.0", []byte{1})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Run(ctx, func() {}); err != nil || p.Version() != "" || p.Standing() != update.Unknown {
		t.Errorf("without a launcher: %v, %q, %q", err, p.Version(), p.Standing())
	}
}
