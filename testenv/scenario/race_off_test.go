//go:build !race

package scenario

const demoWithin = demoBudget
