package reading_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// TestCatalogueIsWhole: who reads the catalogue learns of everything, with all
// that a person has a right to know.
func TestCatalogueIsWhole(t *testing.T) {
	names := map[string]bool{}
	for _, f := range reading.Catalogue() {
		if names[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		names[f.Name] = true
		for what, w := range map[string]reading.Words{"word": f.Word, "purpose": f.Purpose, "legal basis": f.Basis.Word(), "class": f.Class.Word(),
			"retention": f.Retain, "audience": f.Audience} {
			if w.DE == "" || w.EN == "" {
				t.Errorf("%s lacks a %s", f.Name, what)
			}
		}
	}
	for r := range reading.All() {
		if !names[r.Name] {
			t.Errorf("reading %s is not in the catalogue", r.Name)
		}
	}
}

// sent are the messages that go from a device to the collector as frames.
var sent = []proto.Message{&hmpb.Hello{}, &hmpb.ControlUp{}, &hmpb.EnrollHeader{}, &hmpb.RenewHeader{}, &hmpb.EnrollRequest{}, &hmpb.RenewRequest{},
	&hmpb.ReportHeader{}, &hmpb.ReportUp{}, &hmpb.LiveHeader{}, &hmpb.LiveUp{}, &hmpb.FetchHeader{}, &hmpb.Software{}}

// wrapping are fields that carry nothing but what is inside them.
var wrapping = []string{"ReportUp.batch_zstd"}

// TestNothingUnlisted walks every field of every message that a device can send:
// each is in the catalogue. A new field fails here until it has a purpose and a
// retention.
func TestNothingUnlisted(t *testing.T) {
	listed := map[string]bool{}
	for _, f := range reading.Catalogue() {
		for _, s := range f.Sources {
			listed[s] = false
		}
	}
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if f.Message() != nil {
				walk(f.Message())
				continue
			}
			name := string(m.Name()) + "." + string(f.Name())
			if _, ok := listed[name]; !ok && !slices.Contains(wrapping, name) {
				t.Errorf("%s is sent and in no row of the catalogue", name)
			}
			listed[name] = true
		}
	}
	for _, m := range sent {
		walk(m.ProtoReflect().Descriptor())
	}
	for name, found := range listed {
		if !found && !strings.HasPrefix(name, "Reading.") {
			t.Errorf("the catalogue names %s, which is no field that is sent", name)
		}
	}
}

// TestCatalogueFile holds proto/CATALOGUE.md, which staff councils and data
// protection officers get, to the table. -update writes it anew; the change is
// then seen in review, as a change of what devices tell has to be.
func TestCatalogueFile(t *testing.T) {
	const file = "../CATALOGUE.md"
	var b strings.Builder
	b.WriteString("# Feldkatalog / field catalogue\n\nAlles, was ein Gerät meldet; was hier nicht steht, kann weder gesendet noch gespeichert werden.\n" +
		"Everything that a device tells; what is not listed here can be neither sent nor stored.\n\n" +
		"Made from `proto/reading` by `go test ./proto/reading -update`.\n")
	for _, class := range []reading.Class{reading.Thing, reading.Use, reading.Identity} {
		fmt.Fprintf(&b, "\n## %s / %s\n\n%s.\n%s.\n\n", class.Word().DE, class.Word().EN, class.Audience().DE, class.Audience().EN)
		b.WriteString("| Feld / field | Einheit / unit | Zweck / purpose | Aufbewahrung / retention | Abweichend sichtbar für / otherwise seen by |\n|---|---|---|---|---|\n")
		for _, f := range reading.Catalogue() {
			if f.Class == class {
				others := ""
				if f.Audience != class.Audience() {
					others = f.Audience.DE + "<br>" + f.Audience.EN
				}
				fmt.Fprintf(&b, "| `%s`<br>%s<br>%s | %s | %s<br>%s | %s<br>%s | %s |\n", f.Name, f.Word.DE, f.Word.EN, f.Unit, f.Purpose.DE, f.Purpose.EN, f.Retain.DE, f.Retain.EN, others)
			}
		}
	}
	fmt.Fprintf(&b, "\nRechtsgrundlage / legal basis: %s. %s.\n", reading.Operation.Word().DE, reading.Operation.Word().EN)
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("the file is not the table's (-file +table; -update writes it):\n%s", d)
	}
}
