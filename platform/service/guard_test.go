package service_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/platform/service"
)

func none(string) string { return "" }

func TestAttack41_GuardEndsWhatHangs(t *testing.T) {
	for name, c := range map[string]struct {
		lives time.Duration // with a sign of life every 100 s, as a launcher's longest silence is
		end   time.Duration
	}{
		"at its start": {0, 4 * time.Minute},
		"later":        {time.Hour, 64 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, ended := time.Now(), time.Duration(0)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				g := service.NewGuard(service.NewNotifier(none), nil, func() { ended = time.Since(began); cancel() })
				go func() {
					for time.Since(began) < c.lives {
						g.Alive()
						time.Sleep(100 * time.Second)
					}
				}()
				g.Run(ctx)
				if least := c.end - time.Minute; ended < least || ended > c.end+time.Minute {
					t.Errorf("it was ended after %v, want %v to %v", ended, least, c.end+time.Minute)
				}
			})
		})
	}
}

func TestGuardLetsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		g := service.NewGuard(service.NewNotifier(none), nil, func() { t.Error("a program that lives was ended") })
		go func() {
			for ctx.Err() == nil {
				g.Alive()
				time.Sleep(100 * time.Second)
			}
		}()
		g.Run(ctx)
		time.Sleep(100 * time.Second) // for the other one
	})
	// Where systemd watches, there is no second one: Run returns at once.
	env := map[string]string{"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1000000"}
	service.NewGuard(service.NewNotifier(func(k string) string { return env[k] }), nil, nil).Run(t.Context())
}
