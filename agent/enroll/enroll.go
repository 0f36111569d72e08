package enroll

import (
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// answerTimeout bounds one exchange. A collector answers in milliseconds; the
// rest is for a school line in the first week of term.
const answerTimeout = 60 * time.Second

// finishTimeout is how long the collector may take to end an answered stream.
const finishTimeout = 2 * time.Second

// Enroll makes this device known to the collector of a claim. It tries once; an
// *Error says whether and when to try again. With the claim that admitted it
// already it returns the identity it has; with another one it refuses.
func (k *Keeper) Enroll(ctx context.Context, claim string) (Identity, error) {
	return k.enroll(ctx, claim, false)
}

// Reenroll is Enroll for a device that has an identity and shall get a new one,
// because it was revoked or belongs to another collector now. Until the new
// identity is there it keeps the old one.
func (k *Keeper) Reenroll(ctx context.Context, claim string) (Identity, error) {
	return k.enroll(ctx, claim, true)
}

func (k *Keeper) enroll(ctx context.Context, text string, replace bool) (Identity, error) {
	k.asking.Lock()
	defer k.asking.Unlock()
	claim, err := ident.ParseClaim(text)
	if err != nil {
		return Identity{}, &Error{Word: claimWord(err), Err: err}
	}
	hash := claim.Secret.Hash()
	state := &identityState{
		Address: claim.Address(), Host: claim.Host,
		Key: keyName(hash[:]), Claim: hex.EncodeToString(hash[:]),
	}
	if _, err := k.reload(); err != nil && k.Damage() == nil && !replace {
		return Identity{}, err
	}
	if err := k.Damage(); err != nil && !replace {
		return Identity{}, &Error{Word: WordDamaged, Err: err}
	}
	if old, _ := k.current(); old != nil && !replace {
		if id, _ := k.Enrolled(); old.Claim == state.Claim {
			return id, nil
		}
		return Identity{}, &Error{Word: WordEnrolled, Err: fmt.Errorf("this device is %s at %s", old.Device, old.Address)}
	}
	if k.install == [16]byte{} {
		if err := k.makeInstall(); err != nil {
			return Identity{}, &Error{Word: WordState, Err: err}
		}
	}
	key, err := k.openKey(state.Key)
	if err != nil {
		return Identity{}, err
	}
	session, err := k.cfg.Dial(ctx, state.Address, ident.AgentConfig(ident.AgentTLS{
		Pins: []ident.Fingerprint{claim.CA}, ServerName: claim.Host, Trusted: k.Trusted,
	}))
	if err != nil {
		return Identity{}, wrap(ctx, fmt.Errorf("dialling %s: %w", state.Address, err), WordUnreachable)
	}
	defer session.Close(hmpb.Code_CODE_NORMAL, "")

	hardware := k.cfg.Hardware(ctx)
	hardware.InstallID = k.install
	err = k.ask(ctx, session, question{
		stream: hmpb.StreamType_STREAM_TYPE_ENROLL,
		header: hmpb.EnrollHeader_builder{
			VersionMin: proto.Uint32(wire.VersionMin), VersionMax: proto.Uint32(wire.VersionMax),
		}.Build(),
		request: func(csr []byte) proto.Message {
			return hmpb.EnrollRequest_builder{
				ClaimSecret: proto.String(ident.FormatSecret(claim.Secret)),
				Hardware:    hardware.Message(),
				Csr:         csr,
			}.Build()
		},
		pins: []ident.Fingerprint{claim.CA}, key: key, state: state,
	})
	if err != nil {
		return Identity{}, wrap(ctx, fmt.Errorf("enrolling: %w", err), WordLost)
	}
	id, _ := k.Enrolled()
	k.cfg.Log.Info("enrolled", "device", id.Device, "collector", id.Address, "until", id.NotAfter)
	return id, nil
}

// CollectorTime asks the collector for its clock, over a session without a
// certificate: the challenge of an enrolment carries it, and nothing has to be
// said of us for that. The enrolment is not gone on with.
func CollectorTime(ctx context.Context, session wire.Session) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	f, err := wire.Open(ctx, session, hmpb.StreamType_STREAM_TYPE_ENROLL, hmpb.EnrollHeader_builder{
		VersionMin: proto.Uint32(wire.VersionMin), VersionMax: proto.Uint32(wire.VersionMax),
	}.Build())
	if err != nil {
		return time.Time{}, err
	}
	defer f.Reset(hmpb.Code_CODE_NORMAL)
	stop := context.AfterFunc(ctx, func() { f.Reset(hmpb.Code_CODE_TIMEOUT) })
	defer stop()
	down, err := readDown(f)
	if err != nil {
		return time.Time{}, err
	}
	if down.GetChallenge().GetTimeMs() <= 0 {
		return time.Time{}, errors.New("answer without a time")
	}
	return fromMillis(down.GetChallenge().GetTimeMs()), nil
}

