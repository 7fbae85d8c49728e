"""Measurements as a table for the terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from derive.bench.machine import Machine
from derive.bench.measure import Case

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["duration", "mean_ratios", "size_of", "table", "to_json"]


def duration(seconds: float) -> str:
    """Return a time with three digits and its unit: ``1.23 ms``, ``45.6 µs``."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= factor or unit == "µs":
            value = seconds / factor
            return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"
    raise AssertionError


def size_of(nbytes: int) -> str:
    """Return a number of bytes with its unit: ``16.8 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.3g} {unit}"
    return f"{nbytes} B"


def table(case: Case) -> Table:
    """Return the table of a case: one row a way, the fastest one marked; why others have no time stands below it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    first = next((row for row in case.rows if row.seconds is not None), None)
    fastest = min((row.seconds for row in case.rows if row.seconds is not None), default=None)
    what = f"{size_of(case.nbytes)} to move" + (f", {case.flops / 1e9:.3g} Gflop in products" if case.flops else "")
    reasons = [f"{row.name}: {row.why}" for row in case.rows if row.why]
    result = Table(
        box=SIMPLE_HEAD, pad_edge=False, title=case.title, title_justify="left", title_style="bold",
        caption="\n".join([f"limit {duration(case.limit)}: {what}", *reasons]),
        caption_justify="left",
    )  # fmt: skip
    result.add_column("backward")
    for name in ("time", "±", f"/ {first.name}" if first else "/", "/ limit", "peak", "error"):
        result.add_column(name, justify="right")
    for row in case.rows:
        if row.seconds is None or first is None or first.seconds is None:
            error = f"{row.error:.0e}" if row.error is not None else ""
            result.add_row(Text(row.name, "dim"), "–", "", "", "", "", error)
            continue
        result.add_row(
            Text(row.name, "bold" if row.ours else ""),
            Text(duration(row.seconds), "green" if row.seconds == fastest else ""),
            f"{row.spread:.0%}",
            f"{row.seconds / first.seconds:.2f}",
            f"{row.seconds / case.limit:.1f}" if case.limit else "",
            size_of(row.peak) if row.peak is not None else "–",
            f"{row.error:.0e}" if row.error is not None else "",
        )
    return result


def mean_ratios(cases: Sequence[Case]) -> dict[str, float]:
    """Return the geometric mean over all cases of each way's time relative to the first one's, where all have both."""
    names = list(dict.fromkeys(row.name for case in cases for row in case.rows))
    found: dict[str, float] = {}
    for name in names:
        logs = []
        for case in cases:
            first, row = case.rows[0], case.row(name)
            if first.seconds and row is not None and row.seconds:
                logs.append(math.log(row.seconds / first.seconds))
        if len(logs) == len(cases):
            found[name] = math.exp(sum(logs) / len(logs))
    return found


def to_json(machine: Machine, cases: Sequence[Case], versions: dict[str, str], threads: int) -> dict[str, Any]:
    """Return everything that was measured, in seconds, bytes and flops."""
    return {
        "machine": asdict(machine),
        "threads": threads,
        "versions": versions,
        "cases": [asdict(case) for case in cases],
        "geometric_means": mean_ratios(cases),
    }
