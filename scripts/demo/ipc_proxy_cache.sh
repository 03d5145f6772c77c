#!/usr/bin/env bash
# Two getfile-proxy and one getfile-cached in front of an nginx, at their main job: files fetched
# through one are hits of the other, a crowd's misses of one path are one fetch, also across a
# kill -9 of the proxy that leads it; purges; an origin and a cache that die and come back. Every
# file is checked by SHA-256, and what reached the origin by its own log. Needs the release build
# (scripts/demo.sh sees to it).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../demo_lib.sh"

ctl=$bin/getfile-cachectl
for program in getfile-cached getfile-proxy getfile-cachectl getfile-client getfile-bench; do
  [[ -x $bin/$program ]] || die "run $bin/$program: it is not built (scripts/demo.sh does that)"
done
nginx=$(PATH=$PATH:/usr/sbin:/sbin command -v nginx) ||
  die "start the origin: nginx is not installed (scripts/bootstrap.sh)"
socket=$scratch/cache.sock
origin=127.21.$(($$ / 256 % 256)).$(($$ % 256)):8080 # nobody else's: the pid is ours
origin_log=$scratch/origin.access

# ---- The origin: files of the machine's documentation, a large one, and names that are slow.

root=/usr/share/doc
(($(find "$root" -type f 2>/dev/null | head -n 400 | wc -l) == 400)) || root=/usr/share
www=$scratch/www
mkdir -p "$www/doc"
i=0
while IFS= read -r -d '' file; do
  printf -v name '%s/doc/%03d' "$www" $((i++))
  cp --no-preserve=mode "$file" "$name"
done < <(find "$root" -type f -readable -size -512k -size +0 -print0 | sort -z | head -z -n 400)
head -c 3M /dev/urandom >"$www/slow.bin"
head -c 24M /dev/urandom >"$www/large.bin"
(cd "$www" && find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum) >"$scratch/sums"
grep ' doc/' "$scratch/sums" | sed 's|.* |/|' >"$scratch/workload"
count=$(wc -l <"$scratch/workload")
bytes=$(cd "$www/doc" && cat -- * | wc -c)

cat >"$scratch/nginx.conf" <<END
user $(id -un) $(id -gn);
worker_processes 1;
pid $scratch/nginx.pid;
daemon off;
events { worker_connections 1024; }
http {
  log_format asked '\$request_uri \$status';
  access_log $origin_log asked;
  client_body_temp_path $scratch/temp;
  proxy_temp_path $scratch/temp;
  fastcgi_temp_path $scratch/temp;
  uwsgi_temp_path $scratch/temp;
  scgi_temp_path $scratch/temp;
  server {
    listen $origin;
    root $www;
    location /slow/ { # any name: the same 3 MiB, in 3 s
      rewrite ^ /slow.bin break;
      limit_rate 1m;
    }
  }
}
END

start_origin() { # nginx has no ready line
  # shellcheck disable=SC2016
  start_daemon origin "$run" bash -c '
    (until : >"/dev/tcp/${1%:*}/${1#*:}"; do sleep 0.02; done 2>/dev/null
     printf "READY nginx listen=%s pid=%d\n" "$1" $$) &
    exec "$2" -p "$3" -e stderr -c "$3/nginx.conf"' origin "$origin" "$nginx" "$scratch"
}
start_cache() { start_daemon getfile-cached "$run" "$bin/getfile-cached" --socket "$socket"; }
start_proxy() { # start_proxy NAME PORT
  start_daemon "$1" "$run" "$bin/getfile-proxy" -s "http://$origin" -p "$2" -t 2 \
    --cache-socket "$socket" --metrics 127.0.0.1:0
}

# ---- What is looked at.

# asked [PATTERN]: how many lines of the origin's log match.
asked() { grep -cE "${1:-.}" "$origin_log" || true; }

# asked_is WHAT COUNT [PATTERN]: the origin was asked so often; it logs after an answer's last byte.
asked_is() {
  local deadline=$((SECONDS + 5))
  while (($(asked "${3:-.}") < $2 && SECONDS < deadline)); do sleep 0.02; done
  same "$1: requests to the origin" "$2" "$(asked "${3:-.}")"
}

# served NAME KIND: how many answers of that proxy had this X-Cache.
served() {
  curl -q -sS "http://$(ready_key "$1" metrics)/metrics" |
    awk -v name="getfile_proxy_served_total{cache=\"$2\"}" '$1 == name { print $2; found = 1 }
      END { exit !found }' || die "read the metrics of $1: no $2 there"
}

# x_cache PORT PATH option…: by curl; prints the status and X-Cache.
x_cache() {
  curl -q -sS --noproxy '*' -o "$scratch/out" -w '%{http_code} %header{x-cache}' "${@:3}" \
    "http://127.0.0.1:$1$2" || die "fetch $2: curl failed"
}

