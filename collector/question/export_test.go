package question

// TakeTurn holds one of the places of questions that are answered.
func TakeTurn(q *Questions) (release func()) {
	q.turns <- struct{}{}
	return func() { <-q.turns }
}

// Roundtrip packs and unpacks numbers by device number; nil = not known.
func Roundtrip(words []string, values []*int64) ([]*int64, []string, error) {
	c := newColumn(len(values))
	c.words = words
	for n, v := range values {
		if v != nil {
			c.known.add(n)
			c.values[n] = *v
		}
	}
	got, err := decode(c.encode())
	if err != nil {
		return nil, nil, err
	}
	out := make([]*int64, len(got.values))
	got.known.each(func(n int) bool { out[n] = &got.values[n]; return true })
	return out, got.words, nil
}

// Decode says whether body is a column, and packs it again.
func Decode(body []byte) ([]byte, error) {
	c, err := decode(body)
	if err != nil {
		return nil, err
	}
	return c.encode(), nil
}

// HideFew gives the numbers of bars that are told, -1 = left out; nil = there are no
// bars. The first so many of them are what was asked for.
func HideFew(devices []int64, match int) (told []int64) {
	var bars []Bar
	for i, n := range devices {
		b := Bar{Devices: n}
		if i < match {
			b.side = matches
		}
		bars = append(bars, b)
	}
	for _, b := range hideFew(bars) {
		if b.Few {
			b.Devices = -1
		}
		told = append(told, b.Devices)
	}
	return told
}
