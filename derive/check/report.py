"""What a check compared, how far it was off, and where.

One row is one comparison: a gradient's formula against finite differences, an
output of the float32 code against multiprecision, a property such as "inputs
not modified". ``Report.passed`` says whether all hold; ``failure()`` says in
words what does not; ``to_json()`` gives every number; ``table`` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report", "Row", "failed", "not_run", "table", "worst"]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, with its worst element.

    Attributes:
        name: the gradient or output, ``dx``; the function, for a property.
        subject: what is judged: ``formula`` or ``code``.
        method: what it is compared with, or the property.
        precision: of the judged numbers: ``50 digits``, ``float64``, ``float32``.
        compared: how many numbers were compared.
        where: the place of the worst one, ``dx[1, 2]``.
        value: what is judged, there.
        reference: what it is compared with, there.
        absolute: the error there.
        relative: the error as a share of the reference; None where that is 0.
        tolerance: the largest absolute error allowed.
        passed: whether it holds; a row that was not run does not fail.
        note: why it was not run, or what went wrong in words.
        ran: whether there was a comparison.
    """

    name: str
    subject: str
    method: str
    precision: str
    compared: int = 0
    where: str = ""
    value: float | None = None
    reference: float | None = None
    absolute: float | None = None
    relative: float | None = None
    tolerance: float | None = None
    passed: bool = True
    note: str = ""
    ran: bool = True

    def __str__(self) -> str:
        head = f"{self.where or self.name}: {self.subject} ({self.precision}) against {self.method}"
        if self.absolute is None:
            return f"{head}: {self.note}" if self.note else head
        relative = "" if self.relative is None else f", relative error {self.relative:.3g}"
        return (
            f"{head}: {self.value!r} against {self.reference!r}, "
            f"absolute error {self.absolute:.3g}{relative}, tolerance {self.tolerance:.3g}"
        )


def worst(
    name: str,
    subject: str,
    method: str,
    precision: str,
    pairs: Iterable[tuple[str, Any, Any, Any]],
    note: str = "",
) -> Row:
    """Return the row of many comparisons: the one that is furthest off for its tolerance.

    Args:
        name, subject, method, precision, note: as in :class:`Row`.
        pairs: ``(where, value, reference, tolerance)``, numbers of any kind. A
            value that is no finite number is off by any measure.
    """
    count = 0
    found: tuple[float, str, float, float, float, float] | None = None
    for where, value, reference, tolerance in pairs:
        count += 1
        error = abs(value - reference)
        if error != error or math.isinf(error):
            error = math.inf
        ratio = float(error / tolerance) if tolerance else (math.inf if error else 0.0)
        if found is None or ratio > found[0]:
            found = ratio, where, float(value), float(reference), float(error), float(tolerance)
    if found is None:
        return Row(name, subject, method, precision, note=note or "no elements")
    ratio, where, value, reference, error, tolerance = found
    relative = error / abs(reference) if reference else None
    return Row(
        name, subject, method, precision, count, where, value, reference, error, relative, tolerance, ratio <= 1, note
    )


def failed(name: str, subject: str, method: str, precision: str, note: str) -> Row:
    """Return the row of something that fails without a number."""
    return Row(name, subject, method, precision, passed=False, note=note)


def not_run(name: str, subject: str, method: str, precision: str, note: str) -> Row:
    """Return the row of a comparison that cannot be made, and why."""
    return Row(name, subject, method, precision, note=f"not run: {note}", ran=False)


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a layer.

    Attributes:
        layer: its name.
        seed: of the random inputs, which the same seed gives again.
        sizes: what the sizes were, by name; ``...`` is the shape of the batch.
        rows: the comparisons.
    """

    layer: str
    seed: int
    sizes: tuple[tuple[str, Any], ...]
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison that was made holds."""
        return all(row.passed for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that do not hold."""
        return tuple(row for row in self.rows if not row.passed)

    def failure(self) -> str:
        """Return what does not hold: place, both values, errors, tolerance, seed; "" if all does."""
        if self.passed:
            return ""
        sizes = ", ".join(f"{name} = {value}" for name, value in self.sizes)
        lines = [str(row) for row in self.failures]
        return "\n".join([*lines, f"seed {self.seed}" + (f", {sizes}" if sizes else "")])

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``; what is no finite number becomes a string."""
        return {
            "layer": self.layer,
            "passed": self.passed,
            "seed": self.seed,
            "sizes": {name: list(value) if isinstance(value, tuple) else value for name, value in self.sizes},
            "rows": [{key: _plain(value) for key, value in asdict(row).items()} for row in self.rows],
        }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def table(report: Report) -> Table:
    """Return the report as a table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    sizes = ", ".join(f"{name} = {value}" for name, value in report.sizes)
    verdict = "passed" if report.passed else "FAILED"
    shown = Table(
        title=Text(f"{report.layer}: {verdict}"),
        caption=Text(f"seed {report.seed}" + (f", {sizes}" if sizes else "")),
        title_justify="left",
        caption_justify="left",
    )
    for heading, justify in (
        ("of", "left"), ("compared with", "left"), ("in", "left"), ("worst error", "right"), ("relative", "right"),
        ("allowed", "right"), ("at", "left"), ("", "left"),
    ):  # fmt: skip
        shown.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in report.rows:
        mark = Text("ok", style="green") if row.passed else Text("FAILED", style="bold red")
        if not row.ran:
            mark = Text("-", style="dim")
        at = row.where if row.absolute is not None else ""
        shown.add_row(
            Text(row.name),
            Text(f"{row.method} ({row.note})" if row.note else row.method),
            Text(row.precision),
            _short(row.absolute),
            _short(row.relative),
            _short(row.tolerance),
            Text(at.replace("along a random direction", "(direction)")),
            mark,
        )
    return shown


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
