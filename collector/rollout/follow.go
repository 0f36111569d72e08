package rollout

import (
	"bytes"
	"context"
	"os"
	"time"

	"hausmeister/collector/access"
)

// followEvery is how often the folder is looked at: one small file is read.
const followEvery = 2 * time.Second

// Follow imports a folder of published metadata and files whenever its timestamp is
// another one, until ctx ends. What does not verify changes nothing and is tried
// again; each trouble is said once. Until somebody has named a root of trust, which no
// folder can do for itself, it waits.
func (r *Rollouts) Follow(ctx context.Context, dir string) error {
	f := follower{r: r, dir: dir}
	look := time.NewTicker(followEvery)
	defer look.Stop()
	for {
		f.look(ctx)
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

type follower struct {
	r     *Rollouts
	dir   string
	taken []byte // timestamp of the last import
	said  string
}

func (f *follower) look(ctx context.Context) {
	trusts, err := f.r.trusts(ctx)
	var im Import
	changed := false
	if trusts {
		im, changed, err = f.take(ctx)
	}
	const waits = "waits for a root"
	switch {
	case ctx.Err() != nil:
	case err == nil && !trusts:
		if f.said != waits {
			f.said = waits
			f.r.log.Info("the published repository is followed once a first import has named the root that is trusted", "dir", f.dir)
		}
	case err != nil:
		if err.Error() != f.said {
			f.said = err.Error()
			f.r.log.Error("the published repository is not taken over", "dir", f.dir, "error", err)
		}
	case changed:
		f.said = ""
		f.r.log.Info("repository taken over", "dir", f.dir, "timestamp", im.State.Timestamp, "releases", im.Added, "gone", im.Gone)
	}
}

func (f *follower) take(ctx context.Context) (im Import, changed bool, err error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return im, false, err
	}
	defer root.Close()
	p := &published{root: root, got: map[string][]byte{}}
	timestamp, err := p.read(timestampName)
	if err != nil || bytes.Equal(timestamp, f.taken) {
		return im, false, err
	}
	if im, err = f.r.Import(ctx, access.System("rollouts"), f.dir, nil); err != nil {
		return im, false, err
	}
	f.taken = timestamp
	return im, im.Changed, nil
}
