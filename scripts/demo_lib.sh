# What the demos share: a scratch folder, steps that are timed and checked, and the table of them at
# the end. Sourced by the scripts in demo/, after lib.sh; sets the traps of its caller.
# shellcheck shell=bash
export LC_ALL=C

scratch=$(mktemp -d "${TMPDIR:-/tmp}/distsys-demo.XXXXXX")
# shellcheck disable=SC2034 # for those that source this
run=$scratch/run
rows=() step='' closing='' # closing: printed below the table
row='%-4s  %-58s  %7s  %8s  %7s  %s\n'

finish() {
  local status=$? line pid cells
  [[ -z $step ]] || rows+=("$step")
  note ''
  # shellcheck disable=SC2059
  printf "$row" step what files bytes seconds result
  for line in "${rows[@]}"; do
    IFS='|' read -ra cells <<<"$line"
    # shellcheck disable=SC2059
    printf "$row" "${cells[@]}"
  done
  [[ -z $closing ]] || printf '\n%s\n' "$closing"
  stop_all_daemons
  for pid in $(jobs -p); do kill -KILL "$pid" 2>/dev/null || true; done # clients, after a failure
  rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# do_step NAME WHAT FILES BYTES command…: a row of the table; a failure ends the demo. A command
# that knows better than its caller how much it did sets `files` and `bytes`; one with more to say
# than that it went well sets `result`.
do_step() {
  local start=${EPOCHREALTIME/./} elapsed_ms files=$3 bytes=$4 result=ok
  note "-- $1: $2"
  step="$1|$2|-|-|-|FAILED"
  "${@:5}"
  elapsed_ms=$(((${EPOCHREALTIME/./} - start) / 1000))
  printf -v step '%s|%s|%s|%s|%d.%03d|%s' "$1" "$2" "$files" \
    "$(numfmt --to=iec-i --suffix=B "$bytes")" $((elapsed_ms / 1000)) $((elapsed_ms % 1000)) "$result"
  rows+=("$step")
  step=''
}

# get PORT argument…: getfile-client, with its report of single requests kept aside.
# shellcheck disable=SC2154 # bin is lib.sh's
get() {
  "$bin/getfile-client" -s 127.0.0.1 -p "$1" "${@:2}" >"$scratch/client.out" || {
    tail -n 5 "$scratch/client.out" >&2
    die "fetch: getfile-client failed (last lines above)"
  }
}

# check FOLDER LIST: our own look at what arrived, by sha256sum; then the copy is dropped.
check() {
  (cd "$1" && sha256sum --check --quiet "$2") || die "check $1: it differs from what was served"
  rm -rf "$1"
}

# same WHAT EXPECTED ACTUAL
same() { [[ $2 == "$3" ]] || die "$1: expected $2, got $3"; }

# read_load JSON-FILE: sets files, bytes and result from the report of getfile-bench, which must be
# one of a load without errors.
read_load() {
  local rate p50 p99
  # shellcheck disable=SC2034 # do_step's
  read -r files bytes rate p50 p99 < <(python3 -c '
import json, sys
r = json.load(sys.stdin)
if r["errors"] or not r["requests"]: sys.exit("errors: %s" % r["errors"])
us = r["latency_us"]
print(r["requests"], r["bytes"], round(r["requests_per_second"]), round(us["p50"]), round(us["p99"]))
' <"$1") || die "load: no report of a load without errors in $1"
  # shellcheck disable=SC2034
  result="ok, $rate/s, p50 $p50 us, p99 $p99 us"
}
