#!/usr/bin/env bash
# Runs go test with the given arguments and ends with what a reader must not
# miss: data races, whose reports stand far above the word FAIL and get lost when
# a log is cut, and what could not be tested here. go test keeps quiet about
# skipped tests of a package that passes, so package testenv/need writes them
# down and this prints them.
set -uo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export HAUSMEISTER_SKIPPED=$dir/skipped
: >"$HAUSMEISTER_SKIPPED"
# One file per test program that has one; https://go.dev/doc/articles/race_detector#Options
export GORACE="${GORACE:+$GORACE }log_path=$dir/race"
go test "$@"
code=$?
if compgen -G "$dir/race.*" >/dev/null; then
  echo
  echo "=== DATA RACES:"
  cat "$dir"/race.*
  [ $code -ne 0 ] || code=1
fi
if [ -s "$HAUSMEISTER_SKIPPED" ]; then
  echo
  echo "=== NOT TESTED HERE, because this machine lacks something:"
  sort -u "$HAUSMEISTER_SKIPPED"
fi
exit $code
