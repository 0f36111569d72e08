package manifest_test

import (
	"encoding/json"
	"os"
	"path/filepath"

	"hausmeister/testenv/tufrepo"
)

func keyCases() map[string]func(d *device) {
	m := map[string]func(d *device){
		"too few signatures": func(d *device) {
			d.repo.SetThreshold(snapshot, 3)
			d.repo.AddKey(snapshot, tufrepo.ECDSA())
			d.repo.AddKey(snapshot, tufrepo.ECDSA())
			d.repo.Publish(root, targets, snapshot, timestamp)
			d.ok(d.refresh(0))
			d.repo.Signers[snapshot] = d.repo.Signers[snapshot][:2]
			d.repo.Publish(targets, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 2)
		},
		"too few keys": func(d *device) {
			for range 4 {
				d.repo.AddKey(snapshot, tufrepo.Ed25519())
			}
			d.repo.SetThreshold(snapshot, 6)
			d.repo.Publish(root, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(root, 2)
			d.wantVersion(snapshot, 0)
		},
		"one key counts once": func(d *device) {
			key := tufrepo.Ed25519()
			d.repo.AddKey(snapshot, key)
			entry := tufrepo.At(d.repo.Docs[root], "roles", snapshot)
			for range 8 {
				entry["keyids"] = append(entry["keyids"].([]any), key.ID())
			}
			d.repo.SetThreshold(snapshot, 6)
			d.repo.Publish(root, snapshot, timestamp)
			many := d.repo.Signers[snapshot]
			for range 8 {
				many = append(many, key)
			}
			d.repo.ReplaceLast(snapshot, d.repo.Sign(snapshot, many...))
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 0)
		},
		"one key under two names counts once": func(d *device) {
			key := tufrepo.Ed25519()
			twin := *key
			twin.Extra = tufrepo.Object{"note": "the same"}
			d.repo.ClearKeys(snapshot)
			d.repo.AddKey(snapshot, key)
			d.repo.AddKey(snapshot, &twin)
			d.repo.SetThreshold(snapshot, 2)
			d.repo.Publish(root, snapshot, timestamp)
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 0)
		},
		"two signatures of one key": func(d *device) {
			key := d.repo.Signers[snapshot][0]
			d.repo.ReplaceLast(snapshot, d.repo.Sign(snapshot, key, key))
			d.refused(d.refresh(0))
			d.wantVersion(snapshot, 0)
		},
		"a wrong signature beside a good one": func(d *device) {
			d.repo.AddKey(timestamp, tufrepo.Ed25519())
			d.repo.Publish(root, timestamp)
			good, bad := d.repo.Signers[timestamp][1], d.repo.Signers[timestamp][0].Forge(tufrepo.ECDSA())
			d.repo.ReplaceLast(timestamp, d.repo.Sign(timestamp, bad, good))
			d.ok(d.refresh(0))
			d.repo.Publish(timestamp)
			var v tufrepo.Object
			if err := json.Unmarshal(d.repo.Sign(timestamp, bad, good), &v); err != nil {
				d.t.Fatal(err)
			}
			v["signatures"].([]any)[0].(tufrepo.Object)["sig"] = ""
			data, _ := json.Marshal(v)
			d.repo.ReplaceLast(timestamp, data)
			d.ok(d.refresh(0))
			d.wantVersion(timestamp, 3)
		},
	}
	for name, newKey := range map[string]func() *tufrepo.Key{"rsa": tufrepo.RSA, "ecdsa": tufrepo.ECDSA, "ed25519": tufrepo.Ed25519} {
		m["a key of type "+name] = func(d *device) {
			key := newKey()
			d.repo.AddKey(root, key)
			d.repo.SetThreshold(root, 2)
			d.repo.Publish(root)
			d.ok(d.refresh(0))
			d.wantVersion(root, 2)
			d.repo.Publish(root)
			d.repo.ReplaceLast(root, d.repo.Sign(root, d.repo.Signers[root][0], key.Forge(newKey())))
			d.refused(d.refresh(0))
			d.wantVersion(root, 2)
		}
	}
	return m
}

// keyset is one version of a role: keys, threshold, who signs, by number.
type keyset struct {
	keys []int
	need int64
	sigs []int
}

