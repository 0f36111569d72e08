package config

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"hausmeister/proto/manifest"
)

const policyFile = "signed-policy"

// Policies are the signed policies of a device: the one that has proved itself, and
// the next one, which an agent takes at its start and is on trial until the agent has
// been well with it. A file of policy can stop a fleet as a program can; so one that
// the agent ends with again and again is left for the one before, and not taken again.
type Policies struct {
	files Files

	mu sync.Mutex
	// below is guarded by mu
	state policyState
	used  string // sum of the one that this agent runs with; "" = none
}

type policyState struct {
	Good   *policyKept `json:"good,omitempty"`
	Next   *policyKept `json:"next,omitempty"`
	Starts int         `json:"starts,omitempty"` // with Next, that did not end orderly
	Barred []string    `json:"barred,omitempty"` // sums
	Left   string      `json:"left,omitempty"`   // version of the last of them
}

type policyKept struct {
	Version string `json:"version"`
	Sum     string `json:"sum"`
	Data    []byte `json:"data"`
}

const (
	// maxPolicyStarts with a policy on trial, as with a program.
	maxPolicyStarts = 3
	maxPolicyBarred = 32
)

// OpenPolicies reads what is there. What cannot be read counts as none.
func OpenPolicies(files Files) *Policies {
	p := &Policies{files: files}
	load(files, policyFile, &p.state)
	return p
}

// Begin is the policy to run with from now on: the next one, or the last good one, or
// none. The start is counted on the disk before the policy does anything; where it
// cannot be, nothing new is tried.
func (p *Policies) Begin() manifest.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Next != nil {
		s := p.state
		s.Starts++
		policy, err := manifest.ParsePolicy(s.Next.Data) // it was taken by another version of us, perhaps
		if err != nil || s.Starts > maxPolicyStarts {
			s = s.bar(s.Next.Version, s.Next.Sum)
		}
		if p.saveLocked(s) == nil && s.Next != nil {
			p.used = s.Next.Sum
			return policy
		}
	}
	if p.state.Good == nil {
		return manifest.Policy{}
	}
	policy, err := manifest.ParsePolicy(p.state.Good.Data)
	if err != nil {
		return manifest.Policy{}
	}
	p.used = p.state.Good.Sum
	return policy
}

func (s policyState) bar(version, sum string) policyState {
	s.Left = version
	s.Barred = append(slices.Clone(s.Barred), sum)
	s.Barred = s.Barred[max(0, len(s.Barred)-maxPolicyBarred):]
	s.Next, s.Starts = nil, 0
	return s
}

func (p *Policies) saveLocked(s policyState) error {
	if err := save(p.files, policyFile, s); err != nil {
		return err
	}
	p.state = s
	return nil
}

// Proved: the agent has been well for long enough with what it began with.
func (p *Policies) Proved() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Next == nil || p.used != p.state.Next.Sum {
		return nil
	}
	s := p.state
	s.Good, s.Next, s.Starts = s.Next, nil, 0
	return p.saveLocked(s)
}

// Ended: the agent ends because it was told to, which is nobody's failure.
func (p *Policies) Ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Next == nil || p.used != p.state.Next.Sum || p.state.Starts == 0 {
		return nil
	}
	s := p.state
	s.Starts--
	return p.saveLocked(s)
}

// Version is that of the newest policy that is here; "" = none.
func (p *Policies) Version() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state.Next != nil:
		return p.state.Next.Version
	case p.state.Good != nil:
		return p.state.Good.Version
	}
	return ""
}

// Left is the version of the last policy that failed here; "" = none did.
func (p *Policies) Left() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.Left
}

// Barred says whether these bytes failed here.
func (p *Policies) Barred(sum string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.state.Barred, sum)
}

// Take keeps a policy whose bytes were verified for the agent's next start. One that
// is not of our schema is an error and never asked for again.
func (p *Policies) Take(version, sum string, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := manifest.ParsePolicy(data); err != nil {
		s := p.state.bar(version, sum)
		s.Next, s.Starts = p.state.Next, p.state.Starts
		if err2 := p.saveLocked(s); err2 != nil {
			return fmt.Errorf("%w (%w)", err, err2)
		}
		return err
	}
	s := p.state
	s.Next, s.Starts = &policyKept{version, sum, data}, 0
	return p.saveLocked(s)
}

// under lays a signed policy below everything else that is said.
func under(s Settings, p manifest.Policy) Settings {
	for _, v := range []struct {
		seconds *int64
		to      *time.Duration
	}{
		{p.StateIntervalS, &s.StateInterval}, {p.StateIntervalBatteryS, &s.BatteryInterval}, {p.KeepAliveS, &s.KeepAlive},
	} {
		if v.seconds != nil {
			*v.to = time.Duration(*v.seconds) * time.Second
		}
	}
	return s.Bounded()
}
