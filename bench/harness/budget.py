"""How long one measurement may last, so that the whole system fits into its time."""

import math
from collections.abc import Sequence

from harness import pairs as pairs_module
from harness.rows import DerivedRow, Row

SHORTEST = 0.5  # below that, starting up is what would be measured
LONGEST = 1.0
OVERHEAD = 0.1  # a measurement costs that much more: processes start and end, connections too


def measured(rows: Sequence[Row | DerivedRow]) -> list[Row]:
    return [row for row in rows if isinstance(row, Row)]


def row_seconds(row: Row | DerivedRow, pairs: int, seconds: float) -> float:
    """What a row is expected to cost in all."""
    if isinstance(row, DerivedRow):
        return 0.0
    places = pairs_module.changes(pairs) if row.ours is not row.peer else 1
    overhead = OVERHEAD + row.overhead_seconds
    warm_ups = 2 * (pairs_module.WARM_UP_SECONDS + overhead)
    return (row.once_seconds + places * row.change_seconds + warm_ups
            + 2 * pairs * (seconds * row.length + overhead + pairs_module.SETTLE_SECONDS))


def seconds_per_measurement(rows: Sequence[Row | DerivedRow], pairs: int, total: float) -> float:
    """The same for all rows (times Row.length), whatever part of them is still to be done."""
    rows = measured(rows)
    fixed = sum(row_seconds(row, pairs, 0.0) for row in rows)
    weight = sum(2 * pairs * row.length for row in rows)
    if not weight:
        return LONGEST
    rounded_down = math.floor(100 * (total - fixed) / weight) / 100
    return min(LONGEST, max(SHORTEST, rounded_down))
