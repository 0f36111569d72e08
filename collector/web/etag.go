package web

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
)

// A program that changes something says by If-Match what it saw before: the ETag
// of the thing. If somebody else changed it since, the call is refused instead of
// undoing that unseen. The check runs in the transaction of the change, so of two
// such calls at once one is refused.
//
// Without If-Match a call goes through, 428 is never asked for: programs of before
// go on working within this version, and no call replaces a whole thing by what its
// sender remembers; each says the one thing that it changes.

// errStale: the thing is not any more as the sender saw it.
var errStale = errors.New("changed meanwhile")

// errNoTag: who sends If-Match relies on it, so a call that cannot check it is
// not carried out. 412 would say that reading the thing anew helps.
var errNoTag = &badRequest{"If-Match", "this call changes nothing that has an ETag; send it without"}

// tagged are the things that calls change, by the path that reads them, with what
// it is and what of it can be changed. An ETag covers that and no more: what a device tells
// each minute would make each ETag stale before anybody could use it. A call whose
// path goes on behind one of these changes that thing, unless it makes a new one.
var tagged = map[string]func(*Server, *visit, string) (any, error){
	"/api/v1/devices/{id}": func(s *Server, v *visit, id string) (any, error) {
		d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, id)
		if err != nil {
			return nil, err
		}
		findings, err := s.cfg.Health.Findings(v.r.Context(), v.caller, id)
		var quiet []any // who takes care of which finding
		for _, f := range findings {
			if f.Quiet != nil {
				quiet = append(quiet, f.Code, f.Instance, f.Quiet)
			}
		}
		return []any{d.ID, d.Inventory, d.School, d.Labels, d.State == fleet.StateRevoked, quiet}, err
	},
	"/api/v1/claims/{id}": func(s *Server, v *visit, id string) (any, error) {
		c, err := s.cfg.Claims.Claim(v.r.Context(), v.caller, id)
		return []any{c.ID, c.Revoked}, err
	},
	"/api/v1/users/{id}": func(s *Server, v *visit, id string) (any, error) {
		u, err := s.cfg.Access.User(v.r.Context(), v.caller, id)
		return userOf(u), err
	},
	"/api/v1/tokens/{id}": func(s *Server, v *visit, id string) (any, error) {
		t, err := s.token(v)
		return []any{t.ID, t.Revoked}, err
	},
	"/api/v1/owners/{id}": func(s *Server, v *visit, id string) (any, error) {
		o, err := v.owner(id)
		return o, err
	},
	"/api/v1/schools/{id}": func(s *Server, v *visit, id string) (any, error) {
		c, err := s.cfg.Fleet.School(v.r.Context(), v.caller, id)
		return []any{c.ID, c.Code, c.Name, c.Kind}, err
	},
	"/api/v1/owners/{id}/updates": func(s *Server, v *visit, id string) (any, error) {
		w, err := s.cfg.Rollouts.Window(v.r.Context(), v.caller, id)
		return w, err
	},
	"/api/v1/releases/{id}": func(s *Server, v *visit, id string) (any, error) {
		r, err := v.release(id)
		return []any{r.ID, r.Blocked, r.Gone}, err
	},
	// What devices tell moves a rollout, too: then a verb that was meant for what was
	// before is refused.
	"/api/v1/rollouts/{id}": func(s *Server, v *visit, id string) (any, error) {
		r, err := s.cfg.Rollouts.Rollout(v.r.Context(), v.caller, id)
		return ofRollout(r), err
	},
	"/api/v1/owners/{id}/software": func(s *Server, v *visit, id string) (any, error) {
		programs, err := s.cfg.Health.Standard(v.r.Context(), v.caller, id)
		return []any{id, programs}, err
	},
	"/api/v1/owners/{id}/retention": func(s *Server, v *visit, id string) (any, error) {
		kept, err := s.cfg.Health.Retention(v.r.Context(), v.caller, id)
		return []any{id, kept}, err
	},
	"/api/v1/house": func(s *Server, v *visit, _ string) (any, error) {
		if err := v.caller.Allow(access.WriteSettings); err != nil {
			return nil, err
		}
		house, err := s.cfg.Access.House(v.r.Context())
		return house, err
	},
	"/api/v1/account/choices": func(s *Server, v *visit, _ string) (any, error) {
		return v.choices()
	},
	"/api/v1/questions/{id}": func(s *Server, v *visit, id string) (any, error) {
		kept, err := s.cfg.Questions.Saved(v.r.Context(), v.caller, id)
		return decided(kept), err
	},
	"/api/v1/jobs/{id}": func(s *Server, v *visit, id string) (any, error) {
		j, err := s.cfg.Fleet.Job(v.r.Context(), v.caller, id)
		return []any{j.ID, j.UndoUntil.IsZero()}, err
	},
	"/api/v1/views/{id}": func(s *Server, v *visit, id string) (any, error) {
		sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, id)
		return apiViewOf(sv), err
	},
}

