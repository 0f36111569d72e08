package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"hausmeister/collector/fleet"
)

// errNoSchool: what was typed into the school field names none, or several.
var errNoSchool = errors.New("no such school")

// school finds what the school field or parameter means: an id, a school's
// number, its name, or the line that the field suggested. Without any it is the
// zero School.
func (s *Server) school(v *visit, text string) (fleet.School, error) {
	if text == "" {
		return fleet.School{}, nil
	}
	schools, err := s.cfg.Fleet.Schools(v.r.Context(), v.caller)
	if err != nil {
		return fleet.School{}, err
	}
	var found []fleet.School
	for _, school := range schools {
		if school.ID == text {
			return school, nil
		}
		if strings.EqualFold(school.Code, text) || strings.EqualFold(school.Title(), text) || strings.EqualFold(suggestion(school), text) {
			found = append(found, school)
		}
	}
	if len(found) != 1 {
		return fleet.School{}, errNoSchool
	}
	return found[0], nil
}

// suggestion names a school so that no other has the same line.
func suggestion(s fleet.School) string {
	title := s.Title()
	if !strings.Contains(title, s.Code) {
		title += " " + s.Code
	}
	return title + ", " + s.OwnerName
}

const maxSuggestions = 20

// schoolOptions suggests schools for what stands in the field so far.
func (s *Server) schoolOptions(v *visit) error {
	schools, err := s.cfg.Fleet.Schools(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	words := strings.Fields(strings.ToLower(v.asked.Get("school")))
	var options []string
	for _, school := range schools {
		line := suggestion(school)
		folded := strings.ToLower(line)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(folded, w) }) {
			options = append(options, line)
		}
		if len(options) == maxSuggestions {
			break
		}
	}
	return v.show(http.StatusOK, "schools", options)
}
