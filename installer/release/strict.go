package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// strictly is json.Unmarshal of what somebody may have altered. That takes the last of
// two equal keys, keys in any case, and passes over those that it does not know: a
// person, or another program, would read there what nobody verified. line says where it
// is not as we write it.
func strictly(data []byte, v any) (line int, err error) {
	at := func(offset int64) int {
		return 1 + bytes.Count(data[:max(0, min(offset, int64(len(data))))], []byte("\n"))
	}
	if !utf8.Valid(data) {
		return at(int64(len(data) - len(afterUTF8(data)))), errors.New("not UTF-8")
	}
	if err := json.Unmarshal(data, v); err != nil {
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return at(syntax.Offset), err
		case errors.As(err, &kind):
			return at(kind.Offset), err
		}
		return 1, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := keysOf(dec, reflect.TypeOf(v)); err != nil {
		return at(dec.InputOffset()), err
	}
	return 0, nil
}

// afterUTF8 is the rest from the first byte on that is none of a character.
func afterUTF8(data []byte) []byte {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		data = data[n:]
	}
	return data
}

// keysOf walks through a value that fits into the type.
func keysOf(dec *json.Decoder, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	switch token {
	case json.Delim('{'):
		for dec.More() {
			token, err := dec.Token()
			if err != nil {
				return err
			}
			key := fmt.Sprint(token)
			if seen[key] {
				return fmt.Errorf("the key %.60q stands there twice", key)
			}
			seen[key] = true
			of, err := keyOf(t, key)
			if err != nil {
				return err
			}
			if err := keysOf(dec, of); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for dec.More() {
			if err := keysOf(dec, t.Elem()); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = dec.Token() // the end of it
	return err
}

// keyOf is the type of what a key of t holds.
func keyOf(t reflect.Type, key string) (reflect.Type, error) {
	if t.Kind() == reflect.Map {
		return t.Elem(), nil
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		switch {
		case name == key:
			return t.Field(i).Type, nil
		case strings.EqualFold(name, key):
			return nil, fmt.Errorf("the key %.60q is not written %q", key, name)
		}
	}
	return nil, fmt.Errorf("the key %.60q is unknown", key)
}
