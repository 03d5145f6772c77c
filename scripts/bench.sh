#!/usr/bin/env bash
# Measures systems beside the best programs of their kind, and prints who is faster on this machine.
# scripts/bench.sh [--install] [--quick] [--fresh] [system…]   (default: all that have a table)
#   --install  installs the peers first (as root, or with sudo); without them rows are skipped
#   --quick    a row per bar with 3 pairs: about a minute a system, in place of at most 15
#   --fresh    measures again what was finished on this build; without it a run goes on where the
#              last one ended
# The figures go to bench/results and bench/REPORT.md; bench/README.md says what they mean. A missed
# bar is a result, not an error: exit status 1 means that something could not be measured.
. "$(dirname "$0")/lib.sh"

known=()
for file in "$repo"/bench/*/table.py; do known+=("$(basename "$(dirname "$file")")"); done
usage="usage: scripts/bench.sh [--install] [--quick] [--fresh] [${known[*]}]…"
install=false options=() systems=()
for argument in "$@"; do
  case $argument in
    --install) install=true ;;
    --quick | --fresh) options+=("$argument") ;;
    -*) usage_error "bench.sh: $argument: no such option" "$usage" ;;
    *)
      [[ " ${known[*]} " == *" $argument "* ]] ||
        usage_error "bench.sh: $argument: no such system" "$usage"
      systems+=("$argument")
      ;;
  esac
done
((${#systems[@]})) || systems=("${known[@]}")

if $install; then
  timed "bootstrap" "$repo/scripts/bootstrap.sh" --bench
fi
timed "release build" build_release

failed=()
for system in "${systems[@]}"; do
  timed "bench of $system" "$repo/bench/run.py" "${options[@]}" "$system" || failed+=("$system")
done
((${#failed[@]} == 0)) || die "bench of ${failed[*]}: something could not be measured (see above)"