// ofRollout is what of a rollout verbs can change.
func ofRollout(r rollout.Rollout) []any {
	if len(r.Decisions) == 0 {
		return []any{r.ID, r.State}
	}
	return []any{r.ID, r.State, r.Cause, r.Ring, r.NeedsSecond, r.ApprovedBy, r.Decisions[0].ID}
}

// taggedBy is the path of the thing that a route reads or changes; empty = none.
func taggedBy(rt route) string {
	if rt.method == http.MethodGet {
		if tagged[rt.path] != nil {
			return rt.path
		}
		return ""
	}
	if calls[rt.method+" "+rt.path].Made || strings.HasSuffix(rt.path, "/restore") { // what was deleted cannot be read before
		return ""
	}
	return behind(rt.path)
}

// behind is the path of the thing whose own path a route's begins with, the longest of
// several; empty = none.
func behind(route string) (longest string) {
	for path := range tagged {
		if (route == path || strings.HasPrefix(route, path+"/")) && len(path) > len(longest) {
			longest = path
		}
	}
	return longest
}

// there says whether the thing that a call changes, or makes another one of, is there
// for the caller. What was deleted is looked for by who brings it back.
func (s *Server) there(v *visit, rt route) error {
	path := behind(rt.path)
	if rt.method == http.MethodGet || path == "" || strings.HasSuffix(rt.path, "/restore") {
		return nil
	}
	_, err := s.tag(v.r.Context(), v, path)
	return err
}

// tag is the ETag of a thing as the transaction or the snapshot of ctx has it.
func (s *Server) tag(ctx context.Context, v *visit, path string) (string, error) {
	at := *v
	at.r = v.r.WithContext(ctx)
	what, err := tagged[path](s, &at, v.r.PathValue("id"))
	if err != nil {
		return "", err
	}
	sum, err := sumOf(path, what)
	return `"` + sum + `"`, err
}

// sumOf is short and differs for things that differ.
func sumOf(path string, what any) (string, error) {
	b, err := json.Marshal(what)
	if err != nil {
		return "", fmt.Errorf("encoding what can be changed: %w", err)
	}
	sum := sha256.Sum256(append([]byte(path+"\n"), b...))
	return base64.RawURLEncoding.EncodeToString(sum[:15]), nil
}

// unchanged gives the request of a form a context in which the first change is
// refused with errStale when the thing is not as it was when the form was made: the
// If-Match of pages. now reads it with the context that it gets.
func (v *visit) unchanged(was string, now func(context.Context) (string, error)) context.Context {
	return db.Guarded(v.r.Context(), func(ctx context.Context) error {
		sum, err := now(ctx)
		if err == nil && sum != was {
			err = errStale
		}
		return err
	})
}

// matched answers a call about a tagged thing: one that reads with its ETag, one
// that changes behind the check of its If-Match.
func (s *Server) matched(v *visit, rt route, path string) error {
	if rt.method == http.MethodGet {
		// Before the thing itself is read: an older tag is refused too often at
		// worst, a newer one would be believed of what was not seen.
		tag, err := s.tag(v.r.Context(), v, path)
		if err != nil {
			return err
		}
		v.w.Header().Set("ETag", tag)
		return rt.do(v)
	}
	wanted, err := ifMatch(v.r.Header.Values("If-Match"))
	if err != nil {
		return err
	}
	if wanted == nil {
		return rt.do(v)
	}
	before := *v
	v.r = v.r.WithContext(db.Guarded(v.r.Context(), func(ctx context.Context) error {
		tag, err := s.tag(ctx, &before, path)
		if err == nil && !wanted[tag] && !wanted["*"] {
			err = errStale
		}
		return err
	}))
	return rt.do(v)
}

// ifMatch reads the header (RFC 9110, 13.1.1); nil = there is none. A weak tag
// never matches.
func ifMatch(headers []string) (map[string]bool, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	wanted := map[string]bool{}
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		tag := strings.TrimSpace(part)
		weak := strings.HasPrefix(tag, "W/")
		if quoted := strings.TrimPrefix(tag, "W/"); tag != "*" && (len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"') {
			return nil, &badRequest{"If-Match", `want an ETag in quotes, or *`}
		}
		if !weak {
			wanted[tag] = true
		}
	}
	return wanted, nil
}
