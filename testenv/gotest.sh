#!/usr/bin/env bash
# Runs go test with the given arguments and ends with what could not be tested
# here: go test keeps quiet about skipped tests of a package that passes, so
# package testenv/need writes them down and this prints them.
set -uo pipefail
HAUSMEISTER_SKIPPED=$(mktemp); export HAUSMEISTER_SKIPPED
trap 'rm -f "$HAUSMEISTER_SKIPPED"' EXIT
go test "$@"
code=$?
if [ -s "$HAUSMEISTER_SKIPPED" ]; then
  echo
  echo "=== NOT TESTED HERE, because this machine lacks something:"
  sort -u "$HAUSMEISTER_SKIPPED"
fi
exit $code
