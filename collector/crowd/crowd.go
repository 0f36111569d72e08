// Package crowd owns which numbers of a distribution are told, so that none tells of
// single people (TE-9): whoever knows what is told, that it is in falling order, and that
// one at least of what is left out is of few, has two numbers at least that each could be.
//
// Whose devices are counted, and by what, is left to the subjects (fleet, question). It
// is pure.
package crowd

import (
	"cmp"
	"slices"
)

// FewPersons is the least number of devices, each in one person's hands, that is told.
const FewPersons = 5

// Hide says which numbers of devices are left out where their sum is known: those of
// fewer than FewPersons, and more, the smallest first, until what is left out is two
// numbers and neither is known. Where there are no such two, ok is false, and none may
// be told.
func Hide(devices []int64) (hidden []bool, ok bool) {
	hidden = make([]bool, len(devices))
	var left part
	var shown []int
	for i, n := range devices {
		if n >= FewPersons {
			shown = append(shown, i)
		} else if n > 0 {
			hidden[i] = true
			left.add(n)
		}
	}
	// Of equal ones the last: one that stands above what is told would be told by it.
	slices.SortFunc(shown, func(a, b int) int { return cmp.Or(cmp.Compare(devices[a], devices[b]), b-a) })
	for len(shown) > 0 && !left.enough(devices[shown[0]]) {
		hidden[shown[0]] = true
		left.add(devices[shown[0]])
		shown = shown[1:]
	}
	return hidden, len(shown) > 0 || left.enough(left.sum)
}

// part is what is left out.
type part struct{ numbers, sum int64 }

func (p *part) add(n int64) { p.numbers, p.sum = p.numbers+1, p.sum+n }

// enough says whether none of it is known, though none is above most. Numbers may be
// in their order, so the last must have room for more than one; one at least is of
// few, so the others must have room for it to be less.
func (p part) enough(most int64) bool {
	if p.numbers == 0 {
		return true
	}
	if p.numbers < 2 || p.sum < max(FewPersons, 2*p.numbers) {
		return false
	}
	least := max(1, p.sum-(p.numbers-1)*most)
	return least < min(FewPersons-1, p.sum/p.numbers)
}
