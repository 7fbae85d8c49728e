"""Print expressions for a terminal: one line, Unicode mathematics or plain ASCII.

    tex      \\frac{\\gamma_d}{N} \\sum_{n=1}^{N} x_{n,d}^2
    Unicode  gamma[d]/N·Σₙ x[n,d]²
    ASCII    gamma[d]/N*sum[n](x[n,d]**2)

Names are the layer's own; ASCII output is the layer language itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sympy import Expr, S

from derive.algebra.functions import BY_CLASS, BY_NAME, And, Eq, Ge, Gt, Le, Lt, Ne, Not, Or
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    Delta,
    Element,
    Index,
    KeepingReduction,
    Max,
    Min,
    Padded,
    Prod,
    Reduction,
    Sum,
)
from derive.algebra.text import decimal, stands_alone, whole
from derive.render.breaking import BreakingPrinter
from derive.render.formula import ADD, ATOM, MUL, POWER, Box, Notation, short
from derive.render.printer import is_digamma

__all__ = ["SUBSCRIPTS", "TerminalPrinter"]

SUBSCRIPTS = dict(zip("aehijklmnoprstuvx0123456789…", "ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₀₁₂₃₄₅₆₇₈₉…", strict=True))
_SUPERSCRIPTS = dict(zip("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", strict=True))
_UNICODE: dict[type[Expr], str] = {
    Lt: " < ", Le: " ≤ ", Gt: " > ", Ge: " ≥ ", Eq: " = ", Ne: " ≠ ", And: " and ", Or: " or ", Not: "not ",
}  # fmt: skip


def _flat(text: str, level: int = ATOM, *, open: bool = False, raised: bool = False) -> Box:
    return Box(text, float(len(text)), level, 0, open, raised=raised)


def _listed(before: str, items: Sequence[str], after: str, level: int = ATOM) -> Box:
    """Return items in brackets, tight where each is a letter; a list of longer ones may be broken."""
    items = [re.sub(r"^(\w+) ([-+−]) (\d+)$", r"\1\2\3", item) for item in items]
    tight = not any(" " in item for item in items)
    text = before + (",".join(items) if tight else ", ".join(items)) + after
    parts = [f"{item}, " for item in items[:-1]] + [items[-1] + after] if items and not tight else []
    whole = (before + parts[0], *parts[1:]) if parts else ()
    return Box(text, float(len(text)), level, parts=whole)


class TerminalPrinter(BreakingPrinter):
    """Prints expressions for a terminal.

    Attributes:
        ascii: whether only ASCII may be used.
        small: whether every bound index has a subscript letter (Σₙ), so that all are written so.
    """

    wide = 44.0
    widest = 44.0
    alternatives = 28.0
    slash = "/"
    comma = (", ", 2.0)

    def __init__(self, notation: Notation | None = None, *, ascii: bool = False, small: bool = True) -> None:
        super().__init__(notation or Notation())
        self.ascii = ascii
        self.small = small and not ascii
        self.calls = ascii
        self.solves = not ascii  # ASCII is the layer language, which has no conditions under a sum
        self.plus = (" + ", 3.0)
        self.minus = (" - ", 3.0) if ascii else (" − ", 3.0)
        self.times = "*" if ascii else "·"
        self.words = ((" if ", 4.0), ("; ", 2.0), (" otherwise", 10.0))

    @property
    def negative(self) -> str:
        return "-" if self.ascii else "−"

    def name(self, name: str) -> str:
        """Return a name as the terminal can show it."""
        return name.encode("ascii", "backslashreplace").decode() if self.ascii else name

    def number(self, value: Expr) -> Box:
        if value is S.Infinity:
            return _flat("inf" if self.ascii else "∞")
        if value is S.Pi:
            return _flat("pi" if self.ascii else "π")
        if value is S.Exp1:
            return _flat("e")
        text = (whole(value) if value.q == 1 else decimal(value)) if value.is_Rational else str(value)
        return _flat(text) if text is not None else _flat(f"{value.p}/{value.q}", MUL)

    def symbol(self, expr: Expr) -> Box:
        if expr in (BATCH, BATCH_SIZE):
            dots = "..." if self.ascii else "…"
            return _flat(dots if expr == BATCH else f"|{dots}|")
        return _flat(self.name(expr.name) if expr.is_Symbol else str(expr))

    def element(self, expr: Element) -> Box:
        name = self.name(expr.name)
        if not expr.subscripts:
            return _flat(name)
        return _listed(f"{name}[", [self.box(s).text for s in expr.subscripts], "]")

    def delta(self, expr: Delta) -> Box:
        a, b = sorted((self.box(x).text for x in expr.args), key=lambda text: (text.isdigit(), len(text), text))
        return _flat(f"delta({a}, {b})" if self.ascii else f"δ({a}, {b})")

    def padded(self, expr: Padded) -> Box:
        fill = f", {self.box(expr.fill).text}" if expr.fill != 0 else ""
        subscripts = [self.box(s).text for s in expr.element.subscripts]
        return _listed(f"padded({self.name(expr.element.name)}{fill})[", subscripts, "]")

    def divides(self, divisor: Box, number: Box) -> Box:
        return _flat(f"{self.inside(divisor, MUL).text} | {number.text}", ADD)

    def partial(self, of: Box, wrt: Box) -> Box:
        return _flat(f"d({of.text})/d({wrt.text})" if self.ascii else f"∂{of.text}/∂{wrt.text}")

    def fraction(self, above: Box, below: Box) -> Box:
        top = self.parens(above) if above.open else self.inside(above, MUL)
        return _flat(f"{top.text}/{self.inside(below, POWER).text}", MUL)

    def root(self, base: Box) -> Box:
        if self.ascii:
            return _flat(f"sqrt({base.text})")
        return _flat("√" + self.inside(base, POWER).text, ATOM if base.level < POWER else POWER)

    def power(self, base: Box, exponent: Box) -> Box:
        if not self.ascii and exponent.text.replace("−", "-").lstrip("-").isdigit():
            text = "".join(_SUPERSCRIPTS[c] for c in exponent.text.replace("−", "-"))
            return _flat(base.text + text, POWER, raised=True)
        return _flat(f"{base.text}{'**' if self.ascii else '^'}{self.inside(exponent, ATOM).text}", POWER, raised=True)

    def exponential(self, arg: Box) -> Box | None:
        return None

    def delimiters(self, tall: int) -> tuple[str, str, float]:
        return "(", ")", 2.0

    def gap(self, before: str, left: Box | None, right: Box) -> str:
        return self.times

    def product(self, factors: Sequence[Box]) -> Box:
        boxes = [self.inside(f, MUL) for f in factors]
        return _flat(self.times.join(b.text for b in boxes), MUL, open=boxes[-1].open)

    def _letters(self, expr: Reduction | KeepingReduction, conditions: Sequence[Box] = ()) -> str:
        if self.ascii:
            return f"[{', '.join(self._ascii_letter(i, expr.body) for i in expr.indices)}]"
        letters = [self.symbol(i).text for i in expr.indices]
        ranges = [f"{a} < {self.box(i.size).text}" for a, i in zip(letters, expr.indices, strict=True) if short(i)]
        if ranges or conditions:
            plain = [a for a, i in zip(letters, expr.indices, strict=True) if not short(i)]
            parts = [",".join(plain)] * bool(plain), [*ranges, *(c.text for c in conditions)]
            return f"_({': '.join(', '.join(p) for p in parts if p)})"
        if self.small:
            return "".join("".join(SUBSCRIPTS[c] for c in text) for text in letters)
        return "_" + ",".join(letters)

    def _ascii_letter(self, index: Index, body: Expr) -> str:
        letter = self.symbol(index).text
        return letter if stands_alone(index, body) else f"{letter}: {self.box(index.size).text}"

    def prefix(self, expr: Reduction, conditions: Sequence[Box] = ()) -> Box:
        if self.ascii:
            return _flat(f"{expr.word}{self._letters(expr)}", MUL)
        sign = {Sum: "Σ", Prod: "Π", Max: "max", Min: "min"}[type(expr)]
        text = f"{sign}{self._letters(expr, conditions)} "
        parts = [f"{part} " for part in re.split(r"(?<=[,:]) ", text.rstrip())]
        return Box(text, float(len(text)), MUL, parts=tuple(parts))

    def _reduction(self, expr: Reduction) -> Box:
        if not self.ascii:
            return super()._reduction(expr)
        return _flat(f"{self.prefix(expr).text}({self.box(expr.body).text})")

    def head(self, expr: Expr) -> Box | None:
        if isinstance(expr, (Reduction, KeepingReduction)):
            return _flat(expr.word + self._letters(expr))
        row = BY_NAME["digamma"] if is_digamma(expr) else BY_CLASS.get(type(expr))
        if row is None:
            return _flat(type(expr).__name__)
        if row.infix or (row.name == "abs" and not self.ascii):
            return None
        return _flat(row.name)

    def special(self, expr: Expr, args: Sequence[Box]) -> Box:
        row = BY_CLASS[type(expr)]
        if row.name == "abs":
            return _flat(f"|{args[0].text}|")
        a, b = (self.inside(x, POWER) for x in args)
        return _flat(f"{a.text} {row.name} {b.text}", ADD)

    def at(self, inner: Box, bound: Sequence[Expr], place: Sequence[Expr]) -> Box:
        pairs = (f"{self.box(b).text}={self.box(p).text}" for b, p in zip(bound, place, strict=True))
        return _flat(f"{inner.text}[{', '.join(pairs)}]")

    def cases(self, rows: Sequence[tuple[Box, Box | None]]) -> Box:
        if self.ascii:
            text = rows[-1][0].text
            for value, test in reversed(rows[:-1]):
                text = f"where({test.text if test else ''}, {value.text}, {text})"
            return _flat(text)
        parts = [f"{value.text} if {test.text}" for value, test in rows[:-1] if test]
        return _flat(f"({' else '.join([*parts, rows[-1][0].text])})")

    def truth(self, condition: Box) -> Box:
        return _flat(f"({condition.text})" if self.ascii else f"[{condition.text}]")

    def relation(self, expr: Expr) -> tuple[str, float]:
        text = _UNICODE[type(expr)]
        if self.ascii:
            name = BY_CLASS[type(expr)].name
            text = f"{name} " if isinstance(expr, Not) else f" {name} "
        return text, float(len(text))