// Renew gets a new certificate for a new key, authorised by the certificate with
// which session was opened; that one may have ended. The session stays as it is,
// the next one uses the new certificate.
func (k *Keeper) Renew(ctx context.Context, session wire.Session) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	old, _ := k.current()
	if old == nil {
		return &Error{Word: WordNotEnrolled, Err: errors.New("no certificate to renew")}
	}
	state := *old
	state.Key = keyName(old.Chain[0])
	key, err := k.openKey(state.Key)
	if err != nil {
		return err
	}
	pins, err := ident.Pins(old.Roots)
	if err != nil {
		return &Error{Word: WordState, Err: err}
	}
	err = k.ask(ctx, session, question{
		stream: hmpb.StreamType_STREAM_TYPE_RENEW,
		header: hmpb.RenewHeader_builder{
			VersionMin: proto.Uint32(wire.VersionMin), VersionMax: proto.Uint32(wire.VersionMax),
		}.Build(),
		request: func(csr []byte) proto.Message { return hmpb.RenewRequest_builder{Csr: csr}.Build() },
		device:  old.Device,
		pins:    pins, key: key, state: &state,
	})
	if err != nil {
		return wrap(ctx, fmt.Errorf("renewing: %w", err), WordLost)
	}
	id, _ := k.Enrolled()
	k.cfg.Log.Info("certificate renewed", "device", id.Device, "until", id.NotAfter)
	return nil
}

// question is what enrolment and renewal have in common.
type question struct {
	stream  hmpb.StreamType
	header  proto.Message
	request func(csr []byte) proto.Message
	device  string // the answer must be for it; empty = any
	pins    []ident.Fingerprint
	key     crypto.Signer
	state   *identityState // completed by the answer, then ours
}

// ask holds one exchange: header, challenge, request, answer. It changes nothing
// but the trusted time unless the answer is in order.
func (k *Keeper) ask(ctx context.Context, session wire.Session, q question) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	f, err := wire.Open(ctx, session, q.stream, q.header)
	if err != nil {
		return err
	}
	defer f.Reset(hmpb.Code_CODE_NORMAL) // of no effect on a stream that ended well
	stop := context.AfterFunc(ctx, func() { f.Reset(hmpb.Code_CODE_TIMEOUT) })
	defer stop()

	down, err := readDown(f)
	if err != nil {
		return err
	}
	challenge := down.GetChallenge()
	if challenge == nil {
		return &Error{Word: WordFault, Err: errors.New("answer without a challenge")}
	}
	k.Trust(fromMillis(challenge.GetTimeMs()))
	cs := session.ConnectionState()
	bound, err := ident.Challenge(challenge.GetNonce(), cs)
	if err != nil {
		return &Error{Word: WordFault, Err: err}
	}
	csr, err := ident.CreateCSR(q.key, bound)
	if err != nil {
		return &Error{Word: WordState, Err: err}
	}
	if err := f.WriteMsg(q.request(csr)); err != nil {
		return err
	}
	// This side ends only after the answer: until then the collector keeps the
	// session open for us, even when the answer is a refusal.
	down, err = readDown(f)
	f.Finish(finishTimeout)
	if err != nil {
		return err
	}
	if down.GetIssued() == nil {
		return &Error{Word: WordFault, Err: errors.New("answer without a certificate")}
	}
	pin := q.pins[0]
	if len(q.pins) > 1 { // which of them this session stands on
		if pin, err = ident.VerifyCollector(cs.PeerCertificates, q.pins, q.state.Host, time.Time{}); err != nil {
			return err
		}
	}
	return k.accept(q, down.GetIssued(), pin)
}

// accept checks an answer and makes it the identity.
func (k *Keeper) accept(q question, m *hmpb.Issued, pin ident.Fingerprint) error {
	issued, err := ident.CheckIssued(m.GetChain(), m.GetTrustRoots(), q.key.Public(), m.GetDeviceId(), pin)
	if err == nil && q.device != "" && q.device != m.GetDeviceId() {
		err = fmt.Errorf("certificate for device %s, want %s", m.GetDeviceId(), q.device)
	}
	if err != nil {
		return &Error{Word: WordFault, Err: err}
	}
	q.state.Device, q.state.Chain, q.state.Roots = m.GetDeviceId(), issued.Chain, issued.Roots
	release, err := k.exclusive()
	if err != nil {
		return err
	}
	defer release()
	if err := k.replace(q.state, q.key); err != nil {
		return err
	}
	k.Trust(fromMillis(m.GetTimeMs()))
	k.dropKeys(q.state.Key)
	return nil
}

// readDown reads a frame and turns a refusal into an error.
func readDown(f *wire.Framed) (*hmpb.EnrollDown, error) {
	var down hmpb.EnrollDown
	if err := f.ReadMsg(&down); err != nil {
		return nil, err
	}
	if r := down.GetRefused(); r != nil {
		cause := &wire.Error{Code: r.GetCode(), Remote: true, Stream: true, Text: r.GetText()}
		return nil, &Error{
			Word:       wordOf(cause, WordFault),
			RetryAfter: time.Duration(r.GetRetryAfterS()) * time.Second,
			Err:        cause,
		}
	}
	return &down, nil
}

func claimWord(err error) Word {
	switch {
	case errors.Is(err, ident.ErrClaimTypo):
		return WordTypo
	case errors.Is(err, ident.ErrClaimVersion):
		return WordNewer
	}
	return WordUnreadable
}
