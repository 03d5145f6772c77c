# On the default ports; the ZeroMQ workers serve both ways of asking.
# shellcheck shell=bash
daemon prime-server prime-server
daemon zmq-server zmq-server 5555 5556 5557 5558 --reliable 127.0.0.1:5559
daemon zmq-prime zmq-prime 5557 5558 --reliable 127.0.0.1:5559
daemon zmq-gcd zmq-gcd 5557 5558 --reliable 127.0.0.1:5559
daemon text-server text-server
