package fleet

import (
	"context"
	"fmt"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// SchoolState is how the devices of a school are, and by which way they reach us.
type SchoolState struct {
	School
	Critical, Warning, Silent, Connected int64
	TCP, Proxy, Inspected                int64 // last over TCP only, through a proxy, behind a box that opens TLS
}

// SchoolPage is a part of the list of schools; Cursor is empty on the last page.
type SchoolPage struct {
	Items  []SchoolState
	Total  int
	Cursor string
}

// SchoolStates lists the schools that the caller may see, by owner and code, whose
// name, code, kind or owner holds every word of query, and how their devices are.
// cursor is the id of the last school of the page before.
func (f *Fleet) SchoolStates(ctx context.Context, caller access.Caller, query, cursor string, limit int) (SchoolPage, error) {
	if err := checkQuery(query); err != nil {
		return SchoolPage{}, err
	}
	schools, err := f.Schools(ctx, caller)
	if err != nil {
		return SchoolPage{}, err
	}
	var page SchoolPage
	begun := cursor == ""
	for _, s := range schools {
		if !s.holds(strings.Fields(fold(query))) {
			continue
		}
		page.Total++
		switch {
		case !begun:
			begun = s.ID == cursor
		case len(page.Items) < limit:
			page.Items = append(page.Items, SchoolState{School: s})
		default:
			page.Cursor = page.Items[limit-1].ID
		}
	}
	if !begun {
		return SchoolPage{}, ErrCursor
	}
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		for i := range page.Items {
			if err := f.schoolState(ctx, tx, &page.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return SchoolPage{}, fmt.Errorf("counting the devices of schools: %w", err)
	}
	return page, nil
}

func (s School) holds(words []string) bool {
	all := fold(strings.Join([]string{s.Code, s.Name, s.Kind, s.OwnerName}, " "))
	for _, w := range words {
		if !strings.Contains(all, w) {
			return false
		}
	}
	return true
}

// schoolState counts within one school, some hundred devices at most.
func (f *Fleet) schoolState(ctx context.Context, tx *db.Tx, s *SchoolState) error {
	return tx.QueryRow(ctx, `SELECT
		COALESCE(SUM(CASE WHEN state = 'critical' THEN 1 END), 0), COALESCE(SUM(CASE WHEN state = 'warning' THEN 1 END), 0),
		COALESCE(SUM(CASE WHEN state = 'silent' THEN 1 END), 0), COALESCE(SUM(connected), 0),
		COALESCE(SUM(CASE WHEN path = 'tcp' THEN 1 END), 0), COALESCE(SUM(CASE WHEN path = 'tcp_proxy' THEN 1 END), 0),
		COALESCE(SUM(CASE WHEN trouble = 'inspected' THEN 1 END), 0)
		FROM (SELECT `+stateSQL+` AS state, COALESCE(h.connected, 0) AS connected, COALESCE(h.path, '') AS path, COALESCE(h.trouble, '') AS trouble
			FROM devices d LEFT JOIN health_devices h ON h.device_id = d.id WHERE d.school_id = $2) x`,
		f.now().UnixMilli()/dayMS-int64(f.silentDays), s.ID).
		Scan(&s.Critical, &s.Warning, &s.Silent, &s.Connected, &s.TCP, &s.Proxy, &s.Inspected)
}
