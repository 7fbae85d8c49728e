"""Times of several ways to do the same, measured side by side."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Times", "interleaved", "timed"]

Way = Callable[[], Any]

SHORT = 1e-3
"""Seconds that one measurement takes at least: a faster call is repeated, and its mean taken."""

LONG = 0.25
"""Seconds from which a call is not run once more before it is measured."""


@dataclass(frozen=True, slots=True)
class Times:
    """The measurements of one way, in seconds a call.

    Attributes:
        seconds: one a measurement, in order.
        busy: processor seconds a second of the clock, over all of them; above 1, several threads worked.
    """

    seconds: tuple[float, ...]
    busy: float

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median


def timed(way: Way) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def interleaved(
    ways: Mapping[str, Way], runs: int = 15, budget: float = 10.0, seed: int = 0, short: float = SHORT
) -> dict[str, Times]:
    """Return the times of each way; they take turns, in another order each round.

    What else the machine does then meets all of them. Every way is called
    before the first measurement, and right before each of its own: threads of
    one library stay awake for a while, in the way of the next one's, and data
    that one leaves in the cache should be its own. To a call that takes a
    quarter of a second neither matters, and it is not repeated.

    Args:
        ways: by name.
        runs: measurements of each, at most.
        budget: seconds after which no further round is begun; there are at least three.
        seed: of the order.
        short: seconds that one measurement takes at least; calls are repeated to fill it.
    """
    order = random.Random(seed)
    repeats: dict[str, int] = {}
    for name, way in ways.items():
        once = timed(way)
        repeats[name] = 0 if once > LONG else max(1, min(10_000, int(short / max(timed(way), 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    clock, busy = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    names, begin = list(ways), time.perf_counter()
    for k in range(runs):
        if k >= 3 and time.perf_counter() - begin > budget:
            break
        order.shuffle(names)
        for name in names:
            way, count = ways[name], max(1, repeats[name])
            if repeats[name]:
                way()
            processor, start = time.process_time(), time.perf_counter()
            for _ in range(count):
                way()
            passed = time.perf_counter() - start
            seconds[name].append(passed / count)
            clock[name] += passed
            busy[name] += time.process_time() - processor
    return {name: Times(tuple(found), busy[name] / clock[name]) for name, found in seconds.items()}
