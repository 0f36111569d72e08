package fleet

import (
	"context"

	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
)

// Details say what List reads of each device of a page beyond its row: each costs
// one more query about the devices of that page, whatever the fleet's size.
type Details struct {
	Findings bool // Device.Main and Device.More
	Daily    bool // Device.Daily
	Agent    bool // Device.Agent
}

// MainFinding is the worst that is open about a device and that nobody has said to
// take care of, as its state.
type MainFinding struct {
	Code     string // empty = nothing is open
	Severity hmpb.Severity
}

// Daily is what the last merged day of a device says.
type Daily struct {
	BatteryHealth  Opt // permille
	MemoryTotal    Opt // bytes
	BootDuration   Opt // milliseconds
	UpdatesPending Opt
}

// fill reads what a page shows beside its rows.
func (d Details) fill(ctx context.Context, tx *db.Tx, devices []Device) error {
	if len(devices) == 0 {
		return nil
	}
	if err := fillLabels(ctx, tx, devices); err != nil {
		return err
	}
	if d.Findings {
		if err := fillFindings(ctx, tx, devices); err != nil {
			return err
		}
	}
	if d.Agent {
		if err := fillAgents(ctx, tx, devices); err != nil {
			return err
		}
	}
	if d.Daily {
		return fillDaily(ctx, tx, devices)
	}
	return nil
}

func fillAgents(ctx context.Context, tx *db.Tx, devices []Device) error {
	in, args, at := among(devices)
	return each(ctx, tx, func(rows *db.Rows) error {
		var id, version string
		err := rows.Scan(&id, &version)
		devices[at[id]].Agent = version
		return err
	}, `SELECT device_id, version FROM health_agent_versions WHERE device_id IN `+in, args...)
}

func fillFindings(ctx context.Context, tx *db.Tx, devices []Device) error {
	in, args, at := among(devices)
	rows, err := tx.Query(ctx, `SELECT device_id, code, severity FROM health_noted_findings WHERE loud = 1 AND device_id IN `+in+` AND device_id NOT IN `+revokedSQL+`
		ORDER BY severity DESC, code`, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, code string
		var severity int64
		if err := rows.Scan(&id, &code, &severity); err != nil {
			return err
		}
		d := &devices[at[id]]
		if d.Main.Code == "" {
			d.Main = MainFinding{code, hmpb.Severity(severity)}
			continue
		}
		d.More++
	}
	return rows.Close()
}

func fillDaily(ctx context.Context, tx *db.Tx, devices []Device) error {
	in, args, at := among(devices)
	rows, err := tx.Query(ctx, `SELECT device_id, COALESCE(battery_health, -1), COALESCE(memory_total, -1), COALESCE(boot_duration, -1), COALESCE(updates_pending, -1)
		FROM health_last_days WHERE device_id IN `+in, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var health, memory, boot, updates int64
		if err := rows.Scan(&id, &health, &memory, &boot, &updates); err != nil {
			return err
		}
		devices[at[id]].Daily = Daily{known(health), known(memory), known(boot), known(updates)}
	}
	return rows.Close()
}
