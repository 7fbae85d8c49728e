"""How accurate the generated code of every catalogue layer is, against multiprecision.

    python benchmarks/accuracy.py            # writes benchmarks/results/accuracy.md, some ten minutes
    python benchmarks/accuracy.py tanh gelu  # prints the tables of some layers

The figures do not depend on the machine's speed, but on the last bits of its
NumPy and SciPy. What is beyond its bound is listed with the reason; the script
fails where a reason is missing, or is given for a layer that keeps its bounds.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy
import scipy

from derive.accuracy import Accuracy, Row, measure, table
from derive.accuracy.table import error_text
from derive.language import catalogue, load

RESULTS = ROOT / "benchmarks" / "results" / "accuracy.md"


def _line(text: str) -> str:
    return " ".join(text.split())


REASONS: dict[str, str] = {
    "gelu": _line("""
        `erfc(-x/sqrt(2))` decays like exp(-x²/2): the rounding of x/sqrt(2) comes out multiplied by x², up to 170 in
        float32 and 1400 in float64. Above -2 the bound is kept; the relative error reaches 1e-5 (float32) at -13, where
        y is 1e-37. `1 + erf`, as frameworks have it, has no digit left from -6 on."""),
    "geglu": "That of gelu.",
    "gelu_tanh": _line("""
        `sigmoid(2·u)` decays like exp(2u), u a cubic of x: the rounding of u comes out multiplied by 2·abs(u): 170
        in float32 and 1400 in float64. `1 + tanh(u)`, as frameworks have it, has no digit left from -6 on."""),
    "tanhshrink": _line("""
        `x - tanh(x)` is x³/3 near 0, which the difference of two rounded numbers cannot show; its error is half a
        unit of x. The gradient, tanh², keeps its bound."""),
    "nt_xent": _line("""
        The gradient of vectors of 1e-20 is 1e19 and goes through 1/norm² = 1e40, above the largest float32. In
        float64 it keeps its bound."""),
    "triplet_margin_loss": _line("""
        The loss is the difference of two distances of 1e4 and has the rounding of these, 1e-7 of them."""),
    "sinkhorn": _line("""
        Exponents of 1e4 are rounded by 5e-4 in float32, and that is the relative error of their exponential."""),
    "sinkhorn_update": "Exponents of 1e4, as in sinkhorn.",
}
"""Why a layer is beyond a bound."""


ELEMENTWISE = _line("""
    The largest error over the whole range of the format: magnitudes from the smallest number to the largest, both
    signs, nearly equal inputs. At most 4 forward and 8 backward are allowed where the result is a normal number.
    *Exceptions* are places where the terms of the formula leave no bound in ulps: beside a zero of the result they
    cancel, beside a jump an argument rounds to the other side, at the edge of the range a part of the formula is no
    normal number; each is verified in multiprecision. *Special values* are 0, -0, ±inf and nan: how many results are
    others than the limit (nan where the formula has 0·inf or inf - inf is noted below, not counted).""")

OTHERS = _line("""
    The largest error of any output or gradient, as a share of the largest element of that tensor, or of the terms
    that it adds up where these are larger (a gradient that vanishes): float32 / float64, and the tensor it is in.
    Softmaxes, normalizations and losses may be off by 1e-6 on well-scaled data and by 1e-5 on the extremes (float64:
    as many roundings); others, and networks on extremes, are measured only. `-`: the layer has no such input, or no
    finite result.""")


def main(words: Sequence[str]) -> int:
    """Measure, print or write; return the exit status."""
    if words:
        from rich.console import Console

        for name in words:
            Console().print(table(measure(load(name))))
        return 0
    measured = []
    for name in catalogue():
        measured.append(measure(load(name)))
        print(f"{name}: {'within its bounds' if measured[-1].passed else 'BEYOND A BOUND'}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(report(measured), encoding="utf-8")
    print(f"{RESULTS.relative_to(ROOT)}: written")
    beyond = {a.layer for a in measured if not a.passed}
    for name in sorted(beyond - REASONS.keys()):
        print(f"{name} is beyond a bound, and no reason is given")
    for name in sorted(REASONS.keys() - beyond):
        print(f"{name} is within its bounds, and a reason is given why not")
    return 0 if beyond == REASONS.keys() else 1


def report(measured: Sequence[Accuracy]) -> str:
    """Return the tables as Markdown."""
    elementwise = [a for a in measured if a.elementwise]
    others = [a for a in measured if not a.elementwise]
    beyond = [a for a in measured if not a.passed]
    lines = [
        "# Accuracy of the generated code",
        "",
        f"Measured by `python benchmarks/accuracy.py` with NumPy {numpy.__version__}, SciPy {scipy.__version__}, "
        f"{platform.machine()}, seed 0. Reference: the formulas in multiprecision (80 and 350 digits for elementwise "
        "layers, otherwise as many as change nothing).",
        "",
        f"{len(measured)} layers; {len(measured) - len(beyond)} keep every bound.",
        "",
        "## Beyond a bound",
        "",
        "| layer | result | inputs | float32 | float64 | bound | why |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for accuracy in beyond:
        for k, (name, inputs) in enumerate(dict.fromkeys((r.name, r.inputs) for r in accuracy.failures)):
            own = {r.precision: r for r in accuracy.rows if (r.name, r.inputs) == (name, inputs)}
            why = REASONS.get(accuracy.layer, "") if k == 0 else ""
            bounds = ", ".join(dict.fromkeys(f"{r.measure.bound:.2g}" for r in own.values() if r.measure.bound))
            cells = [_marked(own[p]) if p in own else "" for p in ("float32", "float64")]
            lines.append(f"| {accuracy.layer} | `{name}` | {inputs} | {' | '.join(cells)} | {bounds} | {why} |")
    lines += [
        "",
        "## Elementwise layers, in ulps",
        "",
        ELEMENTWISE,
        "",
        "| layer | result | float32 | float64 | worst at (float32) | exceptions (float32, float64) | special values |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for accuracy in sorted(elementwise, key=lambda a: -_worst(a.rows, "domain")):
        for name in dict.fromkeys(r.name for r in accuracy.rows):
            lines.append(_elementwise(accuracy, name))
    lines += [
        "",
        "### Exceptions",
        "",
        "| layer | result | precision | places | worst | why |",
        "| --- |" + " --- |" * 5,
    ]
    for accuracy in elementwise:
        for row in accuracy.rows:
            if row.inputs == "exceptions":
                cells = [accuracy.layer, f"`{row.name}`", row.precision, str(row.compared), error_text(row), row.note]
                lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "### Infinite inputs that give nan", "", "| layer | result | where |", "| --- | --- | --- |"]
    for accuracy in elementwise:
        for row in accuracy.rows:
            if row.inputs == "special values" and row.note and row.precision == "float32":
                lines.append(f"| {accuracy.layer} | `{row.name}` | {row.note.partition(' at ')[2]} |")
    lines += [
        "",
        "## Other layers, relative to the largest element",
        "",
        OTHERS,
        "",
    ]
    sets = list(dict.fromkeys(r.inputs for a in others for r in a.rows))
    lines += [f"| layer | {' | '.join(sets)} |", "| --- |" + " --- |" * len(sets)]
    for accuracy in sorted(others, key=lambda a: -_worst(a.rows, sets[0])):
        cells = [_pair([r for r in accuracy.rows if r.inputs == inputs]) for inputs in sets]
        lines.append(f"| {accuracy.layer} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _worst(rows: Iterable[Row], inputs: str) -> float:
    return max((r.error for r in rows if r.inputs == inputs and r.precision == "float32"), default=0.0)


def _marked(row: Row) -> str:
    return error_text(row) if row.passed else f"**{error_text(row)}**"


def _elementwise(accuracy: Accuracy, name: str) -> str:
    own = {(r.inputs, r.precision): r for r in accuracy.rows if r.name == name}
    precisions = ("float32", "float64")
    cells = [_marked(own["domain", p]) for p in precisions]
    exceptions = ", ".join(error_text(own["exceptions", p]) if ("exceptions", p) in own else "-" for p in precisions)
    special = ", ".join(dict.fromkeys(error_text(own["special values", p]) for p in precisions))
    where = own["domain", "float32"].where
    return f"| {accuracy.layer} | `{name}` | {' | '.join(cells)} | {where} | {exceptions} | {special} |"


def _pair(rows: Sequence[Row]) -> str:
    if not rows:
        return "-"
    cells = []
    for precision in ("float32", "float64"):
        worst = max((r for r in rows if r.precision == precision), key=lambda r: r.error)
        failing = any(not r.passed for r in rows if r.precision == precision)
        text = f"{error_text(worst)}"
        cells.append(f"**{text}**" if failing else text)
    return f"{' / '.join(cells)} `{max((r for r in rows if r.precision == 'float32'), key=lambda r: r.error).name}`"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
