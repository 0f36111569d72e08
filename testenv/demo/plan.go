package demo

import (
	"context"

	"hausmeister/testenv/fakes"
	"hausmeister/testenv/site"
	"hausmeister/testenv/swarm"
)

// A plan says which simulated device is at which school.
type plan struct {
	schools []fakes.School
	devices []swarm.Device
	home    []int    // school of each device, as an index
	number  []string // inventory number of each device
}

// Schools have about six teachers with a device each here, as small ones do,
// but a demo shows no more than a dozen schools.
const perSchool, mostSchools = 6, 12

func planFor(devices int) plan {
	all := fakes.Schools()
	var p plan
	for i := range min(max(devices/perSchool, 1), mostSchools) {
		// A step that meets another authority each time.
		p.schools = append(p.schools, all[i*149%len(all)])
	}
	next := map[string]int{p.schools[0].Owner: 2} // this machine has its first
	for n := range devices {
		school := p.schools[n%len(p.schools)]
		number := max(next[school.Owner], 1)
		next[school.Owner] = number + 1
		p.number = append(p.number, fakes.Inventory(school.Owner, number))
		p.home = append(p.home, n%len(p.schools))
		p.devices = append(p.devices, swarm.Device{Number: n + 1})
	}
	return p
}

// claim gets one claim per school and gives it to the school's devices.
func (p *plan) claim(ctx context.Context, s *site.Site) error {
	count := make([]int, len(p.schools))
	for _, home := range p.home {
		count[home]++
	}
	claims := make([]string, len(p.schools))
	for i, school := range p.schools {
		if count[i] == 0 {
			continue
		}
		var err error
		if claims[i], err = s.AddClaim(ctx, school.Owner, school.Code, count[i]); err != nil {
			return err
		}
	}
	for n := range p.devices {
		p.devices[n].Claim = claims[p.home[n]]
	}
	return nil
}
