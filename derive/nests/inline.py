"""Temporaries that are cheaper to compute again than to keep.

    xc[n, d] = x[n, d] - mu[d];  s[d] += xc[n, d]**2;  y[n, d] = rstd[d]*xc[n, d]

``xc`` would be as large as ``x``, written once and read twice, for one
subtraction. Where a temporary is one or two operations on what is read anyway,
its readers get the operations. One that is a variable of a loop stays: it costs
nothing and has a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, Pow, exp

from derive.algebra.functions import AtMost, Erfc
from derive.algebra.indices import elements, rebuild, substitute
from derive.algebra.nodes import Element, Index, Padded
from derive.nests.pieces import Apart, Decay, ErfcBy, Piece

__all__ = ["inlined", "with_decays"]

_OPERATIONS = 2


def inlined(pieces: Sequence[Piece], candidates: Iterable[str]) -> tuple[Piece, ...]:
    """Return the pieces without those of the candidates whose readers can compute them.

    Args:
        pieces: in order.
        candidates: temporaries that would be arrays.
    """
    left = set(candidates)
    wanted = {e.name for p in pieces if p.product is not None for e in (p.product.a, p.product.b)}
    padded = {e.name for p in pieces for e in _padded(p.expr)}
    writes: dict[str, list[Piece]] = {}
    for piece in pieces:
        writes.setdefault(piece.name, []).append(piece)
    known: dict[str, Piece] = {}
    result: list[Piece] = []
    for piece in pieces:
        new = _with(piece, known) if known else piece
        own = new.name
        if own in left and own not in wanted | padded and len(writes[own]) == 1 and _is_cheap(new, writes):
            known[own] = new
        else:
            result.append(new)
    return tuple(result)


def _is_cheap(piece: Piece, writes: Mapping[str, Sequence[Piece]]) -> bool:
    plain = all(isinstance(s, Index) for s in piece.subscripts) and len(set(piece.subscripts)) == len(piece.subscripts)
    if piece.op != "=" or not plain or piece.product is not None or piece.conditions or piece.group:
        return False
    read = elements(piece.expr)
    large = [e for e in read if len(e.subscripts) >= len(piece.subscripts)]
    # What it reads must not change afterwards, as an array does that is scaled in place.
    if any(p.op == "*=" for e in read for p in writes.get(e.name, ())):
        return False
    return len(large) <= 2 and _count(piece.expr) <= _OPERATIONS


def _count(expr: Expr) -> int:
    """Return the number of cheap operations; many for any other."""
    if isinstance(expr, Element) or expr.is_Symbol or expr.is_number:
        return 0 if not isinstance(expr, Element) or all(isinstance(s, Index) for s in expr.subscripts) else 99
    if isinstance(expr, Apart):
        return _count(expr.args[0])
    if isinstance(expr, (Add, Mul)):
        return len(expr.args) - 1 - (expr.args[0] == -1) + sum(map(_count, expr.args))
    return 99


def _with(piece: Piece, known: Mapping[str, Piece]) -> Piece:
    """Return the piece with definitions in the place of names."""

    def visit(expr: Expr) -> Expr:
        if not expr.args:
            return expr
        new = rebuild(expr, map(visit, expr.args))
        if isinstance(new, Element) and new.name in known:
            made = known[new.name]
            change = dict(zip(made.subscripts, new.subscripts, strict=True))
            value = substitute(made.expr, {k: v for k, v in change.items() if k != v})
            return Apart(value) if isinstance(value, Add) else value
        return new

    expr = visit(piece.expr)
    product = piece.product
    if product is not None:
        product = replace(product, alpha=visit(product.alpha))
    if expr is piece.expr and product is piece.product:
        return piece
    return replace(piece, expr=expr, product=product)


def _padded(expr: Expr) -> list[Element]:
    if isinstance(expr, Padded):
        return [expr.element]
    return [e for a in expr.args for e in _padded(a)]


def with_decays(expr: Expr) -> Expr:
    """Mark exponentials of what is at most 0 as such, and take ``erfc(a)`` from ``exp(-a**2)``."""
    exponents: set[Expr] = set()

    def collect(e: Expr) -> None:
        if isinstance(e, exp):
            exponents.add(e.args[0])
        for a in e.args:
            collect(a)

    def visit(e: Expr) -> Expr:
        if not e.args or isinstance(e, Element):
            return e
        new = rebuild(e, map(visit, e.args))
        if isinstance(e, exp) and _is_at_most_0(e.args[0]):
            return Decay(new.args[0])
        if isinstance(e, Erfc) and -Pow(e.args[0], 2) in exponents:
            return ErfcBy(new.args[0], Decay(-Pow(new.args[0], 2)))
        return new

    collect(expr)
    return visit(expr) if exponents else expr


def _is_at_most_0(expr: Expr) -> bool:
    if isinstance(expr, AtMost):
        return bool(expr.args[1] == 0)
    if isinstance(expr, Mul):
        number, rest = expr.as_coeff_Mul()
        squares = all(f.is_Pow and f.exp.is_Integer and f.exp % 2 == 0 for f in Mul.make_args(rest))
        return bool(number.is_negative) and squares
    return False
