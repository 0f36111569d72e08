// Package release is the publisher's side of updates: persons' keys, the drafts
// that they sign, and the repository that collectors import. It is the only
// signer; what it writes, proto/manifest reads.
//
// Four things lie apart. A person's key is a file of his own, sealed with a
// passphrase, and never leaves his machine or stick. Drafts are a folder of
// metadata that is not published yet, beside the files that it names; each draft
// loses its signatures when it is edited. The repository is a folder of published
// metadata (metadata/) and hash-named files (targets/), to which is only ever
// added. The record is a file of everything that anybody did here and why, a
// chain of hashes.
//
// Nothing here trusts the repository's folder more than a device does: every
// verb follows the signatures from 1.root.json on. Unlike a device it goes on
// where something has expired, since renewing is what it is for.
//
// Left to others: who signs snapshot and timestamp (package online, a process of
// its own), how programs are built (package build), who gets them when (the
// collector). A crash in the middle leaves drafts that are whole or missing, and
// of a repository more files than are named; the verb is given again.
package release

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/proto/manifest"
)

// What went wrong, by what is to be done about it. Callers ask with errors.Is.
var (
	// ErrRefused: a rule of publishing does not allow it.
	ErrRefused = errors.New("refused")
	// ErrUnverified: a signature, a hash or a chain is not what it must be.
	ErrUnverified = errors.New("does not verify")
	// ErrNotFound: there is no such thing.
	ErrNotFound = errors.New("not found")
)

func refuse(format string, a ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, a...))
}

func unverified(format string, a ...any) error {
	return fmt.Errorf("%w: %w", ErrUnverified, fmt.Errorf(format, a...))
}

const day = 24 * time.Hour

// lives are how long what a role signs is believed, if nobody says otherwise.
var lives = map[string]time.Duration{
	manifest.Root:    3 * 365 * day,
	manifest.Targets: 365 * day,
}

const (
	releaseLife = 182 * day // of the other roles that persons sign
	// LeastLife is what must be left of a role on the day of its publication.
	LeastLife = 30 * day
)

func lifeOf(role string) time.Duration {
	if d, ok := lives[role]; ok {
		return d
	}
	return releaseLife
}

// Platforms are the systems of the fleet, as the Makefile's CROSS: a release
// must have a program for each.
var Platforms = []string{"darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64"}

// releaseRoles are the delegated roles, in the order of the tree.
func releaseRoles() []string {
	var out []string
	for _, d := range manifest.Delegations() {
		out = append(out, d.Role)
	}
	return out
}

// signedByPersons are the roles whose drafts pass through hands, in the order in
// which they are published.
func signedByPersons() []string {
	return append([]string{manifest.Root, manifest.Targets}, releaseRoles()...)
}

func isRole(role string) bool {
	return slices.Contains(signedByPersons(), role) || role == manifest.Snapshot || role == manifest.Timestamp
}

// group of a role: one key may hold several roles of a group and none of two, so
// that who releases does not also say who may release.
func group(role string) string {
	switch role {
	case manifest.Root, manifest.Targets, manifest.Snapshot, manifest.Timestamp:
		return role
	}
	return "release"
}

func checkRoles(roles []string) error {
	if len(roles) == 0 {
		return refuse("a key without a role is of no use")
	}
	for _, r := range roles {
		if !isRole(r) {
			return refuse("there is no role %q, only %s", r, strings.Join(append(signedByPersons(), manifest.Snapshot, manifest.Timestamp), ", "))
		}
		if group(r) != group(roles[0]) {
			return refuse("one key cannot hold %s and %s", roles[0], r)
		}
	}
	return nil
}

// Short form of a hash or a key's id, for people.
func Short(hex string) string { return hex[:min(len(hex), 12)] }
