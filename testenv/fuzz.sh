#!/usr/bin/env bash
# Runs every fuzz target of the repository for the given time, one per core at
# once. They are found by their names, so a new one needs no entry anywhere.
# usage: testenv/fuzz.sh 10s
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${1:-10s}

one() {
  local dir=${1%/*} name=${1##*/} out
  # Making an input smaller may take a minute each (Go's default) where what it
  # reaches varies with the order of maps; then nothing else is tried.
  # A worker that is told to stop in the middle of an input may report the
  # stop itself as a failure, without an input; that is tried once more.
  for _ in 1 2; do
    if out=$(CGO_ENABLED=0 go test -trimpath -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 100x -parallel 1 "./$dir" 2>&1); then
      printf 'fuzz %-60s %s\n' "$dir $name" "$(grep -o 'execs: [0-9]*' <<<"$out" | tail -1)"
      return
    fi
    grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out" || break
  done
  printf 'fuzz %s %s FAILED\n%s\n' "$dir" "$name" "$out"
  return 1
}
export -f one

grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' agent collector installer platform proto testenv 2>/dev/null |
  sed -E 's#/[^/]*:[0-9]+:func #/#' | sort -u |
  xargs -r -P "$(nproc)" -I{} bash -c 'one {}'
