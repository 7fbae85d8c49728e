"""Accuracy as a table on the terminal: a row an output or gradient and set of inputs, a column a precision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from derive.accuracy.result import Accuracy, Row

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["error_text", "table"]


def table(accuracy: Accuracy) -> Table:
    """Return the measurements as a table; what is beyond its bound stands out, with the inputs where it is worst."""
    from rich.table import Table
    from rich.text import Text

    verdict = Text("passed", style="green") if accuracy.passed else Text("FAILED", style="bold red")
    unit = "errors in ulps of the exact result" if accuracy.elementwise else "errors relative to the largest element"
    shown = Table(
        title=Text(f"{accuracy.layer}: ").append(verdict),
        caption=Text("\n".join([f"{unit}, seed {accuracy.seed}", *_notes(accuracy)])),
        title_justify="left",
        caption_justify="left",
        title_style="",
        caption_style="",
    )
    precisions = list(dict.fromkeys(row.precision for row in accuracy.rows))
    for heading in ("result", "inputs", "bound"):
        shown.add_column(heading)
    for precision in precisions:
        shown.add_column(precision, justify="right")
    shown.add_column("worst at", overflow="fold")
    for name, inputs in dict.fromkeys((row.name, row.inputs) for row in accuracy.rows):
        own = {row.precision: row for row in accuracy.rows if (row.name, row.inputs) == (name, inputs)}
        worst = max(own.values(), key=_share)
        cells = [_cell(own[p]) if p in own else Text("") for p in precisions]
        bounds = dict.fromkeys("-" if r.measure.bound is None else f"{r.measure.bound:.2g}" for r in own.values())
        shown.add_row(name, inputs, ", ".join(bounds), *cells, worst.where)
    return shown


def _notes(accuracy: Accuracy) -> list[str]:
    """What there is to say of exceptions and special values, each once."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in accuracy.rows:
        if row.note and row.inputs != "domain":
            found.setdefault((row.name, row.inputs), {}).update(dict.fromkeys(row.note.split("; ")))
    return [f"{name}, {inputs}: {'; '.join(notes)}" for (name, inputs), notes in found.items()]


def _share(row: Row) -> float:
    return row.error if row.measure.bound is None else row.error / max(row.measure.bound, 1e-300)


def error_text(row: Row) -> str:
    """Return the error with as many digits as say something."""
    if row.measure.unit == "special":
        return f"{int(row.error)} wrong" if row.error else "ok"
    if math.isinf(row.error):
        return "inf"
    if row.measure.unit == "ulp":
        return f"{row.error:.2f}" if row.error < 100 else f"{row.error:.1e}"
    return f"{row.error:.1e}"


def _cell(row: Row) -> Text:
    from rich.text import Text

    return Text(error_text(row)) if row.passed else Text(f"{error_text(row)} FAILED", "bold red")
