package gateway

import (
	"sync/atomic"

	"hausmeister/proto/hmpb"
)

// Stats are counts since the start of this collector; but for Live they only
// rise.
type Stats struct {
	Live     int    // sessions open now
	Accepted uint64 // sessions whose TLS handshake succeeded
	Welcomed uint64
	Replaced uint64 // by a newer session of the same device
	BytesUp  uint64 // in streams, without the transport's own
	BytesDn  uint64
	Fetched  uint64 // bytes of updates among those
	// Refused are the sessions that ended by us before or instead of a
	// Welcome, Ended those after it; by code.
	Refused map[hmpb.Code]uint64
	Ended   map[hmpb.Code]uint64
}

// maxCode is above the highest code that has a counter of its own; codes are
// few and append only.
const maxCode = 64

type codes [maxCode]atomic.Uint64

func (c *codes) add(code hmpb.Code) {
	if code < 0 || code >= maxCode {
		code = hmpb.Code_CODE_UNSPECIFIED
	}
	c[code].Add(1)
}

func (c *codes) read() map[hmpb.Code]uint64 {
	m := map[hmpb.Code]uint64{}
	for code := range c {
		if n := c[code].Load(); n > 0 {
			m[hmpb.Code(code)] = n
		}
	}
	return m
}

type stats struct {
	accepted, welcomed, replaced, up, down, fetched atomic.Uint64
	refused, ended                                  codes
}

// Stats gives the counts.
func (g *Gateway) Stats() Stats {
	return Stats{
		Live: g.Live(), Accepted: g.stats.accepted.Load(), Welcomed: g.stats.welcomed.Load(), Replaced: g.stats.replaced.Load(),
		BytesUp: g.stats.up.Load(), BytesDn: g.stats.down.Load(), Fetched: g.stats.fetched.Load(),
		Refused: g.stats.refused.read(), Ended: g.stats.ended.read(),
	}
}
