package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The four kinds of metadata. Delegated roles are of kind Targets.
const (
	Root      = "root"
	Timestamp = "timestamp"
	Snapshot  = "snapshot"
	Targets   = "targets"
)

// maxLength bounds each kind of file, in bytes. A root of 5 people has 4 kB, a
// role with 300 targets 80 kB.
var maxLength = map[string]int64{Root: 512_000, Timestamp: 16_384, Snapshot: 2_000_000, Targets: 5_000_000}

// maxDepth of nested JSON: the format's own needs 7, custom data gets the rest.
const maxDepth = 24

// Check refuses bytes that do not have the shape of metadata of this kind. It
// says nothing about signatures. It stands before every parse by the library,
// because that one reads input nobody has signed: it takes keys in any case of
// letters and the last of two of one name, follows null into objects, and wants
// numbers to be integers. Unknown fields may be there, as the specification says.
func Check(kind string, data []byte) error {
	limit, ok := maxLength[kind]
	if !ok {
		return fmt.Errorf("%w: no metadata is of kind %q", ErrMalformed, kind)
	}
	if int64(len(data)) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(data), limit)
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := tree(dec, maxDepth)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the object", ErrMalformed)
	}
	if err := shapes[kind](v, kind); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}

// tree reads one value. It refuses what json.Unmarshal would pass over.
func tree(dec *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return members(dec, depth)
		}
		var list []any
		for dec.More() {
			v, err := tree(dec, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	case json.Number:
		// Canonical JSON, which is what is signed, knows integers only.
		if _, err := t.Int64(); err != nil || strings.HasPrefix(string(t), "-0") {
			return nil, fmt.Errorf("the number %.40s is no integer", t)
		}
		return t, nil
	}
	return t, nil
}

func members(dec *json.Decoder, depth int) (map[string]any, error) {
	m := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("a key is no string")
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%.60q stands there twice", key)
		}
		if m[key], err = tree(dec, depth-1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return m, err
}

// shape says what is wrong with a value that stands at path.
type shape func(v any, path string) error

func anything(any, string) error { return nil }

func text(v any, path string) error {
	if _, ok := v.(string); !ok {
		return fmt.Errorf("%s is no string", path)
	}
	return nil
}

func truth(v any, path string) error {
	if _, ok := v.(bool); !ok {
		return fmt.Errorf("%s is no boolean", path)
	}
	return nil
}

func from(low int64) shape {
	return func(v any, path string) error {
		n, ok := v.(json.Number)
		if !ok {
			return fmt.Errorf("%s is no number", path)
		}
		if i, err := n.Int64(); err != nil || i < low {
			return fmt.Errorf("%s is below %d", path, low)
		}
		return nil
	}
}

func exactly(want string) shape {
	return func(v any, path string) error {
		if v != want {
			return fmt.Errorf("%s is not %q", path, want)
		}
		return nil
	}
}

func listOf(s shape) shape {
	return func(v any, path string) error {
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%s is no list", path)
		}
		for i, e := range list {
			if err := s(e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func mapOf(s shape) shape {
	return func(v any, path string) error {
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", path)
		}
		for k, e := range m {
			if err := s(e, fmt.Sprintf("%s.%.60s", path, k)); err != nil {
				return err
			}
		}
		return nil
	}
}

// object has fields of known shapes; a name that begins with ? may be missing.
// Others may be there, but not as a known name in other letters, since
// encoding/json takes that for the known one.
func object(fields map[string]shape) shape {
	known := map[string]shape{}
	must := []string{}
	for name, s := range fields {
		bare, optional := strings.CutPrefix(name, "?")
		known[bare] = s
		if !optional {
			must = append(must, bare)
		}
	}
	return func(v any, path string) error {
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", path)
		}
		for _, name := range must {
			if _, ok := m[name]; !ok {
				return fmt.Errorf("%s has no %s", path, name)
			}
		}
		for k, e := range m {
			if s, ok := known[k]; ok {
				if err := s(e, path+"."+k); err != nil {
					return err
				}
				continue
			}
			for name := range known {
				if strings.EqualFold(k, name) {
					return fmt.Errorf("%s has %.60q instead of %s", path, k, name)
				}
			}
		}
		return nil
	}
}

// holding is a map in which certain names must be there.
func holding(s shape, names ...string) shape {
	each := mapOf(s)
	return func(v any, path string) error {
		if err := each(v, path); err != nil {
			return err
		}
		for _, name := range names {
			if _, ok := v.(map[string]any)[name]; !ok {
				return fmt.Errorf("%s has no %s", path, name)
			}
		}
		return nil
	}
}

func specVersion(v any, path string) error {
	if s, ok := v.(string); !ok || !strings.HasPrefix(s, "1.") {
		return fmt.Errorf("%s is not of major version 1", path)
	}
	return nil
}

var shapes = func() map[string]shape {
	hashes := mapOf(text)
	key := object(map[string]shape{"keytype": text, "scheme": text, "keyval": object(map[string]shape{"public": text})})
	meta := object(map[string]shape{"version": from(1), "?length": from(0), "?hashes": hashes})
	target := object(map[string]shape{"length": from(0), "hashes": hashes, "?custom": mapOf(anything)})
	delegated := object(map[string]shape{
		"name": text, "keyids": listOf(text), "threshold": from(1), "terminating": truth,
		"?paths": listOf(text), "?path_hash_prefixes": listOf(text),
	})
	succinct := object(map[string]shape{"keyids": listOf(text), "threshold": from(1), "bit_length": from(1), "name_prefix": text})
	signed := func(kind string, fields map[string]shape) shape {
		fields["_type"] = exactly(kind)
		fields["spec_version"] = specVersion
		fields["version"] = from(1)
		fields["expires"] = text
		return object(map[string]shape{
			"signed":     object(fields),
			"signatures": listOf(object(map[string]shape{"keyid": text, "sig": text})),
		})
	}
	return map[string]shape{
		Root: signed(Root, map[string]shape{
			"?consistent_snapshot": truth,
			"keys":                 mapOf(key),
			"roles": holding(object(map[string]shape{"keyids": listOf(text), "threshold": from(1)}),
				Root, Timestamp, Snapshot, Targets),
		}),
		Timestamp: signed(Timestamp, map[string]shape{"meta": holding(meta, "snapshot.json")}),
		Snapshot:  signed(Snapshot, map[string]shape{"meta": holding(meta, "targets.json")}),
		Targets: signed(Targets, map[string]shape{
			"targets": mapOf(target),
			"?delegations": object(map[string]shape{
				"keys": mapOf(key), "?roles": listOf(delegated), "?succinct_roles": succinct,
			}),
		}),
	}
}()
