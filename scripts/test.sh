#!/usr/bin/env bash
# Installs what is needed, builds and runs the tests.  scripts/test.sh [ctest arguments]
. "$(dirname "$0")/lib.sh"

timed "bootstrap" "$repo/scripts/bootstrap.sh"
timed "release build" build_release
cd "$repo"
timed "ctest" ctest --preset release --output-on-failure -j2 "$@"
