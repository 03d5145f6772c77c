"""getfile-bench, our load generator, as the client of both sides."""

import dataclasses
import json
import pathlib
import shlex

from harness.processes import CLIENT_BUSY, Account, Server, run_client
from harness.rows import Measurement, MeasurementFailed

ERRORS_ALLOWED = 0.001
RATE_REACHED = 0.95  # of the rate asked for; below it the percentiles mean nothing
WARM_UP_SECONDS = 0.2
P99 = "p99, µs"


@dataclasses.dataclass(frozen=True)
class Load:
    protocol: str  # getfile, http
    connections: int
    keep_alive: bool
    workload: pathlib.Path
    rate: float | None = None  # requests/s; None: as fast as it goes

    def argv(self, program: str, seconds: float, address: str) -> list[str]:
        host, _, port = address.rpartition(":")
        return [program, "-s", host, "-p", port, *(["--keep-alive"] if self.keep_alive else []),
                "-t", str(min(2, self.connections)), "-c", str(self.connections),
                "-d", f"{seconds:g}", "--warmup", f"{WARM_UP_SECONDS:g}",
                *(["--rate", f"{self.rate:.0f}"] if self.rate else []),
                "-w", str(self.workload), "--protocol", self.protocol, "--json"]

    def command(self, seconds: float) -> str:
        argv = self.argv("getfile-bench", seconds, "HOST:PORT")
        argv[argv.index("-w") + 1] = self.workload.name.removeprefix("workload.") + ".txt"
        return shlex.join(argv).replace("HOST", "$HOST").replace("PORT", "$PORT")


def run(program: pathlib.Path, server: Server, address: str, load: Load, seconds: float
        ) -> tuple[dict, dict[str, float]]:
    """The tool's own result, and the columns of the report."""
    server.check()
    argv = load.argv(str(program), seconds, address)
    with Account(server) as account:
        # 1: some requests failed; how many is seen below.
        printed, client_cpu = run_client(argv, seconds + 60, good=(0, 1))
    try:
        result = json.loads(printed)
        requests, errors = result["requests"], sum(result["errors"].values())
        tail = result["latency_us"]["p99"]
    except (json.JSONDecodeError, KeyError) as failure:
        raise MeasurementFailed(
            f"run {shlex.join(argv)}: not the expected JSON ({failure}): {printed[:200]}") from None
    if errors > ERRORS_ALLOWED * requests:
        raise MeasurementFailed(
            f"run {shlex.join(argv)}: errors {result['errors']} in {requests} requests")
    # The warm-up is in the processor time, not in the requests.
    whole = requests * (1 + WARM_UP_SECONDS / seconds)
    return result, {**account.columns(whole, client_cpu), P99: tail,
                    CLIENT_BUSY: result["client_cpu_fraction"]}


def throughput(program, server, address, load, seconds) -> Measurement:
    result, columns = run(program, server, address, load, seconds)
    return Measurement(result["requests_per_second"], load.command(seconds), columns)


def p99(program, server, address, load, seconds) -> Measurement:
    result, columns = run(program, server, address, load, seconds)
    columns["rate, requests/s"] = result["requests_per_second"]
    if result["requests_per_second"] < RATE_REACHED * load.rate:
        # The requests that never began would be missing from the percentiles.
        columns[P99] = 1e6 * seconds
    return Measurement(columns.pop(P99), load.command(seconds), columns)
