"""Reductions by their word in the language."""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import Expr, S

from derive.algebra import nodes
from derive.algebra.indices import free_indices
from derive.algebra.nodes import Index
from derive.language.scope import KEEPING

__all__ = ["reduced"]

_REDUCTIONS: dict[str, Callable[..., Expr]] = {
    cls.word: cls
    for cls in (
        nodes.Sum, nodes.Mean, nodes.Prod, nodes.Max, nodes.Min, nodes.Var, nodes.Std,
        nodes.LogSumExp, nodes.Norm, nodes.ArgMax, nodes.Softmax, nodes.LogSoftmax,
    )
}  # fmt: skip


def reduced(word: str, body: Expr, indices: tuple[Index, ...]) -> Expr:
    """Return a reduction; over an index that has cancelled out of the body it is known.

    ``sum[n](c) = N*c``, ``mean[n](c) = c``; an index never stands in a
    reduction without standing in its body. Over no index at all it is that of
    one element.
    """
    free = free_indices(body)
    kept = tuple(i for i in indices if i in free)
    lost = sympy.Mul(*(i.size for i in indices if i not in free))
    if kept == indices != ():
        return _REDUCTIONS[word](body, kept, kept) if word in KEEPING else _REDUCTIONS[word](body, *kept)
    inner = reduced(word, body, kept) if kept else None
    match word:
        case "sum":
            return lost * (inner if inner is not None else body)
        case "mean" | "max" | "min":
            return inner if inner is not None else body
        case "prod":
            return (inner if inner is not None else body) ** lost
        case "var" | "std" | "argmax":
            return inner if inner is not None else S.Zero
        case "logsumexp":
            return (inner if inner is not None else body) + sympy.log(lost)
        case "norm":
            return sympy.sqrt(lost) * (inner if inner is not None else sympy.Abs(body))
        case "softmax":
            return (inner if inner is not None else S.One) / lost
        case _:
            return (inner if inner is not None else S.Zero) - sympy.log(lost)
