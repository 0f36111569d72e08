package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/manifest"
)

// Of the fleet as a whole a device stands where it does in the latest rollout of its
// channel, whichever that is.

// Behind asks for all that have another word than Current.
const Behind = "behind"

// Words are all that DevicesWith can be asked for. Of revoked devices no list of the fleet
// asks how far their updates are.
var Words = append([]string{Behind}, texts(Whys)...)

func texts(whys []Why) (out []string) {
	for _, why := range whys {
		if why != WhyRevoked {
			out = append(out, string(why))
		}
	}
	return out
}

// Knows says whether it is one of Words.
func (r *Rollouts) Knows(word string) bool { return slices.Contains(Words, word) }

// DevicesWith are the devices that have a word, of those that the caller may see, in no
// order: as the tally has them, which of a large fleet may be a minute old.
func (r *Rollouts) DevicesWith(ctx context.Context, caller access.Caller, word string) (ids []string, err error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	whys := []Why{Why(word)}
	switch {
	case !r.Knows(word):
		return nil, &InvalidError{"update", "no such word"}
	case word == Behind:
		whys = slices.DeleteFunc(slices.Clone(Whys), func(why Why) bool { return why == Current || why == WhyRevoked })
	}
	var latest, strays map[string]string
	err = r.db.Read(ctx, func(tx *db.Tx) (err error) {
		if latest, err = latestOf(ctx, tx); err != nil {
			return err
		}
		strays, err = strayed(ctx, tx, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the latest rollouts: %w", err)
	}
	for channel, rollout := range latest {
		t, err := r.tally(ctx, rollout)
		if err != nil {
			return nil, err
		}
		for _, why := range whys {
			for _, o := range t.words[why] {
				if caller.Sees(o.owner) && channelIn(strays, o.device) == channel {
					ids = append(ids, o.device)
				}
			}
		}
	}
	return ids, nil
}

// StatesOf is DeviceState of each of these devices, at most 500. Where nothing goes over
// the fleet there is none.
func (r *Rollouts) StatesOf(ctx context.Context, caller access.Caller, devices []string) (map[string]DeviceState, error) {
	if err := caller.Allow(access.ReadRollouts); err != nil {
		return nil, err
	}
	out := map[string]DeviceState{}
	if len(devices) == 0 {
		return out, nil
	}
	var latest, strays map[string]string
	err := r.db.Read(ctx, func(tx *db.Tx) (err error) {
		if latest, err = latestOf(ctx, tx); err != nil {
			return err
		}
		strays, err = strayed(ctx, tx, devices)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the latest rollouts: %w", err)
	}
	for _, channel := range slices.Sorted(maps.Keys(latest)) {
		var args []any
		for _, id := range devices {
			if channelIn(strays, id) == channel {
				args = append(args, id)
			}
		}
		if len(args) == 0 {
			continue
		}
		err := r.states(ctx, caller, latest[channel], ` AND f.device_id IN (`+params(2, len(args))+`)`, args, len(args), func(d DeviceState) { out[d.Device] = d })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// params are so many parameters from one of them on.
func params(from, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = "$" + strconv.Itoa(from+i)
	}
	return strings.Join(list, ", ")
}

// latestOf is the latest rollout of the agent by channel.
func latestOf(ctx context.Context, tx *db.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, `SELECT r.channel, r.version, o.rollback_of, o.id, o.state, o.started_ms FROM rollouts o JOIN rollout_releases r ON r.id = o.release_id
		WHERE r.product = 'agent' AND o.state NOT IN ('aborted', 'waiting')`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string][]row{}
	for rows.Next() {
		var o row
		var state string
		var started int64
		if err := rows.Scan(&o.channel, &o.version, &o.rollbackOf, &o.id, &state, &started); err != nil {
			return nil, err
		}
		o.state, o.started = State(state), timeOf(started)
		all[o.channel] = append(all[o.channel], o)
	}
	latest := map[string]string{}
	for channel, some := range all {
		newestFirst(some)
		latest[channel] = some[0].id
	}
	return latest, rows.Close()
}

// strayed are the channels of those devices, nil = of all, that came last with another one
// than the usual: few, beside all that there are. It is what channelOf says of each.
func strayed(ctx context.Context, tx *db.Tx, devices []string) (map[string]string, error) {
	query, args := `SELECT device_id, channel FROM rollout_devices WHERE channel <> ''`, []any(nil)
	if devices != nil {
		query += ` AND device_id IN (` + params(1, len(devices)) + `)`
		for _, id := range devices {
			args = append(args, id)
		}
	}
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	channels := map[string]string{}
	for rows.Next() {
		var id, channel string
		if err := rows.Scan(&id, &channel); err != nil {
			return nil, err
		}
		channels[id] = channel
	}
	return channels, rows.Close()
}

// channelIn is a device's, in what strayed gave.
func channelIn(strays map[string]string, device string) string {
	if channel := strays[device]; channel != "" {
		return channel
	}
	return manifest.RoleStable
}
