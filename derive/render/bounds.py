"""The conditions under a solved sum: which letter is solved for, and what is still to be said of it.

    sum[p, r](dy[p]*w[r]*delta(i, p*s + r - pad))     r = i + pad - p*s,  0 <= i + pad - p*s < R

A bound that holds for all letters in any case (``i - 1 < P`` where ``P`` is
``H - 1`` and ``i`` runs over ``H``) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import sympy
from sympy import Add, Expr, S

from derive.algebra.functions import Ge, Le, Lt
from derive.algebra.indices import elements, free_indices
from derive.algebra.nodes import Index, Sum
from derive.algebra.windows import Condition
from derive.render.formula import ADD, Box, Notation

if TYPE_CHECKING:
    from derive.render.printer import Printer

__all__ = ["certain", "conditions_of", "letter_order"]

_AT_MOST, _AT_LEAST, _BELOW = Le(S.Zero, S.One), Ge(S.Zero, S.One), Lt(S.Zero, S.One)


def letter_order(expr: Sum, notation: Notation) -> Callable[[Index], object]:
    """Return the order in which letters are solved for: those of windows, then as they are read."""
    read = elements(expr.body)

    def key(index: Index) -> object:
        places = [notation.place(e.name) for e in read if index in e.subscripts]
        given = any(index in e.subscripts and e.name in notation.cotangents for e in read)
        return (*notation.letter(index), not given, min(places, default=len(read)), index.name)

    return key


def conditions_of(condition: Condition, printer: Printer) -> Iterator[Box]:
    """Yield ``divisor | number`` where something is divided, then ``0 <= number < divisor*size``."""
    number, divisor = printer.box(condition.numerator), condition.divisor
    if condition.divides:
        printer.divisors[divisor] = None
        yield printer.divides(printer.box(divisor), number)
    if condition.size is None:
        return
    value, size = number, condition.size
    if condition.divides and divisor.is_positive:
        size = divisor * size
    elif condition.divides:
        value = printer.slashed(number, printer.box(divisor))
    below, above = (False, False) if value is not number else certain(condition.numerator, size, printer.notation.sizes)
    low, high = printer.relation(_AT_MOST), printer.relation(_BELOW)
    least = -condition.numerator.as_coeff_Add()[0]
    if above and not below and least.is_positive:  # j >= 1 rather than 0 <= j - 1
        value, end, sign = printer.box(condition.numerator + least), printer.number(least), printer.relation(_AT_LEAST)
        yield Box(value.text + sign[0] + end.text, value.width + sign[1] + end.width, ADD, value.tall)
        return
    text, width = value.text, value.width
    if not above:
        end = printer.box(size)
        text, width = text + high[0] + end.text, width + high[1] + end.width
    if not below:
        zero = printer.number(S.Zero)
        text, width = zero.text + low[0] + text, zero.width + low[1] + width
    if not (below and above):
        yield Box(text, width, ADD, value.tall)


def certain(number: Expr, size: Expr, sizes: Mapping[Expr, Expr]) -> tuple[bool, bool]:
    """Return whether ``0 <= number`` and ``number < size`` hold for all letters of a sum of letters and sizes."""
    least = most = sympy.expand(number)
    for term in Add.make_args(least):
        for letter in free_indices(term):
            times = term.coeff(letter)
            if term != times * letter or not times.is_number:
                return bool(number.is_nonnegative), False
            least -= term if times > 0 else term - times * (letter.size - 1)
            most -= term - times * (letter.size - 1) if times > 0 else term
    rest = sympy.expand((size - 1 - most).subs(sizes))
    least = sympy.expand(least.subs(sizes))
    return bool(least.is_nonnegative), bool(rest.is_nonnegative)