sum_of() { awk -v name="${1#/}" '$2 == name { print $1 }' "$scratch/sums"; }
# out_is PATH: what x_cache saved.
out_is() { same "$1" "$(sum_of "$1")" "$(sha256sum <"$scratch/out" | cut -d ' ' -f 1)"; }

# eventually WHAT command…: within 10 s.
eventually() {
  local what=$1 deadline=$((SECONDS + 10))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || die "$what: not within 10 s"
    sleep 0.02
  done
}

# ---- The steps.

fetch_all() { # fetch_all PORT option…
  get "$1" -w "$scratch/workload" -t 16 --verify "$scratch/sums" -o "$scratch/got" "${@:2}"
  grep ' doc/' "$scratch/sums" >"$scratch/doc.sums"
  check "$scratch/got" "$scratch/doc.sums"
}

misses() {
  fetch_all "$port1"
  asked_is "$count files by an empty cache" "$count"
  same "misses of proxy 1" "$count" "$(served proxy-1 MISS)"
  result="ok, $count fetches"
}

hits() {
  fetch_all "$port2" --keep-alive
  asked_is "$count files by the other proxy" "$count"
  same "hits of proxy 2" "$count" "$(served proxy-2 HIT)"
  result="ok, 0 fetches"
}

http() {
  local size
  size=$(stat -c %s "$www/large.bin")
  same "GET /large.bin, first" "200 MISS" "$(x_cache "$port1" /large.bin)"
  out_is /large.bin
  same "GET /large.bin at the other proxy" "200 HIT" "$(x_cache "$port2" /large.bin --etag-save "$scratch/tag")"
  out_is /large.bin
  same "a range of it" "206 HIT" "$(x_cache "$port2" /large.bin -r 1000000-1999999)"
  same "that range" "$(tail -c +1000001 "$www/large.bin" | head -c 1000000 | sha256sum)" \
    "$(sha256sum <"$scratch/out")"
  same "GET /large.bin by its tag" "304 HIT" \
    "$(x_cache "$port1" /large.bin --etag-compare "$scratch/tag")"
  same "GET /nothing" "404 MISS" "$(x_cache "$port1" /nothing)"
  same "GET /nothing again" "404 HIT" "$(x_cache "$port2" /nothing)"
  asked_is "one miss and one 404" 2 '^/(large.bin|nothing) '
  files=6 bytes=$((2 * size + 1000000))
  result="ok, 2 fetches"
}

# crowd FOLDER PATH PORT…: 100 clients at each proxy ask at once; the log gets X-Cache of each.
crowd() {
  local folder=$1 path=$2 port i
  mkdir -p "$folder"
  for port in "${@:3}"; do
    for ((i = 0; i < 100; ++i)); do
      printf 'url = "http://127.0.0.1:%s%s"\noutput = "%s/%s.%s"\n' "$port" "$path" "$folder" \
        "$port" "$i"
    done
  done >"$folder.curl"
  curl -q -sS --noproxy '*' -Z --parallel-immediate --parallel-max 200 -w '%header{x-cache}\n' \
    -K "$folder.curl" >"$folder.log" 2>"$folder.err" || {
    tail -n 3 "$folder.err" >&2
    return 1
  }
}

# all_same FOLDER COUNT PATH: so many files, all with that path's sum.
all_same() {
  same "complete copies of $3 in $1" "$2 $(sum_of "$3")" \
    "$(sha256sum "$1"/* | awk '{ n[$1]++ } END { for (sum in n) print n[sum], sum }')"
}

coalesced() {
  crowd "$scratch/crowd" /slow/one "$port1" "$port2" || die "fetch /slow/one: curl failed"
  all_same "$scratch/crowd" 200 /slow.bin
  asked_is "200 misses of one path" 1 '^/slow/one '
  same "X-Cache of the 200" "199 COALESCED 1 MISS" \
    "$(sort "$scratch/crowd.log" | uniq -c | awk '{ print $1, $2 }' | paste -sd ' ')"
  rm -rf "$scratch/crowd"
  result="ok, 1 fetch"
}

# A client of proxy 1 has it fetched, a crowd at proxy 2 follows, and proxy 1 is killed in the middle.
leader_dies() {
  local pid crowd_pid
  curl -q -sS --noproxy '*' -o "$scratch/cut" "http://127.0.0.1:$port1/slow/two" \
    2>"$scratch/cut.err" &
  pid=$!
  eventually "the first bytes of /slow/two" test -s "$scratch/cut"
  crowd "$scratch/crowd" /slow/two "$port2" &
  crowd_pid=$!
  eventually "the crowd's first bytes" test -s "$scratch/crowd/$port2.99"
  kill_daemon proxy-1
  wait "$pid" && die "kill proxy 1: its client saw no end of it"
  wait "$crowd_pid" || die "fetch /slow/two across kill -9 of the proxy that led: curl failed"
  all_same "$scratch/crowd" 100 /slow.bin
  asked_is "the fetch that was cut, and its rest" 2 '^/slow/two '
  same "answers to the rest" 1 "$(asked '^/slow/two 206')"
  rm -rf "$scratch/crowd"
  start_proxy proxy-1 "$port1"
  same "GET /slow/two at the new proxy 1" "200 HIT" "$(x_cache "$port1" /slow/two)"
  result="ok, 1 fetch and its rest"
}

