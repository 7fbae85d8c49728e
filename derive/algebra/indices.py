"""Operations that know which index letters are bound.

``Sum(x[i]*a, i)`` with ``a := y[i]`` must become ``sum[i'](x[i']*y[i])``: the
letter ``i`` of the sum is its own. Every function here renames a bound letter
before anything could be captured by it (SymPy's ``subs`` and ``xreplace`` do
not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import count

from sympy import Expr

from derive.algebra.nodes import Element, Index, KeepingReduction, Padded, Reduction

__all__ = [
    "elements",
    "free_indices",
    "fresh",
    "is_binder",
    "names",
    "open_elements",
    "rebuild",
    "replace_elements",
    "substitute",
    "substitute_elements",
]


def is_binder(expr: Expr) -> bool:
    """Return whether the node binds indices of its body."""
    return isinstance(expr, (Reduction, KeepingReduction))


@lru_cache(maxsize=65536)
def free_indices(expr: Expr) -> frozenset[Index]:
    """Return the indices that occur in ``expr`` and are not bound in it."""
    if isinstance(expr, Index):
        return frozenset((expr,))
    if isinstance(expr, Reduction):
        return free_indices(expr.body) - frozenset(expr.indices)
    if isinstance(expr, KeepingReduction):
        inner = free_indices(expr.body) - frozenset(expr.indices)
        return inner.union(*map(free_indices, expr.at))
    if not expr.args:
        return frozenset()
    return frozenset().union(*map(free_indices, expr.args))


@lru_cache(maxsize=65536)
def names(expr: Expr) -> frozenset[str]:
    """Return the names of the tensors that ``expr`` reads, in subscripts too."""
    if isinstance(expr, Element):
        return frozenset((expr.name,)).union(*map(names, expr.subscripts))
    if not expr.args:
        return frozenset()
    return frozenset().union(*map(names, expr.args))


def elements(expr: Expr) -> list[Element]:
    """Return every element read in ``expr``, those in subscripts included, each once, in order."""
    found: dict[Element, None] = {}

    def visit(e: Expr) -> None:
        if isinstance(e, Element):
            found.setdefault(e)
        for arg in e.args:
            visit(arg)

    visit(expr)
    return list(found)


def open_elements(expr: Expr) -> list[Element]:
    """Return the elements that are not read padded: those whose definitions could stand in their place."""
    found: dict[Element, None] = {}

    def visit(e: Expr) -> None:
        if isinstance(e, Padded):
            return
        if isinstance(e, Element):
            found.setdefault(e)
        for arg in e.args:
            visit(arg)

    visit(expr)
    return list(found)


def fresh(index: Index, taken: Iterable[Index | str]) -> Index:
    """Return an index of the same range whose letter is not among ``taken``.

    Tries the other letters of the axis' neighbourhood first (n → m, i → j → k),
    then numbers.
    """
    letters = {t if isinstance(t, str) else t.name for t in taken}
    if index.name not in letters:
        return index
    stem = index.name.rstrip("0123456789")
    for number in count(2):
        name = f"{stem}{number}"
        if name not in letters:
            return Index(name, index.size)
    raise AssertionError("unreachable")


def rebuild(expr: Expr, args: Iterable[Expr]) -> Expr:
    """Return ``expr`` with other arguments; the same object where none changed."""
    new = tuple(args)
    if all(a is b for a, b in zip(new, expr.args, strict=True)):
        return expr
    return expr.func(*new)


def substitute(expr: Expr, mapping: Mapping[Expr, Expr]) -> Expr:
    """Replace free indices, sizes, hyper-parameters or whole elements, capturing nothing.

    Keys are matched as whole nodes, outermost first; a bound index shadows the
    keys that read it: in ``Sum(x[i], i)`` the element ``x[i]`` is another one.
    """
    if not mapping:
        return expr
    if expr in mapping:
        return mapping[expr]
    if not expr.args:
        return expr
    if isinstance(expr, (Reduction, KeepingReduction)):
        bound = expr.indices
        inner = {k: v for k, v in mapping.items() if not free_indices(k) & set(bound)}
        live = {k: v for k, v in inner.items() if not isinstance(k, Index) or k in free_indices(expr.body)}
        incoming = frozenset().union(*(free_indices(v) for v in live.values())) if live else frozenset()
        letters = {i.name for i in incoming}
        renames: dict[Expr, Expr] = {}
        new_bound: list[Index] = []
        for index in bound:
            if index.name in letters:
                used = letters | {i.name for i in free_indices(expr.body)} | {i.name for i in new_bound}
                new = fresh(index, used)
                renames[index] = new
                new_bound.append(new)
            else:
                new_bound.append(index)
        sized = [_resized(i, mapping) for i in new_bound]
        for old, new in zip(bound, sized, strict=True):
            if old is not new:
                renames[old] = new
        body = expr.body
        if renames:
            body = substitute(body, renames)
        body = substitute(body, live)
        if isinstance(expr, Reduction):
            return rebuild(expr, (body, *sized))
        at = tuple(substitute(a, mapping) for a in expr.at)
        return expr.func(body, tuple(sized), at)
    return rebuild(expr, (substitute(a, mapping) for a in expr.args))


def _resized(index: Index, mapping: Mapping[Expr, Expr]) -> Index:
    size = substitute(index.size, {k: v for k, v in mapping.items() if not isinstance(k, Index)})
    return index if size == index.size else Index(index.name, size)


def replace_elements(expr: Expr, definition: Callable[[Element], Expr | None]) -> Expr:
    """Replace elements by what ``definition`` gives for them (None: leave), capturing nothing."""
    found: dict[Expr, Expr] = {}
    for element in elements(expr):
        new = definition(element)
        if new is not None and new != element:
            found[element] = new
    return substitute_elements(expr, found)


def substitute_elements(expr: Expr, mapping: Mapping[Expr, Expr]) -> Expr:
    """Replace elements whose subscripts may be bound around them.

    ``Sum(x[i]**2, i)`` with ``x[i] := u[i] - mu`` replaces inside the sum,
    since the ``i`` of the key is the one bound there. Free indices of a value
    that are not in its key are protected from capture.
    """
    if not mapping:
        return expr
    if expr in mapping:
        return mapping[expr]
    if not expr.args:
        return expr
    if isinstance(expr, Padded):
        # A padded read is of a tensor: one by whose definition it can't be replaced stays.
        read = substitute_elements(expr.element, mapping)
        return rebuild(expr, (read, expr.fill)) if isinstance(read, Element) else expr
    if isinstance(expr, (Reduction, KeepingReduction)):
        loose: set[str] = set()
        for key, value in mapping.items():
            loose |= {i.name for i in free_indices(value) - free_indices(key)}
        renames: dict[Expr, Expr] = {}
        used = loose | {i.name for i in free_indices(expr.body)}
        for index in expr.indices:
            if index.name in loose:
                new = fresh(index, used)
                used.add(new.name)
                renames[index] = new
        if renames:
            keys = {substitute(k, renames): v for k, v in mapping.items()}
            body = substitute_elements(substitute(expr.body, renames), {**mapping, **keys})
        else:
            body = substitute_elements(expr.body, mapping)
        bound = tuple(renames.get(i, i) for i in expr.indices)
        if isinstance(expr, Reduction):
            return rebuild(expr, (body, *bound))
        at = tuple(substitute_elements(a, mapping) for a in expr.at)
        return expr.func(body, bound, at)
    return rebuild(expr, (substitute_elements(a, mapping) for a in expr.args))
