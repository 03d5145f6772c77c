#!/usr/bin/env bash
# Installs what is needed, builds, and shows systems at work on real input, checking what they do.
# scripts/demo.sh [system…]   (default: all that have a demo)
. "$(dirname "$0")/lib.sh"

mapfile -t known < <(systems_in demo)
systems=("$@")
((${#systems[@]})) || systems=("${known[@]}")
for system in "${systems[@]}"; do
  [[ " ${known[*]} " == *" $system "* ]] ||
    usage_error "demo.sh: $system: no such demo" "usage: scripts/demo.sh [${known[*]}]…"
done

timed "bootstrap" "$repo/scripts/bootstrap.sh"
timed "release build" build_release

# Each demo is a process of its own, with its own scratch folder and daemons, and takes both away.
failed=()
for system in "${systems[@]}"; do
  timed "demo of $system" "$repo/scripts/demo/$system.sh" || failed+=("$system")
done
((${#failed[@]} == 0)) || die "demo of ${failed[*]}: failed (see above)"
