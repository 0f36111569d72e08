package web

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"hausmeister/proto/ident"
)

// list is the answer of every list, whole or by pages.
type list[T any] struct {
	Items  []T     `json:"items"`
	Total  int64   `json:"total"`            // of all pages
	Cursor *string `json:"cursor" is:"text"` // null on the last page
}

// maxPage is the longest page of a list.
const maxPage = 500

// limit reads the length of a page.
func (v *visit) limit() (int, error) {
	if !v.asked.Has("limit") {
		return pageSize, nil
	}
	n, err := strconv.Atoi(v.asked.Get("limit"))
	if err != nil || n < 1 || n > maxPage {
		return 0, &badRequest{"limit", "want a number from 1 to " + strconv.Itoa(maxPage)}
	}
	return n, nil
}

// idPage reads the length of a page and where it begins, in a list of things that
// are in the order of their ids.
func (v *visit) idPage() (limit int, cursor string, err error) {
	if limit, err = v.limit(); err != nil {
		return 0, "", err
	}
	if cursor = v.asked.Get("cursor"); cursor != "" && !ident.ValidID(cursor) {
		return 0, "", &badRequest{"cursor", "this list did not give it"}
	}
	return limit, cursor, nil
}

// sendPage answers with a page of at most limit of what was found; at is where
// the page behind one of them begins, count how many there are on all pages.
func sendPage[F, T any](v *visit, limit int, found []F, count func() (int64, error), as func(F) T, at func(F) string) error {
	out := list[T]{Items: make([]T, len(found))}
	for i, f := range found {
		out.Items[i] = as(f)
	}
	var err error
	if out.Total, err = count(); err != nil {
		return err
	}
	if len(found) == limit {
		out.Cursor = present(at(found[limit-1]))
	}
	return v.sendJSON(out)
}

// sendList answers with a list that is read as a whole: all of it, or the page that is
// asked for. Each item has an ID.
func sendList[T any](v *visit, items []T) error {
	out, err := pageOf(v, items)
	if err != nil {
		return err
	}
	return v.sendJSON(out)
}

func pageOf[T any](v *visit, items []T) (list[T], error) {
	some, cursor, err := paged(v, items, func(item T) string { return reflect.ValueOf(item).FieldByName("ID").String() })
	return list[T]{Items: some, Total: int64(len(items)), Cursor: cursor}, err
}

// paged takes out of a whole list what is on the page that is asked for. A cursor is the
// place of the last item of the page before and its id: by the id the next page begins
// behind it though others came or went, by the place also if it went itself.
func paged[T any](v *visit, items []T, id func(T) string) (page []T, cursor *string, err error) {
	from := 0
	if text := v.asked.Get("cursor"); text != "" {
		read, err := base64.RawURLEncoding.DecodeString(text)
		place, last, ok := strings.Cut(string(read), " ")
		n, bad := strconv.Atoi(place)
		if err != nil || bad != nil || !ok || n < 0 {
			return nil, nil, &badRequest{"cursor", "this list did not give it"}
		}
		from = min(n+1, len(items))
		if n >= len(items) || id(items[n]) != last {
			if at := slices.IndexFunc(items, func(item T) bool { return id(item) == last }); at >= 0 {
				from = at + 1
			} else {
				from = min(n, len(items))
			}
		}
	}
	to := len(items)
	if v.asked.Has("limit") {
		limit, err := v.limit()
		if err != nil {
			return nil, nil, err
		}
		to = min(from+limit, to)
	}
	if to < len(items) {
		cursor = present(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(to-1) + " " + id(items[to-1]))))
	}
	return append([]T{}, items[from:to]...), cursor, nil
}

// each gives what as makes of all.
func each[F, T any](all []F, as func(F) T) []T {
	out := make([]T, len(all))
	for i, f := range all {
		out[i] = as(f)
	}
	return out
}
