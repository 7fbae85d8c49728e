"""Quotients of indices in subscripts: ``x[i // s]`` and ``x[i % s]``, written as sums.

``i = q*s + r`` with r = 0 … s - 1 has one solution, the quotient and the
remainder, so that

    x[i // s] = sum[q, r: s](where(i == q*s + r, x[q], 0))

and after it every subscript is affine. To the rules of the calculus that is
upsampling, tiling or a repeated head like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Expr, Integer, S

from derive.algebra.functions import Eq, FloorDiv, Mod, Ne, Where
from derive.algebra.indices import free_indices
from derive.algebra.nodes import Element, Index, Kind, Padded, Sum
from derive.algebra.text import show
from derive.errors import Span
from derive.language.lengths import Lengths

__all__ = ["extreme", "moving_quotients", "quotient_ranges", "spread"]

_QUOTIENTS = "pquvhwmn"
_REMAINDERS = "rstjklbc"


def moving_quotients(value: Expr) -> list[Expr]:
    """Return the quotients and remainders of a subscript that depend on an index."""
    return sorted((part for part in value.atoms(FloorDiv, Mod) if free_indices(part)), key=show)


def extreme(value: Expr, side: int, lengths: Lengths) -> tuple[Expr, dict[Index, Expr]] | Expr:
    """Return the least (-1) or largest (1) value of an affine expression, and where it is taken.

    Where the sign of an index' factor is not known, that factor alone.
    """
    value = value.expand()
    found: dict[Index, Expr] = {}
    for index in sorted(free_indices(value), key=lambda i: i.name):
        factor = value.coeff(index, 1)
        sign = lengths.sign(factor)
        if not sign:
            return factor
        found[index] = index.size - 1 if sign == side else Integer(0)
    return value.xreplace(found).expand(), found


def quotient_ranges(value: Expr, lengths: Lengths) -> dict[Expr, Index] | None:
    """Return an index for each moving quotient that has its range; None where what is divided may be negative."""
    found: dict[Expr, Index] = {}
    for part in moving_quotients(value):
        above, below = part.args
        least, most = extreme(above, -1, lengths), extreme(above, 1, lengths)
        if not isinstance(least, tuple) or not isinstance(most, tuple) or not lengths.at_least(least[0]):
            return None
        size = below if isinstance(part, Mod) else lengths.quotient(most[0], below) + 1
        found[part] = Index(show(part), size)
    return found


def spread(
    element: Element, axes: Iterable[Expr], fill: Expr | None, taken: Iterable[str], lengths: Lengths, at: Span
) -> Expr:
    """Return a read with quotients as a sum over affine reads.

    Args:
        element: what is read; its subscripts were proved to be inside, or it is padded.
        axes: the sizes of the tensor's axes.
        fill: the value outside; None where the read is not padded.
        taken: letters that are in use.
        lengths: what is known of sizes.
        at: where it is written.
    """
    used = set(taken)
    bound: list[Index] = []
    equations: list[Expr] = []
    mapping: dict[Expr, Expr] = {}
    known = [*zip(element.subscripts, axes, strict=True)]
    for above, below in _pairs(element):
        whole = FloorDiv(above, below)
        uses = {(subscript == whole, size) for subscript, size in known if subscript.has(whole)}
        alone = [size for plain, size in uses if plain and len(uses) == 1 and (fill is None or fill == 0)]
        most = extreme(above, 1, lengths)
        assert isinstance(most, tuple), element
        size = alone[0] if alone else lengths.length(lengths.quotient(most[0], below) + 1, at)
        quotient = Index(_letter(_QUOTIENTS, used), size)
        rest = Index(_letter(_REMAINDERS, used), lengths.length(below, at))
        mapping |= {whole: quotient, Mod(above, below): rest}
        bound += [quotient, rest]
        equations.append(Eq(above, quotient * below + rest))
    inside: Expr = Element(element.tensor, *(s.xreplace(mapping) for s in element.subscripts))
    if fill is not None:
        inside = Padded(inside, fill)
    for equation in reversed(equations):
        inside = Where(equation, inside, S.Zero)
    total: Expr = Sum(inside, *bound)
    return Ne(total, 0) if element.kind is Kind.BOOL else total


def _pairs(element: Element) -> list[tuple[Expr, Expr]]:
    found: Mapping[tuple[Expr, Expr], None] = {
        (part.args[0], part.args[1]): None for s in element.subscripts for part in moving_quotients(s)
    }
    return list(found)


def _letter(candidates: str, used: set[str]) -> str:
    number = 2
    letters = [*candidates]
    while all(letter in used for letter in letters):
        letters = [f"{letter}{number}" for letter in candidates]
        number += 1
    letter = next(letter for letter in letters if letter not in used)
    used.add(letter)
    return letter
