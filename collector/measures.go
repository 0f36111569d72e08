package collector

import (
	"maps"
	"slices"
	"strings"

	"hausmeister/collector/web"
	"hausmeister/proto/hmpb"
)

// measures are the numbers of the parts for /metrics.
func (o *opened) measures() []web.Measure {
	counter := func(name, help string, read func() uint64) web.Measure {
		return web.Measure{Name: name, Help: help, Counter: true, Read: func() float64 { return float64(read()) }}
	}
	list := []web.Measure{
		{Name: "hausmeister_sessions", Help: "Sessions of devices open now.", Read: func() float64 { return float64(o.gateway.Live()) }},
		counter("hausmeister_sessions_accepted_total", "Sessions whose TLS handshake succeeded.", func() uint64 { return o.gateway.Stats().Accepted }),
		counter("hausmeister_sessions_welcomed_total", "Sessions that were let in.", func() uint64 { return o.gateway.Stats().Welcomed }),
		counter("hausmeister_stream_received_bytes_total", "Bytes in streams from devices.", func() uint64 { return o.gateway.Stats().BytesUp }),
		counter("hausmeister_stream_sent_bytes_total", "Bytes in streams to devices.", func() uint64 { return o.gateway.Stats().BytesDn }),
		{Name: "hausmeister_update_fetches", Help: "Devices that fetch an update now.", Read: func() float64 { return float64(o.pace.Stats().Seats) }},
		{Name: "hausmeister_update_waiting", Help: "Devices that were told when to come for an update.", Read: func() float64 { return float64(o.pace.Stats().Waiting) }},
		counter("hausmeister_update_sent_bytes_total", "Bytes of updates, over sessions and HTTPS.", func() uint64 { return o.pace.Stats().Bytes }),
		counter("hausmeister_update_refused_total", "Times that a device was told to come later for an update.", func() uint64 { return o.pace.Stats().Refused }),
		counter("hausmeister_batches_total", "Report batches received.", func() uint64 { return o.health.Stats().Batches }),
		counter("hausmeister_reports_stored_total", "Reports made durable.", func() uint64 { return o.health.Stats().Stored }),
		counter("hausmeister_reports_duplicate_total", "Reports that were known already.", func() uint64 { return o.health.Stats().Duplicates }),
		counter("hausmeister_reports_dropped_total", "Reports that devices named as dropped.", func() uint64 { return o.health.Stats().Dropped }),
		counter("hausmeister_blocks_thinned_total", "Blocks that devices made coarser before they could send them.", func() uint64 { return o.health.Stats().Thinned }),
		counter("hausmeister_report_gaps_total", "Batches with an unnamed gap, asked for again.", func() uint64 { return o.health.Stats().Gaps }),
		counter("hausmeister_batches_malformed_total", "Batches that were none.", func() uint64 { return o.health.Stats().Malformed }),
		counter("hausmeister_reports_future_clock_total", "Reports of devices whose clock is ahead.", func() uint64 { return o.health.Stats().FutureClock }),
		counter("hausmeister_reports_past_clock_total", "Reports of devices whose clock stands before the first release.", func() uint64 { return o.health.Stats().PastClock }),
		counter("hausmeister_readings_refused_total", "Readings left out: unknown or against the table.", func() uint64 {
			s := o.health.Stats()
			return s.UnknownReadings + s.BadReadings
		}),
		counter("hausmeister_store_errors_total", "Batches that could not be stored now.", func() uint64 { return o.health.Stats().StoreErrors }),
		counter("hausmeister_tcp_refused_total", "TCP connections closed because too many handshakes were under way.", o.split.refused.Load),
		counter("hausmeister_tcp_handshakes_failed_total", "TLS handshakes over TCP that failed.", o.split.failed.Load),
	}
	for _, n := range slices.Sorted(maps.Keys(hmpb.Code_name)) {
		code := hmpb.Code(n)
		labels := map[string]string{"code": strings.ToLower(strings.TrimPrefix(code.String(), "CODE_"))}
		list = append(list,
			web.Measure{Name: "hausmeister_sessions_refused_total", Help: "Sessions ended before they were let in, by code.", Counter: true, Labels: labels,
				Read: func() float64 { return float64(o.gateway.Stats().Refused[code]) }},
			web.Measure{Name: "hausmeister_sessions_ended_total", Help: "Sessions ended after they were let in, by code.", Counter: true, Labels: labels,
				Read: func() float64 { return float64(o.gateway.Stats().Ended[code]) }})
	}
	return list
}
