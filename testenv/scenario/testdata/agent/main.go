// Command agent is an agent as its launcher knows it: it tells its lines, ends with
// its input, and ends with 75 when a file called go lies in its installation.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

var version = "dev"

func main() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		panic(err)
	}
	fmt.Printf("alive 1\nchecked ok\nreached\nheard %s %x\n", version, sha256.Sum256(program))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	signal := filepath.Join(filepath.Dir(self), "..", "go-"+version)
	for {
		if _, err := os.Stat(signal); err == nil {
			os.Exit(75)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
