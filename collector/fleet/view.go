package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// Sharing says who has a saved view.
type Sharing string

const (
	ViewOwn   Sharing = "own"   // whoever made it
	ViewOwner Sharing = "owner" // all who see View.Owner
	ViewAll   Sharing = "all"   // everybody
)

// Sharings are all of them.
var Sharings = []Sharing{ViewOwn, ViewOwner, ViewAll}

const (
	// MaxViewName is the longest name of a view in characters.
	MaxViewName = 40
	// maxViews is how many views one holder has at most: they stand in one row.
	maxViews = 30
	// restoreFor is how long a deleted view can be brought back.
	restoreFor = 7 * 24 * time.Hour
)

// ErrViewTaken: the holder has a view of this name. ErrViews: it has too many.
var (
	ErrViewTaken = errors.New("there is a view of this name")
	ErrViews     = fmt.Errorf("%w: at most %d views", ErrInvalid, maxViews)
)

// View is a filter of the list with its order under a name. Whoever opens it sees
// what he may see, which may be less than its maker does.
type View struct {
	ID      string
	Sharing Sharing
	Owner   string // id; of ViewOwner
	Slug    string // of the name, for addresses
	Name    string
	Filter  Filter // with Sort and Desc
	Columns string // as in addresses; empty = those of whoever looks
	Created time.Time
	Deleted bool
	May     bool // the caller may change it
}

// holder is who has a view, as the table has it.
func (v View) holder(caller access.Caller) string {
	switch v.Sharing {
	case ViewOwner:
		return "owner:" + v.Owner
	case ViewAll:
		return "all"
	}
	return caller.Actor()
}

// may says whether the caller may make and change a view that is shared like this:
// his own, those of an owner as whoever sets what its devices should do, and those
// of all only if he sees all.
func (v View) may(caller access.Caller) error {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return err
	}
	switch v.Sharing {
	case ViewOwn:
		return nil
	case ViewOwner:
		if !caller.Sees(v.Owner) {
			return unknownHere
		}
		return caller.Allow(access.WriteSettings)
	case ViewAll:
		if caller.Owners != nil {
			return fmt.Errorf("%w: a view for more owners than one's own", access.ErrForbidden)
		}
		return caller.Allow(access.WriteSettings)
	}
	return fmt.Errorf("%w: no such sharing: %q", ErrInvalid, v.Sharing)
}

// checked brings a view into the form in which it is kept.
func (f *Fleet) checked(v View) (View, error) {
	var err error
	if v.Name, err = text("name of the view", v.Name, MaxViewName); err != nil {
		return v, err
	}
	if v.Slug = slug(v.Name); v.Slug == "" {
		return v, fmt.Errorf("%w: the name of a view has a letter or digit", ErrInvalid)
	}
	if v.Slug == "new" { // the pages make views at /views/new
		v.Slug = "view-new"
	}
	if err := f.check(v.Filter); err != nil {
		return v, err
	}
	if v.Filter.Sort != "" && sorts[v.Filter.Sort] == "" {
		return v, fmt.Errorf("%w: no such order: %q", ErrInvalid, v.Filter.Sort)
	}
	if len(v.Columns) > 300 {
		return v, fmt.Errorf("%w: too many columns", ErrInvalid)
	}
	if v.Sharing != ViewOwner {
		v.Owner = ""
	}
	sort, desc := v.Filter.Sort, v.Filter.Desc
	v.Filter = v.Filter.which()
	v.Filter.Sort, v.Filter.Desc = sort, desc
	return v, nil
}

