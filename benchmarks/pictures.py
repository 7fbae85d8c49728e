"""The pictures of the benchmarks, drawn as those of ``derive bench --plot``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib as mpl
from matplotlib.figure import Figure

from derive.bench.measure import Case
from derive.bench.picture import COLORS, MARKERS

__all__ = ["Series", "draw_cases", "draw_lines"]

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points by the name of a line."""

STYLE = {"svg.fonttype": "path", "svg.hashsalt": "derive", "font.size": 9}


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    print(f"{path}: written", file=sys.stderr)


def draw_cases(cases: Sequence[Case], path: Path, subtitle: str) -> None:
    """Draw a row a case and a dot a way: time relative to the limit, or to the fastest way where that is below it."""
    if not cases:
        return
    names = list(dict.fromkeys(row.name for case in cases for row in case.rows if row.seconds is not None))
    small = all(case.limit < 1e-4 for case in cases)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.36 * len(cases)), layout="constrained")
        ax = figure.subplots()
        for k, name in enumerate(names):
            points = [
                (row.seconds * 1e6 if small else row.seconds / case.limit, place)
                for place, case in enumerate(cases)
                if (row := case.row(name)) is not None and row.seconds is not None
            ]
            ours = name.startswith("derive")
            ax.scatter(
                *zip(*points, strict=True), label=name, color=COLORS.get(name, f"C{k}"),
                marker=MARKERS[k % len(MARKERS)], s=46 if ours else 26, zorder=4 if ours else 3,
                edgecolors="white", linewidths=0.5,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yticks(range(len(cases)), [case.layer for case in cases])
        ax.invert_yaxis()
        if not small:
            ax.axvline(1, color="black", ls="--", lw=1)
        ax.set_xlabel("microseconds a call" if small else "time, as a ratio to the machine's limit (dashed)")
        ax.grid(lw=0.4, alpha=0.6)
        ax.set_axisbelow(True)
        figure.suptitle(f"Backward pass, float32, one thread\n{subtitle}", fontsize=9)
        figure.legend(loc="outside lower center", ncols=4)
        _save(figure, path)


def draw_lines(panels: Mapping[str, Series], path: Path, title: str, x: str, y: str) -> None:
    """Draw lines on logarithmic axes, a panel a title."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.1 * columns, 5.0), 2.7 * rows + 0.9), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        handles: dict[str, Any] = {}
        for ax, (name, series) in zip(axes, panels.items(), strict=False):
            for k, (line, points) in enumerate(series.items()):
                handles[line] = ax.plot(
                    *zip(*points, strict=True), label=line, color=COLORS.get(line, f"C{k}"),
                    marker=MARKERS[k % len(MARKERS)], ms=3.5, lw=1.2, ls="--" if line.startswith("results") else "-",
                )[0]  # fmt: skip
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_title(name, fontsize=9)
            ax.set_xlabel(x)
            ax.grid(lw=0.4, alpha=0.6)
        for row in range(rows):
            axes[row * columns].set_ylabel(y)
        for ax in list(axes)[len(panels) :]:
            ax.set_visible(False)
        figure.suptitle(title, fontsize=9)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
        _save(figure, path)
