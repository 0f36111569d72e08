package access_test

import (
	"errors"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// TestHouse: how the pages look to people who chose nothing is changed by who sees
// everybody's data, and each change is on record once.
func TestHouse(t *testing.T) {
	dbtest.Run(t, []db.Migrations{access.Migrations, audit.Migrations}, func(t *testing.T, d *db.DB) {
		s := access.New(access.Config{DB: d})
		admin := access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleAdmin}
		some, support := admin, admin
		some.Owners, support.Role = []string{"o"}, access.RoleSupport
		if h, err := s.House(t.Context()); err != nil || h != (access.House{}) {
			t.Errorf("House = %+v, %v; want nothing said", h, err)
		}
		for _, tt := range []struct {
			caller          access.Caller
			language, theme string
			want            error
		}{
			{support, "de", "", access.ErrForbidden}, {some, "de", "", access.ErrForbidden}, {admin, "fr", "", access.ErrInvalid}, {admin, "", "pink", access.ErrInvalid},
		} {
			if err := s.SetHouse(t.Context(), tt.caller, func(h *access.House) { *h = access.House{Language: tt.language, Theme: tt.theme} }); !errors.Is(err, tt.want) {
				t.Errorf("SetHouse(%q, %q) = %v, want %v", tt.language, tt.theme, err, tt.want)
			}
		}
		for range 2 {
			if err := s.SetHouse(t.Context(), admin, func(h *access.House) { *h = access.House{Language: "en", Theme: "dark"} }); err != nil {
				t.Fatal(err)
			}
		}
		h, err := s.House(t.Context())
		if err != nil || h.Language != "en" || h.Theme != "dark" || h.By != "user:u" || h.Changed.IsZero() {
			t.Errorf("House = %+v, %v", h, err)
		}
		if err := s.SetHouse(t.Context(), admin, func(h *access.House) { *h = access.House{Language: "en", Theme: "dark", Contact: "two\nlines"} }); !errors.Is(err, access.ErrInvalid) {
			t.Errorf("SetHouse of two lines = %v, want invalid", err)
		}
		if err := s.SetHouse(t.Context(), admin, func(h *access.House) { *h = access.House{Language: "en", Contact: " Helpdesk, 069 90009 123 "} }); err != nil {
			t.Fatal(err)
		}
		entries, err := s.AuditLog(t.Context(), admin, audit.Filter{Action: "house"})
		if err != nil || len(entries) != 4 || entries[0].Details["value"] != "Helpdesk, 069 90009 123" || entries[1].Details["before"] != "dark" {
			t.Errorf("record: %+v, %v; want four changes", entries, err)
		}
	})
}
