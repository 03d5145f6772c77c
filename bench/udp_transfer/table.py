"""udp_transfer's rows: emulated links beside TCP, UDT and uftp, a bottleneck shared with TCP,
stop-and-wait beside TFTP, and loopback."""

import dataclasses
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from harness import machine
from harness.pairs import WARM_UP_SECONDS
from harness.processes import Account, Server
from harness.rows import (Contestant, DerivedRow, Kind, Measurement, MeasurementFailed, Program,
                          Role, Row, System, Table)
from udp_transfer.ground import GIB, KIB, MIB, UDT_HEADER, Ground
from udp_transfer.links import RATE_MBIT, Link, Links, Profile
from udp_transfer.senders import (ATFTP, CLASSIC, FAST, LIMIT_SECONDS, TCP_BBR, TCP_CUBIC, UDT,
                                  Place, Sender, uftp)

PROFILES = (
    Profile("50 ms", 50, 0),
    Profile("50 ms, 1 %", 50, 1),
    Profile("50 ms, 5 %", 50, 5),
    Profile("100 ms, 5 %", 100, 5),
    Profile("200 ms, 10 %", 200, 10),
)
CLEAN = Profile("0 ms, no limit", 0, 0, None)
MUST_MBIT = {"50 ms, 1 %": 92.0, "100 ms, 5 %": 83.0}
STOP_AND_WAIT = Profile("stop and wait", 50, 0)
WAIT_SIZES = {64: "64 KiB, stop and wait", 256: "256 KiB, stop and wait"}  # KiB
CLASSIC_PAYLOAD = 1015  # of 1024 bytes, beside numbers of three digits
SHARED = Profile("shared", 50, 0)
SHARED_SECONDS = 12
UFTP = uftp(RATE_MBIT)


def again(sender: Sender) -> Sender:
    """Another one of them, beside the first."""
    return dataclasses.replace(sender, name=f"{sender.name}, another")


ATFTP_AGAIN = again(ATFTP)
PEERS = (TCP_BBR, TCP_CUBIC, UDT, UFTP)
SENDERS = (FAST, *PEERS)
BIG = ("128MiB", 128 * MIB)
RESIDENT_MIB_MAX = 64

MBIT, KBIT = "Mbit/s", "kbit/s"
SENT = "sent into the link, of the file"
LATE = "emulator late, µs"
CLIENT_RESIDENT = "client, peak resident, MiB"
SERVER_RESIDENT = "server, peak resident, MiB"
CLIENT_CPU = "client CPU, s/GiB"
SERVER_CPU = "server CPU, s/GiB"
TOUCH_SECONDS_PER_GIB = 1.0
NO_OVERHEAD = -0.1  # for the budget: nothing starts when a figure of a round is taken
PAIRS = {False: 9, True: 3}  # of a full run and a quick one: bench/run.py
NOT_MEASURED = Measurement(1.0, "")  # a warm-up: an emulated link has nothing to warm


class Rounds:
    """Links that are measured at the same time, as often as the first of their rows has pairs: the
    n-th measurement of a sender is that of the n-th round. A link of 100 Mbit/s takes a fourth of a
    core, so which are together is a matter of what the machine can carry (Transfer.late_us)."""

    def __init__(self, tables: "UdpTransferTables", seconds: float, links: list[Link]):
        self._tables = tables
        self._links = links
        self._rounds: list[dict] = []
        self._paid = False
        self._seconds = seconds  # a round takes about as long

    def once_seconds(self) -> float:
        """What the next row made of these rounds costs: all, for the first of them."""
        if self._paid:
            return 0.0
        self._paid = True
        return self._seconds * self._tables.pairs

    def contestant(self, profile: Profile, *senders: Sender, unit: str = MBIT, mean: bool = False
                   ) -> Contestant:
        """Several senders take turns (those of a control row), or their mean is what counts."""
        turns = [senders] if mean else [(sender,) for sender in senders]
        asked = 0

        def measure(seconds: float) -> Measurement:
            nonlocal asked
            if seconds == WARM_UP_SECONDS:
                return NOT_MEASURED
            round_, whose = asked // len(turns), turns[asked % len(turns)]
            asked += 1
            while len(self._rounds) <= round_:
                self._rounds.append(self._tables.links.at_once([
                    dataclasses.replace(link, seed=len(self._rounds) + 1) for link in self._links
                    if all(s.there(self._tables.paths) for s in link.senders)]))
            transfers = [self._rounds[round_][profile.name, sender.name] for sender in whose]
            for transfer in transfers:
                if isinstance(transfer, MeasurementFailed):
                    raise transfer
            rate = statistics.mean(t.mbit_per_s for t in transfers)
            figures = {MBIT: rate, KBIT: 1000 * rate, SENT: transfers[0].sent_share,
                       LATE: transfers[0].late_us}
            return Measurement(figures[unit], transfers[0].command, figures)
        return Contestant(senders[0].name, measure)

    def row(self, name: str, unit: str, ours: Contestant, peer: Contestant, senders, **options
            ) -> Row:
        needs = {"link-emulator"} | {need for sender in senders for need in sender.needs}
        return Row(name, unit, ours, peer, needs=tuple(sorted(needs)), length=0.0,
                   once_seconds=self.once_seconds(), overhead_seconds=NO_OVERHEAD, **options)


