# What the scripts here share. Sourced, never run; sets the shell options of its caller.
# shellcheck shell=bash
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for those that source this
bin=$repo/build/release/bin
script=${0##*/}

die() {
  printf '%s: %s\n' "$script" "$*" >&2
  exit 1
}

usage_error() {
  printf '%s\n' "$@" >&2
  exit 2
}

note() { printf '%s\n' "$@"; }

# timed NAME command…: runs the command and says how long it took, whatever its end.
timed() {
  local name=$1 start=$SECONDS status=0 result=''
  shift
  note "== $name"
  "$@" || status=$?
  ((status == 0)) || result=" (FAILED, exit status $status)"
  note "== $name: $((SECONDS - start)) s$result"
  return "$status"
}

# configure PRESET: only the first time; after that the build notices changes by itself. In CI, where
# warnings are errors, every time: the folder may have been configured without.
configure() {
  [[ -z ${CI:-} && -e $repo/build/$1/build.ninja && ! $repo/CMakePresets.json -nt $repo/build/$1/build.ninja ]] ||
    (cd "$repo" && cmake --preset "$1" -DDS_WERROR="${CI:-OFF}")
}

# build_preset PRESET [option of cmake --build]…
build_preset() { configure "$1" && (cd "$repo" && cmake --build --preset "$@"); }
build_release() { build_preset release; }

# systems_in FOLDER: the systems that have a script in scripts/FOLDER, one a line. SYSTEM_PART.sh
# beside SYSTEM.sh is a part of that system.
systems_in() {
  local file
  for file in "$repo/scripts/$1"/*.sh; do
    [[ -e ${file%_*}.sh ]] || basename "$file" .sh
  done
}

# ---- Daemons. Each has NAME.out, NAME.log and NAME.pid in its folder; the pid file also holds the
# start time of the process, so that a stale one is never taken for a stranger with the same pid.

declare -A daemon_folder=()

# start_time PID: in ticks since the boot; nothing for a process that is gone or a zombie.
start_time() {
  local stat fields
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} == Z ]] || printf '%s' "${fields[19]}"
}

# daemon_pid NAME: prints the pid of a daemon that runs, fails for another.
daemon_pid() {
  local pid start file=${daemon_folder[$1]}/$1.pid
  [[ -r $file ]] && read -r pid start <"$file" || return 1
  [[ -n $start && $start == "$(start_time "$pid")" ]] && printf '%s' "$pid"
}

# start_daemon NAME FOLDER command…: in the background, in a session of its own; returns when it is
# ready, ends the script when it does not get there.
start_daemon() {
  local name=$1 folder=$2 deadline=$((SECONDS + 40)) # daemons give up starting after 30 s
  shift 2
  daemon_folder[$name]=$folder
  mkdir -p "$folder"
  : >"$folder/$name.out" # before the process exists: an old ready line must not count
  setsid "$@" </dev/null >"$folder/$name.out" 2>>"$folder/$name.log" &
  printf '%d %s\n' "$!" "$(start_time "$!")" >"$folder/$name.pid"
  until grep -q '^READY ' "$folder/$name.out"; do
    if ! daemon_pid "$name" >/dev/null || ((SECONDS >= deadline)); then
      tail -n 20 "$folder/$name.log" >&2
      stop_daemon "$name" || true
      die "start $name: it ended or took too long (last lines above, all in $folder/$name.log)"
    fi
    sleep 0.02
  done
}

# ready_key NAME KEY: a value of the ready line, such as listen; nothing when it is not there.
ready_key() {
  sed -n "s/^READY .* $2=\([^ ]*\).*/\1/p" "${daemon_folder[$1]}/$1.out" 2>/dev/null || true
}

# ready_port NAME [KEY]: the port of the first address under that key.
ready_port() {
  local addresses
  addresses=$(ready_key "$1" "${2:-listen}")
  addresses=${addresses%%,*}
  printf '%s' "${addresses##*:}"
}

# end_daemon NAME: waits for a process that is about to end; returns its exit status if it is ours.
end_daemon() {
  local pid status=0 file=${daemon_folder[$1]}/$1.pid
  [[ -r $file ]] && read -r pid _ <"$file" || return 0
  wait "$pid" 2>/dev/null || status=$?
  rm -f "$file"
  ((status == 127)) || return "$status" # 127: not a child of this shell
}

# stop_daemon NAME: SIGTERM, SIGKILL after 10 s; fails when the daemon did not end well.
stop_daemon() {
  local pid status=0 deadline=$((SECONDS + 10))
  if pid=$(daemon_pid "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    while daemon_pid "$1" >/dev/null && ((SECONDS < deadline)); do sleep 0.02; done
    if daemon_pid "$1" >/dev/null; then
      printf '%s: stop %s: still there 10 s after SIGTERM: killed\n' "$script" "$1" >&2
      kill_daemon "$1"
      return 1
    fi
  fi
  end_daemon "$1" || status=$?
  return "$status"
}

# kill_daemon NAME: SIGKILL, and waits until it is gone.
kill_daemon() {
  local pid
  pid=$(daemon_pid "$1") || return 0
  { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true # quiet: bash would report the signal
  while daemon_pid "$1" >/dev/null; do sleep 0.01; done
  end_daemon "$1" || true
}

stop_all_daemons() {
  local name
  for name in "${!daemon_folder[@]}"; do stop_daemon "$name" || true; done
}
