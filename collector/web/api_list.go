package web

import (
	"strconv"

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

// sendList answers with a whole list.
func sendList[T any](v *visit, items []T) error {
	return v.sendJSON(list[T]{Items: items, Total: int64(len(items))})
}

// each gives what as makes of all.
func each[F, T any](all []F, as func(F) T) []T {
	out := make([]T, len(all))
	for i, f := range all {
		out[i] = as(f)
	}
	return out
}
