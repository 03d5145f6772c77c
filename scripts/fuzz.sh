#!/usr/bin/env bash
# Builds the fuzz targets, runs each over its corpus, then with new inputs for some seconds.
# scripts/fuzz.sh [seconds per target]   (default: 10)
. "$(dirname "$0")/lib.sh"

seconds=${1:-10}
[[ $# -le 1 && $seconds =~ ^[0-9]+$ ]] || usage_error 'usage: scripts/fuzz.sh [seconds per target]'
timed "fuzz build" build_preset fuzz --target fuzz_targets

shopt -s nullglob
targets=("$repo"/build/fuzz/bin/fuzz_*)
((${#targets[@]})) || die "find fuzz targets: none in build/fuzz/bin"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/distsys-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# run_target TARGET option… corpus…: prints how many inputs were executed; the log on a failure.
run_target() {
  local name=${1##*/} crashes=$repo/build/fuzz/crashes/${1##*/}
  mkdir -p "$crashes"
  if ! "$1" -max_len=16384 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$crashes/" \
    "${@:2}" >"$scratch/log" 2>&1; then
    tail -n 60 "$scratch/log" >&2
    printf 'fuzz.sh: run %s: it failed (log above); reproduce it with: %s %s\n' "$name" "$1" \
      "$(sed -n 's/.*Test unit written to //p' "$scratch/log" | tail -n 1)" >&2
    return 1
  fi
  sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log" | tail -n 1
}

failed=()
for target in "${targets[@]}"; do
  name=${target##*/}
  corpus=$repo/tests/fuzz/corpus/${name#fuzz_}
  [[ -n $(ls "$corpus" 2>/dev/null) ]] || die "run $name: no corpus in $corpus"
  mkdir "$scratch/$name" # takes what is found; the corpus in the repository is only read
  if known=$(run_target "$target" -runs=0 "$corpus") &&
    new=$(run_target "$target" -max_total_time="$seconds" "$scratch/$name" "$corpus"); then
    note "$name: $known executions of the corpus, $new in $seconds s, no failure"
  else
    failed+=("$name")
  fi
done
((${#failed[@]} == 0)) || die "fuzz ${failed[*]}: failed (see above)"
