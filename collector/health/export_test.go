package health

// Late says whether minutes came for a day that is over since it was last asked.
func (h *Health) Late() bool {
	select {
	case <-h.late:
		return true
	default:
		return false
	}
}
