#!/usr/bin/env python3
"""Many peers that send one byte of a request a second, and connect again when they are thrown out.

usage: slow_peers.py HOST PORT PEERS RAMP SOURCE…

They come evenly over RAMP seconds, so that their time limits do not run out all at once. Each
SOURCE address carries its share of the connections. Prints a ready line once all have connected; on
SIGTERM a line of JSON: peers that are connected then, bytes sent, connections made and lost.
"""

import json
import os
import resource
import select
import signal
import socket
import sys
import time

SLOTS = 100  # a second is cut into these; every peer sends in one of them
REQUEST = b"GETFILE GET /" + b"a" * 4000  # far from complete whenever the connection ends


class SlowPeers:
    def __init__(self, target, count, sources):
        self.target = target
        self.sources = sources
        self.epoll = select.epoll()
        self.peers = [None] * count  # sockets by number
        self.sent = [0] * count  # bytes on the present connection
        self.number_of = {}  # by descriptor
        self.absent = []  # numbers that have to connect again
        self.made = self.lost = self.bytes = 0

    def connect(self, number):
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # The port is found by connect(), when the other end is known: TIME_WAIT is no obstacle.
        peer.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        try:
            peer.bind((self.sources[number % len(self.sources)], 0))
            peer.connect(self.target)
        except BlockingIOError:
            pass
        except OSError:
            peer.close()
            self.absent.append(number)
            return
        self.peers[number] = peer
        self.sent[number] = 0
        self.number_of[peer.fileno()] = number
        self.epoll.register(peer, select.EPOLLIN | select.EPOLLRDHUP)
        self.made += 1

    def drop(self, number):
        peer = self.peers[number]
        self.peers[number] = None
        del self.number_of[peer.fileno()]
        peer.close()
        self.lost += 1
        self.absent.append(number)

    def take_events(self, seconds):
        for fd, _ in self.epoll.poll(seconds, 4096):
            number = self.number_of.get(fd)
            if number is not None:  # an answer or the end: either way the connection is over
                self.drop(number)

    def send(self, slot):
        for number in range(slot, len(self.peers), SLOTS):
            peer = self.peers[number]
            if peer is None:
                continue
            at = self.sent[number]
            try:
                peer.send(REQUEST[at:at + 1])
            except BlockingIOError:  # still connecting
                continue
            except OSError:
                self.drop(number)
                continue
            self.sent[number] = at + 1
            self.bytes += 1

    def run(self, ramp):
        count, begun, ready = 0, time.monotonic(), False
        tick = 0
        while True:
            now = time.monotonic()
            due = len(self.peers) if now - begun >= ramp else int(
                len(self.peers) * (now - begun) / ramp)
            for number in range(count, due):
                self.connect(number)
            count = max(count, due)
            absent, self.absent = self.absent, []
            for number in absent:
                self.connect(number)
            if not ready and count == len(self.peers) and not self.absent:
                print(f"READY slow_peers pid={os.getpid()}", flush=True)
                ready = True
            next_tick = begun + (tick + 1) / SLOTS
            if now >= next_tick:
                tick += 1
                self.send(tick % SLOTS)
            else:
                self.take_events(next_tick - now)


def main():
    host, port, count, ramp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peers = SlowPeers((host, port), count, sys.argv[5:])

    def report(_number, _frame):
        connected = sum(peer is not None for peer in peers.peers)
        print(json.dumps({"connected": connected, "bytes": peers.bytes, "made": peers.made,
                          "lost": peers.lost}), flush=True)
        os._exit(0)  # at once: ten thousand closes are the kernel's work

    signal.signal(signal.SIGTERM, report)
    peers.run(ramp)


if __name__ == "__main__":
    main()
