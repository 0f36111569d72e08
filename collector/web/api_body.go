package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
)

// readJSON reads the body strictly: one object, no fields that mean nothing.
func (v *visit) readJSON(into any) error {
	kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &badRequest{"Content-Type", "want application/json"}
	}
	d := json.NewDecoder(v.r.Body) // bounded by guard
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return err
		}
		return badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &badRequest{"body", "want one JSON object and nothing after it"}
	}
	return nil
}

// badBody says in plain words what is wrong with a body.
func badBody(err error) error {
	var kind *json.UnmarshalTypeError
	var broken *json.SyntaxError
	text := strings.TrimPrefix(err.Error(), "json: ")
	name, unknown := strings.CutPrefix(text, "unknown field ")
	switch {
	case errors.As(err, &kind):
		got, _, _ := strings.Cut(kind.Value, " ")
		return &badRequest{cmp.Or(kind.Field, "body"), "want " + wantedJSON(kind.Type) + ", got " + cmp.Or(gotJSON[got], got)}
	case unknown:
		return &badRequest{strings.Trim(name, `"`), "no such field"}
	case errors.Is(err, io.EOF):
		return &badRequest{"body", "want one JSON object, got nothing"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &badRequest{"body", "want one JSON object, but it ends in the middle"}
	case errors.As(err, &broken):
		return &badRequest{"body", "want one JSON object: " + text}
	}
	return &badRequest{"body", "want one JSON object"}
}

// gotJSON are the kinds of JSON by the names that encoding/json gives them.
var gotJSON = map[string]string{"string": "a text", "number": "a number", "bool": "true or false", "array": "a list", "object": "an object", "null": "null"}

// wantedJSON is the kind of JSON that a type of ours is read from.
func wantedJSON(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wantedJSON(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
