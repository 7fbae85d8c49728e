"""Error against input, as a picture.

One panel an output or gradient. For an elementwise layer every measured point
is a dot at its input, in ulps; for others every set of inputs has a bar, in
relative error. The bound is a line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derive.accuracy.result import Accuracy, Row
from derive.errors import DeriveError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SUFFIXES", "plot", "require_matplotlib"]

SUFFIXES = (".png", ".svg", ".pdf")
_COLOURS = {"float32": "tab:orange", "float64": "tab:blue"}
_WIDEST = 1e38  # the largest float32
_LEAST = {"ulp": 1e-2, "relative": 1e-17}


def require_matplotlib(file: Path) -> None:
    """Make sure that a picture can be drawn and its format is known.

    Raises:
        DeriveError: matplotlib is not installed, or the suffix is none of a picture's.
    """
    if file.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise DeriveError(f"{file}: the suffix of a picture is one of {known}", hint=f"e.g. {file.stem}.svg")
    if not file.parent.is_dir():
        raise DeriveError(f"{file}: there is no folder {file.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise DeriveError(
            "a picture needs matplotlib, which is not installed", hint="install it: pip install matplotlib"
        ) from None


def plot(measured: Sequence[Accuracy], file: Path) -> None:
    """Draw the errors of layers, a row of panels a layer, and write the picture.

    Raises:
        DeriveError: matplotlib is not installed, or the suffix is none of a picture's.
    """
    require_matplotlib(file)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(a, name) for a in measured for name in dict.fromkeys(r.name for r in a.rows)]
    columns = min(3, max(1, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    figure = Figure(figsize=(5.2 * columns, 3.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (accuracy, name) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, number + 1)
        rows = [row for row in accuracy.rows if row.name == name]
        axes.set_title(f"{accuracy.layer}: {name}")
        if accuracy.elementwise:
            _dots(axes, [row for row in rows if row.trace is not None])
        else:
            _bars(axes, rows)
    metadata: dict[str, Any] = {"Date": None} if file.suffix.lower() == ".svg" else {}
    figure.savefig(file, dpi=150, metadata=metadata)


def _dots(axes: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        assert row.trace is not None
        pairs = zip(row.trace.at, row.trace.errors, strict=True)
        finite = [(x, max(e, _LEAST["ulp"])) for x, e in pairs if e < math.inf and abs(x) <= _WIDEST]
        colour = _COLOURS[row.precision]
        axes.plot([x for x, _ in finite], [e for _, e in finite], ".", ms=2, color=colour, label=row.precision)
        axes.set_xlabel(row.trace.label)
    axes.set_xscale("symlog", linthresh=1e-6)
    axes.set_yscale("log")
    axes.set_xlim(-_WIDEST, _WIDEST)
    axes.set_xticks([-1e30, -1e10, -1, -1e-5, 0, 1e-5, 1, 1e10, 1e30])
    axes.tick_params(axis="x", labelrotation=45)
    axes.set_ylabel("error in ulps")
    if rows and rows[0].measure.bound is not None:
        axes.axhline(rows[0].measure.bound, color="black", lw=0.8, ls="--")
    axes.legend(loc="upper right", markerscale=4, fontsize="small")


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    labels = list(dict.fromkeys(row.inputs for row in rows))
    for shift, precision in enumerate(_COLOURS):
        for place, label in enumerate(labels):
            own = next((r for r in rows if (r.inputs, r.precision) == (label, precision)), None)
            if own is None:
                continue
            at = place + 0.4 * shift - 0.2
            height = max(min(own.error, 1.0), _LEAST["relative"])
            axes.bar(at, height, 0.36, color=_COLOURS[precision], label=precision if place == 0 else None)
            if own.measure.bound is not None:
                axes.plot([at - 0.18, at + 0.18], [own.measure.bound] * 2, color="black", lw=1.2)
    axes.set_yscale("log")
    axes.set_ylim(_LEAST["relative"], 2)
    axes.set_xticks(range(len(labels)), labels, rotation=20, fontsize="small")
    axes.set_ylabel("relative error")
    axes.legend(loc="upper right", fontsize="small")
