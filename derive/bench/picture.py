"""Measurements as a picture: bars for each case, and time against size where a layer was run at several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derive.bench.measure import Case
from derive.errors import DeriveError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLORS", "FORMATS", "draw", "require_matplotlib"]

FORMATS = (".png", ".svg")

COLORS = {
    "derive NumPy": "#1f6fb4", "derive, for reading": "#9fc5e8", "derive C": "#0b3c66",
    "expert NumPy": "#7b4fa3", "staged NumPy": "#9a9a9a", "autograd": "#c9a227", "PyTorch": "#d9541e",
    "torch.compile": "#f2a07b", "JAX jit": "#3a9a5b",
}  # fmt: skip
"""One colour a way, the same in every picture; ours are blue."""

MARKERS = "os^Dv<>P"


def require_matplotlib(path: Path) -> None:
    """Check that the picture can be drawn, before anything is measured.

    Raises:
        DeriveError: Matplotlib is not installed, or the file's name is that of another format.
    """
    import importlib.util

    if path.suffix.lower() not in FORMATS:
        raise DeriveError(f"--plot: {path} is no picture that can be written", hint="name it .png or .svg")
    if importlib.util.find_spec("matplotlib") is None:
        raise DeriveError("--plot needs Matplotlib, which is not installed", hint="pip install matplotlib")


def draw(cases: Sequence[Case], path: Path, subtitle: str = "") -> None:
    """Write the picture.

    Args:
        cases: in the order of the picture; those of one layer side by side, or as lines where it has several sizes.
        path: ending in ``.png`` or ``.svg``.
        subtitle: under the title: the machine, the threads.

    Raises:
        OSError: the file cannot be written.
    """
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    by_layer: dict[str, list[Case]] = {}
    for case in cases:
        by_layer.setdefault(case.layer, []).append(case)
    single = [group[0] for group in by_layer.values() if len(group) == 1]
    several = [group for group in by_layer.values() if len(group) > 1]
    panels = ([single] if single else []) + several
    widths = [max(3.4, 1.1 + 1.7 * len(single))] * bool(single) + [4.8] * len(several)
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "derive", "font.size": 9}):
        figure = Figure(figsize=(sum(widths) + 0.4, 4.4), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
        for place, (ax, group) in enumerate(zip(axes, panels, strict=True)):
            if single and place == 0:
                _bars(ax, group)
            else:
                _lines(ax, group)
        title = f"Backward pass, {cases[0].dtype}: time of a call"
        figure.suptitle(f"{title}\n{subtitle}" if subtitle else title, fontsize=10)
        handles: dict[str, Any] = {}
        for ax in axes:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(5, len(handles)))
        buffer = io.BytesIO()
        kind = path.suffix.lower()[1:]
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    path.write_bytes(buffer.getvalue())


def _ways(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(row.name for case in cases for row in case.rows if row.seconds is not None))


def _color(name: str, place: int) -> str:
    return COLORS.get(name, f"C{place}")


def _bars(ax: Axes, cases: Sequence[Case]) -> None:
    """Draw one group of bars a case, on a logarithmic axis, and a line at each limit."""
    names = _ways(cases)
    width = 0.8 / max(1, len(names))
    for k, name in enumerate(names):
        rows = [(place, case.row(name)) for place, case in enumerate(cases)]
        shown = [(place, row.seconds * 1e3) for place, row in rows if row is not None and row.seconds is not None]
        at = [place - 0.4 + width * (k + 0.5) for place, _ in shown]
        bars = ax.bar(at, [ms for _, ms in shown], width * 0.92, label=name, color=_color(name, k))
        if len(names) * len(cases) <= 24:
            ax.bar_label(bars, [f"{ms:.3g}" for _, ms in shown], fontsize=6, padding=1)
    for place, case in enumerate(cases):
        label = "limit of memory and products" if place == 0 else "_"
        ax.hlines(case.limit * 1e3, place - 0.42, place + 0.42, colors="black", linestyles="dashed", lw=1, label=label)
    ax.set_yscale("log")
    ax.set_xticks(range(len(cases)), [_caption(case) for case in cases])
    ax.set_ylabel("milliseconds")
    ax.grid(axis="y", which="major", lw=0.4, alpha=0.6)
    ax.set_axisbelow(True)
    ax.margins(y=0.12)


def _caption(case: Case) -> str:
    """The layer over its sizes, two a line."""
    parts = case.title.split(", ")
    lines = [", ".join(parts[k : k + 2]) for k in range(1, len(parts), 2)]
    return "\n".join([parts[0], *lines])


def _lines(ax: Axes, cases: Sequence[Case]) -> None:
    """Draw time against size, both logarithmic, one line a way."""
    x, label = _abscissa(cases)
    for k, name in enumerate(_ways(cases)):
        points = sorted(
            (at, row.seconds * 1e3)
            for at, case in zip(x, cases, strict=True)
            if (row := case.row(name)) is not None and row.seconds is not None
        )
        marker = MARKERS[k % len(MARKERS)]
        ax.plot(*zip(*points, strict=True), marker=marker, ms=4, lw=1.3, label=name, color=_color(name, k))
    limits = sorted(zip(x, (case.limit * 1e3 for case in cases), strict=True))
    ax.plot(*zip(*limits, strict=True), "k--", lw=1, label="limit of memory and products")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(label)
    ax.set_ylabel("milliseconds")
    ax.set_title(_common(cases), fontsize=9)
    ax.grid(which="major", lw=0.4, alpha=0.6)


def _changing(cases: Sequence[Case]) -> list[str]:
    return [name for name in cases[0].sizes if len({str(case.sizes.get(name)) for case in cases}) > 1]


def _abscissa(cases: Sequence[Case]) -> tuple[list[float], str]:
    """Return where the cases stand: at the size that differs, or where several do at the bytes to move."""
    changing = _changing(cases)
    if len(changing) == 1:
        values = [case.sizes[changing[0]] for case in cases]
        if all(isinstance(v, int) or len(v) == 1 for v in values):
            numbers = [float(v if isinstance(v, int) else v[0]) for v in values]
            return numbers, "rows (the batch)" if changing[0] == "..." else changing[0]
    return [case.nbytes / 1e6 for case in cases], "megabytes to move"


def _common(cases: Sequence[Case]) -> str:
    changing = _changing(cases)
    rest = [f"{n} = {'×'.join(map(str, v)) if isinstance(v, list) else v}" for n, v in cases[0].sizes.items()]
    names = list(cases[0].sizes)
    return ", ".join([cases[0].layer, *(text for name, text in zip(names, rest, strict=True) if name not in changing)])
