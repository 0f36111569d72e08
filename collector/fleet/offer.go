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

// Models names the models of the devices that the caller may see.
func (f *Fleet) Models(ctx context.Context, caller access.Caller) ([]string, error) {
	return f.offers(ctx, caller, "devices d", "d.model")
}

// Builds names the builds of their systems.
func (f *Fleet) Builds(ctx context.Context, caller access.Caller) ([]string, error) {
	from := "health_devices h"
	if caller.Owners != nil {
		from = "devices d JOIN health_devices h ON h.device_id = d.id"
	}
	return f.offers(ctx, caller, from, "h.os_build")
}

// offers names what stands in a column. Of all devices it goes along the column's
// index from each value to the next, of which there are few; counting them up would
// read an entry for each device.
func (f *Fleet) offers(ctx context.Context, caller access.Caller, from, column string) ([]string, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("d.owner_id", 1)
	query := fmt.Sprintf(`SELECT DISTINCT %s FROM %s WHERE %s > '' AND %s ORDER BY 1 LIMIT %d`, column, from, column, scope, maxOffers)
	if caller.Owners == nil {
		query = fmt.Sprintf(`WITH RECURSIVE v(value) AS (SELECT MIN(%[1]s) FROM %[2]s WHERE %[1]s > ''
			UNION ALL SELECT (SELECT MIN(%[1]s) FROM %[2]s WHERE %[1]s > v.value) FROM v WHERE v.value IS NOT NULL)
			SELECT value FROM v WHERE value IS NOT NULL LIMIT %[3]d`, column, from, maxOffers)
	}
	var out []string
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = db.Texts(ctx, tx, query, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what devices can be asked for by: %w", err)
	}
	return out, nil
}
