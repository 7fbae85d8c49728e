"""What a check compared, how far it was off, and where.

One row is one comparison: a gradient's formula against finite differences, an
output of the float32 code against multiprecision, a property such as "inputs
not modified". ``Report.passed`` says whether all hold; ``failure()`` says in
words what does not; ``to_json()`` gives every number; ``table`` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "CODE_COMPLEX_STEP",
    "CODE_DIFFERENCES",
    "CODE_VALUES",
    "FORMULA_DIFFERENCES",
    "FORMULA_VALUES",
    "Method",
    "Report",
    "Row",
    "failed",
    "holds",
    "merged",
    "not_run",
    "table",
    "worst",
]


@dataclass(frozen=True, slots=True)
class Method:
    """A kind of comparison.

    Attributes:
        subject: what is judged: ``formula`` or ``code``.
        against: what it is compared with, or the property it must have.
        precision: of the judged numbers.
        heading: over its column in the table; "" for a property, which has none.
    """

    subject: str
    against: str
    precision: str
    heading: str = ""


FORMULA_VALUES = Method("formula", "the layer as written", "50 digits", "formula\n50 digits")
FORMULA_DIFFERENCES = Method("formula", "central differences, step 1e-18", "50 digits", "formula\n50 digits")
CODE_VALUES = {
    dtype: Method("code", "the formula in 50 digits", dtype, f"code\n{dtype}") for dtype in ("float64", "float32")
}
CODE_DIFFERENCES = Method("code", "central differences of the code, step 1e-5", "float64", "differences\n1e-5")
CODE_COMPLEX_STEP = Method("code", "complex step of the code, 1e-30", "float64", "complex\nstep")


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, with its worst element.

    Attributes:
        name: the gradient or output, ``dx``; the function, for a property.
        subject: what is judged: ``formula`` or ``code``.
        method: what it is compared with, or the property.
        precision: of the judged numbers: ``50 digits``, ``float64``, ``float32``.
        compared: how many numbers were compared, in all samples together.
        where: the place of the worst one, ``dx[1, 2]``.
        value: what is judged, there.
        reference: what it is compared with, there.
        absolute: the error there.
        relative: the error as a share of the reference; None where that is 0.
        tolerance: the largest absolute error allowed.
        passed: whether it holds; a row that was not run does not fail.
        note: why it was not run, what went wrong in words, or the sizes, where they are not the report's.
        ran: whether there was a comparison.
        heading: of its column in a table; properties have none.
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
    heading: str = field(default="", repr=False)

    def __str__(self) -> str:
        head = f"{self.where or self.name}: {self.subject} ({self.precision}) against {self.method}"
        if self.absolute is None:
            return f"{head}: {self.note}" if self.note else head
        relative = "" if self.relative is None else f", relative error {self.relative:.3g}"
        return (
            f"{head}: {self.value!r} against {self.reference!r}, "
            f"absolute error {self.absolute:.3g}{relative}, tolerance {self.tolerance:.3g}"
            + (f" ({self.note})" if self.note else "")
        )


def worst(name: str, method: Method, pairs: Iterable[tuple[str, Any, Any, Any]], note: str = "") -> Row:
    """Return the row of many comparisons: the one that is furthest off for its tolerance.

    Args:
        name: of the gradient or output.
        method: of the comparison.
        pairs: ``(where, value, reference, tolerance)``, numbers of any kind. A
            value that is no finite number is off by any measure.
        note: for the row.
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
        return holds(name, method)
    ratio, where, value, reference, error, tolerance = found
    relative = error / abs(reference) if reference else None
    return _row(name, method, ratio <= 1, note, count, where, value, reference, error, relative, tolerance)


def _row(name: str, method: Method, passed: bool, note: str, *numbers: Any, ran: bool = True) -> Row:
    row = Row(name, method.subject, method.against, method.precision, *numbers)
    return replace(row, passed=passed, note=note, ran=ran, heading=method.heading)


def holds(name: str, method: Method) -> Row:
    """Return the row of something that passes without a number."""
    return _row(name, method, True, "")


def failed(name: str, method: Method, note: str) -> Row:
    """Return the row of something that fails without a number."""
    return _row(name, method, False, note)


