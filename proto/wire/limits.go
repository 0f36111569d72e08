package wire

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"hausmeister/proto/hmpb"
)

// What a peer may make this end hold. PROTOCOL.md carries the same table, and
// a test compares them.
const (
	// MaxStreams is how many streams each side may have open at once. An
	// honest peer waits in OpenStream; over QUIC the transport refuses more,
	// over TCP each stream above twice as many is reset.
	MaxStreams = 16
	// MaxBatch is the limit of one encoded Batch, also when it came compressed.
	MaxBatch = 1 << 20
	// MaxCloseText is where the text of Close is cut.
	MaxCloseText = 256
	// HeaderTimeout is how long a stream may take to say its type.
	HeaderTimeout = 10 * time.Second
	// DefaultKeepAlive is how often an agent says that it lives, also so that the
	// routers on the way do not forget it; settings make it something between
	// MinKeepAlive and MaxKeepAlive. On battery it is once a minute.
	DefaultKeepAlive, MinKeepAlive, MaxKeepAlive = 25 * time.Second, 5 * time.Second, time.Minute
	// Idle is the silence after which the agent's end gives a session up; after
	// half of that the transport asks by itself. That is longer than a minute and
	// what its look may be late: the agent's own life signs come first.
	Idle = 150 * time.Second
	// MaxIdle is the same of the collector's end.
	MaxIdle = 5 * time.Minute
)

// limits is the longest encoding of each message that may be a frame.
var limits = map[protoreflect.FullName]int{
	name(&hmpb.Hello{}):         4 << 10,
	name(&hmpb.ControlUp{}):     1 << 10,
	name(&hmpb.ControlDown{}):   64 << 10, // Welcome carries whole root certificates and the standard software
	name(&hmpb.ReportHeader{}):  1 << 10,
	name(&hmpb.ReportUp{}):      256 << 10,
	name(&hmpb.ReportDown{}):    1 << 10,
	name(&hmpb.EnrollHeader{}):  1 << 10,
	name(&hmpb.RenewHeader{}):   1 << 10,
	name(&hmpb.EnrollRequest{}): 16 << 10,
	name(&hmpb.RenewRequest{}):  16 << 10,
	name(&hmpb.EnrollDown{}):    32 << 10,
	name(&hmpb.LiveHeader{}):    1 << 10,
	name(&hmpb.LiveUp{}):        32 << 10,
	name(&hmpb.FetchHeader{}):   1 << 10,
	name(&hmpb.FetchDown{}):     64 << 10,
}

func name(m proto.Message) protoreflect.FullName { return m.ProtoReflect().Descriptor().FullName() }

// Limit is the longest encoding of m as a frame. It panics for a message that
// is no frame: a stream of such would have no limit at all.
func Limit(m proto.Message) int {
	n, ok := limits[name(m)]
	if !ok {
		panic(fmt.Sprintf("wire: %s has no limit and so is no frame", name(m)))
	}
	return n
}
