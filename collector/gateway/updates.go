package gateway

import (
	"context"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/platform/supervise"
	"hausmeister/proto/hmpb"
)

const (
	// tellEvery and tellSome are how devices without a lease are told that something
	// is new: 500 a second, so that 70,000 who then ask come over two minutes.
	tellEvery, tellSome = 20 * time.Millisecond, 10
	// tellAtOnce is how many of them wait for the store.
	tellAtOnce = 16
)

// news is what a device is to be told.
type news int

const (
	newOffer news = 1 << iota
	newRepository
)

// tellUpdates tells devices of new offers and metadata, apart from the loop that
// ends sessions: these may wait for the store. Who holds a lease is told at once,
// since it may be gone; the others one after the other.
func (g *Gateway) tellUpdates(ctx context.Context, sub *bus.Subscription) {
	crew := supervise.NewCrew(ctx, tellAtOnce)
	defer crew.Wait()
	pending := map[*session]news{}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	var repository *hmpb.Repository
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-sub.C:
			what := newOffer
			if e.Kind == bus.Repository {
				what = newRepository
			}
			if sub.Lagged() { // nobody knows what was missed
				what, e = newOffer|newRepository, bus.Event{}
			}
			if what&newRepository != 0 {
				repository = g.repository(ctx)
			}
			for _, s := range g.concerned(e) {
				if what&newOffer != 0 && (s.leased.Load() || e.Device != "") {
					crew.Go(s.member(s.tellNewOffer))
					delete(pending, s)
				} else {
					pending[s] |= what
				}
			}
		case <-tick.C:
			for range tellSome {
				if !tellOne(crew, pending, repository) {
					break
				}
			}
		}
	}
}

// tellOne takes one out of those who are to be told; false when there is none, or
// too many wait for the store.
func tellOne(crew *supervise.Crew, pending map[*session]news, repository *hmpb.Repository) bool {
	for s, what := range pending {
		if !crew.TryGo(s.member(func(ctx context.Context) {
			if what&newRepository != 0 && repository != nil {
				s.say(hmpb.ControlDown_builder{Repository: repository}.Build())
			}
			if what&newOffer != 0 {
				s.tellNewOffer(ctx)
			}
		})) {
			return false
		}
		delete(pending, s)
		return true
	}
	return false
}

func (s *session) tellNewOffer(ctx context.Context) {
	if s.g.presence.in(s) { // else it asks itself behind its Welcome
		s.tellOffer(ctx, false)
	}
}

// concerned are the sessions that an event is about.
func (g *Gateway) concerned(e bus.Event) (sessions []*session) {
	if e.Device != "" {
		return g.presence.of(e.Device)
	}
	for _, s := range g.presence.all() {
		if e.Owner == "" || s.peer.Owner == e.Owner {
			sessions = append(sessions, s)
		}
	}
	return sessions
}
