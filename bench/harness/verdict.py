"""The rule by which a bar is met, and nothing else: no I/O, no formatting."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from harness.rows import Kind

ROW_TOLERANCE = 0.97  # of the bar, for the median of a row
TABLE_TOLERANCE = 1.00  # of the bar, for the geometric mean of the medians of the table


@dataclasses.dataclass(frozen=True)
class Ratios:
    median: float
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True)
class Judgement:
    met: bool
    missed: list[str]  # rows below the tolerance
    mean: float  # geometric mean of the medians


def pair_ratios(kind: Kind, ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    if len(ours) != len(peer) or not ours:
        raise ValueError(f"{len(ours)} figures of ours, {len(peer)} of the peer")
    if kind is Kind.THROUGHPUT:
        return [a / b for a, b in zip(ours, peer)]
    return [b / a for a, b in zip(ours, peer)]


def summary(ratios: Sequence[float]) -> Ratios:
    return Ratios(statistics.median(ratios), min(ratios), max(ratios))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def row_met(median: float, bar: float) -> bool:
    return median >= ROW_TOLERANCE * bar


def judge(bar: float, medians: Mapping[str, float]) -> Judgement:
    """medians: of the pair ratios of each row. REQUIRES: at least one row."""
    missed = [name for name, median in medians.items() if not row_met(median, bar)]
    mean = geometric_mean(list(medians.values()))
    return Judgement(not missed and mean >= TABLE_TOLERANCE * bar, missed, mean)
