package enroll

import (
	"context"
	"errors"
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// A Word is the code of what to tell people; the texts belong to the programs.
type Word string

const (
	WordUnreadable  Word = "claim_unreadable"      // this is no claim
	WordTypo        Word = "claim_typo"            // a character is mistyped
	WordNewer       Word = "claim_newer"           // the agent is too old for it
	WordRefused     Word = "claim_refused"         // the collector does not say why
	WordCSR         Word = "request_refused"       // the request is not bound to the session: something sits between
	WordEnrolled    Word = "already_enrolled"      // with another claim
	WordNotEnrolled Word = "not_enrolled"          // nothing to renew
	WordUnreachable Word = "collector_unreachable" // no connection
	WordInspected   Word = "connection_inspected"  // Err is an *ident.InspectionError
	WordName        Word = "collector_name"        // certificate for another name
	WordExpired     Word = "collector_expired"     // the collector's certificate has ended
	WordLost        Word = "connection_lost"       // broke before the answer: try again
	WordVersion     Word = "version_refused"       // agent and collector share no version
	WordLater       Word = "come_back"             // after RetryAfter
	WordFault       Word = "collector_fault"       // an answer that is not in order
	WordRevoked     Word = "revoked"               // needs a new claim
	WordTooOld      Word = "certificate_too_old"   // ended too long ago; needs a new claim
	WordUnknown     Word = "device_unknown"        // the collector has no record; needs a new claim
	WordForeign     Word = "certificate_foreign"   // the collector is not the one that issued it
	WordDamaged     Word = "state_damaged"         // needs a new claim
	WordState       Word = "state_unwritable"      // the state folder cannot be read or written
)

// Error is why an enrolment or a renewal did not happen.
type Error struct {
	Word       Word
	RetryAfter time.Duration // what the collector asked for; 0 = one's own schedule
	Err        error
}

func (e *Error) Error() string { return string(e.Word) + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Again reports whether the same try may succeed later without anybody's help.
func (e *Error) Again() bool {
	switch e.Word {
	case WordUnreachable, WordLost, WordLater, WordInspected, WordExpired, WordFault, WordState:
		return true
	}
	return false
}

// wordOf finds the word for a session that ended or could not be opened.
func wordOf(err error, otherwise Word) Word {
	var inspected *ident.InspectionError
	switch {
	case errors.As(err, &inspected):
		return WordInspected
	case errors.Is(err, ident.ErrServerName):
		return WordName
	case errors.Is(err, ident.ErrServerExpired):
		return WordExpired
	}
	if w, ok := words[wire.CodeOf(err)]; ok {
		return w
	}
	return otherwise
}

var words = map[hmpb.Code]Word{
	hmpb.Code_CODE_CLAIM_REFUSED:       WordRefused,
	hmpb.Code_CODE_CSR_REFUSED:         WordCSR,
	hmpb.Code_CODE_VERSION_TOO_OLD:     WordVersion,
	hmpb.Code_CODE_VERSION_TOO_NEW:     WordVersion,
	hmpb.Code_CODE_COME_BACK:           WordLater,
	hmpb.Code_CODE_SHUTTING_DOWN:       WordLater,
	hmpb.Code_CODE_STORE_UNAVAILABLE:   WordLater,
	hmpb.Code_CODE_INTERNAL:            WordLater,
	hmpb.Code_CODE_TOO_MANY_STREAMS:    WordLater,
	hmpb.Code_CODE_REVOKED:             WordRevoked,
	hmpb.Code_CODE_CERTIFICATE_EXPIRED: WordTooOld,
	hmpb.Code_CODE_UNKNOWN_DEVICE:      WordUnknown,
	hmpb.Code_CODE_FOREIGN_CERTIFICATE: WordForeign,
}

// wrap makes an *Error of err, unless it is one or our own context ended.
func wrap(ctx context.Context, err error, otherwise Word) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{Word: wordOf(err, otherwise), Err: err}
}
