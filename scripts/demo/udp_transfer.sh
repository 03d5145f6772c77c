#!/usr/bin/env bash
# udp-server and udp-client at their main job: files by the classic protocol (also from a client
# that is none of ours), in fast mode, whole folders, over an emulated link that loses packets,
# across kill -9 of either end, and with a key. Every file is checked by SHA-256. Needs the release
# build (scripts/demo.sh sees to it); the emulated link needs root.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

for program in udp-server udp-client link-emulator; do
  [[ -x $bin/$program ]] || die "run $bin/$program: it is not built (scripts/demo.sh does that)"
done
client=$bin/udp-client

# ---- What is sent: documentation of this machine, one large file, one small.

root=/usr/share/doc
(($(find "$root" -type f 2>/dev/null | head -n 400 | wc -l) == 400)) || root=/usr/share
source=$scratch/source
mkdir -p "$source/doc"
i=0
while IFS= read -r -d '' file; do
  printf -v name '%s/doc/%d/%03d' "$source" $((i % 8)) "$i"
  i=$((i + 1))
  mkdir -p "${name%/*}"
  cp --no-preserve=mode "$file" "$name"
done < <(find "$root" -type f -readable -size -512k -size +0 -print0 | sort -z | head -z -n 400)
tar -C "$source" -cf "$source/doc.tar" doc
head -c 256M /dev/urandom >"$source/large.bin"
head -c 64M "$source/large.bin" >"$source/film.bin"
head -c 256K "$source/large.bin" >"$source/small.bin"
(cd "$source" && find doc -type f -print0 | sort -z | xargs -0 sha256sum) >"$scratch/doc.sums"
doc_count=$(wc -l <"$scratch/doc.sums")
doc_bytes=$(cd "$source" && find doc -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
received=$scratch/received
far=$scratch/far # at the other end of the link
mkdir -p "$received" "$far"

# ---- What is looked at.

# arrived NAME SOURCE: whole, then dropped.
arrived() {
  cmp -s "$received/$1" "$source/$2" || die "$received/$1: differs from $source/$2, or is missing"
  rm -f "$received/$1"
}

# field NAME: of the JSON object that the client printed last.
field() {
  python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).read().splitlines()[-1])[sys.argv[2]])' \
    "$scratch/json" "$1"
}

# send argument…: udp-client with --json.
send() {
  "$client" --json "$@" >"$scratch/json" 2>"$scratch/err" || {
    tail -n 5 "$scratch/err" >&2
    die "send: udp-client $*: failed"
  }
}

start_server() { # start_server PORT option…
  start_daemon udp-server "$run" "$bin/udp-server" "$1" --dir "$received" "${@:2}"
  server=127.0.0.1:$(ready_port udp-server)
}

# ---- The steps.

# A client of the classic protocol as its users write it: one datagram, one answer.
foreign_client() {
  python3 - "$server" "$source/doc.tar" foreign.tar <<'END' || die "the foreign classic client failed"
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
content = open(sys.argv[2], "rb").read()[: 1 << 20]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.connect((host, int(port)))

def ask(message):
    for _ in range(5):
        s.send(message)
        try:
            return s.recv(2048).split(b" | ")
        except socket.timeout:
            pass
    sys.exit("the server does not answer")

_, number, size = ask(b"s | 0 | %s | %d" % (sys.argv[3].encode(), len(content)))
number, size, at = int(number), int(size), 0
while at < len(content):
    head = b"d | %d | " % number
    piece = content[at : at + size - len(head)]
    answer = ask(head + piece)
    if answer[0] == b"a" and int(answer[1]) == number + 1:
        number += 1
        at += len(piece)
END
  cmp -s "$received/foreign.tar" <(head -c 1M "$source/doc.tar") || die "foreign.tar: it differs"
  rm "$received/foreign.tar"
}

classic() {
  send --mode classic "$server" "$source/small.bin" small.bin
  arrived small.bin small.bin
  same "mode" classic "$(field mode)"
}

fast() {
  send "$server" "$source/large.bin" large.bin
  arrived large.bin large.bin
  same "mode" fast "$(field mode)"
  result="ok, $(field mbit_per_s | cut -d . -f 1) Mbit/s"
}

folder() {
  send "$server" "$source/doc" doc
  (cd "$received" && sha256sum --check --quiet "$scratch/doc.sums") || die "the folder: it differs"
  rm -rf "$received/doc"
}

