package process_test

import (
	"os"
	"testing"

	"golang.org/x/sys/windows"

	"hausmeister/platform/process"
)

// TestHandlesAreGivenBack: a child that has ended leaves nothing open here. Handles are
// given anew once they are free, four apart; where none is, the next one is a new one. It
// runs in Wine, which does not count a process's handles, and on a Windows.
func TestHandlesAreGivenBack(t *testing.T) {
	next := func() windows.Handle {
		h, err := windows.CreateEvent(nil, 0, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		windows.CloseHandle(h)
		return h
	}
	once := func() {
		c, err := process.Start(t.Context(), process.Config{Path: `C:\windows\system32\cmd.exe`, Args: []string{"/c", "echo ready"}, Env: os.Environ()})
		if err != nil {
			t.Fatal(err)
		}
		for range c.Lines() {
		}
		c.Wait()
		if _, err := c.Usage(); err == nil {
			t.Error("what has ended tells what it uses")
		}
	}
	const children = 50
	once()
	before := next()
	for range children {
		once()
	}
	if after := next(); after > before+children*2 {
		t.Errorf("the next handle is %d, and was %d before %d children", after, before, children)
	}
}
