"""``Piece``: one update of one tensor over a few loops; every statement becomes a few of them.

    s[n] = 0                    over n
    s[n] += x[n, d]*y[n, d]     over n, d
    z[n] = s[n]/D               over n
    dx[2*p + r] += dy[p]        over p, r       where 0 <= 2*p + r < N
    c[i, j] = alpha*a[i, k] @ b[k, j]           one matrix product

A reduction is an update over more loops than its target has axes, a scatter
one whose target's subscripts are no plain letters. A piece knows neither the
other pieces nor where it will stand: :mod:`derive.nests.fuse` puts pieces into
common loops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sympy
from sympy import Expr, S

from derive.algebra.indices import elements, substitute
from derive.algebra.nodes import Element, Index, Kind, Tensor
from derive.language.layer import Carry

__all__ = ["Apart", "Decay", "ErfcBy", "Piece", "Product", "Temporary"]

Letters = tuple[Index, ...]


class Apart(sympy.Function):
    """Its argument, computed on its own: ``(x - m) - s`` must not become ``x - (m + s)``, which loses digits."""

    @classmethod
    def eval(cls, *args: Any) -> Any:
        return None

    def _eval_is_extended_real(self) -> bool:
        return True


class Decay(Apart):
    """``exp(x)`` of an x that is at most 0."""


class ErfcBy(Apart):
    """``erfc(x)``, given ``exp(-x**2)`` as the second argument."""


@dataclass(frozen=True, slots=True)
class Temporary:
    """A tensor that is computed on the way.

    Attributes:
        name, indices, kind: its element is ``name[indices]``.
        carry: where it is a recurrence.
    """

    name: str
    indices: Letters
    kind: Kind = Kind.REAL
    carry: Carry | None = None

    @property
    def element(self) -> Element:
        """The element at its own letters."""
        return Element(Tensor(self.name, self.kind), *self.indices)


@dataclass(frozen=True, slots=True)
class Product:
    """``alpha * sum[k](a*b)`` as one product of matrices, whatever the letters outside it.

    Attributes:
        a, b: the operands, plain elements.
        rows, columns, inner: the letters of the result's rows (in a), of its columns (in b) and of the sum.
        alpha: a number without these letters.
    """

    a: Element
    b: Element
    rows: Letters
    columns: Letters
    inner: Letters
    alpha: Expr = S.One


@dataclass(frozen=True)
class Piece:
    """``name[subscripts] op expr`` for all values of the loops for which the conditions hold.

    Attributes:
        name: of the tensor that is written.
        subscripts: where, one an axis.
        op: ``=``, ``+=``, ``*=``, ``max`` or ``min``.
        expr: the value, without reductions; of a product, that of its operands, for reads.
        loops: the letters, outermost first as the arrays lie in memory.
        conditions: ``(place, size)``: only where ``0 <= place < size``.
        product: a matrix product, whose own letters are no loops.
        step: of the recurrence that the piece belongs to: its loops start with that letter; 0 for none.
        group: number of that recurrence.
        formula: what the piece is part of, for the comment.
        number: of the piece, in order.
    """

    name: str
    subscripts: tuple[Expr, ...]
    op: str
    expr: Expr
    loops: Letters
    conditions: tuple[tuple[Expr, Expr], ...] = ()
    product: Product | None = None
    step: int = 0
    group: int = 0
    formula: str = ""
    number: int = 0

    @cached_property
    def reads(self) -> tuple[Element, ...]:
        """The elements that are read, those in subscripts and conditions too."""
        found: dict[Element, None] = {}
        for expr in (self.expr, *self.subscripts, *(p for p, _ in self.conditions)):
            found.update(dict.fromkeys(elements(expr)))
        if self.product is not None:
            for expr in (self.product.a, self.product.b, self.product.alpha):
                found.update(dict.fromkeys(elements(expr)))
        return tuple(found)

    def renamed(self, old: Index, new: Index) -> Piece:
        """Return the piece with another letter for a loop."""
        if old == new:
            return self
        change = {old: new}
        product = self.product
        if product is not None:
            a, b = substitute(product.a, change), substitute(product.b, change)
            assert isinstance(a, Element) and isinstance(b, Element)
            product = replace(product, a=a, b=b, alpha=substitute(product.alpha, change))
        return replace(
            self,
            subscripts=tuple(substitute(s, change) for s in self.subscripts),
            expr=substitute(self.expr, change),
            loops=tuple(new if i == old else i for i in self.loops),
            conditions=tuple((substitute(p, change), s) for p, s in self.conditions),
            product=product,
        )
