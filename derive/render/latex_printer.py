r"""Print expressions as LaTeX: real sums, fractions, subscripts.

    tex(-mean[n](logp[n, t[n]]))   -\frac{1}{N} \sum_{n=1}^{N} \mathrm{logp}_{n,t_{n}}

Names are those of the layer: a Greek word becomes the letter, ``xhat`` a hat,
``W1`` ``W^{(1)}`` (``W_{1}`` where it has no indices), a word is upright, and
``dx`` is ``\mathrm{d}x`` where it is the cotangent of ``x``.

Widths are estimates in points at 10 pt, rather too wide than too narrow, so
that a formula is broken before TeX would find its line overfull.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from sympy import Expr, S

from derive.algebra.functions import BY_CLASS, BY_NAME, And, Eq, FloorDiv, Ge, Gt, Le, Lt, Mod, Ne, Not, Or, XLogY
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    ArgMax,
    Delta,
    Element,
    Index,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Norm,
    Padded,
    Prod,
    Reduction,
    Std,
    Sum,
    Var,
)
from derive.algebra.text import decimal, whole
from derive.render.breaking import BreakingPrinter
from derive.render.formula import ADD, ATOM, MUL, POWER, Box, Notation, short
from derive.render.latex_text import escape, greek
from derive.render.names import Reading
from derive.render.printer import is_digamma

__all__ = ["TexPrinter", "name_tex"]

_SMALL = 0.72  # a script letter against a full one
_HATS = {"hat": r"\hat", "bar": r"\bar", "tilde": r"\tilde"}
_BROADER = {r"\tilde": r"\widetilde", r"\bar": r"\overline"}
_NARROW = set("ijltfrI1,.;:!'()[]|/ ")
_BROAD = set("mwMWQOGHNKDCUVXYABRPETZFLS")
_RELATIONS: dict[type[Expr], tuple[str, float]] = {
    Lt: (" < ", 14.0),
    Le: (r" \le ", 14.0),
    Gt: (" > ", 14.0),
    Ge: (r" \ge ", 14.0),
    Eq: (" = ", 14.0),
    Ne: (r" \ne ", 14.0),
    And: (r" \wedge ", 12.0),
    Or: (r" \vee ", 12.0),
    Not: (r"\neg ", 7.0),
}
_SIZES = (("(", ")", 8.0), (r"\bigl(", r"\bigr)", 10.0), (r"\biggl(", r"\biggr)", 14.0), (r"\Biggl(", r"\Biggr)", 16.0))
_SUBSCRIPTED = re.compile(
    r"(?!\\sum|\\prod|\\max|\\min)(\\[a-z]+(\{([^{}]|\{[^{}]*\})*\})?|[A-Za-z])(\^\{([^{}]|\{[^{}]*\})*\})?_\{"
)
_TIGHT = re.compile(r"-?(\w|\d+|\\\w+)( [+-] (\w|\d+))?|\w_\{\w+\}")
_BIG = ("", r"\big", r"\bigg", r"\Bigg")


def text_width(text: str) -> float:
    """Return the width of letters in points at 10 pt."""
    return sum(3.9 if c in _NARROW else 8.2 if c in _BROAD else 5.6 for c in text)


def _word(text: str) -> tuple[str, float]:
    """Return a letter, Greek letter, number or upright word, and its width."""
    letter = greek(text)
    if letter is not None:
        return letter, 6.5
    if text.isdigit() or (len(text) == 1 and text.isascii() and text.isalpha()):
        return text, text_width(text)
    upright = "mathrm" if text.isascii() else "text"
    return rf"\{upright}{{{escape(text)}}}", text_width(text)


def name_parts(name: str) -> tuple[str, list[str], float, float]:
    """Return a name's letter and its further parts, with the widths of both."""
    first, *rest = [p for p in name.split("_") if p] or ["_"]
    if rest and rest[0] in _HATS and _is_letter(first):
        first, rest = first + rest[0], rest[1:]
    match = re.fullmatch(r"(.*?[^\d])(\d+)", first)
    if match and not rest:
        first, rest = match[1], [f"({match[2]})"]
    if len(rest) > 1 or (rest and not _is_letter(first) and not any(_is_letter(first.removesuffix(w)) for w in _HATS)):
        word, width = _word(name)
        return word, [], width, 0.0
    for word, accent in _HATS.items():
        stem = first.removesuffix(word)
        if stem != first and _is_letter(stem):
            letter, width = _word(stem)
            return f"{accent}{{{letter}}}", *_parts(rest, width)
    letter, width = _word(first)
    return letter, *_parts(rest, width)


