package fleet

import (
	"context"
	"fmt"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// maxOffers bounds a list of what devices can be asked for by; a field with more to
// choose from is of no help.
const maxOffers = 200

// fewOwned is up to how many devices of one's owners it is quicker to look at each of
// them than to ask of each value that there is whether one of them has it.
const fewOwned = 5000

// Models names the models of the devices that the caller may see.
func (f *Fleet) Models(ctx context.Context, caller access.Caller) ([]string, error) {
	return f.offers(ctx, caller, "d.model", "devices d", "devices d")
}

// Builds names the builds of their systems.
func (f *Fleet) Builds(ctx context.Context, caller access.Caller) ([]string, error) {
	return f.offers(ctx, caller, "h.os_build", "health_devices h", "devices d JOIN health_devices h ON h.device_id = d.id")
}

// offers names what stands in a column of from; owned is from with the devices. It goes
// along the column's index from each value to the next, of which there are few: counting
// them up would read an entry for each device.
func (f *Fleet) offers(ctx context.Context, caller access.Caller, column, from, owned string) ([]string, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("d.owner_id", 1)
	along := fmt.Sprintf(`WITH RECURSIVE v(value) AS (SELECT MIN(%[1]s) FROM %[2]s WHERE %[1]s > ''
		UNION ALL SELECT (SELECT MIN(%[1]s) FROM %[2]s WHERE %[1]s > v.value) FROM v WHERE v.value IS NOT NULL)
		SELECT value FROM v WHERE value IS NOT NULL`, column, from)
	var out []string
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		query := along
		if caller.Owners != nil {
			var n int64
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM devices d WHERE `+scope+fmt.Sprintf(" LIMIT %d) x", fewOwned), args...).Scan(&n); err != nil {
				return err
			}
			// Of EXISTS PostgreSQL would look at all devices once, not at one for each value.
			query += fmt.Sprintf(" AND (SELECT 1 FROM %s WHERE %s = v.value AND %s LIMIT 1) IS NOT NULL", owned, column, scope)
			if n < f.owned {
				query = fmt.Sprintf(`SELECT DISTINCT %[1]s AS value FROM %[2]s WHERE %[1]s > '' AND %[3]s`, column, owned, scope)
			}
		}
		out, err = db.Texts(ctx, tx, query+fmt.Sprintf(" ORDER BY value LIMIT %d", maxOffers), args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what devices can be asked for by: %w", err)
	}
	return out, nil
}
