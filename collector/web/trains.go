package web

import (
	"slices"

	"hausmeister/collector/rollout"
)

// Launchers and policies go over the fleet without a rollout; the page and the API say
// how far, see collector/rollout.

// trainRow is a version of one of them in the list.
type trainRow struct {
	Name    string
	State   mark
	Ramp    string // how many devices may have it by now, by signature; empty = it is signed no longer
	Devices int64
	Left    int64
	Block   string // address; empty = not for this role, or not possible
}

// trains are those versions that are signed, or that devices have or left.
func (v *visit) trains(may bool) (out []trainRow, err error) {
	all, err := v.s.cfg.Rollouts.Trains(v.r.Context(), v.caller)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(t rollout.Train) bool { return !t.Signed && t.Blocked.IsZero() && t.Devices+t.Left == 0 })
	for _, t := range all {
		row := trainRow{Name: v.versionName(t.Product, t.Version), Devices: t.Devices, Left: t.Left}
		switch {
		case !t.Blocked.IsZero():
			row.State = mark{"off", v.say.Say("updates.blocked", "day", v.say.Day(t.Blocked, v.s.cfg.Now()))}
		case !t.Signed && !t.Known: // as the launcher that came with the devices' package
			row.State = mark{"idle", v.say.Say("updates.train.foreign")}
		case !t.Signed:
			row.State = mark{"off", v.say.Say("updates.train.unsigned")}
		case t.Left > 0:
			row.State = mark{"warn", v.say.Say("updates.train.left.state")}
		default:
			row.State = mark{"ok", v.say.Say("updates.valid")}
		}
		if t.Signed && t.Blocked.IsZero() {
			row.Ramp = v.say.Percent(t.Ramp)
			if may && t.Release != "" {
				row.Block = "/releases/" + t.Release + "/block"
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// apiTrain is a version of a launcher or a policy, which devices take by themselves at
// the signed pace.
type apiTrain struct {
	ID      string  `json:"id" is:"text"`      // as devices name it: launcher:2.4.0
	Product string  `json:"product" is:"text"` // launcher, policy
	Version string  `json:"version" is:"text"`
	Release *string `json:"release" is:"uuid"` // null = it has none, as policies
	Signed  bool    `json:"signed"`
	Known   bool    `json:"known"`             // it is signed here, or was; false as of a launcher that came with the devices' package
	Blocked *string `json:"blocked" is:"time"` // since when somebody took it off
	Ramp    *int64  `json:"ramp_permille"`     // of the devices, that may have it by now; null = it is not signed
	Devices int64   `json:"devices"`           // that came with it last
	Left    int64   `json:"left"`              // that left it again by themselves
}

func (s *Server) apiTrains(v *visit) error {
	all, err := s.cfg.Rollouts.Trains(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiTrain, len(all))
	for i, t := range all {
		items[i] = apiTrain{ID: t.Product + ":" + t.Version, Product: t.Product, Version: t.Version, Release: present(t.Release), Signed: t.Signed, Known: t.Known, Blocked: when(t.Blocked), Devices: t.Devices, Left: t.Left}
		if t.Signed {
			items[i].Ramp = &all[i].Ramp
		}
	}
	return sendList(v, items)
}
