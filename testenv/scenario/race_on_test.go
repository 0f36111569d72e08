//go:build race

package scenario

// Beside instrumented tests the demo has less of the machine.
const demoWithin = 2 * demoBudget
