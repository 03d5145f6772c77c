# The machine's own documentation, on the default port.
# shellcheck shell=bash
daemon getfile-server getfile-server --root /usr/share/doc
