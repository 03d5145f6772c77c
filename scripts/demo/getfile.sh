#!/usr/bin/env bash
# getfile-server and getfile-client at their main job, on the machine's own documentation: thousands
# of files fetched and checked, from a tree and from a content file, across a kill -9, across a
# shutdown, and beside hostile peers; then by curl, and under load in both protocols with every
# answer verified. Needs the release build (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

server=$bin/getfile-server client=$bin/getfile-client bench=$bin/getfile-bench
[[ -x $server && -x $client && -x $bench ]] ||
  die "run $server: it is not built (scripts/demo.sh does that)"

# connections PORT: how many are open at the server's end.
connections() {
  awk -v port="$(printf ':%04X' "$1")" \
    '$4 == "01" && substr($2, 9) == port { n++ } END { print n + 0 }' /proc/net/tcp
}

# ---- What is served: all regular files whose path a workload file can name.

total_size() { # total_size TIMES <FILES
  (cd "$root" && xargs -d '\n' stat -c %s --) |
    awk -v times="$1" '{ n += $1 } END { printf "%d", times * n }'
}

root=/usr/share/doc
(($(find "$root" -type f 2>/dev/null | head -n 1000 | wc -l) == 1000)) || root=/usr/share
find "$root" -type f -readable -printf '%P\0' >"$scratch/all"
grep -zvE '(^|/)\.|[[:space:]\\]' "$scratch/all" | tr '\0' '\n' | sort >"$scratch/files"
sed 's|^|/|' "$scratch/files" >"$scratch/workload"
(cd "$root" && xargs -d '\n' sha256sum --) <"$scratch/files" >"$scratch/sums"
count=$(wc -l <"$scratch/files")
bytes=$(total_size 1 <"$scratch/files")
left_out=$(($(tr -cd '\0' <"$scratch/all" | wc -c) - count))
note "$root: $count files; left out for hidden parts, blanks or a backslash in the path: $left_out"

start_server() { # start_server PORT
  start_daemon getfile-server "$run" "$server" -p "$1" --root "$root" --metrics 127.0.0.1:0 \
    --header-timeout 60
}

# shellcheck disable=SC2119,SC2120 # the options come by way of do_step
fetch_all() { # fetch_all option…
  get "$port" -w "$scratch/workload" -t 16 --verify "$scratch/sums" -o "$scratch/out" "$@"
  check "$scratch/out" "$scratch/sums"
}

content_file() { # served from copies under other names, by key
  local base=$scratch/content i=0 file key port
  mkdir -p "$base/store"
  while read -r file; do
    printf -v key '%03d' "$((i++))"
    cp "$root/$file" "$base/store/$key.copy"
    printf '/doc/%s\tstore/%s.copy\n' "$key" "$key" >>"$base/content.txt"
    sha256sum <"$root/$file" | sed "s|-|doc/$key|" >>"$base/sums"
  done <"$scratch/some"
  cut -f 1 "$base/content.txt" >"$base/workload"
  start_daemon getfile-content "$run" "$server" -p 0 -m "$base/content.txt"
  port=$(ready_port getfile-content)
  get "$port" -w "$base/workload" -r $((3 * some_count)) -t 8 -o "$scratch/out"
  check "$scratch/out" "$base/sums"
  stop_daemon getfile-content || die "stop getfile-content: exit status $?"
}

kill_and_restart() { # five rounds of the tree, so that the kill surely falls into the middle
  local pid
  "$client" -s 127.0.0.1 -p "$port" -w "$scratch/workload" -r $((5 * count)) -t 16 --retries 20 \
    --verify "$scratch/sums" -o "$scratch/out" >"$scratch/client.out" &
  pid=$!
  until [[ -d $scratch/out ]] && (($(find "$scratch/out" -type f | head -n 100 | wc -l) == 100)); do
    kill -0 "$pid" 2>/dev/null || die "fetch: getfile-client ended early"
    sleep 0.01
  done
  kill_daemon getfile-server
  kill -0 "$pid" 2>/dev/null || die "kill getfile-server: too late, the client was done"
  start_server "$port"
  wait "$pid" || die "fetch across kill -9: getfile-client ended with $?"
  check "$scratch/out" "$scratch/sums"
}

# The lookup is delayed so that the client can be stopped with its request under way; the server
# then has to keep a transfer that nobody reads, over its SIGTERM, until the client goes on.
shutdown_in_flight() {
  local big=$scratch/big pid port
  start_daemon getfile-big "$run" "$server" -p 0 --root "$big" -d 1000000 --drain-timeout 30
  port=$(ready_port getfile-big)
  "$client" -s 127.0.0.1 -p "$port" -o "$scratch/out" /big.bin >"$scratch/client.out" &
  pid=$!
  until (($(connections "$port"))); do sleep 0.01; done
  sleep 0.3
  kill -STOP "$pid"
  sleep 1.2
  kill -TERM "$(daemon_pid getfile-big)"
  sleep 0.3
  daemon_pid getfile-big >/dev/null || die "SIGTERM: the server ended, with a transfer in flight"
  kill -CONT "$pid"
  wait "$pid" || die "fetch across SIGTERM: getfile-client ended with $?"
  end_daemon getfile-big || die "SIGTERM: getfile-server ended with $?"
  check "$scratch/out" "$big/sums"
}

