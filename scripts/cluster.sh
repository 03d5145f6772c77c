#!/usr/bin/env bash
# Keeps daemons in the background:  scripts/cluster.sh up|down|status|logs [system…]
#   up      starts what does not run yet; returns when all of it is ready
#   down    stops it
#   status  prints a table; exit status 1 when something does not run
#   logs    prints the last lines of each log; -f follows them
# State and logs are in build/run, or in $DISTSYS_RUN. Systems are declared in scripts/cluster/.
. "$(dirname "$0")/lib.sh"

mapfile -t known < <(systems_in cluster)
usage="usage: scripts/cluster.sh up|down|status|logs [-f] [${known[*]}]…"
verb=${1:-}
[[ $verb =~ ^(up|down|status|logs)$ ]] || usage_error "$usage"
shift
follow=()
if [[ $verb == logs && ${1:-} == -f ]]; then
  follow=(-F)
  shift
fi
systems=("$@")
((${#systems[@]})) || systems=("${known[@]}")
for system in "${systems[@]}"; do
  [[ " ${known[*]} " == *" $system "* ]] ||
    usage_error "cluster.sh: $system: no such system" "$usage"
done

run_folder=$(realpath -m "${DISTSYS_RUN:-$repo/build/run}")
names=()

# daemon NAME PROGRAM argument…: how the files in scripts/cluster/ declare a daemon, in the order of
# starting. Only `up` starts it here and now, so a later one may ask for its ready_key.
daemon() {
  local name=$1 program=$bin/$2 pid
  shift 2
  names+=("$name")
  daemon_folder[$name]=$run_folder/$system
  [[ $verb == up ]] || return 0
  if pid=$(daemon_pid "$name"); then
    note "$name: runs already, pid $pid"
    return
  fi
  [[ -x $program ]] || die "start $name: $program is not built \
(scripts/bootstrap.sh && cmake --preset release && cmake --build --preset release)"
  start_daemon "$name" "$run_folder/$system" "$program" "$@"
  listen=$(ready_key "$name" listen)
  note "$name: ready${listen:+, listens on $listen}"
}

for system in "${systems[@]}"; do
  # shellcheck source=/dev/null
  . "$repo/scripts/cluster/$system.sh"
done

bad=0
case $verb in
  down)
    for ((i = ${#names[@]} - 1; i >= 0; --i)); do
      pid=$(daemon_pid "${names[i]}") || pid=
      stop_daemon "${names[i]}" || bad=1
      note "${names[i]}: ${pid:+stopped, was pid }${pid:-did not run}"
    done
    ;;
  status)
    row='%-16s %-24s %8s %-8s %s\n'
    # shellcheck disable=SC2059
    printf "$row" SYSTEM DAEMON PID STATE LISTEN
    for name in "${names[@]}"; do
      state=running listen=$(ready_key "$name" listen)
      if ! pid=$(daemon_pid "$name"); then
        bad=1 pid=- listen='' state=stopped
        [[ ! -e ${daemon_folder[$name]}/$name.pid ]] || state=crashed
      fi
      # shellcheck disable=SC2059
      printf "$row" "${daemon_folder[$name]##*/}" "$name" "$pid" "$state" "${listen:--}"
    done
    ;;
  logs)
    files=()
    for name in "${names[@]}"; do
      [[ ! -e ${daemon_folder[$name]}/$name.log ]] || files+=("${daemon_folder[$name]}/$name.log")
    done
    ((${#files[@]})) || die "logs: there are none in $run_folder (scripts/cluster.sh up)"
    exec tail -n 20 "${follow[@]}" -v "${files[@]}"
    ;;
esac
exit "$bad"
