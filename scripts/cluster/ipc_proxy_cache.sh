# A cache and two proxies of the getfile-server that is in this cluster, too; the first one is on the
# default port.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run_folder and system are those of cluster.sh
socket=$run_folder/$system/getfile-cached.sock
daemon getfile-cached getfile-cached --socket "$socket"
daemon getfile-proxy-1 getfile-proxy -s http://127.0.0.1:10880 --cache-socket "$socket"
daemon getfile-proxy-2 getfile-proxy -s http://127.0.0.1:10880 --cache-socket "$socket" -p 10882