def _is_letter(text: str) -> bool:
    return bool(text) and (len(text) == 1 or greek(text) is not None)


def _parts(rest: Sequence[str], width: float) -> tuple[list[str], float, float]:
    words = [(p, text_width(p)) if p.startswith("(") else _word(p) for p in rest]
    return [w for w, _ in words], width, sum(w for _, w in words)


def name_tex(
    name: str | Reading,
    cotangent: bool = False,
    subscripts: Sequence[Box] = (),
    *,
    accent: str = "",
    fill: Box | None = None,
    bar: str = r"\bar",
) -> Box:
    """Return a name with its subscripts.

    Args:
        name: as in the layer, or how it is read.
        cotangent: whether a name is read as "d" and the rest of it.
        subscripts: printed.
        accent: a command for an accent over the whole, that of a padded tensor.
        fill: what a tensor is padded with, where the accent alone does not say it.
        bar: the accent of a cotangent of the second backward pass.
    """
    if isinstance(name, str):
        name = Reading(name[1:], order=1) if cotangent else Reading(name)
    letter, parts, width, extra = name_parts(name.base)
    for mark in name.marks:
        word, more = _word(mark)
        parts, extra = [*parts, word], extra + more
    if name.order:
        letter, width = rf"\mathrm{{d}}{letter}", width + 5.6
    accents = [bar] * (max(name.order - 1, 0) + name.second) + [r"\dot"] * name.dot + [accent] * bool(accent)
    for mark in accents:
        broad = _BROADER.get(mark, mark) if width > 9.0 else mark
        letter = rf"{broad}{{{letter}}}"
    if fill is not None:
        parts, extra = [*parts, f"[{fill.text}]"], extra + fill.width + 6.0
    tight = all(_TIGHT.fullmatch(s.text) for s in subscripts)
    scripts = ("," if tight else r",\,").join(s.text for s in subscripts)
    low = sum(_script(s) for s in subscripts) + _SMALL * (3.0 if tight else 5.0) * len(subscripts)
    raised = bool(parts) and (bool(subscripts) or bool(name.marks))
    if raised:
        text = f"{letter}^{{{','.join(parts)}}}" + (f"_{{{scripts}}}" if scripts else "")
    elif parts:
        text = f"{letter}_{{{','.join(p.strip('()') if p[0] == '(' else p for p in parts)}}}"
    else:
        text = f"{letter}_{{{scripts}}}" if scripts else letter
    loose = name.order > 0 and not accents
    wordy = name.order > 0 or letter.startswith((r"\mathrm", r"\text"))
    extra += 3.0 * len(parts)
    return Box(text, width + max(low, _SMALL * extra) + 0.5, POWER if loose else ATOM, wordy=wordy, raised=raised)


def _small(text: str) -> str:
    """Return a formula with the parentheses that fit its size inside a fraction."""
    return re.sub(r"\\[bB]igg(?=[lr]\b)", r"\\big", text)


def _script(box: Box) -> float:
    """Return the width as a script, where TeX leaves no room around signs."""
    signs = sum(box.text.count(sign) for sign in (" + ", " - "))
    relations = sum(box.text.count(sign) for sign in (r" \le ", " < ", r" \mid "))
    return _SMALL * (box.width - 4.0 * signs - 5.0 * relations)


def _row(boxes: Sequence[Box]) -> Box:
    return Box(",".join(b.text for b in boxes), sum(b.width for b in boxes) + 3.0 * len(boxes))


