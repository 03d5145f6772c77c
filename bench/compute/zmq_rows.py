"""The ZeroMQ rows of compute: requests/s through the broker, beside what ZeroMQ does by itself."""

import contextlib
import json
import pathlib
import shlex

from compute.ours import ours
from harness.processes import CLIENT_BUSY, Account, Server, run_client
from harness.rows import Contestant, Kind, Measurement, MeasurementFailed, Role, Row, Table

P99 = "p99, µs"
CLIENTS = 64  # of the classic load
WINDOW = 256  # open requests of the reliable load
MESSAGE_BYTES = 20  # about a request
# Messages that a broker of these sockets takes and gives for a request: line, confirmation, request
# and answer twice (in, out); without confirmation in the reliable service.
MESSAGES = {"classic": 5, "reliable": 4}
PROGRAMS = ("zmq-server", "zmq-prime", "zmq-bench")


class ZmqRows:
    """A broker and a worker, started when they are first asked for; a context of the ground."""

    def __init__(self, bin_folder: pathlib.Path, scratch: pathlib.Path):
        self._bin = bin_folder
        self._scratch = scratch / "compute_zmq"
        self.programs = [ours(bin_folder / name) for name in PROGRAMS]
        self._stack = contextlib.ExitStack()
        self._broker: Server | None = None
        self._worker: Server | None = None

    def __enter__(self):
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_):
        self._stack.close()
        self._broker = self._worker = None

    def check(self) -> None:
        for server in (self._broker, self._worker):
            if server is not None:
                server.check()

    def _start(self) -> Server:
        if self._broker is None:
            self._broker = self._stack.enter_context(Server(
                "zmq-server", [str(self._bin / "zmq-server"), "0", "0", "0", "0", "--reliable", "0"],
                self._scratch))
            self._worker = self._stack.enter_context(Server(
                "zmq-prime", [str(self._bin / "zmq-prime"), self._broker.ready_key("worker_in"),
                              self._broker.ready_key("worker_out"), "--reliable",
                              self._broker.ready_key("reliable")], self._scratch))
        self._broker.check()
        self._worker.check()
        return self._broker

    def _run(self, seconds: float, arguments: list[str], shown: list[str], account: Account | None
             ) -> Measurement:
        argv = [str(self._bin / "zmq-bench"), "--seconds", f"{seconds:g}", "--json"]
        with account or contextlib.nullcontext():
            printed, client_cpu = run_client([*argv, *arguments], seconds + 60)
        try:
            result = json.loads(printed)
            rate, p99 = result["requests_per_second"], result["latency_us"]["p99"]
        except (json.JSONDecodeError, KeyError) as failure:
            raise MeasurementFailed(
                f"run {shlex.join(argv)}: not the expected JSON ({failure}): {printed[:200]}"
            ) from None
        columns = {CLIENT_BUSY: result["client_cpu_fraction"]}
        if account:
            columns |= {**account.columns(result["requests"], client_cpu), P99: p99}
        return Measurement(rate, shlex.join(["zmq-bench", "--seconds", f"{seconds:g}", *shown]),
                           columns)

    def _load(self, service: str, size: int) -> Contestant:
        def measure(seconds: float) -> Measurement:
            broker = self._start()
            if service == "classic":
                options = ["--clients", str(size)]
                addresses = [broker.ready_key("client_in"), broker.ready_key("client_out")]
                shown = ["$CLIENT_IN", "$CLIENT_OUT"]
            else:
                options = ["--window", str(size)]
                addresses, shown = [broker.ready_key("reliable")], ["$RELIABLE"]
            return self._run(seconds, [service, *options, *addresses],
                             [service, *options, *shown], Account(broker))
        return Contestant(f"zmq-server, {service}", measure)

    def _throughput(self, messages: int) -> Contestant:
        """PUSH to PULL; in requests of so many messages."""
        def measure(seconds: float) -> Measurement:
            arguments = ["throughput", "--size", str(MESSAGE_BYTES)]
            raw = self._run(seconds, arguments, arguments, None)
            return Measurement(raw.value / messages, raw.command, raw.extra)
        return Contestant("PUSH to PULL", measure)

    def tables(self) -> list[Table]:
        rows = []
        for service, size, what in (("classic", CLIENTS, f"{CLIENTS} clients"),
                                    ("classic", 1, "1 client"),
                                    ("reliable", WINDOW, f"{WINDOW} open"),
                                    ("reliable", 1, "1 open")):
            rows.append(Row(f"{service}, {what}", "requests/s", self._load(service, size),
                            self._throughput(MESSAGES[service]), role=Role.LIMIT, needs=PROGRAMS,
                            quick=size != 1))
        same = self._throughput(MESSAGES["classic"])
        rows.append(Row("control: PUSH to PULL, itself", "requests/s", same, same,
                        role=Role.CONTROL, needs=PROGRAMS))
        return [Table(
            "ZeroMQ requests beside libzmq's own throughput",
            "Requests/s through `zmq-server` and one `zmq-prime`, beside the pattern of libzmq's "
            "`local_thr` and `remote_thr` (PUSH to PULL over TCP, one way, as fast as it goes, on the "
            f"same socket options), divided by the messages of a request ({MESSAGES['classic']} "
            f"classic, {MESSAGES['reliable']} reliable). The pattern streams, and so sends hundreds of "
            "messages with one system call; requests go there and back between three processes on "
            "the same cores.",
            Kind.THROUGHPUT, 1.0, rows, (P99, CLIENT_BUSY))]
