//go:build !race

package need

// Race says that this test program runs under the race detector.
const Race = false
