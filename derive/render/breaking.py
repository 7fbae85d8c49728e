"""Cut a formula where it may be broken: at its signs, factors, arguments and connectives.

dy[n, d] - mean[k](dy[n, k])        box      one line
                                    pieces   "dy[n,d]", " − meanₖ(", "dy[n,k])"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sympy
from sympy import Add, Expr, Mul, Pow, S

from derive.algebra.functions import And, Not, Or, Where
from derive.algebra.nodes import Delta, Element, KeepingReduction, Mean, Padded
from derive.render.formula import ADD, ATOM, MUL, POWER, PREFIX, TRUTH, Box, Piece, indicator
from derive.render.printer import Printer

__all__ = ["BreakingPrinter"]


class BreakingPrinter(Printer):
    """A printer that also gives a formula in pieces."""

    def pieces(self, expr: Expr, depth: int = 0) -> list[Piece]:
        """Return the expression cut at every place where a line may be broken."""
        whole = self.box(expr)
        one = [Piece(whole.text, whole.width)]
        if isinstance(expr, Add):
            common, parts = self._terms(expr)
            if common != 1:
                return self._product_pieces(self._common_factor(common, parts), depth)
            out: list[Piece] = []
            for negative, term in parts:
                cut = self._held(term, MUL, depth + 1)
                sign, gap = (self.minus if negative else self.plus) if out else (self.negative if negative else "", 0.0)
                cut[0] = replace(cut[0], text=sign + cut[0].text, width=cut[0].width + gap)
                if out:
                    cut[0] = replace(cut[0], depth=depth)
                out += cut
            return out
        if isinstance(expr, Mul) or (isinstance(expr, Mean) and self.means_as_sums):
            return self._product_pieces(expr, depth)
        if isinstance(expr, PREFIX):
            prefix, body = self.split(expr)
            if self.calls:
                return _glued(f"{prefix.text}(", prefix.width + 1, self.pieces(body, depth + 2), ")", 1)
            after = self._held(body, MUL, depth + 1)
            if not prefix.parts or prefix.width <= self.alternatives:
                return _glued(prefix.text, prefix.width, after, "")
            return [*_parts(prefix, depth + 2), replace(after[0], depth=depth + 1), *after[1:]]
        if isinstance(expr, sympy.exp) and self.exponential(self.box(expr.args[0])) is not None:
            return one
        if isinstance(expr, TRUTH) and whole.width > self.alternatives:
            around = self.truth(Box("\0", 0.0, ADD, self.condition(expr).tall))
            left, right = around.text.split("\0")
            return _glued(left, around.width / 2, self._condition_pieces(expr, depth + 1), right, around.width / 2)
        if isinstance(expr, KeepingReduction):
            expr = self._read_at_own(expr)
            if expr.at != expr.indices:
                own = self.box(expr.func(expr.body, expr.indices, expr.indices))
                if not whole.text.startswith(own.text):
                    return one
                place = whole.text[len(own.text) :]
                inside = self.pieces(expr.func(expr.body, expr.indices, expr.indices), depth)
                return _glued("", 0.0, inside, place, whole.width - own.width)
        if isinstance(expr, Pow) and whole.width > self.alternatives and not expr.exp.as_coeff_Mul()[0].is_negative:
            suffix = self.power(Box("", 0.0), self._exponent(expr.exp))
            base = self.box(expr.base)
            left, right, width = self.delimiters(base.tall) if base.level < ATOM or base.raised else ("", "", 0.0)
            inside = self.pieces(expr.base, depth + 2)
            return _glued(left, width / 2, inside, right + suffix.text, width / 2 + suffix.width)
        truth = indicator(expr)
        if truth is not None:
            return self.pieces(truth, depth)
        if isinstance(expr, Where) and whole.width > self.alternatives:
            return self._long_cases(expr, depth)
        if whole.parts and whole.width > self.alternatives:
            return _parts(whole, depth + 3)
        if not expr.args or isinstance(expr, (Element, Padded, Delta, Pow, Where, *TRUTH)):
            return one
        head = self.head(expr)
        if head is None:
            return one
        args = self._arguments(expr)
        left, right, width = self.delimiters(max(self.box(a).tall for a in args))
        inner: list[Piece] = []
        for i, arg in enumerate(args):
            cut = self.pieces(arg, depth + 2)
            if i:
                cut[0] = replace(cut[0], depth=depth + 1)
            if i < len(args) - 1:
                cut = _glued("", 0.0, cut, self.comma[0], self.comma[1])
            inner += cut
        return _glued(head.text + left, head.width + width / 2, inner, right, width / 2)

    def _long_fraction(self, above: Sequence[Expr], below: Sequence[Expr], depth: int) -> list[Piece]:
        """Cut a fraction that is wider than a line, written with a slash."""
        out: list[Piece] = []
        for side, sign in ((above, ""), (below, self.slash)):
            product = Mul(*side) if side else S.One
            cut = self._held(product, POWER if sign else MUL, depth + 1)
            if out:
                cut = _glued(sign, self.plus[1], cut, "")
                cut[0] = replace(cut[0], depth=depth)
            out += cut
        return out

    def _long_cases(self, expr: Expr, depth: int) -> list[Piece]:
        """Cut alternatives into ``(value if condition; value otherwise)``."""
        out: list[Piece] = []
        when, then, otherwise = self.words
        while isinstance(expr, Where):
            test, value, other = expr.args
            cut = self.pieces(value, depth + 2)
            cut[0] = replace(cut[0], depth=depth + 1 if out else None)
            words = _glued(*when, self._condition_pieces(test, depth + 3), *then)
            words[0] = replace(words[0], depth=depth + 2)
            out += [*cut, *words]
            expr = other
        last = self.pieces(expr, depth + 2)
        last[0] = replace(last[0], depth=depth + 1)
        left, right, width = self.delimiters(0)
        last = _glued("", 0.0, last, otherwise[0] + right, otherwise[1] + width / 2)
        return _glued(left, width / 2, [*out, *last], "")

    def _condition_pieces(self, expr: Expr, depth: int) -> list[Piece]:
        """Cut a condition at its connectives and comparisons."""
        whole = self.condition(expr)
        if whole.width <= self.alternatives or isinstance(expr, Not) or not isinstance(expr, TRUTH):
            return [Piece(whole.text, whole.width)]
        sign, width = self.relation(expr)
        joins = isinstance(expr, (And, Or))
        out: list[Piece] = []
        for arg in expr.args:
            cut = self._condition_pieces(arg, depth + 1) if joins else self.pieces(arg, depth + 1)
            if isinstance(arg, (And, Or)):
                left, right, more = self.delimiters(whole.tall)
                cut = _glued(left, more / 2, cut, right, more / 2)
            if out:
                cut = _glued(sign, width, cut, "")
                cut[0] = replace(cut[0], depth=depth)
            out += cut
        return out

    def _held(self, expr: Expr, level: int, depth: int) -> list[Piece]:
        box = self.box(expr)
        cut = self.pieces(expr, depth)
        if box.level >= level:
            return cut
        left, right, width = self.delimiters(box.tall)
        return _glued(left, width / 2, cut, right, width / 2)

    def _product_pieces(self, expr: Expr, depth: int) -> list[Piece]:
        negative, above, below, after = self._parts(expr)
        out: list[Piece] = []
        if below:
            top = self._row(above) if above else self.number(S.One)
            box = self.fraction(top, self._row(below))
            if box.width <= self.widest:
                out.append(Piece(box.text, box.width))
            else:
                out += self._long_fraction(above, below, depth + 1)
        factors = self._factors(after, bool(out))
        for i, (factor, box) in enumerate(zip(after, factors, strict=True)):
            bare = self.box(factor)
            cut = self.pieces(factor, depth + 2)
            if box.text != bare.text:
                left, right, width = self.delimiters(bare.tall)
                cut = _glued(left, width / 2, cut, right, width / 2)
            if out:
                gap = self.gap(out[-1].text, factors[i - 1] if i else None, box)
                cut[0] = Piece(cut[0].text, cut[0].width + 2.0, depth + 1, gap, self.times)
            out += cut
        if negative:
            out = _glued(self.negative, self.minus[1], out, "")
        return out


def _parts(box: Box, depth: int) -> list[Piece]:
    """Return the parts of a box that may be broken by itself."""
    return [Piece(part, float(len(part)), depth if i else None) for i, part in enumerate(box.parts)]


def _glued(prefix: str, width: float, pieces: Sequence[Piece], suffix: str, after: float = 0.0) -> list[Piece]:
    """Write a prefix before the first piece and a suffix after the last; ``after`` is the suffix' width."""
    out = list(pieces)
    out[0] = replace(out[0], text=prefix + out[0].text, width=out[0].width + width)
    out[-1] = replace(out[-1], text=out[-1].text + suffix, width=out[-1].width + after)
    return out