purge() {
  local before
  before=$(asked)
  same "purge of one" "purged 1" "$("$ctl" --socket "$socket" purge /doc/000)"
  same "GET /doc/000" "200 MISS" "$(x_cache "$port1" /doc/000)"
  out_is /doc/000
  same "GET /doc/001" "200 HIT" "$(x_cache "$port2" /doc/001)"
  asked_is "one purged" $((before + 1))

  same "soft purge" "purged 1" "$("$ctl" --socket "$socket" purge --soft /doc/000)"
  x_cache "$port2" /doc/000 >/dev/null
  out_is /doc/000
  asked_is "one softly purged: revalidated" 1 '^/doc/000 304'

  same "purge of all below /doc/" "purged $count" "$("$ctl" --socket "$socket" purge --prefix /doc/)"
  fetch_all "$port2"
  asked_is "all of them purged" $((before + 2 + count))
  result="ok, $((count + 2)) fetches"
}

origin_dies() {
  stop_daemon origin || die "stop nginx: exit status $?"
  fetch_all "$port1"
  same "GET of what nobody has" 502 "$(x_cache "$port1" /new | cut -d ' ' -f 1)"
  start_origin
  same "GET of it, from an origin that is back" 404 "$(x_cache "$port1" /new | cut -d ' ' -f 1)"
}

cache_dies() {
  local before
  before=$(asked)
  kill_daemon getfile-cached
  fetch_all "$port1"
  asked_is "$count files without a cache" $((before + count))
  start_cache
  eventually "a cache that is seen by proxy 1" cached_again "$port1"
  eventually "and by proxy 2" cached_again "$port2"
  fetch_all "$port1"
  before=$(asked)
  fetch_all "$port2"
  asked_is "$count files with a new cache" "$before"
  result="ok, a hit again"
}
cached_again() { [[ $(x_cache "$1" /doc/000) == "200 HIT" ]]; }

load() { # load PORT option…: two seconds, every answer verified, all of them hits
  local before
  before=$(asked)
  "$bin/getfile-bench" -s 127.0.0.1 -p "$1" -w "$scratch/workload" -c 32 -d 2 --json --keep-alive \
    --verify "$scratch/sums" "${@:2}" >"$scratch/load.json" ||
    die "load: getfile-bench failed: $(<"$scratch/load.json")"
  read_load "$scratch/load.json"
  asked_is "a load of hits" "$before"
}

no_leftovers() {
  "$ctl" --socket "$socket" doctor || die "doctor, with all running: exit status $?"
  local name
  for name in proxy-1 proxy-2 getfile-cached; do kill_daemon "$name"; done
  start_cache # takes over what the killed one left: its socket, nothing else
  "$ctl" --socket "$socket" doctor || die "doctor, after kill -9 of all and a new cache: $?"
  stop_daemon getfile-cached || die "stop getfile-cached: exit status $?"
  "$ctl" --socket "$socket" doctor || die "doctor, with nothing running: exit status $?"
  [[ ! -e $socket ]] || die "$socket: it is still there"
}

start_origin
start_cache
start_proxy proxy-1 0
start_proxy proxy-2 0
port1=$(ready_port proxy-1) port2=$(ready_port proxy-2)
: >"$origin_log" # what start_origin asked

do_step a "misses: $count files through proxy 1" "$count" "$bytes" misses
do_step b "hits: the same through proxy 2" "$count" "$bytes" hits
do_step c "HTTP by curl at both: whole, a range, conditional, 404" 6 0 http
do_step d "coalesced: 200 clients at both ask for 3 MiB at once" 200 $((600 << 20)) coalesced
do_step e "kill -9 of the proxy that leads a fetch; 100 follow it" 100 $((300 << 20)) leader_dies
do_step f "purge: one, one softly, all; fetched again" "$count" "$bytes" purge
do_step g "the origin dies: hits go on, a miss is 502" "$count" "$bytes" origin_dies
do_step h "kill -9 of the cache: from the origin; then a new one" $((3 * count)) $((3 * bytes)) \
  cache_dies
do_step i "verified load by GETFILE at proxy 1, kept connections" 0 0 load "$port1"
do_step j "verified load by HTTP at proxy 2, kept connections" 0 0 load "$port2" --protocol http
closing=$("$ctl" --socket "$socket" status) || die "getfile-cachectl status: exit status $?"
do_step k "doctor: as it runs, after kill -9 of all, after the end" 0 0 no_leftovers
stop_daemon origin || die "stop nginx: exit status $?"
