#!/usr/bin/env python3
"""Many clients ask for one path at the same moment; prints how it went, as JSON.

usage: crowd.py CLIENTS PATH HOST:PORT…

All are connected, in turn to each of the addresses, before the first one asks. Fails when an answer
is not complete, not 200, or another one than the others'.
"""

import json
import selectors
import socket
import sys
import time

LIMIT_SECONDS = 30


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setblocking(False)
        self.answer = bytearray()

    def complete(self):
        """After some more has come."""
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return False
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return len(body) >= int(line.partition(b":")[2])
        sys.exit(f"crowd.py: an answer without a length: {bytes(head)}")


def main():
    count, path, addresses = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    clients = [Client(*addresses[i % len(addresses)].rsplit(":", 1)) for i in range(count)]
    request = f"GET {path} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode()
    waiting = selectors.DefaultSelector()
    for client in clients:
        waiting.register(client.socket, selectors.EVENT_READ, client)
    begin = time.monotonic()
    for client in clients:
        client.socket.send(request)
    asked = time.monotonic()
    left = count
    while left:
        if time.monotonic() - begin > LIMIT_SECONDS:
            sys.exit(f"crowd.py: {left} of {count} have no answer after {LIMIT_SECONDS} s")
        for key, _ in waiting.select(1):
            client = key.data
            more = client.socket.recv(1 << 18)
            client.answer += more
            if not more:
                sys.exit(f"crowd.py: an answer ended after {len(client.answer)} bytes")
            if client.complete():
                waiting.unregister(client.socket)
                left -= 1
    seconds = time.monotonic() - begin
    bodies = {bytes(client.answer.partition(b"\r\n\r\n")[2]) for client in clients}
    statuses = {bytes(client.answer.split(b" ", 2)[1]) for client in clients}
    if len(bodies) != 1 or statuses != {b"200"}:
        sys.exit(f"crowd.py: {len(bodies)} different bodies, statuses {statuses}")
    print(json.dumps({"clients": count, "seconds": seconds, "asking_seconds": asked - begin,
                      "bytes": len(bodies.pop())}))


if __name__ == "__main__":
    main()
