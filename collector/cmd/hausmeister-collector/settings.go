package main

import (
	"strings"

	"hausmeister/collector/admin"
)

// settingsCmd is what devices of an owner should do.
type settingsCmd struct {
	Software struct {
		Add struct {
			Names []string `arg:"" help:"Package names that will do, as the systems' package lists give them: firefox-esr \"Mozilla Firefox\"."`
			Owner string   `help:"Owner of the devices, by name or id." required:""`
			Label string   `help:"What people call it; without it the first name." placeholder:"NAME"`
			Least string   `help:"Least version; without it any will do." placeholder:"1.2"`
		} `cmd:"" help:"Each device must have this program; a finding tells of those that lack it. The same label again replaces the entry."`
		Remove struct {
			Label string `arg:"" help:"The entry's label."`
			Owner string `help:"Owner of the devices, by name or id." required:""`
		} `cmd:"" help:"Take a program off the list."`
		List struct {
			Owner string `help:"Only of this owner."`
		} `cmd:"" help:"List the standard software."`
	} `cmd:"" help:"Standard software of an owner's devices."`
}

func (v *settingsCmd) Run(c *cli, command cmdName) error {
	switch {
	case strings.HasPrefix(string(command), "settings software add"):
		in := v.Software.Add
		software := admin.Software{Owner: in.Owner, Label: in.Label, Names: in.Names, LeastVersion: in.Least}
		if software.Label == "" {
			software.Label = in.Names[0]
		}
		if err := c.do("settings/software/set", software, &admin.None{}); err != nil {
			return err
		}
		return c.show(software, "%s is standard software of %s.\n", software.Label, in.Owner)
	case strings.HasPrefix(string(command), "settings software remove"):
		in := v.Software.Remove
		if err := c.do("settings/software/remove", admin.Software{Owner: in.Owner, Label: in.Label}, &admin.None{}); err != nil {
			return err
		}
		return c.show(map[string]string{"removed": in.Label}, "Removed.\n")
	}
	var list []admin.Software
	if err := c.do("settings/software/list", admin.Software{Owner: v.Software.List.Owner}, &list); err != nil {
		return err
	}
	return c.table(list, "OWNER|PROGRAM|LEAST VERSION|PACKAGE NAMES", func(row func(...any)) {
		for _, s := range list {
			row(s.Owner, s.Label, s.LeastVersion, strings.Join(s.Names, ", "))
		}
	})
}
