package main

import (
	"fmt"

	"hausmeister/installer/release"
	"hausmeister/installer/release/build"
	"hausmeister/proto/manifest"
)

// trustFlags say which root of trust is put into programs.
type trustFlags struct {
	Root   string `help:"The root of trust for the programs (default: the newest that is published)." type:"path" placeholder:"FILE"`
	NoRoot bool   `help:"Take the commit's, even if it has none: such agents take no updates."`
}

// root is nil where the commit's is to stay.
func (t trustFlags) root(c *cli) ([]byte, error) {
	if t.NoRoot {
		return nil, nil
	}
	if t.Root != "" {
		return readNamed(t.Root)
	}
	repo, err := release.OpenRepository(c.Repo)
	if err != nil {
		return nil, err
	}
	if repo.Root() == nil {
		return nil, fmt.Errorf("%w: no root is published in %s, and agents without a root of trust take no updates: --root FILE, or --no-root", release.ErrRefused, c.Repo)
	}
	return repo.Raw[manifest.Root], nil
}

func rootText(b build.Build) string {
	if b.Root == 0 {
		return "without a root of trust: these agents take no updates\n"
	}
	return fmt.Sprintf("they trust root %d (%.12s)\n", b.Root, b.RootSum)
}

// notOlder refuses programs with a root that is no longer the newest: who is
// installed with them needs all that came since from the repository.
func notOlder(repo *release.Repository, b build.Build) error {
	if root := repo.Root(); b.Root > 0 && root != nil && b.Root < root.Version() {
		return fmt.Errorf("%w: the build trusts root %d, published is %d: build it again", release.ErrRefused, b.Root, root.Version())
	}
	return nil
}