class UdpTransferTables:
    def __init__(self, bin_folder: pathlib.Path, scratch: pathlib.Path, quick: bool):
        self.ground = Ground(scratch)
        self._quick = quick
        ours = [bin_folder / name for name in
                ("link-emulator", "udp-bench", "udp-client", "udp-server")]
        self.programs = [
            *(self._program(path.name, str(path) if path.exists() else None, "--version",
                            f"{path.name} is not built") for path in ours),
            *(self._program(name, shutil.which(name) or shutil.which(name, path="/usr/sbin"),
                            option) for name, option in
              (("uftp", ""), ("uftpd", ""), ("atftp", "--version"), ("atftpd", "--version"))),
            Program("udt_copy", str(self.ground.udt_copy) if UDT_HEADER.exists() else None,
                    "UDT 4", "libudt-dev is not installed (scripts/bench.sh --install)"),
        ]
        self.paths = {p.name: p.path for p in self.programs if p.path}
        self.links = Links(self.paths, self.ground.memory)
        self.pairs = PAIRS[quick]
        self._plan()

    @staticmethod
    def _program(name: str, path: str | None, option: str, missing: str = "") -> Program:
        version = machine.first_line(path, option) if path and option else ""
        if path and not option:  # says nothing of itself
            version = f"{name} {os.stat(path).st_size}"
        return Program(name, path, version,
                       missing or f"{name} is not installed (scripts/bench.sh --install)")

    # ---- Emulated links.

    def _file(self, name: str, size: int):
        return lambda: self.ground.file(self.ground.memory, name, size)

    def _alone(self, profile: Profile, *senders: Sender) -> list[Link]:
        """A link for each sender of 128 MiB."""
        return [Link(profile, [sender], self._file(*BIG)) for sender in senders]

    def _plan(self) -> None:
        """Which links are measured together: in a full run those of about the same duration."""
        clean, one, five, long, far = PROFILES
        waits = [Link(dataclasses.replace(STOP_AND_WAIT, name=name), [sender],
                      self._file(f"{kib}KiB", kib * KIB))
                 for kib, name in WAIT_SIZES.items() if kib == min(WAIT_SIZES) or not self._quick
                 for sender in (CLASSIC, ATFTP, ATFTP_AGAIN)]
        shared = [Link(dataclasses.replace(SHARED, name=self._shared_name(senders)), senders,
                       self._file("512MiB", 512 * MIB), SHARED_SECONDS)
                  for tcp in ((TCP_CUBIC,) if self._quick else (TCP_CUBIC, TCP_BBR))
                  for senders in ([FAST, tcp], [tcp, again(tcp)])]
        if self._quick:
            together = Rounds(self, 11.8, [*self._alone(one, FAST, TCP_BBR), *waits, *shared])
            self._rounds = dict.fromkeys(
                ["waits", "shared", *((p.name, s.name) for p in PROFILES for s in SENDERS)],
                together)
            self._control_rounds = together
            return
        lossy = (one, five, long, far)
        groups = [
            (16, [(clean, s) for s in SENDERS]),
            (13, [(p, s) for p in (one, five) for s in (FAST, TCP_BBR)]),
            (15, [(long, FAST), (long, TCP_BBR), (far, FAST)]),
            (21, [(far, TCP_BBR), *((p, s) for p in lossy for s in (TCP_CUBIC, UDT, UFTP))]),
        ]
        self._rounds = {}
        for i, (seconds, pairs) in enumerate(groups):
            links = [link for profile, sender in pairs for link in self._alone(profile, sender)]
            if i == 1:
                links += self._alone(one, again(TCP_BBR))
            if i == len(groups) - 1:
                links += waits
            rounds = Rounds(self, seconds, links)
            for profile, sender in pairs:
                self._rounds[profile.name, sender.name] = rounds
        self._control_rounds = self._rounds[one.name, TCP_BBR.name]
        self._rounds["waits"] = rounds
        self._rounds["shared"] = Rounds(self, SHARED_SECONDS + 0.5, shared)

    def emulated(self) -> list[Table]:
        rows = []
        for profile in PROFILES:
            for peer in PEERS:
                ours_in = self._rounds[profile.name, FAST.name]
                peer_in = self._rounds[profile.name, peer.name]
                row = peer_in.row(
                    f"{profile.name}: {peer.name}", MBIT, ours_in.contestant(profile, FAST),
                    peer_in.contestant(profile, peer), (FAST, peer),
                    quick=(profile.name, peer) == ("50 ms, 1 %", TCP_BBR),
                    aim=1.0 if peer is TCP_BBR else None)
                rows.append(dataclasses.replace(
                    row, once_seconds=row.once_seconds + ours_in.once_seconds()))
        profile = PROFILES[1]
        control = self._control_rounds.contestant(profile, TCP_BBR, again(TCP_BBR))
        rows.append(self._control_rounds.row(
            f"control: {TCP_BBR.name}, {TCP_BBR.name}; {profile.name}", MBIT, control, control,
            (TCP_BBR,), role=Role.CONTROL))
        beside = Table(
            "Emulated links",
            f"A file of 128 MiB, from memory to memory, through `link-emulator`: {RATE_MBIT} Mbit/s, "
            "the round trip and the loss (each way) of the row, a drop-tail queue of one "
            "bandwidth-delay product. Goodput: bytes of the file, by the time until the receiver "
            f"has said that it has them; a transfer that is not done after {LIMIT_SECONDS} s is cut "
            "short, and what has arrived counts. Several senders run at the same time, each on a "
            "link of its own, and *emulator late* says whether the machine could do that. TCP is "
            "`udp-bench tcp-send`; UDT is its own sendfile() "
            "([udt_copy.cc](udp_transfer/udt_copy.cc)), without a digest; uftp has no congestion "
            "control here and is told 95 % of the rate.",
            Kind.THROUGHPUT, 1.0, rows, (SENT, LATE))
        limits = []
        for profile in PROFILES:
            source = beside.key(next(r for r in rows
                                     if r.name == f"{profile.name}: {TCP_BBR.name}"))
            if profile.name in MUST_MBIT:
                limits.append(DerivedRow(
                    f"{profile.name}: at least {MUST_MBIT[profile.name]:g} Mbit/s", MBIT, source,
                    MBIT, MUST_MBIT[profile.name], "must",
                    quick=profile.name == "50 ms, 1 %"))
            limits.append(DerivedRow(
                f"{profile.name}: what the link can carry", MBIT, source, MBIT,
                round(profile.goodput_limit(), 2), "limit", Role.LIMIT, quick=False, aim=0.97))
        return [beside, Table(
            "Goodput in figures",
            "The same runs of udp-client, beside what it must reach, and beside what the link can "
            "carry: rate × (1 − loss) × the share of the file in a packet of 1500 bytes (1444). The "
            "start and the end of the transfer are part of it.",
            Kind.THROUGHPUT, 1.0, limits)]

    @staticmethod
    def _shared_name(senders: list[Sender]) -> str:
        return f"shared by {' and '.join(sender.name for sender in senders)}"

    def shared(self) -> Table:
        """What each of two flows gets, beside what TCP gets beside its like."""
        rounds = self._rounds["shared"]

        def contestant(senders: list[Sender], *of: Sender, mean: bool = False) -> Contestant:
            return rounds.contestant(
                dataclasses.replace(SHARED, name=self._shared_name(senders)), *of, mean=mean)

        rows = []
        for tcp in (TCP_CUBIC, TCP_BBR):
            alike = contestant([tcp, again(tcp)], tcp, again(tcp), mean=True)
            for name, sender in ((f"{tcp.name} beside udp-client", tcp),
                                 (f"udp-client beside {tcp.name}", FAST)):
                rows.append(rounds.row(name, MBIT, contestant([FAST, tcp], sender), alike,
                                       (FAST, tcp),
                                       quick=sender is TCP_CUBIC))
        alike = contestant([TCP_CUBIC, again(TCP_CUBIC)], TCP_CUBIC, again(TCP_CUBIC))
        rows.append(rounds.row(f"control: {TCP_CUBIC.name} beside its like, one and the other",
                               MBIT, alike, alike, (TCP_CUBIC,), role=Role.CONTROL))
        return Table(
            "A bottleneck shared with one TCP flow",
            f"Two flows begin together on one link of {RATE_MBIT} Mbit/s with a round trip of 50 ms "
            "and a queue of one bandwidth-delay product; what the one named gets in "
            f"{SHARED_SECONDS} s, beside the mean of two TCP flows that share it. A third of the "
            "link, of half of it: 0.67. The control is one of two such flows beside the other.",
            Kind.THROUGHPUT, 0.67, rows, (LATE,))

    def stop_and_wait(self) -> Table:
        rounds = self._rounds["waits"]

        def contestant(name: str, *senders: Sender) -> Contestant:
            return rounds.contestant(dataclasses.replace(STOP_AND_WAIT, name=name), *senders,
                                     unit=KBIT)

        rows = [rounds.row(f"{kib} KiB: {ATFTP.name}", KBIT, contestant(name, CLASSIC),
                           contestant(name, ATFTP), (CLASSIC, ATFTP), quick=kib == min(WAIT_SIZES))
                for kib, name in WAIT_SIZES.items()]
        both = contestant(WAIT_SIZES[min(WAIT_SIZES)], ATFTP, ATFTP_AGAIN)
        rows.append(rounds.row(f"control: {ATFTP.name}, {ATFTP.name}; {min(WAIT_SIZES)} KiB", KBIT,
                               both, both, (ATFTP,), role=Role.CONTROL))
        table = Table(
            "Stop and wait",
            f"At a round trip of {STOP_AND_WAIT.rtt_ms} ms and {RATE_MBIT} Mbit/s: the classic mode "
            "beside TFTP with blocks of as many bytes, and one payload each round trip, which is "
            "the limit of both: neither can be ahead.", Kind.THROUGHPUT, 0.99, rows, (LATE,))
        rows.append(DerivedRow(
            f"{max(WAIT_SIZES)} KiB: payload/RTT", KBIT, table.key(rows[-2]), KBIT,
            8 * CLASSIC_PAYLOAD / STOP_AND_WAIT.rtt_ms, "limit", Role.LIMIT, quick=False))
        return table

    # ---- Without emulation.

    def _copy(self, sender: Sender, folder: pathlib.Path, name: str, size: int) -> Measurement:
        """One transfer over loopback, its server started for it."""
        file = self.ground.file(folder, name, size)
        place = Place("127.0.0.1", 5100, folder / "to")
        place.folder.mkdir()
        self.ground.touch(size)
        try:
            with Server("receiver", sender.server(self.paths, place), folder,
                        lambda printed: "READY" in printed) as server, Account(server) as account:
                argv = sender.client(self.paths, place, file, 60)
                begin = time.monotonic()
                with open(folder / "client.log", "w+b") as log:
                    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                               stderr=log)
                    _, status, usage = os.wait4(process.pid, 0)
                seconds = time.monotonic() - begin
                process.returncode = os.waitstatus_to_exitcode(status)
                resident = server.peak_resident_mib()
            if process.returncode or (place.folder / file.name).stat().st_size != size:
                said = (folder / "client.log").read_text(errors="replace").strip()[-300:]
                raise MeasurementFailed(f"run {' '.join(argv)}: {process.returncode}: {said}")
        finally:
            shutil.rmtree(place.folder, ignore_errors=True)
        command = " ".join(pathlib.Path(a).name if a.startswith("/") else a for a in argv)
        return Measurement(size / MIB / seconds, command, {
            CLIENT_RESIDENT: usage.ru_maxrss / KIB, SERVER_RESIDENT: resident,
            CLIENT_CPU: (usage.ru_utime + usage.ru_stime) * GIB / size,
            SERVER_CPU: account.cpu_seconds * GIB / size})

    def _loopback_row(self, where: str, peer: Sender, file: tuple[str, int], seconds: float,
                      ours: Sender = FAST, quick: bool = False) -> Row:
        """seconds: that a copy takes, about; ours: the peer itself for a control row."""
        def contestant(sender: Sender) -> Contestant:
            def measure(seconds: float) -> Measurement:
                if seconds == WARM_UP_SECONDS:
                    return NOT_MEASURED
                folder = self.ground.disk if where == "disk" else self.ground.memory
                return self._copy(sender, folder, *file)
            return Contestant(sender.name, measure)

        name, peers = f"{file[0]}, {where}", contestant(peer)
        seconds += TOUCH_SECONDS_PER_GIB * file[1] / GIB
        if ours is peer:
            return Row(f"control: {peer.name}, {peer.name}; {name}", "MiB/s", peers, peers,
                       Role.CONTROL, needs=peer.needs, length=0.0, overhead_seconds=seconds)
        return Row(name, "MiB/s", contestant(ours), peers, needs=(*ours.needs, *peer.needs),
                   quick=quick, length=0.0, overhead_seconds=seconds)

    def loopback(self) -> list[Table]:
        about = ("One file over loopback without emulation, from a page cache to {where}, synced "
                 "before the last acknowledgement (in memory that costs nothing). ")
        columns = (CLIENT_CPU, SERVER_CPU, CLIENT_RESIDENT, SERVER_RESIDENT)
        gib, part = ("1GiB", GIB), ("128MiB", 128 * MIB)
        tcp = Table(
            "Loopback beside TCP",
            about.format(where="a file on the same file system") + "`udp-bench tcp-send` does the "
            "same over one TCP socket: the same digest, the same sync.",
            Kind.THROUGHPUT, 0.5,
            [self._loopback_row("memory", TCP_CUBIC, gib, 2.0, quick=True),
             self._loopback_row("disk", TCP_CUBIC, part, 0.5),
             self._loopback_row("memory", TCP_CUBIC, part, 0.3, ours=TCP_CUBIC)], columns)
        udt = Table(
            "Loopback beside UDT",
            about.format(where="a file on the same file system") + "UDT reckons no digest.",
            Kind.THROUGHPUT, 3.0,
            [self._loopback_row("memory", UDT, part, 0.8, quick=True),
             self._loopback_row("disk", UDT, part, 1.0),
             self._loopback_row("memory", UDT, part, 1.4, ours=UDT)], columns)
        source = f"{tcp.slug}/1GiB, memory"
        memory = Table(
            "Memory",
            f"Peak resident memory of the ends in the transfers of 1 GiB above, beside "
            f"{RESIDENT_MIB_MAX} MiB. The client's is never below that of the Python that starts it "
            "(18 MiB).", Kind.COST, 1.0,
            [DerivedRow("client", "MiB", source, CLIENT_RESIDENT, RESIDENT_MIB_MAX, "limit"),
             DerivedRow("server", "MiB", source, SERVER_RESIDENT, RESIDENT_MIB_MAX, "limit")])
        return [tcp, udt, memory]


def system(bin_folder: pathlib.Path, scratch: pathlib.Path, quick: bool) -> System:
    tables = UdpTransferTables(bin_folder, scratch, quick)
    return System("udp_transfer", tables.programs, tables.ground,
                  [*tables.emulated(), tables.shared(), tables.stop_and_wait(),
                   *tables.loopback()])
