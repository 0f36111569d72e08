package release

import (
	"maps"
	"slices"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// Thresholds are numbers of persons, and metadata counts keys: so a person has one key
// of a role, and root and targets say whose each key is, under their own signatures.

// name adds the owners of keys, and takes out those whose keys are gone.
func name(f *draft.File, come ...Public) error {
	people := f.People()
	for _, p := range come {
		people[p.ID] = p.Person
	}
	used := map[string]bool{}
	for _, role := range named(f) {
		_, ids := keySet(f, role)
		for _, id := range ids {
			used[id] = true
		}
	}
	maps.DeleteFunc(people, func(id, _ string) bool { return !used[id] })
	return f.SetPeople(people)
}

// persons counts whose these keys are. A key without a name is somebody's.
func persons(f *draft.File, ids []string) int {
	people, seen := f.People(), map[string]bool{}
	for _, id := range ids {
		who := "person " + people[id]
		if people[id] == "" {
			who = "key " + id
		}
		seen[who] = true
	}
	return len(seen)
}

// checkPersons refuses a person who would sign twice, and keys that are nobody's.
func checkPersons(f *draft.File, role string) error {
	people, seen := f.People(), map[string]string{}
	_, ids := keySet(f, role)
	for _, id := range ids {
		person := people[id]
		switch {
		case !manifest.ValidName(person):
			return refuse("%s: nobody says whose key %s is", role, Short(id))
		case seen[person] != "":
			return refuse("%s: %s has two keys, %s and %s, and is one person: keys rotate puts one in the place of the other", role, person, Short(seen[person]), Short(id))
		}
		seen[person] = id
	}
	return nil
}

// whose names a key for people.
func whose(people map[string]string, id string) string {
	if person := people[id]; person != "" {
		return Short(id) + " of " + person
	}
	return Short(id) + " of nobody known"
}

// people says whose keys change their owner, and warns of who has two.
func (d *Diff) people(old, f *draft.File) {
	before, now := old.People(), f.People()
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if was, had := before[id]; had && was != now[id] {
			d.say("key %s: %s -> %s", Short(id), was, now[id])
			d.warn("key %s changes its owner from %s to %s", Short(id), was, now[id])
		}
	}
	for _, role := range named(f) {
		if err := checkPersons(f, role); err != nil {
			d.warn("%v", err)
		}
	}
}
