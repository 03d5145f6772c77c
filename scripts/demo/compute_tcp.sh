#!/usr/bin/env bash
# Primes by TCP: the default list on both wires, a classic client with nothing but bash, idle peers,
# a file, a kill -9, a load. Needs the release build (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

for program in prime-server prime-client prime-bench; do
  [[ -x $bin/$program ]] || die "run $bin/$program: it is not built (scripts/demo.sh does that)"
done

start_primes() { # start_primes PORT option…
  start_daemon prime-server "$run" "$bin/prime-server" "$1" --metrics 127.0.0.1:0 "${@:2}"
  primes=127.0.0.1:$(ready_port prime-server)
}

# classic_list [option…]: the default list, which of it is prime.
# shellcheck disable=SC2120 # do_step gives it options
classic_list() {
  "$bin/prime-client" "$primes" "$@" | tee "$scratch/primes.out"
  same "primes in the list" 9 "$(grep -c ' is prime$' "$scratch/primes.out")"
  same "the end" Completed "$(tail -n 1 "$scratch/primes.out")"
}

# One number for each write, no newline: as the simplest client does it.
bare_client() {
  local answer number peer
  exec {peer}<>"/dev/tcp/${primes%:*}/${primes##*:}"
  for number in 15492781 15492810 15527509; do
    printf '%s' "$number" >&"$peer"
    IFS= read -r -t 0.2 -n 8 -u "$peer" answer || die "ask for $number: no answer within 0.2 s"
    [[ $answer == 'is prime' ]] || IFS= read -r -t 0.2 -n 4 -u "$peer" answer
    note "$number: ends in '$answer'"
  done
  exec {peer}>&-
}

beside_idle_peers() { # more than there are workers; each has sent half a line
  local pid
  (
    for ((i = 0; i < 200; ++i)); do
      exec {idle}<>"/dev/tcp/${primes%:*}/${primes##*:}"
      printf '2\n15' >&"$idle"
    done
    : >"$scratch/idle"
    exec sleep 600
  ) &
  pid=$!
  until [[ -e $scratch/idle ]]; do
    kill -0 "$pid" 2>/dev/null || die "open idle connections: failed"
    sleep 0.01
  done
  classic_list --timeout 5 >"$scratch/beside"
  kill "$pid"
  wait "$pid" 2>/dev/null || true
}

file_of_numbers() {
  seq 1000000 >"$scratch/numbers"
  "$bin/prime-client" "$primes" --file "$scratch/numbers" --pipeline >"$scratch/primes.out"
  same "primes up to a million" 78498 "$(grep -c ' is prime$' "$scratch/primes.out")"
}

killed_server() {
  local port=${primes##*:} pid
  "$bin/prime-client" "$primes" --file "$scratch/numbers" >"$scratch/primes.out" 2>"$scratch/primes.err" &
  pid=$!
  until grep -q '^2 is prime' "$scratch/primes.out"; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.01
  done
  kill_daemon prime-server
  if wait "$pid"; then die "kill -9 of the server: prime-client did not notice"; fi
  cat "$scratch/primes.err"
  start_primes "$port"
  classic_list --timeout 5 >"$scratch/beside"
}

prime_load() {
  "$bin/prime-bench" "$primes" -c 32 -d 2 --json "$@" >"$scratch/load.json" ||
    die "load: prime-bench failed: $(<"$scratch/load.json")"
  read_load "$scratch/load.json"
}

start_primes 0
do_step a "the classic list, one bare number after the other" 12 0 classic_list
do_step b "the same as lines, pipelined" 12 0 classic_list --pipeline
do_step c "a classic client of bash alone" 3 0 bare_client
do_step d "the list beside 200 peers that stall" 12 0 beside_idle_peers
do_step e "a file of a million numbers" 1000000 0 file_of_numbers
do_step f "kill -9 in mid-run, and a new start on the port" 12 0 killed_server
do_step g "load in lock-step, 32 connections, all checked" 0 0 prime_load
do_step h "load with 16 under way, 32 connections, all checked" 0 0 prime_load --depth 16
stop_daemon prime-server || die "stop prime-server: exit status $?"
