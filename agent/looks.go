package agent

import (
	"strings"
	"time"
	"unicode"

	"hausmeister/agent/config"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

// Looks is who looked at this device by the minute, as everybody at this machine
// may know it: the last 12 months, at most 500, the latest first.
type Looks struct {
	Looks []Look `json:"looks"`
}

// Look is one access at the collector to what is finer than a day.
type Look struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"` // of the account there
	Role   string    `json:"role"` // "admin", "support", ...
	Reason string    `json:"reason"`
	Opened time.Time `json:"opened"` // collector clock, as Until
	Until  time.Time `json:"until"`
}

// Longest texts of a look in bytes; its collector holds to less.
const (
	maxLookWord   = 128
	maxLookReason = 1000
)

// looks keeps what the collector tells of looks; it is link.Config.Looks. Its
// list is stored before it is shown, so that nothing is shown and then forgotten.
type looks struct {
	memory *config.Memory
	p      *publisher
}

// Last is the id of the newest look.
func (l *looks) Last() string {
	if list := l.memory.Looks(); len(list) > 0 {
		return list[0].ID
	}
	return ""
}

// Take keeps looks. What cannot be stored is told again with the next session.
func (l *looks) Take(told []*hmpb.Look) {
	var list []config.Look
	for _, m := range told {
		if !ident.ValidID(m.GetId()) {
			continue // it could not be told from others, nor be named in a Hello
		}
		list = append(list, config.Look{
			ID: m.GetId(), Name: shownText(m.GetName(), maxLookWord), Role: shownText(m.GetRole(), maxLookWord),
			Reason: shownText(m.GetReason(), maxLookReason), OpenedMS: m.GetOpenedMs(), UntilMS: m.GetUntilMs(),
		})
	}
	changed, err := l.memory.AddLooks(list)
	if err != nil {
		l.p.a.c.Log.Warn("who looked at this device is not stored, will be told again", "error", err)
		return
	}
	if changed {
		l.p.newLooks()
	}
}

// list is the public file.
func (l *looks) list() Looks {
	out := Looks{Looks: []Look{}}
	for _, one := range l.memory.Looks() {
		out.Looks = append(out.Looks, Look{ID: one.ID, Name: one.Name, Role: one.Role, Reason: one.Reason,
			Opened: time.UnixMilli(one.OpenedMS).UTC(), Until: time.UnixMilli(one.UntilMS).UTC()})
	}
	return out
}

// shownText makes a text safe for a terminal: cut, valid, and without characters
// that steer it.
func shownText(s string, most int) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(s[:min(len(s), most)], ""))
}
