# Files that come in lie below the state of the cluster; on the default port.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run_folder and system are those of cluster.sh
mkdir -p "$run_folder/$system/files"
daemon udp-server udp-server --dir "$run_folder/$system/files"
