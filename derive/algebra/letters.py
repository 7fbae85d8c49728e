"""Give bound indices letters that people read: ``sum[n'12](x[n'12, d])`` becomes ``sum[n](x[n, d])``."""

from __future__ import annotations

from collections.abc import Iterable

from sympy import Expr

from derive.algebra.indices import free_indices, rebuild, substitute
from derive.algebra.nodes import BATCH, BATCH_SIZE, Hyper, Index, KeepingReduction, Reduction, Tensor

__all__ = ["plain_letters", "readable"]

# What one writes when the first choice is taken: sum over n beside a free n runs over m.
_NEXT = {
    "n": "mj", "m": "nk", "i": "jkl", "j": "klm", "k": "jlm", "l": "jk", "c": "kj", "d": "kj", "t": "sr", "s": "rt",
    "e": "kf", "f": "ge", "h": "gk", "g": "hk", "p": "qr", "q": "pr", "o": "pk", "b": "ak", "v": "uk", "w": "uv",
}  # fmt: skip


def readable(expr: Expr, taken: Iterable[Index] = ()) -> Expr:
    """Return ``expr`` with every bound index renamed to a plain letter.

    Args:
        expr: any expression; its free indices keep their letters.
        taken: indices whose letters are in use around it (a statement's left side).

    A bound letter is none of the tensors and hyper-parameters of ``expr`` either.
    """
    found = expr.free_symbols
    ranges = {s for i in found if isinstance(i, Index) for s in i.size.free_symbols}
    symbols = (s.name for s in found | ranges if isinstance(s, (Hyper, Tensor)))
    return _rename(expr, frozenset((*(i.name for i in taken), *symbols)))


def plain_letters(indices: Iterable[Index], taken: Iterable[Index]) -> dict[Expr, Expr]:
    """Choose a letter that people read for each index, none of them among ``taken``."""
    used = {i.name for i in taken}
    mapping: dict[Expr, Expr] = {}
    for index in indices:
        new = _letter(index, used, used)
        used.add(new.name)
        mapping[index] = new
    return mapping


def _rename(expr: Expr, taken: frozenset[str]) -> Expr:
    if not expr.args:
        return expr
    if isinstance(expr, (Reduction, KeepingReduction)):
        inside = free_indices(expr.body) - frozenset(expr.indices)
        # Letters of the statement are avoided even where they do not occur here: one letter, one meaning.
        used = set(taken | {i.name for i in inside})
        mapping: dict[Expr, Expr] = {}
        places = expr.at if isinstance(expr, KeepingReduction) else (None,) * len(expr.indices)
        for index, place in zip(expr.indices, places, strict=True):
            if isinstance(place, Index) and place.name not in {i.name for i in inside}:
                new = place  # softmax[c](z[c]) is read at c: the letter of the place serves for both
            else:
                new = _letter(index, used, {i.name for i in inside})
            used.add(new.name)
            if new is not index:
                mapping[index] = new
        bound = tuple(mapping.get(i, i) for i in expr.indices)
        body = substitute(expr.body, mapping) if mapping else expr.body
        body = _rename(body, taken | frozenset(i.name for i in bound))
        if isinstance(expr, Reduction):
            return rebuild(expr, (body, *bound))
        at = tuple(_rename(a, taken) for a in expr.at)
        return expr.func(body, bound, at)
    return rebuild(expr, (_rename(a, taken) for a in expr.args))


def _letter(index: Index, used: set[str], inside: set[str]) -> Index:
    stem = index.name.partition("'")[0]
    if index.size == BATCH_SIZE and stem == BATCH.name and BATCH.name not in inside:
        return BATCH  # the leading axes have one name; nothing inside reads the outer ones
    if stem not in used:
        return index if stem == index.name else Index(stem, index.size)
    for letter in _NEXT.get(stem, "") + "klmpqruvw":
        if letter not in used:
            return Index(letter, index.size)
    number = 2
    while f"{stem}{number}" in used:
        number += 1
    return Index(f"{stem}{number}", index.size)