# on_link LOCAL NAME MODE: over 100 Mbit/s, 50 ms there and back, 1 % of the packets lost.
on_link() {
  # shellcheck disable=SC2016
  "$bin/link-emulator" --rate 100 --delay 25 --loss 1 --quiet \
    --server "exec '$bin/udp-server' --listen 10.77.0.2:10990 --allow-insecure --classic \
--dir '$far' --overwrite yes >/dev/null 2>'$scratch/link.log'" -- \
    bash -c 'exec script -qefc "$1" /dev/null' link \
    "'$client' --mode $3 10.77.0.2:10990 '$source/$1' '$2'" >"$scratch/progress" || {
    tail -n 5 "$scratch/progress" "$scratch/link.log" >&2
    die "send over the link, mode $3: failed"
  }
  tr '\r' '\n' <"$scratch/progress" | grep -aE '%' | tail -n 1 | sed 's/^/     progress: /'
  cmp -s "$far/$2" "$source/$1" || die "$far/$2: differs from $source/$1, or is missing"
}

on_link_fast() {
  local begin=${EPOCHREALTIME/./}
  on_link film.bin film.bin fast
  fast_us=$((${EPOCHREALTIME/./} - begin))
  fast_rate=$(((64 << 20) * 8 / fast_us))
  result="ok, $fast_rate Mbit/s"
}

on_link_classic() {
  local begin=${EPOCHREALTIME/./}
  on_link small.bin small.bin classic
  classic_us=$((${EPOCHREALTIME/./} - begin))
  printf -v result 'ok, %d kbit/s' $(((256 << 10) * 8 * 1000 / classic_us))
}

# cut_off: a transfer of the large file that has come some way, at a rate that leaves time.
cut_off() {
  "$client" --rate-limit 400 "$server" "$source/large.bin" large.bin >/dev/null 2>&1 &
  cut_pid=$!
  local deadline=$((SECONDS + 20))
  until (($(du -sb "$received/.udp-partial" 2>/dev/null | cut -f 1 || echo 0) > 80 << 20)); do
    ((SECONDS < deadline)) || die "cut a transfer off: it does not get on"
    sleep 0.05
  done
}

client_dies() {
  cut_off
  kill -KILL "$cut_pid"
  wait "$cut_pid" 2>/dev/null || true
  [[ ! -e $received/large.bin ]] || die "large.bin: a part of it is visible"
  send --resume "$server" "$source/large.bin" large.bin
  arrived large.bin large.bin
  bytes=$(($(stat -c %s "$source/large.bin") - $(field resumed_bytes)))
  (($(field resumed_bytes) > 0)) || die "resume: nothing was there"
  result="ok, resumed at $(($(field resumed_bytes) >> 20)) MiB"
}

server_dies() {
  cut_off
  kill_daemon udp-server
  start_server "${server#*:}"
  wait "$cut_pid" && die "kill the server: its client saw no end of it"
  send --resume "$server" "$source/large.bin" large.bin
  arrived large.bin large.bin
  bytes=$(($(stat -c %s "$source/large.bin") - $(field resumed_bytes)))
  (($(field resumed_bytes) > 0)) || die "resume: nothing was there"
  result="ok, resumed at $(($(field resumed_bytes) >> 20)) MiB"
}

with_key() {
  head -c 32 /dev/urandom | base64 >"$scratch/key"
  head -c 32 /dev/urandom | base64 >"$scratch/other"
  chmod 600 "$scratch/key" "$scratch/other"
  stop_daemon udp-server || die "stop udp-server: exit status $?"
  start_server 0 --key-file "$scratch/key"
  send --key-file "$scratch/key" "$server" "$source/large.bin" large.bin
  arrived large.bin large.bin
  "$client" --timeout 2 --key-file "$scratch/other" "$server" "$source/small.bin" no 2>/dev/null &&
    die "send with another key: it went well"
  [[ ! -e $received/no ]] || die "a file came with another key"
}

start_server 0
do_step a "a plain socket's classic client, none of ours" 1 $((1 << 20)) foreign_client
do_step b "classic mode, loopback" 1 $((256 << 10)) classic
do_step c "fast mode, found out by itself, loopback" 1 $((256 << 20)) fast
do_step d "a folder in fast mode" "$doc_count" "$doc_bytes" folder
do_step e "fast: 100 Mbit/s, 50 ms, 1 % lost" 1 $((64 << 20)) on_link_fast
do_step f "classic over the same link" 1 $((256 << 10)) on_link_classic
do_step g "kill -9 of the client in the middle, then --resume" 1 0 client_dies
do_step h "kill -9 of the server in the middle, then --resume" 1 0 server_dies
do_step i "with a key; another key is refused" 1 $((256 << 20)) with_key
stop_daemon udp-server || die "stop udp-server: exit status $?"
printf -v closing 'over the same link: fast %d MiB in %d.%d s, classic %d KiB in %d.%d s: %d times the rate' \
  64 $((fast_us / 1000000)) $((fast_us / 100000 % 10)) 256 $((classic_us / 1000000)) \
  $((classic_us / 100000 % 10)) $((fast_rate * classic_us / ((256 << 10) * 8)))
