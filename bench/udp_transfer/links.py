"""Transfers through emulated links. Those of one round run at the same time, each on a link of its
own: a link of 100 Mbit/s needs a small part of a core, and what else the machine does meets all."""

import concurrent.futures
import dataclasses
import json
import pathlib
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence

from harness.processes import run_client
from harness.rows import MeasurementFailed
from udp_transfer.senders import LIMIT_SECONDS, Place, Sender, shell

RATE_MBIT = 100
SIDE_B = "10.77.0.2"
FIRST_PORT = 5100
# Of a packet of 1500 bytes: what is left of it for the file in our fast mode.
PAYLOAD_SHARE = 1444 / 1500
EMULATOR_LATE_US_MAX = 2000  # the mean of a link; beyond, it was not the link that it should be

# Runs a client at most $1 s, its output into $2, and says when it began and ended, how, and what
# has arrived in folder $3 by then.
TIMED = r"""
limit=$1 out=$2 folder=$3; shift 3
begin=$EPOCHREALTIME
timeout -k 1 "$limit" "$@" >"$out" 2>&1 </dev/null; status=$?
end=$EPOCHREALTIME
printf 'TIMED %s %s %s %s\n' "$out" "$begin" "$end" "$status"
find "$folder" -type f -printf "FILE $out %s %b\n"
"""


@dataclasses.dataclass(frozen=True)
class Profile:
    name: str
    rtt_ms: float
    loss_percent: float  # each way
    rate_mbit: float | None = RATE_MBIT

    def options(self) -> list[str]:
        return [*(["--rate", f"{self.rate_mbit:g}"] if self.rate_mbit else []),
                "--delay", f"{self.rtt_ms / 2:g}", "--loss", f"{self.loss_percent:g}"]

    def goodput_limit(self) -> float:
        return RATE_MBIT * (1 - self.loss_percent / 100) * PAYLOAD_SHARE


@dataclasses.dataclass(frozen=True)
class Transfer:
    mbit_per_s: float
    bytes: int
    complete: bool
    sent_share: float  # bytes that went into the link, of the bytes that arrived
    late_us: float  # of the emulator, mean
    command: str


@dataclasses.dataclass(frozen=True)
class Link:
    """One emulated link and what is sent through it, by all senders together."""

    profile: Profile
    senders: Sequence[Sender]
    file: Callable[[], pathlib.Path]
    seconds: float = LIMIT_SECONDS
    seed: int = 1


class Links:
    def __init__(self, paths: Mapping[str, str], scratch: pathlib.Path):
        self._paths = paths
        self._scratch = scratch
        self._lock = threading.Lock()
        self._runs = 0

    def run(self, link: Link) -> list[Transfer]:
        with self._lock:
            self._runs += 1
            folder = self._scratch / f"link-{self._runs}"
            file = link.file()
        folder.mkdir(parents=True)
        try:
            return self._run(folder, link, file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, folder: pathlib.Path, link: Link, file: pathlib.Path) -> list[Transfer]:
        profile, senders = link.profile, link.senders
        argv = [self._paths["link-emulator"], *profile.options(), "--seed", str(link.seed),
                "--json"]
        script = ""
        clients, outs, places = [], [], []
        for i, sender in enumerate(senders):
            place = Place(SIDE_B, FIRST_PORT + i, folder / f"to-{i}")
            place.folder.mkdir(mode=0o777)
            if sender.name.startswith("atftp"):  # it writes only to files that anybody may write
                place.folder.chmod(0o777)
                (place.folder / file.name).touch()
                (place.folder / file.name).chmod(0o666)
            out = folder / f"out-{i}"
            client = sender.client(self._paths, place, file, link.seconds)
            kill_after = link.seconds + (2 if sender.ends_itself else 0)
            argv += ["--server", "exec " + shell(sender.server(self._paths, place))]
            script += shell(["bash", "-c", TIMED, "timed", f"{kill_after:g}", str(out),
                             str(place.folder), *client]) + " &\n"
            clients.append(client)
            outs.append(out)
            places.append(place)
        argv += ["--", "bash", "-c", script + "wait"]
        printed, _ = run_client(argv, link.seconds + 60)
        lines = printed.splitlines()
        counters = json.loads(lines[-1])["a_to_b"]
        if counters["dropped_by_device"] or counters["overflowed"]:
            raise MeasurementFailed(
                f"emulate {profile.name}: the emulator lost packets: {counters}")
        if counters["late_us_mean"] > EMULATOR_LATE_US_MAX:
            raise MeasurementFailed(
                f"emulate {profile.name}: packets came {counters['late_us_mean']} µs late: the "
                "machine is too busy")
        transfers = []
        for sender, client, out, place in zip(senders, clients, outs, places):
            text = out.read_text(errors="replace")
            [[begin, end, status]] = [line.split()[2:] for line in lines
                                      if line.startswith(f"TIMED {out} ")]
            seconds = float(end) - float(begin)
            told = re.findall(r"^\{.*\}$", text, re.MULTILINE)
            complete = status == "0"
            # One that was cut short tells of what is stored: nothing of this file.
            if told and "bytes" in json.loads(told[-1]) and (complete or sender.ends_itself):
                result = json.loads(told[-1])
                arrived, seconds = result["bytes"], result["seconds"]
                complete = complete and result.get("complete", True)
            elif complete:
                arrived = file.stat().st_size
            else:
                # A file may have holes where nothing has come yet.
                arrived = sum(min(int(size), 512 * int(blocks)) for size, blocks in (
                    line.split()[2:] for line in lines if line.startswith(f"FILE {out} ")))
            if status not in ("0", "124", "137") or not arrived:
                raise MeasurementFailed(f"run {shell(client)}: exit status {status}, {arrived} "
                                        f"bytes arrived: {text.strip()[-300:]}")
            command = shell(["link-emulator", *profile.options(), "--", *client]).replace(
                str(file), file.name)
            for path in self._paths.values():
                command = command.replace(path, pathlib.Path(path).name)
            transfers.append(Transfer(8e-6 * arrived / seconds, arrived, complete,
                                      counters["bytes"] / arrived, counters["late_us_mean"],
                                      command))
        return transfers

    def at_once(self, links: Sequence[Link]) -> dict[tuple[str, str], Transfer | MeasurementFailed]:
        """All links at the same time; the results by the names of profile and sender."""
        def run(link: Link):
            try:
                return self.run(link)
            except MeasurementFailed as failure:  # of this link: the others do not mind
                return [failure] * len(link.senders)

        with concurrent.futures.ThreadPoolExecutor(len(links)) as pool:
            return {(link.profile.name, sender.name): transfer
                    for link, transfers in zip(links, pool.map(run, links))
                    for sender, transfer in zip(link.senders, transfers)}
