package access

import (
	"fmt"
	"sync"
	"time"
)

// SlowDown says that this account, known or not, has to wait; or that too many
// people sign in at this moment.
type SlowDown struct{ RetryAfter time.Duration }

func (e *SlowDown) Error() string {
	return fmt.Sprintf("too many attempts, wait %s", e.RetryAfter.Round(time.Second))
}

const (
	freeAttempts = 5 // wrong passwords before an account waits
	firstDelay   = 1 * time.Second
	maxDelay     = 60 * time.Second
	forgetAfter  = 15 * time.Minute
	// maxAccounts bounds the memory. It is not reached: an attempt costs a
	// hash of 35 ms, so within forgetAfter there are some 25,000 per core that
	// hashes, and older ones are forgotten anyway.
	maxAccounts = 200_000
)

// attempts slows guessing per account. By address would lock out a school,
// which is one address, and not an attacker, who has many.
//
// A wait refuses only; it does not grow by being ignored, so an attacker who
// hammers on an account cannot make its owner wait longer than maxDelay.
type attempts struct {
	mu sync.Mutex
	// below is guarded by mu
	accounts map[string]attempt
	swept    time.Time
}

type attempt struct {
	count int
	last  time.Time
}

func newAttempts() *attempts { return &attempts{accounts: map[string]attempt{}} }

// begin counts an attempt before its password is looked at, so that a hundred
// at once do not pass as one; succeeded takes it back.
func (a *attempts) begin(account string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweepLocked(now)
	t := a.accounts[account]
	if now.Sub(t.last) >= forgetAfter {
		t = attempt{}
	}
	if wait := delay(t.count) - now.Sub(t.last); t.count >= freeAttempts && wait > 0 {
		return &SlowDown{RetryAfter: wait}
	}
	if t.count == 0 && len(a.accounts) >= maxAccounts {
		return &SlowDown{RetryAfter: maxDelay}
	}
	a.accounts[account] = attempt{count: t.count + 1, last: now}
	return nil
}

func (a *attempts) succeeded(account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.accounts, account)
}

func (a *attempts) sweepLocked(now time.Time) {
	if now.Sub(a.swept) < time.Minute {
		return
	}
	a.swept = now
	for account, t := range a.accounts {
		if now.Sub(t.last) >= forgetAfter {
			delete(a.accounts, account)
		}
	}
}

// delay after so many wrong passwords in a row: 1 s, doubling.
func delay(count int) time.Duration {
	if count < freeAttempts {
		return 0
	}
	return min(firstDelay<<min(count-freeAttempts, 10), maxDelay)
}
