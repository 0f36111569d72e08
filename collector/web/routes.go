package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// door says who may come to a route.
type door int

const (
	open    door = iota // anybody
	signed              // a person with a session; others are led to the sign-in page
	program             // an API token
	scrape              // an API token that may read metrics; with MetricsOpen also this very machine
)

// route is one line of the map of this server. The mux is built from the
// table, and so is the test that walks every route.
type route struct {
	method string
	path   string // pattern of net/http
	door   door
	do     func(*visit) error
}

func (s *Server) allRoutes() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{get, "/{$}", signed, s.home},
		{get, "/sign-in", open, s.signInPage},
		{post, "/sign-in", open, s.signIn},
		{post, "/sign-out", open, s.signOut},
		{post, "/preferences", open, s.setPreferences},
		{get, "/accessibility", open, s.accessibilityPage},
		{get, "/keys", signed, s.keysPage},
		{get, "/devices", signed, s.devicesPage},
		{get, "/search", signed, s.searchPage},
		{get, "/news", signed, s.newsStream},
		{get, "/devices.csv", signed, s.devicesCSV},
		{post, "/devices/columns", signed, s.setColumns},
		{get, "/devices/{id}", signed, s.devicePage},
		{get, "/devices/{id}/history.csv", signed, s.historyCSV},
		{get, "/devices/{id}/live", signed, s.liveStream},
		{get, "/devices/{id}/software", signed, s.softwarePage},
		{get, "/devices/{id}/events", signed, s.eventsPage},
		{post, "/devices/{id}/looks", signed, s.openLook},
		{post, "/devices/{id}/labels", signed, s.setLabel},
		{post, "/devices/{id}/labels/remove", signed, s.removeLabel},
		{get, "/devices/{id}/revoke", signed, s.revokePage},
		{post, "/devices/{id}/revoke", signed, s.revokeDevice},
		{get, "/jobs", signed, s.jobsPage},
		{post, "/jobs", signed, s.startJob},
		{get, "/jobs/new", signed, s.newJobPage},
		{get, "/jobs/{id}", signed, s.jobPage},
		{get, "/jobs/{id}/note", signed, s.jobNote},
		{post, "/jobs/{id}/undo", signed, s.undoJob},
		{get, "/views", signed, s.viewsPage},
		{post, "/views", signed, s.saveView},
		{get, "/views/new", signed, s.newViewPage},
		{get, "/views/{name}", signed, s.openView},
		{get, "/views/{name}/count", signed, s.viewCountPart},
		{get, "/views/{name}/edit", signed, s.editViewPage},
		{post, "/views/{name}/edit", signed, s.editView},
		{post, "/views/{name}/filter", signed, s.changeView},
		{post, "/views/{name}/delete", signed, s.deleteView},
		{post, "/views/{name}/restore", signed, s.restoreView},
		{get, "/devices/{id}/findings/quiet", signed, s.quietFindingPage},
		{post, "/devices/{id}/findings/quiet", signed, s.quietFinding},
		{post, "/devices/{id}/findings/loud", signed, s.loudFinding},
		{get, "/findings", signed, s.findingsPage},
		{get, "/findings/{code}", signed, s.findingPage},
		{get, "/questions", signed, s.questionsPage},
		{post, "/questions", signed, s.keepQuestion},
		{get, "/questions.csv", signed, s.questionsCSV},
		{get, "/questions/{id}", signed, s.savedQuestion},
		{post, "/questions/{id}", signed, s.changeQuestion},
		{post, "/questions/{id}/delete", signed, s.deleteQuestion},
		{post, "/questions/{id}/restore", signed, s.restoreQuestion},
		{get, "/findings/{code}/quiet", signed, s.quietGroupPage},
		{post, "/findings/{code}/quiet", signed, s.quietGroup},
		{post, "/findings/{code}/loud", signed, s.loudGroup},
		{get, "/catalogue", signed, s.cataloguePage},
		{get, "/claims", signed, s.claimsPage},
		{post, "/claims", signed, s.makeClaim},
		{get, "/claims/new", signed, s.newClaimPage},
		{get, "/claims/{id}/revoke", signed, s.revokeClaimPage},
		{post, "/claims/{id}/revoke", signed, s.revokeClaim},
		{get, "/people", signed, s.peoplePage},
		{post, "/people", signed, s.makePerson},
		{get, "/people/new", signed, s.newPersonPage},
		{get, "/people/{id}", signed, s.personPage},
		{post, "/people/{id}/role", signed, s.setRole},
		{post, "/people/{id}/password", signed, s.resetPassword},
		{post, "/people/{id}/sessions", signed, s.endPersonsSessions},
		{post, "/people/{id}/disable", signed, s.disablePerson},
		{post, "/people/{id}/enable", signed, s.enablePerson},
		{post, "/tokens", signed, s.makeToken},
		{get, "/tokens/new", signed, s.newTokenPage},
		{get, "/tokens/{id}/revoke", signed, s.revokeTokenPage},
		{post, "/tokens/{id}/revoke", signed, s.revokeToken},
		{get, "/audit", signed, s.recordPage},
		{get, "/audit.csv", signed, s.recordCSV},
		{get, "/account", signed, s.accountPage},
		{post, "/account/password", signed, s.changePassword},
		{post, "/account/sessions", signed, s.endOwnSessions},
		{get, "/schools", signed, s.schoolsPage},
		{get, "/schools/{id}", signed, s.schoolPage},
		{get, "/schools/{id}/sheet", signed, s.sheetPage},
		{get, "/schools/{id}/edit", signed, s.editSchoolPage},
		{post, "/schools/{id}/edit", signed, s.editSchool},
		{get, "/schools/options", signed, s.schoolOptions},
		{get, "/updates", signed, s.updatesPage},
		{get, "/releases/{id}/rollout", signed, s.startAct().page},
		{post, "/releases/{id}/rollout", signed, s.startAct().post},
		{get, "/releases/{id}/block", signed, s.blockAct().page},
		{post, "/releases/{id}/block", signed, s.blockAct().post},
		{get, "/rollouts/{id}", signed, s.rolloutPage},
		{get, "/rollouts/{id}/live", signed, s.rolloutStream},
		{get, "/rollouts/{id}/devices", signed, s.rolloutDevicesPage},
		{post, "/rollouts/{id}/pause", signed, s.atOnce(func(r Rollouts) rolloutVerb { return r.Pause }, "rollout_paused")},
		{get, "/rollouts/{id}/abort", signed, s.abortAct().page},
		{post, "/rollouts/{id}/abort", signed, s.abortAct().post},
		{post, "/rollouts/{id}/note", signed, s.noteReason},
		{get, "/rollouts/{id}/resume", signed, s.resumeAct().page},
		{post, "/rollouts/{id}/resume", signed, s.resumeAct().post},
		{get, "/rollouts/{id}/approve", signed, s.approveAct().page},
		{post, "/rollouts/{id}/approve", signed, s.approveAct().post},
		{get, "/rollouts/{id}/promote", signed, s.promoteAct().page},
		{post, "/rollouts/{id}/promote", signed, s.promoteAct().post},
		{get, "/rollouts/{id}/rollback", signed, s.rollBackAct().page},
		{post, "/rollouts/{id}/rollback", signed, s.rollBackAct().post},
		{get, "/rollouts/{id}/parts", signed, s.partAct().page},
		{post, "/rollouts/{id}/parts", signed, s.partAct().post},
		{post, "/rollouts/{id}/parts/free", signed, s.freePart},
		{get, "/owners/{id}/updates", signed, s.hoursPage},
		{post, "/owners/{id}/updates", signed, s.setHours},
		{post, "/owners/{id}/updates/days", signed, s.addDays},
		{post, "/owners/{id}/updates/days/remove", signed, s.removeDays},
		{get, "/api", signed, s.apiPage},
		{get, "/openapi.json", signed, s.apiOpenAPI},
		{get, "/settings", signed, s.settingsPage},
		{post, "/settings/house", signed, s.setHouse},
		{post, "/settings/owner", signed, s.renameOwner},
		{post, "/settings/retention", signed, s.setRetention},
		{post, "/settings/software", signed, s.setStandard},
		{post, "/settings/software/remove", signed, s.removeStandard},
		{get, "/static/{file}", open, s.assets.serve},
		{get, "/updates/{file}", open, s.updateTarget},
		{get, "/updates/metadata/{name}", open, s.updateMetadata},
		{get, "/api/v1/devices", program, s.apiDevices},
		{get, "/api/v1/devices.csv", program, s.devicesCSV},
		{get, "/api/v1/counts", program, s.apiCounts},
		{get, "/api/v1/devices/{id}", program, s.apiDevice},
		{get, "/api/v1/devices/{id}/live", program, s.apiLive},
		{get, "/api/v1/devices/{id}/jobs", program, s.apiDeviceJobs},
		{get, "/api/v1/devices/{id}/history", program, s.apiHistory},
		{get, "/api/v1/devices/{id}/findings", program, s.apiFindings},
		{post, "/api/v1/devices/{id}/findings/quiet", program, s.apiQuietFinding},
		{post, "/api/v1/devices/{id}/findings/loud", program, s.apiLoudFinding},
		{get, "/api/v1/devices/{id}/inventory", program, s.apiInventory},
		{get, "/api/v1/devices/{id}/events", program, s.apiEvents},
		{get, "/api/v1/devices/{id}/looks", program, s.apiLooks},
		{post, "/api/v1/devices/{id}/looks", program, s.apiOpenLook},
		{post, "/api/v1/devices/{id}/labels", program, s.apiChangeLabel(true)},
		{post, "/api/v1/devices/{id}/labels/remove", program, s.apiChangeLabel(false)},
		{post, "/api/v1/devices/{id}/revoke", program, s.apiRevokeDevice},
		{get, "/api/v1/views", program, s.apiViews},
		{post, "/api/v1/views", program, s.apiSaveView},
		{get, "/api/v1/views/{id}", program, s.apiView},
		{post, "/api/v1/views/{id}", program, s.apiChangeView},
		{post, "/api/v1/views/{id}/delete", program, s.apiDeleteView},
		{post, "/api/v1/views/{id}/restore", program, s.apiRestoreView},
		{get, "/api/v1/labels", program, s.apiLabels},
		{get, "/api/v1/jobs", program, s.apiJobs},
		{post, "/api/v1/jobs", program, s.apiStartJob},
		{get, "/api/v1/jobs/{id}", program, s.apiJob},
		{get, "/api/v1/jobs/{id}/devices", program, s.apiJobDevices},
		{post, "/api/v1/jobs/{id}/undo", program, s.apiUndoJob},
		{get, "/api/v1/search", program, s.apiSearch},
		{get, "/api/v1/events", program, s.apiChanges},
		{get, "/api/v1/findings", program, s.apiOpenFindings},
		{get, "/api/v1/findings/{id}/spread", program, s.apiSpread},
		{get, "/api/v1/answer", program, s.apiAnswer},
		{get, "/api/v1/answer/values", program, s.apiAnswerValues},
		{get, "/api/v1/answer/devices.csv", program, s.apiAnswerCSV},
		{get, "/api/v1/questions", program, s.apiQuestions},
		{post, "/api/v1/questions", program, s.apiSaveQuestion},
		{get, "/api/v1/questions/{id}", program, s.apiQuestion},
		{post, "/api/v1/questions/{id}", program, s.apiChangeQuestion},
		{post, "/api/v1/questions/{id}/delete", program, s.apiDeleteQuestion},
		{post, "/api/v1/questions/{id}/restore", program, s.apiRestoreQuestion},
		{get, "/api/v1/questions/{id}/answer", program, s.apiSavedAnswer},
		{get, "/api/v1/findings/{id}/quiets", program, s.apiQuiets},
		{post, "/api/v1/findings/{id}/quiet", program, s.apiQuietGroup},
		{post, "/api/v1/quiets/{id}/end", program, s.apiEndQuiet},
		{get, "/api/v1/looks", program, s.apiLookMonths},
		{get, "/api/v1/devices/{id}/update", program, s.apiDeviceUpdate},
		{get, "/api/v1/owners/{id}/updates", program, s.apiWindow},
		{post, "/api/v1/owners/{id}/updates", program, s.apiSetWindow},
		{post, "/api/v1/owners/{id}/updates/days", program, s.apiAddDays},
		{post, "/api/v1/owners/{id}/updates/days/remove", program, s.apiRemoveDays},
		{get, "/api/v1/repository", program, s.apiRepository},
		{get, "/api/v1/trains", program, s.apiTrains},
		{get, "/api/v1/releases", program, s.apiReleases},
		{get, "/api/v1/releases/{id}", program, s.apiRelease},
		{post, "/api/v1/releases/{id}/block", program, s.apiBlockRelease},
		{get, "/api/v1/rollouts", program, s.apiRollouts},
		{post, "/api/v1/rollouts", program, s.apiStartRollout},
		{get, "/api/v1/rollouts/{id}", program, s.apiRollout},
		{get, "/api/v1/rollouts/{id}/devices", program, s.apiRolloutDevices},
		{get, "/api/v1/rollouts/{id}/compliance", program, s.apiCompliance},
		{get, "/api/v1/rollouts/{id}/next", program, s.apiPreview},
		{post, "/api/v1/rollouts/{id}/promote", program, s.apiPromote},
		{post, "/api/v1/rollouts/{id}/pause", program, s.apiRolloutVerb(func(r Rollouts) rolloutVerb { return r.Pause })},
		{post, "/api/v1/rollouts/{id}/resume", program, s.apiRolloutVerb(func(r Rollouts) rolloutVerb { return r.Resume })},
		{post, "/api/v1/rollouts/{id}/abort", program, s.apiRolloutVerb(func(r Rollouts) rolloutVerb { return r.Abort })},
		{post, "/api/v1/rollouts/{id}/note", program, s.apiRolloutVerb(func(r Rollouts) rolloutVerb { return r.Note })},
		{post, "/api/v1/rollouts/{id}/approve", program, s.apiRolloutVerb(func(r Rollouts) rolloutVerb { return r.Approve })},
		{post, "/api/v1/rollouts/{id}/rollback", program, s.apiRollBack},
		{post, "/api/v1/rollouts/{id}/parts", program, s.apiBlockPart},
		{get, "/api/v1/catalogue", program, s.apiCatalogue},
		{get, "/api/v1/openapi.json", program, s.apiOpenAPI},
		{get, "/api/v1/owners", program, s.apiOwners},
		{get, "/api/v1/schools", program, s.apiSchools},
		{get, "/api/v1/schools/{id}", program, s.apiSchool},
		{get, "/api/v1/owners/{id}", program, s.apiOwner},
		{post, "/api/v1/owners/{id}", program, s.apiRenameOwner},
		{post, "/api/v1/schools/{id}", program, s.apiChangeSchool},
		{get, "/api/v1/schools/{id}/sheet", program, s.apiSheet},
		{get, "/api/v1/house", program, s.apiGetHouse},
		{post, "/api/v1/house", program, s.apiSetHouse},
		{get, "/api/v1/owners/{id}/retention", program, s.apiRetention},
		{post, "/api/v1/owners/{id}/retention", program, s.apiSetRetention},
		{get, "/api/v1/owners/{id}/software", program, s.apiStandard},
		{post, "/api/v1/owners/{id}/software", program, s.apiSetStandard},
		{post, "/api/v1/owners/{id}/software/remove", program, s.apiRemoveStandard},
		{get, "/api/v1/claims", program, s.apiClaims},
		{post, "/api/v1/claims", program, s.apiMakeClaim},
		{get, "/api/v1/claims/{id}", program, s.apiClaim},
		{post, "/api/v1/claims/{id}/revoke", program, s.apiRevokeClaim},
		{get, "/api/v1/users", program, s.apiUsers},
		{post, "/api/v1/users", program, s.apiMakeUser},
		{get, "/api/v1/users/{id}", program, s.apiUser},
		{post, "/api/v1/users/{id}/role", program, s.apiSetRole},
		{post, "/api/v1/users/{id}/password", program, s.apiResetPassword},
		{post, "/api/v1/users/{id}/disable", program, s.apiAct(s.disable)},
		{post, "/api/v1/users/{id}/enable", program, s.apiAct(s.enable)},
		{get, "/api/v1/users/{id}/sessions", program, s.apiSessions},
		{post, "/api/v1/users/{id}/sessions/end", program, s.apiAct(s.endSessions)},
		{post, "/api/v1/users/{id}/sessions/{session}/end", program, s.apiAct(s.endSession)},
		{get, "/api/v1/tokens", program, s.apiTokens},
		{post, "/api/v1/tokens", program, s.apiMakeToken},
		{get, "/api/v1/tokens/{id}", program, s.apiToken},
		{post, "/api/v1/tokens/{id}/revoke", program, s.apiRevokeToken},
		{get, "/api/v1/audit", program, s.apiRecord},
		{get, "/api/v1/audit.csv", program, s.recordCSV},
		{get, "/api/v1/audit/state", program, s.apiRecordState},
		{post, "/api/v1/sign-in", open, s.apiSignIn},
		{post, "/api/v1/sign-out", program, s.apiSignOut},
		{get, "/api/v1/account", program, s.apiAccount},
		{post, "/api/v1/account/password", program, s.apiChangePassword},
		{get, "/api/v1/account/choices", program, s.apiGetChoices},
		{post, "/api/v1/account/choices", program, s.apiSetChoices},
		{get, "/api/v1/account/sessions", program, s.apiOwnSessions},
		{post, "/api/v1/account/sessions/end", program, s.apiEndOthers},
		{post, "/api/v1/account/sessions/{id}/end", program, s.apiEndSession},
		{get, "/metrics", scrape, s.metrics.serve},
		{get, "/healthz", open, s.healthz},
		{get, "/readyz", open, s.readyz},
	}
}

func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, rt := range s.routes {
		mux.Handle(rt.method+" "+rt.path, s.answer(rt))
	}
	// Everything else. The mux would answer a wrong method by itself, in plain
	// text; here it gets the page or the problem that other errors get.
	mux.Handle("/", s.answer(route{path: "/", do: func(v *visit) error {
		if allowed := s.allowed(v.r.URL.Path); len(allowed) > 0 {
			v.w.Header().Set("Allow", strings.Join(allowed, ", "))
			return errMethod
		}
		return errNoPage
	}}))
	return mux
}

// allowed lists the methods that a path answers.
func (s *Server) allowed(path string) []string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		probe := &http.Request{Method: method, Host: "x", URL: &url.URL{Path: path}}
		if _, pattern := s.mux.Handler(probe); pattern != "/" && !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
	}
	return methods
}
