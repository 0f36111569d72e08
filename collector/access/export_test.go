package access

// Cheap makes hashes cost next to nothing, for tests of other things.
func (s *Service) Cheap() { s.hasher.cost = cost{memoryKiB: 8, passes: 1, threads: 1} }

// Dear is today's cost again.
func (s *Service) Dear() { s.hasher.cost = todaysCost }

// Looked is how many passwords were compared with a hash.
func (s *Service) Looked() int64 { return s.hasher.looked.Load() }
