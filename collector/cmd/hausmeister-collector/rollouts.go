package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"hausmeister/collector/admin"
)

type releaseCmd struct {
	Import releaseImportCmd `cmd:"" help:"Take over a repository that was published: what does not verify changes nothing."`
	List   releaseListCmd   `cmd:"" help:"List releases."`
	Block  releaseBlockCmd  `cmd:"" help:"Offer a release to nobody any more."`
}

type releaseImportCmd struct {
	Dir  string `arg:"" help:"Folder with metadata/ and targets/, on the collector's machine."`
	Root string `help:"The root.json to trust, at the first import." placeholder:"FILE"`
}

func (cmd *releaseImportCmd) Run(c *cli) error {
	in := admin.Repository{}
	var err error
	if in.Dir, err = filepath.Abs(cmd.Dir); err != nil {
		return err
	}
	if cmd.Root != "" {
		if in.Root, err = filepath.Abs(cmd.Root); err != nil {
			return err
		}
	}
	var out admin.Imported
	if err := c.do("release/import", in, &out); err != nil {
		return err
	}
	text := fmt.Sprintf("Verified: root %d, timestamp %d, %d files of %d bytes.\n", out.Root, out.Timestamp, out.Targets, out.Bytes)
	if !out.Changed {
		text += "Nothing new.\n"
	}
	for _, r := range out.Added {
		text += "Added: " + r + "\n"
	}
	for _, r := range out.Gone {
		text += "Signed no longer: " + r + "\n"
	}
	return c.show(out, "%s", text)
}

type releaseListCmd struct{}

func (releaseListCmd) Run(c *cli) error {
	var out []admin.Release
	if err := c.do("release/list", admin.None{}, &out); err != nil {
		return err
	}
	return c.table(out, "ID|PRODUCT|VERSION|CHANNEL|SYSTEMS|STATE", func(row func(...any)) {
		for _, r := range out {
			state := ""
			switch {
			case r.Gone != nil:
				state = "signed no longer"
			case r.Blocked != nil:
				state = "blocked"
			case r.Urgent:
				state = "urgent"
			case r.RollbackOf != "":
				state = "back from " + r.RollbackOf
			}
			row(r.ID, r.Product, r.Version, r.Channel, strings.Join(r.Systems, " "), state)
		}
	})
}

type releaseBlockCmd struct {
	Release string `arg:"" help:"Its version or id."`
	Reason  string `help:"Why." required:""`
}

func (cmd *releaseBlockCmd) Run(c *cli) error {
	if err := c.do("release/block", admin.Named{Name: cmd.Release, Reason: cmd.Reason}, &admin.None{}); err != nil {
		return err
	}
	return c.show(admin.None{}, "Release %s is blocked. That devices refuse it must be signed: hausmeister-release block.\n", cmd.Release)
}

type rolloutCmd struct {
	List     rolloutListCmd    `cmd:"" help:"List rollouts."`
	Show     rolloutShowCmd    `cmd:"" help:"Show one rollout."`
	Start    rolloutStartCmd   `cmd:"" help:"Take a release over the fleet. One that was ended while it was halted a person begins anew, signed in on the pages."`
	Promote  rolloutPromoteCmd `cmd:"" help:"Go on to the next ring: without --yes only say what that would do."`
	Pause    rolloutVerbCmd    `cmd:"" help:"Let no device begin any more."`
	Resume   rolloutVerbCmd    `cmd:"" help:"Go on after a pause. After a halt of the gate a person does, signed in on the pages."`
	Abort    rolloutVerbCmd    `cmd:"" help:"End a rollout for good."`
	Rollback rolloutBackCmd    `cmd:"" help:"Go back by a release that is signed for it."`
}