hostile_peers() { # each sends one byte of a request and stays
  local pid held
  (
    for ((i = 0; i < slow; ++i)); do
      exec {peer}<>"/dev/tcp/127.0.0.1/$port"
      printf G >&"$peer"
    done
    : >"$scratch/hostile"
    exec sleep 600
  ) &
  pid=$!
  until [[ -e $scratch/hostile ]]; do
    kill -0 "$pid" 2>/dev/null || die "open $slow slow connections: failed"
    sleep 0.01
  done
  # shellcheck disable=SC2119
  fetch_all
  held=$(connections "$port")
  ((held >= slow)) || die "hold $slow slow connections: only $held were left at the end"
  kill "$pid"
  wait "$pid" 2>/dev/null || true
  note "$slow connections sent one byte and stayed: it still works"
}

# http_get FILE option…: by curl, which saves it as FILE and prints the code and how much came.
http_get() {
  curl -q -sS --noproxy '*' -w '%{http_code} %{size_download}' -o "$@" "$url" ||
    die "fetch $url: curl failed"
}

# One file by HTTP: whole, in four ranges put together, continued after its first half, and asked
# for again by its tag and by its date, when nothing is sent.
http_with_curl() {
  local size=$1 file=$2 out=$scratch/http i first last sum
  local url=http://127.0.0.1:$port/$file
  mkdir -p "$out"
  sum=$(sha256sum <"$root/$file")
  same "GET /$file" "200 $size" "$(http_get "$out/whole" --etag-save "$out/tag")"
  same "/$file" "$sum" "$(sha256sum <"$out/whole")"

  for i in 0 1 2 3; do
    first=$((size * i / 4)) last=$((size * (i + 1) / 4 - 1))
    same "range $first-$last of /$file" "206 $((last - first + 1))" \
      "$(http_get "$out/part$i" -r "$first-$last")"
  done
  same "four ranges of /$file" "$sum" "$(cat "$out"/part[0-3] | sha256sum)"
  same "a range beyond /$file" "416 0" "$(http_get /dev/null -r "$size-")"

  head -c $((size / 2)) "$out/whole" >"$out/half"
  same "the rest of /$file" "206 $((size - size / 2))" "$(http_get "$out/half" -C -)"
  same "/$file, continued" "$sum" "$(sha256sum <"$out/half")"

  same "/$file by its tag" "304 0" "$(http_get /dev/null --etag-compare "$out/tag")"
  printf '"another"\n' >"$out/other"
  same "/$file by another tag" "200 $size" "$(http_get /dev/null --etag-compare "$out/other")"
  touch -r "$root/$file" "$out/whole"
  same "/$file by its date" "304 0" "$(http_get /dev/null -z "$out/whole")"
  rm -rf "$out"
  files=10 bytes=$((4 * size - size / 2)) # shown by do_step
}

# load PROTOCOL option…: two seconds of getfile-bench over the tree, every answer verified.
load() {
  local json=$scratch/load.json
  "$bench" -s 127.0.0.1 -p "$port" -w "$scratch/workload" -c 32 -d 2 --verify "$scratch/sums" \
    --json --protocol "$@" >"$json" || die "load by $1: getfile-bench failed: $(<"$json")"
  read_load "$json"
}

start_server 0
port=$(ready_port getfile-server)
do_step a "the tree, 16 threads, a connection per file" "$count" "$bytes" fetch_all
do_step b "the same over kept connections" "$count" "$bytes" fetch_all --keep-alive

awk -v every=$((count / 300)) 'NR % every == 0 && n++ < 300' "$scratch/files" >"$scratch/some"
some_count=$(wc -l <"$scratch/some")
do_step c "a content file of $some_count keys, each asked for three times" \
  $((3 * some_count)) "$(total_size 3 <"$scratch/some")" content_file

do_step d "the tree five times, kill -9 and restart in the middle" \
  $((5 * count)) $((5 * bytes)) kill_and_restart

mkdir "$scratch/big"
head -c 256M /dev/urandom >"$scratch/big/big.bin"
(cd "$scratch/big" && sha256sum big.bin >sums)
do_step e "SIGTERM with a transfer in flight: both end well" 1 $((256 << 20)) shutdown_in_flight

slow=300
do_step f "the tree again, beside $slow connections that stall" "$count" "$bytes" hostile_peers

# The longest file whose path needs no escapes.
read -r size file < <(cd "$root" && grep -x '[A-Za-z0-9._/-]*' "$scratch/files" |
  xargs -d '\n' stat -c '%s %n' -- | sort -rn | sed 1q)
do_step g "HTTP by curl: whole, ranges, continued, conditional" 0 0 http_with_curl "$size" "$file"
do_step h "verified load by GETFILE, a connection per file" 0 0 load getfile
do_step i "verified load by GETFILE, kept connections" 0 0 load getfile --keep-alive
do_step j "verified load by HTTP, kept connections" 0 0 load http --keep-alive
do_step k "open loop of 2000 files a second by GETFILE, verified" 0 0 load getfile --rate 2000
do_step l "open loop of 2000 files a second by HTTP, verified" 0 0 load http --rate 2000 \
  --keep-alive

counters=$(curl -q -sS "http://$(ready_key getfile-server metrics)/metrics" |
  grep '^getfile_requests_total{') || die "read the server's metrics: no requests by status there"
closing=$'The server since its restart, requests by status:\n'$counters
stop_daemon getfile-server || die "stop getfile-server: exit status $?"
