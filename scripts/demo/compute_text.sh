#!/usr/bin/env bash
# text-server and text-client at their main job: commands one by one and as a session, without and
# with TLS, a foreign client that learns the service by reflection, a kill -9 under a session, and
# streams beside unary calls. Needs the release build (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

for program in text-server text-client text-bench; do
  [[ -x $bin/$program ]] || die "run $bin/$program: it is not built (scripts/demo.sh does that)"
done
client=$bin/text-client

start_daemon text-server "$run" "$bin/text-server" 0
port=$(ready_port text-server)
server=127.0.0.1:$port

ask() { "$client" "$@" 2>"$scratch/err" || die "text-client $*: $(<"$scratch/err")"; }

commands() {
  same reverse 'dlrow olleh' "$(ask "$server" reverse hello world)"
  same split $'Number of parts: 3\na\nb\nc' "$(ask "$server" split a b c)"
  same isprime $'2 is prime\n10 is not prime\n15492781 is prime' \
    "$(ask "$server" isprime 2 10 15492781)"
  same json '{"text":"äb"}' "$(ask --json "$server" reverse bä)"
}

session() {
  same session $'cba\n7 is prime\nShutting down' \
    "$(printf 'reverse abc\nisprime 7\nexit\n' | ask "$server")"
}

large_session() { # every line of a dictionary-sized text, there and back
  seq 1 20000 | sed 's/^/reverse line /' >"$scratch/lines"
  ask "$server" <"$scratch/lines" >"$scratch/reversed"
  same "lines twice reversed" "$(seq 1 20000 | sed 's/^/line /' | sha256sum)" \
    "$(sed 's/^/reverse /' "$scratch/reversed" | ask "$server" | sha256sum)"
  bytes=$(($(wc -c <"$scratch/lines") * 2))
  result="ok, 40000 answers"
}

foreign() {
  /usr/bin/python3 "$repo/tests/compute/text_foreign_client.py" "$server" >"$scratch/foreign" ||
    die "a foreign client: failed"
}

killed() { # a session that goes on when its server is back
  local pid
  coproc SESSION { exec "$client" "$server" 2>"$scratch/err"; }
  printf 'reverse ab\n' >&"${SESSION[1]}"
  read -r -u "${SESSION[0]}" line
  same "before kill -9" ba "$line"
  kill_daemon text-server
  start_daemon text-server "$run" "$bin/text-server" "$port"
  printf 'reverse cd\nexit\n' >&"${SESSION[1]}"
  read -r -u "${SESSION[0]}" line
  same "after kill -9" dc "$line"
  pid=$SESSION_PID
  wait "$pid" || die "session across kill -9: exit status $?"
}

with_tls() { # in both directions, with certificates made here
  local tls=$scratch/tls name to
  mkdir "$tls"
  (
    cd "$tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key \
      -out ca.pem -days 2 -subj /CN=demo
    for name in server client; do
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $name.key \
        -out $name.csr -subj /CN=$name
      openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $name.pem \
        -days 2 -extfile <(echo subjectAltName=IP:127.0.0.1)
    done
  ) 2>"$scratch/openssl" || die "make certificates: $(tail -n 3 "$scratch/openssl")"
  start_daemon text-tls "$run" "$bin/text-server" 0 --tls-cert "$tls/server.pem" \
    --tls-key "$tls/server.key" --tls-ca "$tls/ca.pem"
  to=127.0.0.1:$(ready_port text-tls)
  same tls ba "$(ask --tls-ca "$tls/ca.pem" --tls-cert "$tls/client.pem" \
    --tls-key "$tls/client.key" "$to" reverse ab)"
  ! "$client" --tls-ca "$tls/ca.pem" "$to" reverse ab 2>/dev/null || die "tls: no certificate asked"
  stop_daemon text-tls || die "stop text-tls: exit status $?"
}

load() { # load MODE
  "$bin/text-bench" --json --mode "$1" -c 4 --seconds 2 "$server" >"$scratch/load.json" ||
    die "load: text-bench failed"
  read_load "$scratch/load.json"
}

do_step a "reverse, split, isprime, one by one" 4 0 commands
do_step b "a session from a pipe" 1 0 session
do_step c "20 000 lines reversed, and reversed again" 1 0 large_session
do_step d "a foreign client, by server reflection" 1 0 foreign
do_step e "a session across kill -9 of its server" 1 0 killed
do_step f "TLS with certificates of both ends" 1 0 with_tls
do_step g "streams of numbers, 4 callers" 1 0 load stream
do_step h "unary calls, 4 callers" 1 0 load unary
stop_daemon text-server || die "stop text-server: exit status $?"