// slug is a name as it stands in an address.
func slug(name string) string {
	var b strings.Builder
	for _, r := range fold(name) {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimSuffix(b.String(), "-")
}

// viewScope is the condition that the caller has a view.
func viewScope(caller access.Caller, next int) (where string, args []any) {
	scope, args := caller.Scope("owner_id", next+1)
	return fmt.Sprintf(`(holder = $%d OR holder = 'all' OR owner_id <> '' AND %s)`, next, scope), append([]any{caller.Actor()}, args...)
}

// Views are the views that the caller has, his own first, by name.
func (f *Fleet) Views(ctx context.Context, caller access.Caller) (views []View, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	scope, args := viewScope(caller, 1)
	err = f.db.Read(ctx, func(tx *db.Tx) (err error) {
		views, err = readViews(ctx, tx, caller, scope+` AND deleted_ms IS NULL ORDER BY CASE WHEN holder = $1 THEN 0 WHEN owner_id <> '' THEN 1 ELSE 2 END, slug, id`, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing views: %w", err)
	}
	return views, nil
}

// View gives one view by its id or slug, of equal slugs the caller's own first;
// else access.ErrNotFound.
func (f *Fleet) View(ctx context.Context, caller access.Caller, name string) (View, error) {
	views, err := f.Views(ctx, caller)
	if err != nil {
		return View{}, err
	}
	for _, v := range views {
		if v.ID == name || v.Slug == name {
			return v, nil
		}
	}
	return View{}, fmt.Errorf("view %q: %w", name, unknownHere)
}

func readViews(ctx context.Context, tx *db.Tx, caller access.Caller, where string, args ...any) (views []View, err error) {
	rows, err := tx.Query(ctx, `SELECT id, holder, owner_id, slug, name, filter, columns, created_ms, COALESCE(deleted_ms, 0) FROM list_views WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v View
		var holder, filter string
		var created, deleted int64
		if err := rows.Scan(&v.ID, &holder, &v.Owner, &v.Slug, &v.Name, &filter, &v.Columns, &created, &deleted); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(filter), &v.Filter); err != nil {
			return nil, fmt.Errorf("reading view %s: %w", v.ID, err)
		}
		switch {
		case holder == "all":
			v.Sharing = ViewAll
		case v.Owner != "":
			v.Sharing = ViewOwner
		default:
			v.Sharing = ViewOwn
		}
		v.Created, v.Deleted, v.May = time.UnixMilli(created), deleted != 0, v.may(caller) == nil
		views = append(views, v)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	for i := len(views) - 1; i >= 0; i-- {
		if views[i].Sharing == ViewOwn { // he may take it away
			continue
		}
		foreign, err := views[i].Filter.foreign(ctx, tx, caller)
		if err != nil {
			return nil, err
		}
		if foreign {
			views = slices.Delete(views, i, i+1)
		}
	}
	return views, nil
}

// foreign says that it is a filter for what the caller does not see: it would show him
// nothing but that this exists.
func (f Filter) foreign(ctx context.Context, tx *db.Tx, caller access.Caller) (bool, error) {
	if caller.Owners == nil {
		return false, nil
	}
	if f.Owner != "" && !caller.Sees(f.Owner) {
		return true, nil
	}
	if f.School == "" {
		return false, nil
	}
	var owner string
	err := tx.QueryRow(ctx, `SELECT owner_id FROM schools WHERE id = $1`, f.School).Scan(&owner)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil && !caller.Sees(owner), err
}

// SaveView keeps a filter under a name.
func (f *Fleet) SaveView(ctx context.Context, caller access.Caller, v View) (View, error) {
	if err := v.may(caller); err != nil {
		return View{}, err
	}
	v, err := f.checked(v)
	if err != nil {
		return View{}, err
	}
	filter, err := json.Marshal(v.Filter)
	if err != nil {
		return View{}, err
	}
	now := f.now()
	v.ID, v.Created, v.May, v.Deleted = ident.NewID(now), now, true, false
	return v, f.db.Write(ctx, func(tx *db.Tx) error {
		if err := room(ctx, tx, v, v.holder(caller)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO list_views (id, holder, owner_id, slug, name, filter, columns, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			v.ID, v.holder(caller), v.Owner, v.Slug, v.Name, string(filter), v.Columns, now.UnixMilli())
		if err != nil {
			return fmt.Errorf("saving a view: %w", err)
		}
		return f.auditView(ctx, tx, caller, "view.saved", v)
	})
}

// room says whether the holder can have a view of this name, beside those that it has.
func room(ctx context.Context, tx *db.Tx, v View, holder string) error {
	var taken, all int64
	err := tx.QueryRow(ctx, `SELECT count(CASE WHEN slug = $2 THEN 1 END), count(*) FROM list_views WHERE holder = $1 AND deleted_ms IS NULL AND id <> $3`, holder, v.Slug, v.ID).Scan(&taken, &all)
	switch {
	case err != nil:
		return err
	case taken > 0:
		return fmt.Errorf("%w: %s", ErrViewTaken, v.Name)
	case all >= maxViews:
		return ErrViews
	}
	return nil
}

// ChangeView renames a view, or makes it another filter, in order and columns too.
// Whom it is shared with stays.
func (f *Fleet) ChangeView(ctx context.Context, caller access.Caller, id string, change func(*View)) (View, error) {
	var v View
	err := f.db.Write(ctx, func(tx *db.Tx) error {
		was, err := ownView(ctx, tx, caller, id, false)
		if err != nil {
			return err
		}
		v = was
		change(&v)
		v.ID, v.Sharing, v.Owner = was.ID, was.Sharing, was.Owner
		if v, err = f.checked(v); err != nil {
			return err
		}
		if err := room(ctx, tx, v, v.holder(caller)); err != nil {
			return err
		}
		filter, err := json.Marshal(v.Filter)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE list_views SET slug = $2, name = $3, filter = $4, columns = $5 WHERE id = $1`, v.ID, v.Slug, v.Name, string(filter), v.Columns); err != nil {
			return fmt.Errorf("changing a view: %w", err)
		}
		return f.auditView(ctx, tx, caller, "view.changed", v)
	})
	return v, err
}

// ownView reads a view that the caller may change.
func ownView(ctx context.Context, tx *db.Tx, caller access.Caller, id string, deleted bool) (View, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return View{}, err
	}
	scope, args := viewScope(caller, 2)
	views, err := readViews(ctx, tx, caller, `id = $1 AND `+scope, append([]any{id}, args...)...)
	switch {
	case err != nil:
		return View{}, err
	case len(views) == 0 || views[0].Deleted != deleted:
		return View{}, fmt.Errorf("view %q: %w", id, unknownHere)
	}
	return views[0], views[0].may(caller)
}

