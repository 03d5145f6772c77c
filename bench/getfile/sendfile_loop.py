#!/usr/bin/env python3
"""sendfile(2) of one file in a loop, to one HTTP client at a time: what the machine can carry.

usage: sendfile_loop.py HOST PORT FILE

It parses nothing and looks nothing up; every request is answered with the file. For large files the
interpreter is not what limits it; for small ones it would be.
"""

import os
import socket
import sys


def serve(peer, file, size):
    header = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    request = b""
    while True:
        while b"\r\n\r\n" not in request:
            more = peer.recv(4096)
            if not more:
                return
            request += more
        request = request.partition(b"\r\n\r\n")[2]
        peer.sendall(header, socket.MSG_MORE)
        sent = 0
        while sent < size:
            sent += os.sendfile(peer.fileno(), file, sent, size - sent)


def main():
    host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    file = os.open(path, os.O_RDONLY)
    listener = socket.create_server((host, port), backlog=16)
    print(f"READY sendfile_loop listen={host}:{listener.getsockname()[1]}", flush=True)
    while True:
        peer, _ = listener.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                serve(peer, file, os.fstat(file).st_size)
            except OSError:
                pass  # the client had enough


if __name__ == "__main__":
    main()
