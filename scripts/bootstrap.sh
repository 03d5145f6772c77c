#!/usr/bin/env bash
# Installs what building, checking and testing need on Debian 12, as root or through sudo.
# When nothing is missing it asks dpkg once and is done.
# scripts/bootstrap.sh [--bench] [--list]
#   --bench  also what only benchmarks need: gnuplot, and peers that no test needs
#   --list   prints the packages
set -euo pipefail

build=(
  g++ cmake ninja-build ccache mold pkg-config git
  libabsl-dev libgtest-dev libgmock-dev libcli11-dev libspdlog-dev libfmt-dev
  nlohmann-json3-dev prometheus-cpp-dev libcivetweb-dev libsystemd-dev libssl-dev
  libcurl4-openssl-dev libisal-dev libxxhash-dev shared-mime-info
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libzmq3-dev cppzmq-dev libedit-dev
)
checks=(
  clang clang-tidy clang-format libclang-rt-14-dev # clang-tidy, libFuzzer
  shellcheck python3
  dpkg-dev file # cpack's deb packages
)
peers=(nginx-light curl wrk chromium python3-zmq python3-grpcio openssl) # what tests and benchmarks hold our programs against
bench=(gnuplot-nox varnish memcached uftp atftp atftpd libudt-dev)
declare -A services=(
  [nginx-light]=nginx [varnish]='varnish varnishncsa' [memcached]=memcached [uftp]=uftp
  [atftpd]=atftpd
)
packages=("${build[@]}" "${checks[@]}" "${peers[@]}")

die() {
  printf 'bootstrap.sh: %s\n' "$*" >&2
  exit 1
}

list=false
for argument in "$@"; do
  case $argument in
    --bench) packages+=("${bench[@]}") ;;
    --list) list=true ;;
    *) printf 'usage: scripts/bootstrap.sh [--bench] [--list]\n' >&2 && exit 2 ;;
  esac
done
if $list; then
  printf '%s\n' "${packages[@]}" | sort -u
  exit
fi

command -v apt-get >/dev/null || die "install packages: no apt-get here (Debian 12 is needed)"

declare -A installed=()
while read -r package state; do
  [[ $state == installed ]] && installed[$package]=1
done < <(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
  [[ -n ${installed[$package]:-} ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || die "install ${missing[*]}: not root, and there is no sudo"
  as_root=(sudo)
fi

# A server among the packages must not start by being installed. A policy that is there already is
# the machine's own and stays.
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
own_policy=false
clean_up() {
  rm -f "$log"
  if $own_policy; then "${as_root[@]}" rm -f "$policy"; fi
}
trap clean_up EXIT
if [[ ! -e $policy ]]; then
  own_policy=true
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
fi

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
    -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1
}

printf 'bootstrap.sh: installing %s\n' "${missing[*]}"
for attempt in 1 2; do
  # A package list that could not be refreshed may still be good enough.
  apt update || printf 'bootstrap.sh: apt-get update failed, attempt %d\n' "$attempt" >&2
  apt install --no-install-recommends "${missing[@]}" && break
  if ((attempt == 2)); then
    tail -n 40 "$log" >&2
    die "install ${missing[*]}: apt-get failed (log above)"
  fi
done

# Nor may it start with the next boot, if it came with this run.
if command -v systemctl >/dev/null; then
  for package in "${missing[@]}"; do
    for service in ${services[$package]:-}; do
      "${as_root[@]}" systemctl --quiet disable "$service.service" >/dev/null 2>&1 ||
        printf 'bootstrap.sh: %s may start with the next boot: systemctl disable failed\n' \
          "$service" >&2
    done
  done
fi