class TexPrinter(BreakingPrinter):
    """Prints expressions as LaTeX."""

    means_as_sums = True
    wide = 190.0
    widest = 330.0
    alternatives = 190.0
    slash = r" \Big/ "
    plus = (" + ", 13.0)
    minus = (" - ", 13.0)
    times = r"{} \cdot "
    comma = (r",\, ", 6.0)
    words = ((r"\ \text{if } ", 14.0), (r";\ ", 7.0), (r"\ \text{otherwise}", 46.0))

    def __init__(self, notation: Notation | None = None) -> None:
        super().__init__(notation or Notation())

    def number(self, value: Expr) -> Box:
        if value is S.Infinity:
            return Box(r"\infty", 10.0)
        if value is S.Pi:
            return Box(r"\pi", 6.0)
        if value is S.Exp1:
            return Box("e", 5.0)
        text = (whole(value) if value.q == 1 else decimal(value)) if value.is_Rational else str(value)
        if text is None:
            return Box(rf"\frac{{{value.p}}}{{{value.q}}}", 5.3 * len(str(value.q)) + 3, ATOM, 2)
        if "e" in text:
            mantissa, exponent = text.split("e")
            power = f"10^{{{int(exponent)}}}"
            text = power if mantissa == "1" else rf"{mantissa} \times {power}"
            return Box(text, 5.3 * len(text.replace(r" \times ", "xxx")), ATOM if mantissa == "1" else MUL, raised=True)
        return Box(text, 5.3 * len(text))

    def symbol(self, expr: Expr) -> Box:
        if isinstance(expr, Index) and expr.name.startswith(BATCH.name):
            return Box(r"\ldots", 12.0)
        if expr == BATCH_SIZE:
            return Box(r"\lvert\ldots\rvert", 18.0)
        return name_tex(expr.name if expr.is_Symbol else str(expr))

    def element(self, expr: Element) -> Box:
        return self.name(expr.name, [self.box(s) for s in expr.subscripts])

    def name(self, name: str, subscripts: Sequence[Box] = (), accent: str = "", fill: Box | None = None) -> Box:
        """Return a tensor's name with its subscripts."""
        reading = self.notation.readings.get(name, name)
        cotangent = name in self.notation.cotangents
        return name_tex(reading, cotangent, subscripts, accent=accent, fill=fill, bar=self.bar)

    @property
    def bar(self) -> str:
        """The accent of a cotangent of the second backward pass: a bar, unless a name has one of its own."""
        return r"\breve" if any(n.endswith("bar") for n in self.notation.order) else r"\bar"

    def delta(self, expr: Delta) -> Box:
        a, b = sorted((self.box(x) for x in expr.args), key=lambda x: (x.text.isdigit(), len(x.text), x.text))
        if any(n in ("delta", "δ") for n in self.notation.order):
            return self.truth(Box(f"{a.text} = {b.text}", a.width + b.width + 14.0, ADD))
        return Box(rf"\delta_{{{a.text},{b.text}}}", 5.0 + _SMALL * (a.width + b.width + 4.0))

    def padded(self, expr: Padded) -> Box:
        element = expr.element
        subscripts = [self.box(s) for s in element.subscripts]
        own = [f for name, f in self.notation.fills if name == element.name]
        # The first fill of a tensor has the accent alone; a second one says itself.
        fill = self.box(expr.fill) if own and expr.fill != own[0] else None
        return self.name(element.name, subscripts, self.accent, fill)

    @property
    def accent(self) -> str:
        """The accent of a padded tensor: a tilde, unless a name has one of its own."""
        tilde = any(n.endswith("tilde") for n in self.notation.order)
        return r"\mathring" if tilde else r"\tilde"

    def divides(self, divisor: Box, number: Box) -> Box:
        return Box(rf"{divisor.text} \mid {number.text}", divisor.width + number.width + 12.0, ADD)

    def partial(self, of: Box, wrt: Box) -> Box:
        text = rf"\frac{{\partial {of.text}}}{{\partial {wrt.text}}}"
        return Box(text, max(of.width, wrt.width) + 9.0, ATOM, 2)

    def fraction(self, above: Box, below: Box) -> Box:
        text = rf"\frac{{{_small(above.text)}}}{{{_small(below.text)}}}"
        return Box(text, max(above.width, below.width) + 3.0, ATOM, 2)

    def root(self, base: Box) -> Box:
        return Box(rf"\sqrt{{{base.text}}}", base.width + 10.0, ATOM, max(1, base.tall))

    def power(self, base: Box, exponent: Box) -> Box:
        width = base.width + _SMALL * exponent.width + 0.5
        return Box(f"{base.text}^{{{exponent.text}}}", width, POWER, base.tall, wordy=base.wordy, raised=True)

    def exponential(self, arg: Box) -> Box | None:
        if arg.tall or arg.width > 90.0:
            return None
        return Box(f"e^{{{arg.text}}}", 5.0 + _SMALL * arg.width, POWER, 0, raised=True)

    def delimiters(self, tall: int) -> tuple[str, str, float]:
        return _SIZES[min(tall, 3)]

    def gap(self, before: str, left: Box | None, right: Box) -> str:
        if right.text[:1].isdigit() or (right.text.startswith(r"\frac{") and before[-1:].isdigit()):
            return r" \cdot "
        if (left is not None and left.wordy) or right.wordy:
            return r"\,"
        if left is not None and _SUBSCRIPTED.match(left.text) and _SUBSCRIPTED.match(right.text):
            return r"\,"
        return " "

    def product(self, factors: Sequence[Box]) -> Box:
        text, width = factors[0].text, factors[0].width
        for left, right in pairwise(factors):
            gap = self.gap(text, left, right)
            text, width = text + gap + right.text, width + right.width + (7.0 if "cdot" in gap else 1.7)
        return Box(text, width, MUL, max(f.tall for f in factors), factors[-1].open)

    def prefix(self, expr: Reduction, conditions: Sequence[Box] = ()) -> Box:
        indices = expr.indices
        sign = rf"\{expr.word}"
        if not isinstance(expr, (Sum, Prod)):
            low = self._low([*self._letters(indices), *conditions])
            return Box(f"{sign}_{low.text} ", max(20.0, low.width) + 2.0, MUL, 1)
        whole = [i for i in indices if not short(i)]
        if conditions or BATCH in indices or len(whole) > 2:
            low = self._low([*self._letters(indices if conditions else whole), *conditions])
            text, width = f"{sign}_{low.text} ", max(14.5, low.width) + 2.0
            rest = [] if conditions else [i for i in indices if short(i)]
        else:
            text, width, rest = "", 0.0, list(indices)
        for index in rest:
            first, last = self._range(index)
            text += f"{sign}_{{{first.text}}}^{{{last.text}}} "
            width += max(14.5, _SMALL * first.width, _SMALL * last.width) + 2.0
        return Box(text, width, MUL, 2)

    def _letters(self, indices: Sequence[Index]) -> list[Box]:
        """Return a list of letters, then the ranges that are no whole axis, equal ones together."""
        plain = [self.symbol(i) for i in indices if not short(i)]
        sizes: dict[Expr, list[Box]] = {}
        for index in indices:
            if short(index):
                sizes.setdefault(index.size, []).append(self.symbol(index))
        rows = [_row(plain)] if plain else []
        for size, letters in sizes.items():
            row, end = _row(letters), self.box(size)
            bounds = (r"0 \le ", " < ") if self.notation.first == 0 else (r"1 \le ", r" \le ")
            rows.append(Box(f"{bounds[0]}{row.text}{bounds[1]}{end.text}", row.width + end.width + 33.0))
        return rows

    def _low(self, rows: Sequence[Box]) -> Box:
        """Return what stands below a sign, in braces, a line for each row."""
        width = max(_script(r) for r in rows)
        text = r" \\ ".join(r.text for r in rows)
        return Box(f"{{{text}}}" if len(rows) == 1 else rf"{{\substack{{{text}}}}}", width)

    def _range(self, index: Index) -> tuple[Box, Box]:
        letter, size = self.symbol(index), self.box(index.size)
        low = Box(f"{letter.text}={self.notation.first}", letter.width + 17.0)
        return (low, size) if self.notation.first else (low, self.box(index.size - 1))

    def index_range(self, index: Index, step: int = 1) -> str:
        r"""Return ``n = 1, \ldots, N``, or ``t = T - 1, \ldots, 0`` where it runs backwards."""
        letter, last = self.symbol(index).text, self._range(index)[1].text
        ends = (str(self.notation.first), last) if step == 1 else (last, str(self.notation.first))
        return rf"{letter} = {ends[0]}, \ldots, {ends[1]}"

    def head(self, expr: Expr) -> Box | None:
        if isinstance(expr, Norm):
            return None
        if isinstance(expr, (Reduction, KeepingReduction)):
            words = {LogSumExp: "logsumexp", Var: "Var", Std: "std", ArgMax: r"arg\,max"}
            word = words.get(type(expr), expr.word.removeprefix("log_"))
            before = r"\log" if isinstance(expr, LogSoftmax) else ""
            letters = [self.symbol(i) for i in expr.indices]
            low = sum(b.width for b in letters) + 3.0 * len(letters)
            scripts = ",".join(b.text for b in letters)
            text = rf"{before}\operatorname{{{word}}}_{{{scripts}}}"
            return Box(text, text_width(before + word) + _SMALL * low)
        row = BY_NAME["digamma"] if is_digamma(expr) else BY_CLASS.get(type(expr))
        if row is None:
            word = escape(type(expr).__name__)
            return Box(rf"\operatorname{{{word}}}", text_width(word))
        command = row.latex
        call = re.fullmatch(r"([^{}]*(?:\\operatorname\{\w+\})?)\\left\(.*\\right\)", command)
        if call:
            command = call[1]
        elif "{0}" in command:
            return None
        if command == r"\sigma" and any(n in ("sigma", "σ") for n in self.notation.order):
            command = r"\operatorname{sigmoid}"
        return Box(command, text_width(re.sub(r"\\operatorname|[\\{}]", "", command)))

    def special(self, expr: Expr, args: Sequence[Box]) -> Box:
        tall = max(a.tall for a in args)
        big = _BIG[min(tall, 3)]
        if isinstance(expr, Norm):
            letters = [self.symbol(i) for i in expr.indices]
            left, right = (rf"{big}l\lVert ", rf"{big}r\rVert") if big else (r"\lVert ", r"\rVert")
            scripts = ",".join(b.text for b in letters)
            width = args[0].width + 10.0 + _SMALL * sum(b.width for b in letters)
            return Box(f"{left}{args[0].text}{right}_{{{scripts}}}", width, POWER, tall)
        row = BY_CLASS[type(expr)]
        if isinstance(expr, (Mod, FloorDiv)):
            args = [self.inside(a, POWER) for a in args]
        if isinstance(expr, XLogY):
            args = [self.inside(args[0], POWER), self.parens(args[1])]
        template = row.latex
        for side, suffix in ((r"\left", "l"), (r"\right", "r")):
            template = template.replace(side, f"{big}{suffix}" if big else "")
        for i in range(len(args)):
            template = template.replace(f"{{{i}}}", f"\0{i}\0")
        template = template.replace("{{", "{").replace("}}", "}")
        for i, arg in enumerate(args):
            template = template.replace(f"\0{i}\0", arg.text)
        level = MUL if isinstance(expr, (Mod, XLogY)) else ATOM
        return Box(template, sum(a.width for a in args) + 14.0 * len(args), level, tall)

    def at(self, inner: Box, bound: Sequence[Expr], place: Sequence[Expr]) -> Box:
        big = _BIG[min(max(inner.tall, 1), 3)]
        pairs = [(self.box(b), self.box(p)) for b, p in zip(bound, place, strict=True)]
        scripts = ",".join(f"{b.text}={p.text}" for b, p in pairs)
        width = inner.width + 8.0 + _SMALL * sum(b.width + p.width + 14.0 for b, p in pairs)
        return Box(rf"{big}l[{inner.text}{big}r]_{{{scripts}}}", width, ATOM, max(inner.tall, 1))

    def cases(self, rows: Sequence[tuple[Box, Box | None]]) -> Box:
        lines = []
        for value, test in rows:
            lines.append(f"{value.text} & " + (rf"\text{{if }} {test.text}" if test else r"\text{otherwise}"))
        width = max(v.width for v, _ in rows) + max(t.width + 14.0 if t else 45.0 for _, t in rows) + 24.0
        return Box(r"\begin{cases} " + r" \\ ".join(lines) + r" \end{cases}", width, POWER, 3)

    def truth(self, condition: Box) -> Box:
        big = _BIG[min(condition.tall, 3)]
        left, right = (f"{big}l[", f"{big}r]") if big else ("[", "]")
        return Box(
            rf"\mathbf{{1}}{left}{condition.text}{right}", condition.width + 14.0, ATOM, condition.tall, wordy=True
        )

    def relation(self, expr: Expr) -> tuple[str, float]:
        return _RELATIONS[type(expr)]
