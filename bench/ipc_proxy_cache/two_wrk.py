"""wrk twice at the same time, with half of the connections each: it knows one address only."""

import dataclasses
import json
import re
import shlex

from harness import wrk
from harness.processes import CLIENT_BUSY, Account, run_client
from harness.rows import Measurement, MeasurementFailed
from ipc_proxy_cache.servers import Servers


def command(argvs: list[list[str]]) -> str:
    return " & ".join(map(shlex.join, argvs)) + " & wait"


def measure(servers: Servers, addresses: tuple[str, str], load: wrk.Load, seconds: float
            ) -> Measurement:
    """load.connections: of both together. Everything else as in wrk.measure()."""
    half = dataclasses.replace(load, connections=load.connections // 2)
    shown = [half.argv(seconds, name) for name in ("SERVER1", "SERVER2")]
    argvs = [half.argv(seconds, address) for address in addresses]
    for argv in argvs:
        argv[argv.index(f"-t{half.threads}")] = "-t1"
        argv[-1:-1] = ["-s", str(wrk.SCRIPT)]
    for argv in shown:
        argv[argv.index(f"-t{half.threads}")] = "-t1"
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
    if load.body_bytes < wrk.LARGE_BYTES:
        work, of_run = requests, lambda run: run["requests"]
    else:
        work = sum(run["bytes"] for run in runs) / load.body_bytes
        of_run = lambda run: run["bytes"] / 1e6
    value = sum(of_run(run) / (run["duration_us"] / 1e6) for run in runs)
    return Measurement(value, command(shown).replace("SERVER", "$SERVER"), {
        **account.columns(work, cpu), CLIENT_BUSY: cpu / (seconds * 2)})
