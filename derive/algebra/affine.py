"""The order in which a person writes a subscript: ``2*p + r - 1``, ``i + pad - r``, ``T - 1 - t``.

SymPy keeps the terms of a sum in an order of its own. In an integer sum with
index letters what is added comes before what is taken away, letters before
constants, a strided letter before a plain one and numbers last; where every
letter is taken away, the constants they are taken from come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sympy import Add, Expr, Integer, Mul

from derive.algebra.indices import elements, free_indices
from derive.algebra.nodes import Hyper, Index, Kind, Size

__all__ = ["affine_factors", "affine_terms", "by_stride", "is_affine"]

Order = Callable[[Index], object]


def is_affine(expr: Expr) -> bool:
    """Return whether ``expr`` is a sum of integers in which an index letter stands, such as a subscript."""
    return (
        isinstance(expr, Add)
        and any(isinstance(f, Index) for term in expr.args for f in Mul.make_args(term))
        and all(e.kind in (Kind.INT, Kind.BOOL) for e in elements(expr))
        and bool(expr.is_integer)  # last: SymPy thinks long about it
    )


def by_stride(index: Index) -> object:
    """Order letters as where nothing is known of them: those of a whole axis first."""
    return not isinstance(index.size, Size)


def affine_terms(expr: Expr, order: Order = by_stride) -> list[tuple[bool, Expr]]:
    """Return the terms of an affine sum in order, each as ``(negative, magnitude)``."""
    split = [(bool(t.as_coeff_Mul()[0].is_negative), t) for t in Add.make_args(expr)]
    leads = any(not negative and free_indices(term) for negative, term in split) or all(n for n, _ in split)

    def key(term: tuple[bool, Expr]) -> tuple[object, ...]:
        negative, value = term
        letters = sorted((f for f in free_indices(value)), key=lambda i: i.name)
        if value.is_number:
            group = 4 if leads else 1
        elif letters:
            group = 2 * negative if leads or not negative else 3
        else:
            group = 1 + 2 * negative if leads else negative * 2
        plain = abs(value) == 1 or value in letters or -value in letters
        return (group, [order(i) for i in letters], bool(letters) and plain, [i.name for i in letters], str(value))

    return [(negative, -t if negative else t) for negative, t in sorted(split, key=key)]


def affine_factors(term: Expr) -> tuple[Integer, tuple[Expr, ...]] | None:
    """Return the number and the factors of ``2*p*stride``, letters first; None for another product."""
    number, rest = term.as_coeff_Mul()
    factors: Sequence[Expr] = Mul.make_args(rest)
    letters = [f for f in factors if isinstance(f, Index)]
    others = [f for f in factors if not isinstance(f, Index)]
    if not number.is_Integer or len(letters) != 1 or not others:
        return None
    if not all(isinstance(f, Size) or (isinstance(f, Hyper) and f.kind is Kind.INT) for f in others):
        return None
    return number, (*letters, *sorted(others, key=lambda f: f.name))
