package fleet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// maxImport bounds the lines of one file; Hesse has about 2,000 schools.
const maxImport = 20_000

// schoolRow is one line of the file.
type schoolRow struct {
	line                    int
	owner, code, name, kind string
	planned                 int64
}

// Encoding is how the letters of a file are written.
type Encoding string

const (
	UTF8        Encoding = "utf-8"
	Windows1252 Encoding = "windows-1252" // Excel's "CSV (Trennzeichen-getrennt)"
)

// schoolList is what a file says. bad are the lines that say nothing of use.
type schoolList struct {
	encoding Encoding
	rows     []schoolRow
	bad      []LineError
}

// readSchools reads the file. Its error is about the file as a whole.
func readSchools(file io.Reader) (list schoolList, err error) {
	content, err := io.ReadAll(file)
	if err != nil {
		return schoolList{}, fmt.Errorf("reading schools: %w", err)
	}
	text, encoding, err := decode(content)
	if err != nil {
		return schoolList{}, err
	}
	list.encoding = encoding
	head, rest, _ := strings.Cut(text, "\n")
	comma := ','
	if strings.Contains(head, ";") {
		comma = ';'
	}
	column, err := columns(head, comma)
	if err != nil {
		return schoolList{}, err
	}
	seen := map[string]int{}
	number := 1
	for line := range strings.Lines(rest) {
		number++
		if strings.TrimSpace(line) == "" {
			continue
		}
		if len(list.rows)+len(list.bad) >= maxImport {
			return schoolList{}, fmt.Errorf("%w: more than %d lines", ErrInvalid, maxImport)
		}
		r, err := schoolLine(line, comma, column)
		r.line = number
		key := fold(r.owner) + "\x00" + fold(r.code)
		if err == nil && seen[key] > 0 {
			err = fmt.Errorf("%w: school %s stands already in line %d", ErrInvalid, r.code, seen[key])
		}
		if err != nil {
			list.bad = append(list.bad, LineError{number, strings.ReplaceAll(err.Error(), "\n", "; ")})
			continue
		}
		seen[key] = number
		list.rows = append(list.rows, r)
	}
	return list, nil
}

// decode gives the file's text. What is not UTF-8 is Windows-1252, unless some
// of it says that it is UTF-8: then its broken lines are told, for nobody knows
// what they are.
func decode(content []byte) (string, Encoding, error) {
	content, marked := bytes.CutPrefix(content, []byte("\xef\xbb\xbf")) // Excel writes it
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) {
		return "", "", fmt.Errorf("%w: the file is UTF-16; save it as CSV in UTF-8", ErrInvalid)
	}
	if marked || utf8.Valid(content) {
		return string(content), UTF8, nil
	}
	for line := range bytes.Lines(content) {
		if utf8.Valid(line) && bytes.ContainsFunc(line, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return string(content), UTF8, nil
		}
	}
	decoded, err := charmap.Windows1252.NewDecoder().Bytes(content)
	if err != nil {
		return "", "", fmt.Errorf("%w: the file is neither UTF-8 nor Windows-1252: %w", ErrInvalid, err)
	}
	return string(decoded), Windows1252, nil
}

// fields takes one line apart. Reading line by line keeps a stray quote from
// making one field of all that follows.
func fields(line string, comma rune) ([]string, error) {
	c := csv.NewReader(strings.NewReader(line))
	c.Comma = comma
	record, err := c.Read()
	if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
		return nil, fmt.Errorf("%w: its quotes do not match: column %d: %w", ErrInvalid, parse.Column, parse.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return record, nil
}

// columns finds out from the head line which field is where.
func columns(head string, comma rune) (map[string]int, error) {
	names, err := fields(head, comma)
	if err != nil {
		return nil, fmt.Errorf("reading the head line: %w", err)
	}
	column := map[string]int{}
	for i, n := range names {
		column[fold(n)] = i
	}
	for _, must := range []string{"schul_id", "schultraeger"} {
		if _, ok := column[must]; !ok {
			return nil, fmt.Errorf("%w: the head line names no column %s", ErrInvalid, must)
		}
	}
	return column, nil
}

func schoolLine(line string, comma rune, column map[string]int) (schoolRow, error) {
	record, err := fields(line, comma)
	if err != nil {
		return schoolRow{}, err
	}
	return parseSchool(column, record)
}

func parseSchool(column map[string]int, fields []string) (schoolRow, error) {
	var r schoolRow
	var errs []error
	get := func(name, what string, most int, needed bool) string {
		i, ok := column[name]
		if !ok || i >= len(fields) {
			if needed {
				errs = append(errs, fmt.Errorf("%w: no %s", ErrInvalid, what))
			}
			return ""
		}
		s, err := text(what, fields[i], most)
		if err == nil && s == "" && needed {
			err = fmt.Errorf("%w: no %s", ErrInvalid, what)
		}
		if err != nil {
			errs = append(errs, err)
		}
		return s
	}
	r.code = get("schul_id", "schul_id", 32, true)
	if r.code != "" && fold(r.code) == "" { // the list by school has a place for devices without one
		errs = append(errs, fmt.Errorf("%w: schul_id has no letter and no digit", ErrInvalid))
	}
	r.owner = get("schultraeger", "schultraeger", 120, true)
	r.kind = get("schulform", "schulform", 80, false)
	r.name = get("name", "name", 120, false)
	if n := get("geraete", "geraete", 10, false); n != "" {
		planned, err := strconv.ParseInt(n, 10, 32)
		if err != nil || planned < 0 {
			errs = append(errs, fmt.Errorf("%w: geraete %q is no number of devices", ErrInvalid, n))
		}
		r.planned = planned
	}
	return r, errors.Join(errs...)
}