func rootRotations() map[string]func(d *device) {
	five := []int{0, 1, 2, 3, 4}
	one := []int{0, 1, 3, 4, 5}
	m := map[string]func(d *device){}
	for name, c := range map[string]struct {
		versions []keyset
		ok       bool
	}{
		"1 of 1":                            {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{2, 1}}, {[]int{2}, 1, []int{2}}}, true},
		"1 of 1, unused signatures":         {[]keyset{{[]int{1}, 1, []int{3, 1, 4}}, {[]int{2}, 1, []int{3, 2, 1, 4}}, {[]int{2}, 1, []int{3, 2, 4}}}, true},
		"3 of 5, others sign":               {[]keyset{{five, 3, []int{0, 2, 4}}, {five, 3, []int{0, 4, 1}}, {five, 3, []int{0, 1, 3}}, {five, 3, []int{0, 1, 3}}}, true},
		"3 of 5, one rotated":               {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 4, 1}}}, true},
		"3 of 5, one rotated, with a step":  {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 2, 4, 5}}, {one, 3, []int{0, 4, 5}}}, true},
		"3 of 5, all rotated":               {[]keyset{{five, 3, []int{0, 2, 4}}, {[]int{5, 6, 7, 8, 9}, 3, []int{0, 2, 4, 5, 6, 7}}, {[]int{5, 6, 7, 8, 9}, 3, []int{5, 6, 7}}}, true},
		"1 of 3 to 2 of 3":                  {[]keyset{{[]int{1, 2, 3}, 1, []int{1}}, {[]int{1, 2, 3}, 2, []int{1, 2}}}, true},
		"2 of 3 to 1 of 3":                  {[]keyset{{[]int{1, 2, 3}, 2, []int{1, 2}}, {[]int{1, 2, 3}, 1, []int{1, 2}}, {[]int{1, 2, 3}, 1, []int{1}}}, true},
		"1 of 1 to 2 of 2":                  {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{1, 2}, 2, []int{1, 2}}}, true},
		"1 of 1, the old did not sign":      {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{2, 3, 4}}}, false},
		"1 of 1, the new did not sign":      {[]keyset{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{1, 3, 4}}}, false},
		"3 of 5, too few new":               {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 2, 4}}}, false},
		"3 of 5, too few old":               {[]keyset{{five, 3, []int{0, 2, 4}}, {one, 3, []int{0, 4, 5}}}, false},
		"1 of 3 to 2 of 3, new not reached": {[]keyset{{[]int{1, 2, 3}, 1, []int{1}}, {[]int{1, 2, 3}, 2, []int{2}}}, false},
		"2 of 3 to 1 of 3, old not reached": {[]keyset{{[]int{1, 2, 3}, 2, []int{1, 2}}, {[]int{1, 2, 3}, 1, []int{1}}}, false},
	} {
		m["root rotation: "+name] = func(d *device) {
			keys := tenKeys()
			d.repo.Unpublish(root)
			for _, v := range c.versions {
				v.apply(d.repo, root, keys)
				d.repo.Publish(root)
			}
			d.repo.Publish(targets, snapshot, timestamp)
			all := d.repo.Published[root]
			d.trust = all[0]
			want := all[len(all)-1]
			if c.ok {
				d.ok(d.refresh(0))
			} else {
				want = all[len(all)-2]
				d.refused(d.refresh(0))
			}
			got, err := os.ReadFile(filepath.Join(d.dir, "root.json"))
			if err != nil || string(got) != string(want) {
				d.t.Fatalf("the trusted root is another one than %d: %v", len(all), err)
			}
		}
	}
	return m
}

func tenKeys() []*tufrepo.Key {
	var keys []*tufrepo.Key
	for range 10 {
		keys = append(keys, tufrepo.Ed25519())
	}
	return keys
}

func (r keyset) apply(repo *tufrepo.Repo, role string, keys []*tufrepo.Key) {
	repo.ClearKeys(role)
	repo.SetThreshold(role, r.need)
	for _, i := range r.keys {
		repo.AllowKey(role, keys[i])
	}
	for _, i := range r.sigs {
		repo.Signers[role] = append(repo.Signers[role], keys[i])
	}
}

func otherRotations() map[string]func(d *device) {
	five := []int{0, 1, 2, 3, 4}
	one := []int{0, 1, 3, 4, 5}
	m := map[string]func(d *device){}
	for name, c := range map[string]struct {
		keyset
		ok bool
	}{
		"1 of 1":                         {keyset{[]int{2}, 1, []int{2}}, true},
		"1 of 1, unused signatures":      {keyset{[]int{1}, 1, []int{3, 1, 4}}, true},
		"1 of 1, the new did not sign":   {keyset{[]int{2}, 1, []int{1, 3, 4}}, false},
		"3 of 5, one of the wrong":       {keyset{one, 3, []int{0, 2, 4}}, false},
		"3 of 5, two":                    {keyset{one, 3, []int{0, 4}}, false},
		"3 of 5, the first to sign":      {keyset{five, 3, []int{0, 2, 4}}, true},
		"3 of 5, the second to sign":     {keyset{five, 3, []int{0, 4, 1}}, true},
		"3 of 5, the third to sign":      {keyset{five, 3, []int{0, 1, 3}}, true},
		"3 of 5, the fourth to sign":     {keyset{five, 3, []int{1, 2, 3}}, true},
		"3 of 5, the fifth three signed": {keyset{five, 3, []int{2, 3, 4}}, true},
	} {
		m["other rotation: "+name] = func(d *device) {
			keys := tenKeys()
			for _, role := range []string{timestamp, snapshot, targets} {
				c.apply(d.repo, role, keys)
				d.repo.Publish(root, targets, snapshot, timestamp)
				if !c.ok {
					d.refused(d.refresh(0))
					continue
				}
				d.ok(d.refresh(0))
				d.wantSame(role)
			}
		}
	}
	return m
}
