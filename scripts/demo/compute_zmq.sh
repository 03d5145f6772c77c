#!/usr/bin/env bash
# zmq-server, its workers and zmq-client at their main job: the classic session, a worker that is
# missing, silent and killed, and the reliable service beside it. Needs the release build
# (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

for program in zmq-server zmq-prime zmq-gcd zmq-client zmq-bench; do
  [[ -x $bin/$program ]] || die "run $bin/$program: it is not built (scripts/demo.sh does that)"
done

start_worker() { # start_worker NAME PROGRAM
  start_daemon "$1" "$run" "$bin/$2" "$(ready_key zmq-server worker_in)" \
    "$(ready_key zmq-server worker_out)" --reliable "$reliable"
}
ask() { "$bin/zmq-client" "$in" "$out" "$@"; }
ask_reliably() { "$bin/zmq-client" --reliable "$reliable" "$@"; }

classic() {
  local got expected
  got=$(printf '%s\n' 'isprime 15492781' 'isprime 15492810' 'gcd 12 18' 'hello world' 'gcd 12' | ask) &&
    die "a session with an error among its answers: exit status 0"
  expected='15492781 is prime
15492810 is not prime
gcd for 12 18 is 6
hello world
error: gcd 12: two numbers are needed'
  # shellcheck disable=SC2001
  sed 's/^/     /' <<<"$got"
  same "the answers" "$expected" "$got"
}

missing() {
  ask isprime 7 2>"$scratch/err" && die "without a worker: there is an answer"
  sed 's/^/     /' "$scratch/err"
  grep -q 'there is no worker for isprime' "$scratch/err" || die "without a worker: another error"
  same "the server goes on" hello "$(ask hello)"
}

silent() {
  kill -STOP "$(daemon_pid prime)"
  ask isprime 7 2>"$scratch/err" && die "with a silent worker: there is an answer"
  sed 's/^/     /' "$scratch/err"
  kill -CONT "$(daemon_pid prime)"
  same "the next answer is not the late one" '9 is not prime' "$(ask isprime 9)"
}

twins() {
  start_worker twin zmq-prime
  same "one answer of two workers" 100 "$(for ((i = 0; i < 100; i++)); do echo isprime 13; done |
    ask | grep -c '^13 is prime$')"
}

replaced() {
  kill -STOP "$(daemon_pid prime)"
  kill -STOP "$(daemon_pid twin)"
  ask_reliably isprime 18446744073709551557 >"$scratch/answer" &
  local client=$!
  sleep 0.2
  kill_daemon prime
  kill_daemon twin
  start_worker prime zmq-prime
  wait "$client" || die "the request of dead workers has no answer"
  same "the answer of the third" '18446744073709551557 is prime' "$(<"$scratch/answer")"
}

restart() {
  local addresses=("$in" "$out" "$(ready_key zmq-server worker_in)" "$(ready_key zmq-server worker_out)")
  kill_daemon zmq-server
  ask_reliably gcd 12 18 >"$scratch/answer" &
  local client=$!
  start_daemon zmq-server "$run" "$bin/zmq-server" "${addresses[@]}" --reliable "$reliable"
  wait "$client" || die "the request to the dead broker has no answer"
  same "the answer" 'gcd for 12 18 is 6' "$(<"$scratch/answer")"
}

load() { # load argument…
  "$bin/zmq-bench" --seconds 2 --json "$@" >"$scratch/load.json" || die "load: zmq-bench $*: failed"
  read_load "$scratch/load.json"
}

start_daemon zmq-server "$run" "$bin/zmq-server" 0 0 0 0 --reliable 0
in=$(ready_key zmq-server client_in) out=$(ready_key zmq-server client_out)
reliable=$(ready_key zmq-server reliable)
do_step a "no worker: an error after a second, the server goes on" 0 0 missing
start_worker prime zmq-prime
start_worker gcd zmq-gcd
do_step b "the classic session" 0 0 classic
do_step c "a worker that sleeps; its late answer" 0 0 silent
do_step d "two equal workers, one answer each" 0 0 twins
do_step e "reliable: two workers killed in mid-request, a third answers" 0 0 replaced
do_step f "reliable: kill -9 of the broker before the answer" 0 0 restart
do_step g "load, classic, 64 clients" 0 0 load classic "$in" "$out"
do_step h "load, reliable, 256 open" 0 0 load reliable "$reliable"
for name in gcd prime zmq-server; do
  stop_daemon "$name" || die "stop $name: exit status $?"
done
