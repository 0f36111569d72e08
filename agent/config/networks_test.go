package config_test

import (
	"fmt"
	"testing"
	"time"

	"hausmeister/agent/config"
	"hausmeister/testenv/fakes"
)

func TestNetworks(t *testing.T) {
	d := fakes.NewDisk()
	n := config.OpenNetworks(d)
	if got := n.Way("home"); got != "" {
		t.Errorf("Way of an unknown network = %q", got)
	}
	for i := range 100 {
		if err := n.Worked(fmt.Sprint("train ", i), "tcp"); err != nil {
			t.Fatal(err)
		}
		if err := n.Worked("home", "quic"); err != nil { // used again and again
			t.Fatal(err)
		}
	}
	n = config.OpenNetworks(d)
	if got := n.Way("home"); got != "quic" {
		t.Errorf("Way of the network in use = %q, want quic", got)
	}
	if got := n.Way("train 99"); got != "tcp" {
		t.Errorf("Way of a late network = %q, want tcp", got)
	}
	if got := n.Way("train 3"); got != "" {
		t.Errorf("Way of a network long gone = %q: nothing is bounded", got)
	}
	data, err := d.Read("networks")
	if err != nil || len(data) > 4<<10 {
		t.Errorf("file of %d bytes, %v", len(data), err)
	}
	// What is known already costs no write.
	before := fmt.Sprint(config.OpenNetworks(refusing{d}).Worked("home", "quic"))
	if before != "<nil>" {
		t.Errorf("Worked of what is known writes: %s", before)
	}
	if err := config.OpenNetworks(refusing{d}).Worked("home", "tcp"); err == nil {
		t.Error("Worked on a full disk says nothing")
	}
}

func TestInspection(t *testing.T) {
	day := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	d := fakes.NewDisk()
	n := config.OpenNetworks(d)
	if got := n.Inspection(day); got != (config.Inspection{}) {
		t.Errorf("Inspection at first = %+v", got)
	}
	if err := n.Inspected("school", "CN=Schulfilter", day); err != nil {
		t.Fatal(err)
	}
	want := config.Inspection{Issuer: "CN=Schulfilter", Day: "2026-11-24", Network: "school"}
	n = config.OpenNetworks(d)
	if got := n.Inspection(day.Add(60 * 24 * time.Hour)); got != want {
		t.Errorf("Inspection = %+v, want %+v", got, want)
	}
	if err := n.NotInspected("home"); err != nil || n.Inspection(day) != want {
		t.Errorf("another network makes it forgotten, %v", err)
	}
	if got := n.Inspection(day.Add(100 * 24 * time.Hour)); got != (config.Inspection{}) {
		t.Errorf("Inspection after 100 days = %+v, want none", got)
	}
	if err := n.NotInspected("school"); err != nil || n.Inspection(day) != (config.Inspection{}) {
		t.Errorf("still told after it is over, %v", err)
	}
	for _, bad := range []string{"", "hausmeister networks 9\n{}", "hausmeister networks 1\n{\"known\":7}"} {
		if err := d.Write("networks", []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if got := config.OpenNetworks(d).Way("home"); got != "" {
			t.Errorf("Way from file %q = %q", bad, got)
		}
	}
}
