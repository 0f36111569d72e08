package web

import (
	"net/http"
	"time"
)

// The statement that § 4 of the Hessian ordinance on accessible information technology
// (HVBIT) wants of public bodies, also for pages behind a sign-in. The addresses are
// those of the state's competence centre (LBIT), which is the enforcement body, too.
const (
	feedbackPage    = "https://lbit.hessen.de/buergerinnen-und-buerger/feedback-mechanismus"
	enforcementPage = "https://lbit.hessen.de/Durchsetzungs-und-Ueberwachungsstelle/Durchsetzungsverfahren-beantragen"
)

// stated is when the statement was made or last checked against the pages.
var stated = time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)

type accessibilityMain struct {
	Stated                string
	Checks, Limits        []string
	Contact               string // of the house; empty = none is set
	Settings              bool   // the caller may set it
	Feedback, Enforcement string
}

// accessibilityPage is open to anybody: who cannot sign in must be able to say why.
func (s *Server) accessibilityPage(v *visit) error {
	main := accessibilityMain{Stated: v.say.Date(stated), Contact: s.houseNow(v.r.Context()).Contact, Feedback: feedbackPage, Enforcement: enforcementPage}
	for _, key := range []string{"accessibility.check.axe", "accessibility.check.keyboard", "accessibility.check.zoom", "accessibility.check.colours"} {
		main.Checks = append(main.Checks, v.say.Say(key))
	}
	for _, key := range []string{"accessibility.limit.people", "accessibility.limit.easy", "accessibility.limit.sign", "accessibility.limit.charts", "accessibility.limit.language"} {
		main.Limits = append(main.Limits, v.say.Say(key))
	}
	title := v.say.Say("accessibility.title")
	if v.caller.Name == "" {
		return v.show(http.StatusOK, "accessibility", v.page(title, main))
	}
	main.Settings = main.Contact == "" && v.maySettings()
	return v.show(http.StatusOK, "accessibility", v.at("accessibility", title, main))
}
