package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

// Ways is how the devices of a school come to us, as each last told, wherever it was
// then.
type Ways struct {
	Devices                   int64 // of the school
	QUIC, TCP, Proxy          int64 // by the way that they took; the rest has not told
	UDPBlocked, Login, Portal int64 // by what was in the way
	Inspected                 int64
	Issuers                   []Issuer // of what inspects, the most frequent first
}

// Issuer is who issued the certificates by which a network inspects TLS.
type Issuer struct {
	Name    string
	Devices int64
}

// School gives one school, or access.ErrNotFound.
func (f *Fleet) School(ctx context.Context, caller access.Caller, id string) (School, error) {
	if err := caller.Allow(access.ReadSchools); err != nil {
		return School{}, err
	}
	var s School
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		s, err = seenSchool(ctx, tx, caller, id)
		return err
	})
	if err != nil {
		return School{}, fmt.Errorf("reading a school: %w", err)
	}
	return s, nil
}

// SearchSchools gives some of the schools that the caller may see whose name, code,
// kind or owner holds every word of query, and how many they are. It does not count
// their devices.
func (f *Fleet) SearchSchools(ctx context.Context, caller access.Caller, query string, limit int) (some []School, all int, err error) {
	if err := caller.Allow(access.ReadSchools); err != nil {
		return nil, 0, err
	}
	if err := checkQuery(query); err != nil {
		return nil, 0, err
	}
	words := strings.Fields(fold(query))
	scope, args := caller.Scope("s.owner_id", 1)
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		some, all = nil, 0
		rows, err := tx.Query(ctx, `SELECT s.id, s.owner_id, o.name, s.code, s.name, s.kind FROM schools s JOIN owners o ON o.id = s.owner_id
			WHERE `+scope+` ORDER BY o.name_key, s.code_key`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s School
			if err := rows.Scan(&s.ID, &s.Owner, &s.OwnerName, &s.Code, &s.Name, &s.Kind); err != nil {
				return err
			}
			if !s.holds(words) {
				continue
			}
			if all++; len(some) < limit {
				some = append(some, s)
			}
		}
		return rows.Close()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("searching schools: %w", err)
	}
	return some, all, nil
}

// FindSchool gives the school with this number. A number of several owners' schools
// is ErrInvalid.
func (f *Fleet) FindSchool(ctx context.Context, caller access.Caller, code string) (School, error) {
	if err := caller.Allow(access.ReadSchools); err != nil {
		return School{}, err
	}
	scope, args := caller.Scope("owner_id", 2)
	var s School
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		ids, err := db.Texts(ctx, tx, `SELECT id FROM schools WHERE code_key = $1 AND `+scope+` LIMIT 2`, append([]any{fold(code)}, args...)...)
		if err != nil {
			return err
		}
		switch len(ids) {
		case 0:
			return unknownHere
		case 1:
			s, err = seenSchool(ctx, tx, caller, ids[0])
			return err
		}
		return fmt.Errorf("%w: %q is the number of more than one school", ErrInvalid, code)
	})
	if errors.Is(err, db.ErrNoRows) { // no text that a number can be
		err = unknownHere
	}
	if err != nil {
		return School{}, fmt.Errorf("looking for a school: %w", err)
	}
	return s, nil
}

func seenSchool(ctx context.Context, tx *db.Tx, caller access.Caller, id string) (School, error) {
	s := School{ID: id}
	err := tx.QueryRow(ctx, `SELECT s.owner_id, o.name, s.code, s.name, s.kind, s.planned, (SELECT count(*) FROM devices d WHERE d.school_id = s.id)
		FROM schools s JOIN owners o ON o.id = s.owner_id WHERE s.id = $1`, id).Scan(&s.Owner, &s.OwnerName, &s.Code, &s.Name, &s.Kind, &s.Planned, &s.Devices)
	if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(s.Owner) {
		return School{}, unknownHere
	}
	return s, err
}

// Ways tells how the devices of a school come to us.
func (f *Fleet) Ways(ctx context.Context, caller access.Caller, school string) (Ways, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Ways{}, err
	}
	var w Ways
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		w = Ways{}
		if _, err := seenSchool(ctx, tx, caller, school); err != nil {
			return err
		}
		// Some hundred devices at most.
		rows, err := tx.Query(ctx, `SELECT COALESCE(w.path, ''), COALESCE(w.trouble, ''), COALESCE(w.issuer, ''), COUNT(*)
			FROM devices d LEFT JOIN health_ways w ON w.device_id = d.id WHERE d.school_id = $1 GROUP BY 1, 2, 3`, school)
		if err != nil {
			return err
		}
		defer rows.Close()
		issuers := map[string]int64{}
		for rows.Next() {
			var path, trouble, issuer string
			var n int64
			if err := rows.Scan(&path, &trouble, &issuer, &n); err != nil {
				return err
			}
			w.add(path, trouble, n)
			if issuer != "" {
				issuers[issuer] += n
			}
		}
		for name, n := range issuers {
			w.Issuers = append(w.Issuers, Issuer{name, n})
		}
		return rows.Close()
	})
	if err != nil {
		return Ways{}, fmt.Errorf("counting ways: %w", err)
	}
	slices.SortFunc(w.Issuers, func(a, b Issuer) int { return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Name, b.Name)) })
	return w, nil
}

func (w *Ways) add(path, trouble string, n int64) {
	w.Devices += n
	switch path {
	case "quic":
		w.QUIC += n
	case "tcp":
		w.TCP += n
	case "tcp_proxy":
		w.Proxy += n
	}
	switch trouble {
	case "udp_blocked":
		w.UDPBlocked += n
	case "proxy_needs_login":
		w.Login += n
	case "inspected":
		w.Inspected += n
	case "captive_portal":
		w.Portal += n
	}
}
