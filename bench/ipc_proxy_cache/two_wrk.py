"""wrk twice at the same time, with half of the connections each: it knows one address only."""

import dataclasses
import json
import re
import shlex

from harness import wrk
from harness.processes import CLIENT_BUSY, Account, run_client
from harness.rows import Measurement, MeasurementFailed
from ipc_proxy_cache.servers import Servers


def _argv(load: wrk.Load, seconds: float, server: str) -> list[str]:
    """With one thread, since there are two of it."""
    return ["-t1" if word == f"-t{load.threads}" else word for word in load.argv(seconds, server)]


def command(argvs: list[list[str]]) -> str:
    return " & ".join(map(shlex.join, argvs)) + " & wait"


def measure(servers: Servers, addresses: tuple[str, str], load: wrk.Load, seconds: float
            ) -> Measurement:
    """load.connections: of both together. Everything else as in wrk.measure()."""
    half = dataclasses.replace(load, connections=load.connections // 2)
    shown = [_argv(half, seconds, name) for name in ("SERVER1", "SERVER2")]
    argvs = [_argv(half, seconds, address) for address in addresses]
    for argv in argvs:
        argv[-1:-1] = ["-s", str(wrk.SCRIPT)]
    servers.check()
    with Account(servers) as account:
        printed, cpu = run_client(["bash", "-c", command(argvs)], seconds + 60)
    runs = [json.loads(found) for found in re.findall(r"^JSON (.*)$", printed, re.MULTILINE)]
    if len(runs) != 2:
        raise MeasurementFailed(f"run {command(argvs)}: no two summaries: {printed[-200:]}")
    requests = sum(run["requests"] for run in runs)
    errors = sum(sum(run["errors"].values()) for run in runs)
    if errors > wrk.ERRORS_ALLOWED * requests:
        raise MeasurementFailed(f"run {command(argvs)}: {errors} errors in {requests} requests")
    large = load.body_bytes >= wrk.LARGE_BYTES
    work = sum(run["bytes"] for run in runs) / load.body_bytes if large else requests
    value = sum((run["bytes"] / 1e6 if large else run["requests"]) / (run["duration_us"] / 1e6)
                for run in runs)
    return Measurement(value, command(shown).replace("SERVER", "$SERVER"), {
        **account.columns(work, cpu), CLIENT_BUSY: cpu / (seconds * 2)})
