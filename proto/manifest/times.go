package manifest

import "time"

// refTime is the time by which expiry is judged when nobody vouches for one: it
// cannot be before the program was built nor before a time that was signed, so a
// clock of 1970 does not make expired metadata valid. A clock that is too late
// makes all metadata stale until somebody vouches for the time.
func refTime(build, signed, local time.Time) time.Time {
	t := local
	if build.After(t) {
		t = build
	}
	if signed.After(t) {
		t = signed
	}
	return t.UTC()
}

// freshTime: a time that was signed for our own nonce stands over the device's
// clock in both directions, and over times that were signed earlier, should the
// repository once have had a wrong one. Not over the build.
func freshTime(build, signed time.Time) time.Time {
	if build.After(signed) {
		return build.UTC()
	}
	return signed.UTC()
}

// TrustedTime is the same judgement for others who must not believe a device's
// clock, such as the check of TLS certificates: a dead CMOS battery must not cut
// a device off from what would set it right. It reads the Store's floor.
func TrustedTime(s Store, build, local time.Time) time.Time {
	return refTime(build, loadFloor(s).time(), local)
}
