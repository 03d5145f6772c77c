#!/usr/bin/python3
"""Classic peers of the ZeroMQ services that are none of ours, and hostile ones; by pyzmq.

zmq_peer.py client CLIENT_IN CLIENT_OUT LINE…       prints what was published, until all is answered
zmq_peer.py worker WORKER_IN WORKER_OUT PREFIX [COPIES]   prints READY, then each request
zmq_peer.py server [echo]                           prints READY with its four addresses
zmq_peer.py many CLIENT_IN CLIENT_OUT COUNT         so many clients at once
zmq_peer.py lines CLIENT_IN COUNT                   sends so many commands without waiting
zmq_peer.py held CLIENT_IN CLIENT_OUT WORKER_IN     a worker that joins late and counts, see below
zmq_peer.py flood SUBSCRIBERS…                      subscribes and unsubscribes for ever
zmq_peer.py newer HOST:PORT                         a reliable broker of another version
zmq_peer.py hostile CLIENT_IN WORKER_IN WORKER_OUT RELIABLE
zmq_peer.py metric HOST:PORT NAME
zmq_peer.py terminal PROGRAM ARGUMENT…              types at a terminal; prints its end
"""

import math
import os
import pty
import socket as tcp
import sys
import threading
import urllib.request

import zmq
from zmq.utils.monitor import recv_monitor_message

context = zmq.Context()
context.set(zmq.MAX_SOCKETS, 4000)
LIMIT_MS = 60_000  # of last resort


def make(kind, address=None, subscribe=None):
    socket = context.socket(kind)
    socket.linger = 1000
    socket.rcvtimeo = socket.sndtimeo = LIMIT_MS
    socket.set_hwm(0)  # what is lost was lost by others
    if subscribe is not None:
        socket.subscribe(subscribe)
    if address:
        socket.connect(f"tcp://{address}")
    return socket


def connected(kind, address, subscribe=None):
    """A socket whose connection stands."""
    socket = make(kind, None, subscribe)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    socket.connect(f"tcp://{address}")
    assert monitor.poll(LIMIT_MS), f"{address}: no connection"
    recv_monitor_message(monitor)
    socket.disable_monitor()
    return socket


def say(text):
    print(text, flush=True)


def compute(line):
    word, *operands = line.split()
    if word == "gcd":
        a, b = map(int, operands)
        return f"gcd for {a} {b} is {math.gcd(a, b)}"
    n = int(operands[0])
    prime = n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))
    return f"{n} is {'' if prime else 'not '}prime"


def client(client_in, client_out, *lines):
    subscriber = connected(zmq.SUB, client_out, "")
    requests = make(zmq.REQ, client_in)
    for line in lines:
        requests.send_string(line)
        requests.recv_string()
        if line.startswith(("isprime", "gcd")):
            while True:
                text = subscriber.recv_string()
                say(text)
                if text != line:
                    break
        else:
            say(subscriber.recv_string())


def worker(worker_in, worker_out, prefix, copies="1"):
    requests = connected(zmq.SUB, worker_in, prefix)
    answers = make(zmq.XPUB, worker_out)  # PUB on the wire
    assert answers.recv() == b"\1"
    say("READY")
    requests.rcvtimeo = -1
    while True:
        line = requests.recv_string()
        say(line)
        for _ in range(int(copies)):
            answers.send_string(compute(line))


def server(echo=""):
    sockets = [make(kind) for kind in (zmq.REP, zmq.PUB, zmq.XPUB, zmq.SUB)]
    client_in, client_out, worker_in, worker_out = sockets
    worker_out.subscribe("")
    ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in sockets]
    say("READY " + " ".join(f"127.0.0.1:{port}" for port in ports))
    poller = zmq.Poller()
    for socket in (client_in, worker_in, worker_out):
        poller.register(socket, zmq.POLLIN)
    subscriptions = set()
    while True:
        events = dict(poller.poll())
        if worker_in in events:
            subscriptions.add(worker_in.recv())
            say(f"SUBSCRIBED {len(subscriptions)}")
        if client_in in events:
            line = client_in.recv_string()
            client_in.send_string("message received, whatever it was")
            if line.startswith(("isprime", "gcd")):
                worker_in.send_string(line)
                if echo:
                    client_out.send_string(line)
            else:
                client_out.send_string(line)
        if worker_out in events:
            client_out.send_string(worker_out.recv_string())


def many(client_in, client_out, count):
    count = int(count)
    subscribers = [connected(zmq.SUB, client_out, f"{i} is ") for i in range(count)]
    requests = [make(zmq.REQ, client_in) for i in range(count)]
    for i in range(count):
        requests[i].send_string(f"isprime {i}")
    for i in range(count):
        requests[i].recv_string()
    for i in range(count):
        assert subscribers[i].recv_string() == compute(f"isprime {i}"), i
    say(f"{count} clients served")
    os._exit(0)  # closing takes longer than all the rest


def send_commands(client_in, numbers):
    """All at once; returns when the broker has confirmed them."""
    requests = make(zmq.DEALER, client_in)
    for number in numbers:
        requests.send_multipart([b"", f"isprime {number}".encode()])
    for _ in numbers:
        assert requests.recv_multipart() == [b"", b"ok"]


def lines(client_in, count):
    send_commands(client_in, range(int(count)))
    say("SENT")


