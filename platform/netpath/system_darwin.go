package netpath

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
)

func systemProxies(ctx context.Context, target *url.URL) ([]string, error) {
	out, err := exec.CommandContext(ctx, "/usr/sbin/scutil", "--proxy").Output()
	if err != nil {
		return nil, fmt.Errorf("asking scutil: %w", err)
	}
	return scutilProxies(string(out), target)
}
