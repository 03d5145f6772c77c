#!/usr/bin/env bash
# raft-sim at its main job: clusters under all faults at once, a planted bug that is found and shown
# again, and the paper's Figure 16. Needs the release build (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

sim=$bin/raft-sim
[[ -x $sim ]] || die "run $sim: it is not built (scripts/demo.sh does that)"

# explore argument…: raft-sim with --json; its exit status.
explore() { "$sim" --json "$@" >"$scratch/json" 2>"$scratch/err"; }

# told EXPRESSION: of the JSON object `r` that raft-sim printed last.
told() {
  python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' \
    "$scratch/json" "$1"
}

indented() { fold -s -w 95 | sed 's/^/     /'; }

# Totals that a reader wants to see are above zero: raft-sim itself fails when one is not.
faults_of() { # faults_of SEEDS argument…
  explore --seeds "$1" "${@:2}" || die "explore: raft-sim found $(told 'r.get("finding", r["shortcomings"])')"
  told '", ".join(k + " " + str(v) for k, v in r["totals"].items() if v)' | indented
  result="ok, $(told 'r["totals"]["succeeded"]') operations, $(told 'r["totals"]["elections"]') leaders"
}

all_faults() { faults_of 100; }
three_members() { faults_of 50 --nodes 3 --faults partition,one-way,pause,kill; }

planted() { # planted BUG: is found, and its run is the same whenever it is run
  local bug=$1 seed count
  explore --planted "$bug" --seeds 1000 && die "$bug: was not found"
  seed=$(told 'r["finding"]["seed"]') || die "$bug: raft-sim failed otherwise: $(<"$scratch/err")"
  told 'r["finding"]["violation"].splitlines()[0]' | indented
  told '"\n".join("needs " + f for f in r["finding"]["faults"])' | indented
  for count in 1 2; do
    "$sim" --planted "$bug" --first-seed "$seed" --trace >"$scratch/trace.$count" &&
      die "$bug: seed $seed is clean when it is run again"
  done
  cmp -s "$scratch/trace.1" "$scratch/trace.2" || die "$bug: two runs of seed $seed differ"
  explore --first-seed "$seed" --trace || die "$bug: seed $seed fails without it"
  bytes=$(stat -c %s "$scratch/trace.1")
  result="ok, seed $seed, twice the same"
}

figure16() {
  "$sim" --figure16 --trials 1000 >"$scratch/figure" || die "raft-sim --figure16: failed"
  sed '/^$/,$d' "$scratch/figure" | indented
  result="ok, 10 x 1000 elections"
}

do_step a "100 clusters of 5, 30 s each, all faults" 0 0 all_faults
do_step b "50 clusters of 3: partitions, one-way cuts, pauses, kills" 0 0 three_members
do_step c "planted: a restarted member has forgotten its vote" 1 0 planted forget-vote
do_step d "planted: a leader believes in its lease after a pause" 1 0 planted lease-after-pause
do_step e "Figure 16: time without a leader, beside the paper's" 0 0 figure16
