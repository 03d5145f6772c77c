#!/usr/bin/env python3
"""An epoll loop that reads and forgets: what slow peers cost a machine that does nothing with them.

usage: sink.py HOST PORT SECONDS

A connection is closed SECONDS after it was accepted, as getfile-server does when no header has come
by then, so that the slow peers reconnect as often as they do there. It answers nothing.
"""

import collections
import resource
import select
import socket
import sys
import time


def main():
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server((host, port), backlog=4096)
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    peers = {}
    deadlines = collections.deque()  # all wait equally long, so the first in is the first out
    buffer = bytearray(4096)
    print(f"READY sink listen={host}:{listener.getsockname()[1]}", flush=True)

    def drop(fd):
        peers.pop(fd).close()  # which takes it out of the epoll set as well

    while True:
        for fd, _ in epoll.poll(0.05, 1024):
            if fd == listener.fileno():
                for _ in range(64):
                    try:
                        peer = listener.accept()[0]
                    except OSError:
                        break
                    peer.setblocking(False)
                    peers[peer.fileno()] = peer
                    epoll.register(peer, select.EPOLLIN)
                    deadlines.append((time.monotonic() + seconds, peer))
                continue
            peer = peers.get(fd)
            try:
                if peer is not None and not peer.recv_into(buffer):
                    drop(fd)
            except BlockingIOError:
                pass
            except OSError:
                drop(fd)
        now = time.monotonic()
        while deadlines and deadlines[0][0] <= now:
            peer = deadlines.popleft()[1]
            if peer.fileno() >= 0:
                drop(peer.fileno())


if __name__ == "__main__":
    main()
