#!/usr/bin/env bash
# Prints the version of this tree: v1.2.3 -> 1.2.3, later commits 1.2.3-dev.N+gHASH,
# and 0.0.0-dev without git (a source archive).
set -euo pipefail
cd "$(dirname "$0")/.."
hash=$(git rev-parse --short=8 HEAD 2>/dev/null) || { echo 0.0.0-dev; exit; }
tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
count=$(git rev-list --count "${tag:+$tag..}HEAD")
version=${tag#v}
if [ -z "$tag" ] || [ "$count" != 0 ]; then version="${version:-0.0.0}-dev.$count+g$hash"; fi
if ! git diff --quiet HEAD -- 2>/dev/null; then
  case $version in *+*) version+=.dirty ;; *) version+=+dirty ;; esac
fi
echo "$version"
