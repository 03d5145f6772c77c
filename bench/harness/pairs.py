"""Runs the pairs of one row: A B, B A, A B, … so that a machine that gets slower or faster in the
meantime favours neither, and neighbours in time are compared with each other."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from harness.rows import Measurement, MeasurementFailed, Row

WARM_UP_SECONDS = 0.2
SETTLE_SECONDS = 0.05  # between two measurements: what the last one left behind goes away


@dataclasses.dataclass(frozen=True)
class Pairs:
    """ours[i] and peer[i] were measured one right after the other."""

    ours: list[Measurement]
    peer: list[Measurement]


def order(pairs: int) -> Iterator[bool]:
    """True where it is our turn: A B B A A B B A …"""
    for i in range(pairs):
        yield i % 2 == 0
        yield i % 2 == 1


def changes(pairs: int) -> int:
    """How often a contestant takes its place, the first time included."""
    return pairs + 1


def run_pairs(row: Row, pairs: int, seconds: float) -> Pairs:
    if row.prepare:
        row.prepare(seconds)
    seconds *= row.length
    done = Pairs([], [])
    warm = set()
    current = None
    with contextlib.ExitStack() as stack:
        for is_ours in order(pairs):
            contestant = row.ours if is_ours else row.peer
            if contestant is not current:
                stack.close()
                stack.enter_context(contestant.during())
                current = contestant
                if contestant not in warm or contestant.during is not contextlib.nullcontext:
                    contestant.measure(WARM_UP_SECONDS)
                    warm.add(contestant)
            time.sleep(SETTLE_SECONDS)
            measurement = contestant.measure(seconds)
            if not measurement.value > 0:
                raise MeasurementFailed(
                    f"measure {contestant.name}: {measurement.value} {row.unit} "
                    f"({measurement.command})")
            (done.ours if is_ours else done.peer).append(measurement)
    return done
