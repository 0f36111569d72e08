package config

import (
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// Bounds of the standard software, as in proto/hmpb.
const (
	maxStandard = 64
	maxNames    = 8
)

// Standard is the standard software of a collector's policy; never nil. What is
// out of bounds (a program too many, a name that cannot be one) is left out.
func Standard(p *hmpb.Settings) []*hmpb.StandardSoftware {
	list := []*hmpb.StandardSoftware{}
	for _, s := range p.GetStandardSoftware() {
		var names []string
		for _, n := range s.GetNames() {
			if n != "" && len(names) < maxNames && reading.Printable(n, reading.MaxText) {
				names = append(names, n)
			}
		}
		if least := s.GetLeastVersion(); len(names) > 0 && len(list) < maxStandard && reading.Printable(least, reading.MaxText) {
			list = append(list, hmpb.StandardSoftware_builder{Names: names, LeastVersion: &least}.Build())
		}
	}
	return list
}

// Standard is the standard software as the collector last said; nil if it never did.
func (m *Memory) Standard() []*hmpb.StandardSoftware {
	m.mu.Lock()
	defer m.mu.Unlock()
	var raw []byte
	var s hmpb.Settings
	if !load(m.files, standardFile, &raw) || proto.Unmarshal(raw, &s) != nil {
		return nil
	}
	return Standard(&s)
}

// SetStandard remembers it; the same list is not written again.
func (m *Memory) SetStandard(list []*hmpb.StandardSoftware) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(hmpb.Settings_builder{StandardSoftware: list}.Build())
	if err != nil {
		return err
	}
	var old []byte
	if load(m.files, standardFile, &old) && string(old) == string(raw) {
		return nil
	}
	return save(m.files, standardFile, raw)
}