// DeleteView takes a view away; RestoreView brings it back, for a week.
func (f *Fleet) DeleteView(ctx context.Context, caller access.Caller, id string) error {
	now := f.now()
	return f.db.Write(ctx, func(tx *db.Tx) error {
		v, err := ownView(ctx, tx, caller, id, false)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM list_views WHERE deleted_ms < $1`, now.Add(-restoreFor).UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE list_views SET deleted_ms = $2 WHERE id = $1`, id, now.UnixMilli()); err != nil {
			return err
		}
		return f.auditView(ctx, tx, caller, "view.deleted", v)
	})
}

// RestoreView: see DeleteView.
func (f *Fleet) RestoreView(ctx context.Context, caller access.Caller, id string) (View, error) {
	var v View
	err := f.db.Write(ctx, func(tx *db.Tx) (err error) {
		if v, err = ownView(ctx, tx, caller, id, true); err != nil {
			return err
		}
		if err := room(ctx, tx, v, v.holder(caller)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE list_views SET deleted_ms = NULL WHERE id = $1`, id); err != nil {
			return err
		}
		v.Deleted = false
		return f.auditView(ctx, tx, caller, "view.saved", v)
	})
	return v, err
}

func (f *Fleet) auditView(ctx context.Context, tx *db.Tx, caller access.Caller, action string, v View) error {
	return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: action, Subject: "view:" + v.ID, Owner: v.Owner, AtMS: f.now().UnixMilli(),
		Details: map[string]string{"name": v.Name, "shared": string(v.Sharing)}})
}