func (c *cli) showRollout(out admin.Rollout) error {
	text := fmt.Sprintf("Rollout %s of %s (%s): %s, ring %d of %d, %d devices, %d ok, %d failed, %d under way.\n", out.ID, out.Version, out.Channel, out.State, out.Ring, out.Rings, out.Devices, out.OK, out.Bad, out.InFlight)
	if out.Cause != "" {
		text += "Halted for: " + out.Cause + "\n"
	}
	if out.Wait == admin.WaitNobody {
		text += "No device of this ring can take the version yet.\n"
	}
	if out.NeedsSecond {
		text += "A second person of the role release must approve it on the page.\n"
	}
	return c.show(out, "%s", text)
}

type rolloutListCmd struct{}

func (rolloutListCmd) Run(c *cli) error {
	var out []admin.Rollout
	if err := c.do("rollout/list", admin.None{}, &out); err != nil {
		return err
	}
	return c.table(out, "ID|VERSION|CHANNEL|STATE|RING|DEVICES|OK|FAILED", func(row func(...any)) {
		for _, r := range out {
			row(r.ID, r.Version, r.Channel, r.State, fmt.Sprintf("%d/%d", r.Ring, r.Rings), r.Devices, r.OK, r.Bad)
		}
	})
}

type rolloutShowCmd struct {
	ID string `arg:"" help:"Its id."`
}

func (cmd *rolloutShowCmd) Run(c *cli) error {
	var out admin.Rollout
	if err := c.do("rollout/show", admin.Named{Name: cmd.ID}, &out); err != nil {
		return err
	}
	return c.showRollout(out)
}

type rolloutStartCmd struct {
	Release string `arg:"" help:"Version or id of the release."`
	Reason  string `help:"Why." required:""`
}

func (cmd *rolloutStartCmd) Run(c *cli) error {
	var out admin.Rollout
	if err := c.do("rollout/start", admin.RolloutVerb{Release: cmd.Release, Reason: cmd.Reason}, &out); err != nil {
		return err
	}
	return c.showRollout(out)
}

type rolloutVerbCmd struct {
	ID     string `arg:"" help:"Its id."`
	Reason string `help:"Why." required:""`
}

// Run is that of each verb; the command's name says which.
func (cmd *rolloutVerbCmd) Run(c *cli, name cmdName) error {
	verb := strings.Fields(string(name))[1]
	var out admin.Rollout
	if err := c.do("rollout/"+verb, admin.RolloutVerb{ID: cmd.ID, Reason: cmd.Reason}, &out); err != nil {
		return err
	}
	return c.showRollout(out)
}

type rolloutBackCmd struct {
	ID     string `arg:"" help:"Id of the rollout to leave."`
	To     string `help:"Version or id of the release that is signed as the way back." required:""`
	Reason string `help:"Why." required:""`
}

func (cmd *rolloutBackCmd) Run(c *cli) error {
	var out admin.Rollout
	if err := c.do("rollout/rollback", admin.RolloutVerb{ID: cmd.ID, Release: cmd.To, Reason: cmd.Reason}, &out); err != nil {
		return err
	}
	return c.showRollout(out)
}

type rolloutPromoteCmd struct {
	ID     string `arg:"" help:"Its id."`
	Reason string `help:"Why."`
	Yes    bool   `help:"Do it."`
}

func (cmd *rolloutPromoteCmd) Run(c *cli) error {
	var out admin.Promotion
	if err := c.do("rollout/promote", admin.RolloutVerb{ID: cmd.ID, Reason: cmd.Reason, Sure: cmd.Yes}, &out); err != nil {
		return err
	}
	text := fmt.Sprintf("Ring %d: %d devices, %d more than now. So far %d ok, %d failed; chance that more than %.1f %% fail: %.1f %%.\n", out.Ring, out.Devices, out.Adds, out.OK, out.Bad, out.Limit*100, out.Risk*100)
	switch {
	case out.Done:
		text += "Promoted.\n"
	case out.Waiting:
		text += "It is more than 10 % of the fleet: a second person of the role release must say it on the page.\n"
	default:
		text += "Nothing was changed. With --yes and --reason it is done.\n"
	}
	return c.show(out, "%s", text)
}