def not_run(name: str, method: Method, note: str) -> Row:
    """Return the row of a comparison that cannot be made, and why."""
    return _row(name, method, True, f"not run: {note}", ran=False)


def merged(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return one row for each name and method: that of the sample nearest to failing, in order."""
    found: dict[tuple[str, str, str, str], Row] = {}
    for row in rows:
        key = (row.name, row.subject, row.method, row.precision)
        before = found.get(key)
        if before is None:
            found[key] = row
        else:
            nearest = row if _share(row) > _share(before) else before
            found[key] = replace(nearest, compared=before.compared + row.compared)
    return tuple(found.values())


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
        return "\n".join([*map(str, self.failures), self.sizes_text()])

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``; what is no finite number becomes a string."""
        return {
            "layer": self.layer,
            "passed": self.passed,
            "seed": self.seed,
            "sizes": {name: list(value) if isinstance(value, tuple) else value for name, value in self.sizes},
            "rows": [
                {key: _plain(value) for key, value in asdict(row).items() if key != "heading"} for row in self.rows
            ],
        }

    def sizes_text(self) -> str:
        """Return ``seed 0, N = 3, D = 4``."""
        return ", ".join([f"seed {self.seed}", *(f"{name} = {value}" for name, value in self.sizes)])


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def table(report: Report) -> Table:
    """Return the report as a table: a row a gradient or output, a column a kind of comparison.

    A cell is the worst absolute error; the last column says where the error
    that came nearest to its tolerance is. What was not run, and the properties
    of the code, are listed below.
    """
    from rich.table import Table
    from rich.text import Text

    measured = [row for row in report.rows if row.heading]
    headings = list(dict.fromkeys(row.heading for row in measured))
    verdict = Text("passed", style="green") if report.passed else Text("FAILED", style="bold red")
    shown = Table(
        title=Text(f"{report.layer}: ").append(verdict),
        caption=_below(report),
        title_justify="left",
        caption_justify="left",
        title_style="",
        caption_style="",
    )
    shown.add_column("worst error of")
    for heading in headings:
        shown.add_column(heading, justify="right")
    shown.add_column("nearest to its limit", overflow="fold")
    for name in dict.fromkeys(row.name for row in measured):
        own = [row for row in measured if row.name == name]
        cells = [_cell([row for row in own if row.heading == heading]) for heading in headings]
        tightest = max((row for row in own if row.absolute is not None), key=_share, default=None)
        at = "" if tightest is None else f"{tightest.where} in {tightest.heading.splitlines()[-1]}"
        shown.add_row(Text(name), *cells, Text(at.replace("along a random direction", "(a direction)")))
    return shown


def _share(row: Row) -> float:
    """Return the error as a share of the tolerance."""
    if row.absolute is None:
        return 0.0 if row.passed else math.inf
    return row.absolute / row.tolerance if row.tolerance else (math.inf if row.absolute else 0.0)


def _cell(rows: list[Row]) -> Text:
    """Return the worst error of one gradient by one method."""
    from rich.text import Text

    if not rows:
        return Text("")
    row = max(rows, key=_share)
    if not row.ran:
        return Text("-", style="dim")
    text = "ok" if row.absolute is None else f"{row.absolute:.1e}"
    return Text(text) if row.passed else Text(f"{text} FAILED" if row.absolute is not None else "FAILED", "bold red")


def _below(report: Report) -> Text:
    """Return the lines under the table: seed and sizes, what was not run and why, properties."""
    from rich.text import Text

    lines = [Text(report.sizes_text())]
    for note in dict.fromkeys(
        f"{row.heading.replace(chr(10), ' ')} {row.note}" for row in report.rows if row.heading and not row.ran
    ):
        lines.append(Text(note))
    properties = [row for row in report.rows if not row.heading]
    held = [row.method for row in properties if row.passed]
    if held:
        lines.append(Text(f"holds: {'; '.join(dict.fromkeys(held))}"))
    for row in properties:
        if not row.passed:
            lines.append(Text(f"FAILED: {row.method} ({row.note})", "bold red"))
    return Text("\n").join(lines)
