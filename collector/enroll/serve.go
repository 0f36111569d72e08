package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

const (
	// exchangeTimeout bounds a whole exchange; a school line needs some seconds.
	exchangeTimeout = 30 * time.Second
	// finishTimeout is how long a peer may take to read its answer.
	finishTimeout = 5 * time.Second
	// refuseStep: refused claims are answered at the next multiple of it after
	// the request came, so that how long a look-up took cannot be told from
	// outside. It also makes guessing slow, were 160 bits not enough.
	refuseStep = 250 * time.Millisecond
	// retryAfter is told to devices when the store is not available.
	retryAfter = 30 * time.Second
)

// ServeEnroll answers an enrolment stream, of which wire.Accept has read the type
// only. It returns nil when a certificate was issued. Any other end is an error
// with a code (wire.CodeOf) and, for the log, the reason that the peer was not
// told; the peer has its answer then, and the session can be closed.
func (e *Enroll) ServeEnroll(ctx context.Context, s wire.Session, f *wire.Framed) error {
	var header hmpb.EnrollHeader
	var request hmpb.EnrollRequest
	x := exchange{e: e, session: s, f: f}
	defer x.begin(ctx)()
	pub, key, err := x.ask(&header, &request, request.GetCsr)
	if err != nil {
		return x.refuse(ctx, err)
	}
	started := time.Now()
	a, err := e.admit(ctx, key, &request)
	if wire.CodeOf(err) == hmpb.Code_CODE_CLAIM_REFUSED {
		waitStep(ctx, started)
	}
	if err != nil {
		return x.refuse(ctx, err)
	}
	return x.issue(ctx, pub, a)
}

// ServeRenew answers a renewal stream of a peer that Authenticate let renew; for
// the rest it is as ServeEnroll.
func (e *Enroll) ServeRenew(ctx context.Context, s wire.Session, f *wire.Framed, p Peer) error {
	var header hmpb.RenewHeader
	var request hmpb.RenewRequest
	x := exchange{e: e, session: s, f: f}
	defer x.begin(ctx)()
	if p.May != MayAll && p.May != MayRenew {
		return x.refuse(ctx, refuse(hmpb.Code_CODE_NO_CERTIFICATE, "renewal without certificate"))
	}
	pub, key, err := x.ask(&header, &request, request.GetCsr)
	if err != nil {
		return x.refuse(ctx, err)
	}
	a, err := e.renew(ctx, p, key)
	if err != nil {
		return x.refuse(ctx, err)
	}
	return x.issue(ctx, pub, a)
}

// admission is what is durable before a certificate is signed.
type admission struct {
	device string
	owner  string
	at     time.Time // beginning of the certificate
	gone   []ident.Fingerprint
}

// exchange is one stream: header, challenge, request, answer.
type exchange struct {
	e       *Enroll
	session wire.Session
	f       *wire.Framed
}

// begin bounds the exchange in time and by ctx; the function that it returns
// ends that.
func (x *exchange) begin(ctx context.Context) func() {
	// An error here means that the stream is over; so will the next read say.
	_ = x.f.SetDeadline(time.Now().Add(exchangeTimeout))
	stop := context.AfterFunc(ctx, func() { x.f.Reset(hmpb.Code_CODE_SHUTTING_DOWN) })
	return func() { stop() }
}

// versioned is EnrollHeader and RenewHeader.
type versioned interface {
	proto.Message
	GetVersionMin() uint32
	GetVersionMax() uint32
}

// ask reads the header, sends a challenge, reads the request and checks that its
// CSR answers the challenge on this session.
func (x *exchange) ask(header versioned, request proto.Message, csr func() []byte) (*ecdsa.PublicKey, ident.Fingerprint, error) {
	fail := func(err error) (*ecdsa.PublicKey, ident.Fingerprint, error) { return nil, ident.Fingerprint{}, err }
	if err := x.f.ReadMsg(header); err != nil {
		return fail(readError(err))
	}
	version, err := wire.Negotiate(header.GetVersionMin(), header.GetVersionMax())
	if err != nil {
		return fail(err)
	}
	nonce := make([]byte, ident.NonceLen)
	rand.Read(nonce)
	want, err := ident.Challenge(nonce, x.session.ConnectionState())
	if err != nil {
		return fail(&wire.Error{Code: hmpb.Code_CODE_INTERNAL, Cause: err})
	}
	err = x.f.WriteMsg(hmpb.EnrollDown_builder{Challenge: hmpb.Challenge_builder{
		Nonce: nonce, TimeMs: proto.Int64(x.e.cfg.Now().UnixMilli()), Version: proto.Uint32(version),
	}.Build()}.Build())
	if err != nil {
		return fail(err)
	}
	if err := x.f.ReadMsg(request); err != nil {
		return fail(readError(err))
	}
	pub, key, err := ident.CheckCSR(csr(), want)
	if err != nil {
		return fail(refuse(hmpb.Code_CODE_CSR_REFUSED, "%s", err))
	}
	return pub, key, nil
}

// readError gives the end of a stream in the middle of an exchange its code.
func readError(err error) error {
	if errors.Is(err, io.EOF) {
		return refuse(hmpb.Code_CODE_WRONG_ORDER, "stream ended in the middle")
	}
	return err
}

// issue signs and sends. The admission is durable: whatever goes wrong now, the
// device asks again and gets the same record.
func (x *exchange) issue(ctx context.Context, pub *ecdsa.PublicKey, a admission) error {
	x.e.announceRevoked(a.device, a.owner, a.gone)
	chain, err := x.e.ca.issue(pub, a.device, a.at)
	if err != nil {
		return x.refuse(ctx, &wire.Error{Code: hmpb.Code_CODE_INTERNAL, Cause: err})
	}
	err = x.f.WriteMsg(hmpb.EnrollDown_builder{Issued: hmpb.Issued_builder{
		Chain: chain, DeviceId: proto.String(a.device), TrustRoots: x.e.ca.roots(), TimeMs: proto.Int64(a.at.UnixMilli()),
	}.Build()}.Build())
	if err != nil {
		return fmt.Errorf("sending certificate to device %s: %w", a.device, err)
	}
	// That the peer does not say that it has read is its loss: it asks again.
	_ = x.f.Finish(finishTimeout)
	return nil
}

// refuse tells the peer the code of err and nothing else, and returns err. Where
// the session is over already there is nobody to tell.
func (x *exchange) refuse(ctx context.Context, err error) error {
	code := wire.CodeOf(err)
	if ctx.Err() != nil || x.session.Context().Err() != nil {
		return err
	}
	if code == hmpb.Code_CODE_UNSPECIFIED {
		code = hmpb.Code_CODE_TIMEOUT
		err = fmt.Errorf("%w: %w", &wire.Error{Code: code}, err)
	}
	var again *uint32
	if code == hmpb.Code_CODE_STORE_UNAVAILABLE || code == hmpb.Code_CODE_INTERNAL {
		again = proto.Uint32(uint32(retryAfter.Seconds()))
	}
	_ = x.f.SetDeadline(time.Now().Add(finishTimeout))
	told := x.f.WriteMsg(hmpb.EnrollDown_builder{Refused: hmpb.Refused_builder{Code: &code, RetryAfterS: again}.Build()}.Build())
	if told == nil {
		told = x.f.Finish(finishTimeout)
	}
	if told != nil {
		x.f.Reset(code)
	}
	return err
}

// waitStep waits for the next multiple of refuseStep after started.
func waitStep(ctx context.Context, started time.Time) {
	rest := refuseStep - time.Since(started)%refuseStep
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
