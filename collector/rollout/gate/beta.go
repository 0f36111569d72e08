package gate

import "math"

// above is P(rate > limit) after so many good and bad outcomes, when nothing was
// known before (Jeffreys' prior, Beta(1/2, 1/2)).
func above(limit float64, ok, bad int64) float64 {
	return 1 - incomplete(float64(bad)+0.5, float64(ok)+0.5, limit)
}

// incomplete is the regularised incomplete beta function I_x(a, b), by its continued
// fraction (Abramowitz and Stegun 26.5.8) in Lentz' way. It is held against known
// values to 1e-10; gonum's mathext has the same one, with 40 packages around it.
func incomplete(a, b, x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2): // there the other side converges faster
		return 1 - incomplete(b, a, 1-x)
	}
	front := math.Exp(lgamma(a+b) - lgamma(a) - lgamma(b) + a*math.Log(x) + b*math.Log1p(-x))
	return front / a / fraction(a, b, x)
}

// fraction is 1 + d1/(1 + d2/(1 + ...)).
func fraction(a, b, x float64) float64 {
	const tiny, enough, most = 1e-300, 1e-15, 10_000
	nonzero := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	f, c, d := 1.0, 1.0, 0.0
	for i := 1; i <= most; i++ {
		m := float64(i / 2)
		var step float64
		if i%2 == 0 {
			step = m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		} else {
			step = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		}
		d = 1 / nonzero(1+step*d)
		c = nonzero(1 + step/c)
		f *= c * d
		if math.Abs(c*d-1) < enough {
			break
		}
	}
	return f
}

func lgamma(x float64) float64 {
	v, _ := math.Lgamma(x)
	return v
}

// fisher is the chance that, with nothing special about a part, at least so many of
// all bad ones fall into it (one-sided exact test of Fisher).
func fisher(inOK, inBad, outOK, outBad int64) float64 {
	in, out, bad := inOK+inBad, outOK+outBad, inBad+outBad
	choose := func(n, k int64) float64 {
		return lgamma(float64(n)+1) - lgamma(float64(k)+1) - lgamma(float64(n-k)+1)
	}
	all := choose(in+out, bad)
	sum := 0.0
	for k := inBad; k <= min(in, bad); k++ {
		if bad-k <= out {
			sum += math.Exp(choose(in, k) + choose(out, bad-k) - all)
		}
	}
	return min(sum, 1)
}