def held(client_in, client_out, worker_in):
    """Requests wait for a worker, are published to it all at once when it comes, and are never
    answered. Whatever the time did to them: those of which the broker says that a worker had them
    must have come to the worker."""
    groups, size = 10, 500  # for each subscriber so few that none is lost for a full queue
    numbers = [(10 + group) * 10**6 + i for group in range(groups) for i in range(size)]
    errors = [connected(zmq.SUB, client_out, f"error: isprime {10 + group}")
              for group in range(groups)]
    published = 0
    while published < len(numbers) // 2:
        requests = connected(zmq.SUB, worker_in)
        send_commands(client_in, numbers)
        requests.subscribe("isprime")
        texts = [subscriber.recv_string() for subscriber in errors for _ in range(size)]
        published = sum("no worker has answered" in text for text in texts)
        send_commands(client_in, [7])
        received = 0
        while requests.recv_string() != "isprime 7":
            received += 1
        say(f"{published} published, {received} received")
        assert received == published
        requests.close()
    say("DONE")


def zmtp_subscriber(address):
    """A plain socket that has said what a SUB socket says first."""
    host, port = address.rsplit(":", 1)
    connection = tcp.create_connection((host, int(port)))
    null = b"NULL".ljust(20, b"\0") + bytes(32)
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\3\0" + null)
    ready = b"\5READY\x0bSocket-Type" + (3).to_bytes(4, "big") + b"SUB"
    connection.sendall(b"\4" + bytes([len(ready)]) + ready)
    heard = b""  # a greeting of 64 bytes, and READY
    while len(heard) < 66 or len(heard) < 66 + heard[65]:
        heard += connection.recv(4096)
    return connection


def flood(*addresses):
    block = b"\0\2\1x\0\2\0x" * 65536  # two frames: wants "x", does not want it
    started = threading.Semaphore(0)

    def send(address):
        connection = zmtp_subscriber(address)
        for i in range(1 << 30):
            connection.sendall(block)
            if i == 1:  # 1 MiB is more than fits on the way: it is being read
                started.release()

    for address in addresses:
        threading.Thread(target=send, args=(address,), daemon=True).start()
    for _ in addresses:
        started.acquire()
    say("FLOODING")
    threading.Event().wait()


def newer(address):
    router = make(zmq.ROUTER)
    router.bind(f"tcp://{address}")
    say("READY")
    while True:
        router.send_multipart([router.recv_multipart()[0], b"DSCQ\1", b"\x08"])


def hostile(client_in, worker_in, worker_out, reliable):
    # Clients: several frames, nothing, no UTF-8, a line that is too long. Each is replied to.
    requests = make(zmq.REQ, client_in)
    for frames in ([b"isprime", b"7"], [b""], [b"\xff\xfe"], [b"isprime \xff"], [b"x" * 5000],
                   [b"isprime " + b"9" * 4000], [b"\0"], [b"a"] * 100):
        requests.send_multipart(frames)
        say(requests.recv_string())
    # REP wants an empty frame in front: what has none is dropped.
    raw = make(zmq.DEALER, client_in)
    for frames in ([b"no envelope"], [b"", b"", b""], [b"a"] * 50):
        raw.send_multipart(frames)
    # Workers.
    answers = make(zmq.XPUB, worker_out)
    assert answers.recv() == b"\1"
    for frames in ([b"\xff"], [b""], [b"7", b"is", b"prime"], [b"x" * 60_000]):
        answers.send_multipart(frames)
    subscriber = make(zmq.SUB, worker_in)
    for i in range(2000):
        subscriber.subscribe(f"isprime {i}")
    # The reliable service: nonsense, wrong versions, forged results.
    dealer = make(zmq.DEALER, reliable)
    head = b"DSCQ\1"
    for frames in ([b""], [b"hello"], [head], [head, b"\1"], [head, b"\1", b"id", b"gcd", b""],
                   [head, b"\3", b"gcd", b"\0"], [b"a"] * 100, [head, b"\5", b"12345678", b"\0", b""]):
        dealer.send_multipart(frames)
    assert dealer.recv_multipart() == [head, b"\7"]  # to the result of one who is no worker
    dealer.send_multipart([b"DSCQ\2", b"\1"])
    assert dealer.recv_multipart() == [head, b"\x08"]
    # A megabyte: the connection is cut.
    for kind, address in ((zmq.DEALER, client_in), (zmq.DEALER, reliable), (zmq.PUB, worker_out)):
        big = make(kind)
        monitor = big.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        big.connect(f"tcp://{address}")
        while not monitor.poll(50):
            big.send_multipart([b"", b"x" * (1 << 20)])
    say("DONE")


def metric(address, name):
    with urllib.request.urlopen(f"http://{address}/metrics") as page:
        for line in page.read().decode().splitlines():
            if line.startswith(name + " "):
                say(line.split()[1])


def terminal(*argv):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    seen = b""

    def read_until(text, times):
        nonlocal seen
        while seen.count(text) < times:
            seen += os.read(fd, 4096)

    read_until(b"> ", 1)
    os.write(fd, b"isprime 7\r")
    read_until(b"7 is prime\r\n> ", 1)
    os.write(fd, b"\r")  # reads what has arrived: nothing
    read_until(b"> ", 3)
    os.write(fd, b"\x03")
    read_until(b"Terminating client", 1)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
