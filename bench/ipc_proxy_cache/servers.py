"""Several processes that serve together, accounted as one."""

from collections.abc import Sequence

from harness.processes import Server


class Servers:
    """What harness.processes.Account and harness.wrk.measure need of a Server."""

    def __init__(self, servers: Sequence[Server]):
        self.servers = list(servers)

    def check(self) -> None:
        for server in self.servers:
            server.check()

    def cpu_seconds(self) -> float:
        return sum(server.cpu_seconds() for server in self.servers)

    def peak_resident_mib(self) -> float:
        return sum(server.peak_resident_mib() for server in self.servers)

    def reset_peak_resident(self) -> None:
        for server in self.servers:
            server.reset_peak_resident()
