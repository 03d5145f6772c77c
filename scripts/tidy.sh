#!/usr/bin/env bash
# Form and lint of the C++ here:  scripts/tidy.sh [--all] [--minutes N]
# clang-format looks at every file. clang-tidy, which is slow, looks at those that changed since
# $TIDY_BASE, else since the branch left origin/main, else (on main itself) in the last 20 commits;
# with --all at every one. With --minutes it begins no further file after that time, and says how
# many it has left; the files changed last come first. A changed header is checked through the .cc of its name, or through the
# first one that includes it.
. "$(dirname "$0")/lib.sh"
cd "$repo"

usage='usage: scripts/tidy.sh [--all] [--minutes N]'
all=false minutes=
while (($#)); do
  case "$1" in
    --all) all=true ;;
    --minutes)
      [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "$usage"
      minutes=$2
      shift
      ;;
    *) usage_error "$usage" ;;
  esac
  shift
done

failed=0
mapfile -t sources < <(
  git ls-files --cached --others --exclude-standard -- '*.h' '*.cc' |
    while read -r file; do [[ ! -e $file ]] || printf '%s\n' "$file"; done
)
((${#sources[@]})) || die "find C++ files: there are none"
printf '%s\n' "${sources[@]}" | xargs -d '\n' clang-format-14 --dry-run --Werror || failed=1
note "clang-format: ${#sources[@]} files checked"

# ---- The files for clang-tidy.

base() {
  local merge_base
  if [[ -n ${TIDY_BASE:-} ]]; then
    git rev-parse --verify --quiet "$TIDY_BASE^{commit}" ||
      die "find \$TIDY_BASE: there is no commit $TIDY_BASE"
  elif merge_base=$(git merge-base HEAD origin/main 2>/dev/null) &&
    [[ $merge_base != "$(git rev-parse HEAD)" ]]; then
    printf '%s\n' "$merge_base"
  else # a history that is shorter than that is checked whole: against the empty tree
    git rev-parse --verify --quiet 'HEAD~20^{commit}' || git hash-object -t tree /dev/null
  fi
}

if $all; then
  changed=("${sources[@]}")
else
  since=$(base)
  mapfile -t changed < <(
    git diff --name-only --diff-filter=d "$since" -- '*.h' '*.cc'
    git ls-files --others --exclude-standard -- '*.h' '*.cc'
  )
fi
cmake --preset tidy >/dev/null # each time: no build of this preset would notice new files
cmake --build --preset tidy --target generated >/dev/null
commands=build/tidy/compile_commands.json
compiled() { grep -qF "\"file\": \"$repo/$1\"" "$commands"; }
units=() left_out=()
while read -r file; do
  if compiled "$file"; then units+=("$file"); else left_out+=("$file"); fi
done < <(
  for file in "${changed[@]}"; do
    while [[ $file == *.h ]]; do
      if [[ -e ${file%.h}.cc ]]; then
        file=${file%.h}.cc
      else
        file=$(git grep --untracked -lF "#include \"$file\"" -- '*.cc' '*.h' | sed 1q) || true
      fi
    done
    [[ -z $file ]] || printf '%s\n' "$file"
  done | sort -u
)

export deadline=
[[ -z $minutes ]] || deadline=$(($(date +%s) + 60 * minutes))
left=$(mktemp)
export left
trap 'rm -f "$left"' EXIT
if [[ -n $minutes ]]; then
  mapfile -t units < <(
    for file in "${units[@]}"; do
      printf '%s %s\n' "$(git log -1 --format=%ct -- "$file")" "$file"
    done | sort -rn -k1,1 -s | cut -d' ' -f2-
  )
fi

check_one() {
  local out
  if [[ -n $deadline ]] && (($(date +%s) >= deadline)); then
    printf '%s\n' "$1" >>"$left"
    return 0
  fi
  out=$(clang-tidy-14 -p build/tidy --quiet "$1" 2>&1) || {
    printf '%s\n' "$out" | grep -vE '^[0-9]+ warnings? .*generated|^Suppressed|^Use -header-filter'
    return 1
  }
}
export -f check_one
if ((${#units[@]})); then
  # shellcheck disable=SC2016
  printf '%s\n' "${units[@]}" | xargs -d '\n' -P 2 -I{} bash -c 'check_one "$1"' _ {} || failed=1
fi
unchecked=$(wc -l <"$left")
note "clang-tidy: $((${#units[@]} - unchecked)) files checked"
((unchecked == 0)) || note "clang-tidy: $minutes minutes are over; $unchecked files not checked"
((${#left_out[@]} == 0)) ||
  note "clang-tidy: left out, not compiled in the tidy preset: ${left_out[*]}"
((failed == 0)) || die "findings above"
