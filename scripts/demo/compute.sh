#!/usr/bin/env bash
# The three compute services at their classic sessions: those of compute_<part>.sh that are there.
# Needs the release build (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"

failed=()
for part in tcp zmq text; do
  demo=$(dirname "$0")/compute_$part.sh
  [[ ! -e $demo ]] || timed "compute, $part" "$demo" || failed+=("$part")
done
((${#failed[@]} == 0)) || die "demo of compute: failed: ${failed[*]}"
