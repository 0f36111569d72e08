#!/usr/bin/env bash
# Makes sure that what building or testing needs from the operating system is
# there: looks for each program, installs the missing ones by apt where it may,
# and otherwise says what is missing. usage: testenv/setup.sh build|test|bench|wine
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
packages=() programs=()

# need PROGRAM PACKAGE... notes the packages if the program is not there.
need() {
  local program=$1; shift
  command -v "$program" >/dev/null && return
  programs+=("$program") packages+=("$@")
}

command -v go >/dev/null || { echo "missing: go, version $(sed -n 's/^go //p' go.mod) or newer (no Debian 12 package is new enough)" >&2; exit 1; }
need git git
need npm nodejs npm

if [ "${1:-build}" = test ] || [ "${1:-build}" = bench ]; then
  need gcc gcc libc6-dev                     # the race detector is linked by gcc
  need chromium chromium                     # the pages, as people see them
  fc-list 2>/dev/null | grep -q . || { programs+=(fonts); packages+=(fontconfig fonts-dejavu-core); }
  need systemd-nspawn systemd-container      # a real Debian for the real service
  need debootstrap debootstrap
  need ip iproute2
  need nsenter util-linux
  need strace strace                         # ends a program at any of its system calls
  need tinyproxy tinyproxy                   # proxies as schools have them
  need squid squid
  need zstd zstd                             # makes the patches of releases
  if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    programs+=(postgresql) packages+=(postgresql)
  fi
fi
# What the agent is measured against; no test needs it.
if [ "${1:-build}" = bench ]; then
  need prometheus-node-exporter prometheus-node-exporter
fi
# Not part of test: 77 s and 1 GB for one test, which says so when it is missing.
if [ "${1:-build}" = wine ]; then
  need wine wine wine64
  need x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-win32
fi
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${programs[*]}" >&2
  echo "as root on Debian: apt-get install --no-install-recommends ${packages[*]}" >&2
  # Building cannot go on without them; tests that lack theirs say so one by one.
  if [ "${1:-build}" = build ] || [[ " ${programs[*]} " =~ \ (git|npm|gcc)\  ]]; then exit 1; fi
  echo "going on without them: the tests that need them will say so" >&2
  exit 0
fi

echo "installing ${packages[*]}"
if [[ " ${packages[*]} " == *" postgresql "* && ! -e /etc/postgresql-common ]]; then
  # Tests run clusters of their own; Debian would start one for everybody.
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/hausmeister.conf
fi
# Nor shall this machine become a proxy, or tell of itself: tests run their own, in networks of their own.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
for daemon in tinyproxy squid prometheus-node-exporter; do
  if [[ " ${packages[*]} " == *" $daemon "* ]] && [ -d /run/systemd/system ]; then systemctl disable -q "$daemon" || true; fi
done
