package health

import "hausmeister/proto/hmpb"

func checkFinding(m *hmpb.Finding) error { return nil }
