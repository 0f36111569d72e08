package gate

import (
	"math"
	"testing"
)

// Values from closed forms: I_x(a, 1) = x^a, I_x(1, b) = 1-(1-x)^b, I_x(1/2, 1/2) =
// 2/pi asin(sqrt x), and binomial tails, which are I_x(k, n-k+1).
func TestIncomplete(t *testing.T) {
	near := func(a, b, x, want float64) {
		t.Helper()
		if got := incomplete(a, b, x); math.Abs(got-want) > 1e-10 {
			t.Errorf("incomplete(%g, %g, %g) = %.12f, want %.12f", a, b, x, got, want)
		}
	}
	for _, x := range []float64{0, 1e-6, 0.003, 0.02, 0.34, 0.5, 0.8, 0.999, 1} {
		for _, a := range []float64{0.5, 1, 3.5, 20, 500, 20000} {
			near(a, 1, x, math.Pow(x, a))
			near(1, a, x, 1-math.Pow(1-x, a))
			near(a, a+1, x, 1-incomplete(a+1, a, 1-x))
		}
		near(0.5, 0.5, x, 2/math.Pi*math.Asin(math.Sqrt(x)))
	}
	tail := func(n, k int, x float64) (sum float64) { // P(at least k of n)
		for i := k; i <= n; i++ {
			sum += math.Exp(lgamma(float64(n+1)) - lgamma(float64(i+1)) - lgamma(float64(n-i+1)) + float64(i)*math.Log(x) + float64(n-i)*math.Log1p(-x))
		}
		return sum
	}
	for _, n := range []int{5, 20, 100, 350, 1400} {
		for _, k := range []int{1, 2, 4} {
			for _, x := range []float64{0.003, 0.008, 0.03, 0.34} {
				near(float64(k), float64(n-k+1), x, tail(n, k, x))
			}
		}
	}
}

func TestFisher(t *testing.T) {
	// The lady tasting tea, and 3 of 3 with 7 good ones outside: 1 of 120.
	for _, tt := range []struct {
		inOK, inBad, outOK, outBad int64
		want                       float64
	}{{1, 3, 3, 1, 17.0 / 70}, {0, 4, 4, 0, 1.0 / 70}, {0, 3, 7, 0, 1.0 / 120}, {5, 0, 5, 0, 1}} {
		if got := fisher(tt.inOK, tt.inBad, tt.outOK, tt.outBad); math.Abs(got-tt.want) > 1e-10 {
			t.Errorf("fisher(%d, %d, %d, %d) = %g, want %g", tt.inOK, tt.inBad, tt.outOK, tt.outBad, got, tt.want)
		}
	}
}
