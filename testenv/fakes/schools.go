package fakes

import (
	_ "embed"
	"fmt"
	"strings"
	"unicode"
)

// SchoolsCSV is the invented list of schools, in the shape that
// `hausmeister-collector school import` takes.
//
//go:embed schools.csv
var SchoolsCSV []byte

// A School is one line of SchoolsCSV.
type School struct {
	Code  string // "S0001"
	Owner string // school authority
	Form  string
}

// Schools reads SchoolsCSV.
func Schools() []School {
	var all []School
	for line := range strings.Lines(string(SchoolsCSV)) {
		f := strings.Split(strings.TrimSpace(line), ";")
		if len(f) == 4 && f[0] != "schul_id" {
			all = append(all, School{Code: f[0], Owner: f[1], Form: f[2]})
		}
	}
	return all
}

// Inventory is the n-th inventory number of an owner: two letters of its name
// and five digits, as on the stickers of the devices.
func Inventory(owner string, n int) string {
	place := strings.ToUpper(owner[strings.LastIndexByte(owner, ' ')+1:])
	letters := make([]rune, 0, 2)
	for _, r := range place {
		if unicode.IsLetter(r) && len(letters) < 2 {
			letters = append(letters, r)
		}
	}
	return fmt.Sprintf("%s-%05d", string(letters), n)
}
