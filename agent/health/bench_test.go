package health_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fakes"
)

// TestBlockSize: what a quarter of an hour costs; the budget is 2 bytes per sample.
func TestBlockSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fakes.NewMachine(7, time.Now)
		s := &sink{begin: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		h := health.New(health.Config{Source: m, Sink: s, Memory: &memory{}, Log: slog.New(slog.DiscardHandler)})
		go func() { done <- h.Run(ctx, func() {}) }()
		time.Sleep(4*time.Hour + time.Second)
		cancel()
		<-done
		bytes, samples, blocks := 0, 0, 0
		for _, e := range s.entries((*hmpb.Entry).HasBlock) {
			if e.GetBlock().GetSteps() != 15 {
				continue
			}
			b, err := block.Decode(e.GetBlock().GetPacked())
			if err != nil {
				t.Fatal(err)
			}
			blocks++
			bytes += proto.Size(e)
			samples += 15 * len(b.Series)
		}
		if perSample := float64(bytes) / float64(samples); perSample > 2 {
			t.Errorf("%.2f bytes per sample", perSample)
		} else {
			t.Logf("%d blocks of %d series: %d bytes each as entries, %.2f bytes per sample", blocks, samples/15/blocks, bytes/blocks, perSample)
		}
	})
}
