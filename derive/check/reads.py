"""Reading an element: its subscripts, and what lies where they point.

``x[n, 2*p + r - pad]`` becomes a function that puts a key together from the
current index values and looks it up. What is outside is an ``IndexError``, or
the fill of a padded read; there is no counting from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sympy import Add, Expr, Mul

from derive.algebra.indices import free_indices, names
from derive.algebra.nodes import BATCH_SIZE, Element, Index, Padded
from derive.algebra.text import show
from derive.check.demand import OnDemand

if TYPE_CHECKING:
    from derive.check.compile import Compiler

__all__ = ["element", "padded", "subscripts"]

Number = Any
Closure = Callable[[], Number]


def subscripts(compiler: Compiler, at: Sequence[Expr]) -> Closure:
    """Return a function that gives a tuple of subscripts."""
    env = compiler.env
    if all(isinstance(a, Index) for a in at):
        places = [compiler.slot(a) for a in at]
        return lambda: tuple([env[p] for p in places])
    parts = [_subscript(compiler, a) for a in at]
    if len(parts) == 2:
        first, second = parts
        return lambda: (first(), second())
    return lambda: tuple([part() for part in parts])


def _subscript(compiler: Compiler, at: Expr) -> Closure:
    """Return a function that gives one subscript."""
    env = compiler.env
    if isinstance(at, Index):
        place = compiler.slot(at)
        return lambda: env[place]
    affine = _affine(compiler, at)
    if affine is None:
        general = compiler.closure(at)
        return lambda: int(general())
    offset, steps = affine
    if len(steps) == 1:
        ((place, step),) = steps
        return lambda: offset + step * env[place]
    if len(steps) == 2:
        (a, by_a), (b, by_b) = steps
        return lambda: offset + by_a * env[a] + by_b * env[b]
    return lambda: offset + sum([step * env[place] for place, step in steps])


def _affine(compiler: Compiler, at: Expr) -> tuple[int, list[tuple[int, int]]] | None:
    """Return a number, and the places and factors of indices, whose products with it add up to the subscript."""
    offset, steps = 0, []
    for term in Add.make_args(at):
        indices = [f for f in Mul.make_args(term) if isinstance(f, Index)]
        factor = Mul(*(f for f in Mul.make_args(term) if not isinstance(f, Index)))
        if len(indices) > 1 or free_indices(factor) or names(factor) or (indices and indices[0].size == BATCH_SIZE):
            return None
        number = compiler.closure(factor)()
        if not isinstance(number, int):
            return None
        if indices:
            steps.append((compiler.slot(indices[0]), number))
        else:
            offset += number
    return offset, steps


def element(compiler: Compiler, expr: Element) -> Closure:
    """Return a function that gives the element; what lies outside its tensor is an IndexError."""
    arrays, name = compiler.arrays, expr.name
    if not expr.subscripts:
        return lambda: arrays[name][()]
    get = _reader(compiler, expr)
    text = show(expr)

    def read() -> Number:
        try:
            return get()
        except KeyError as error:
            if name not in arrays:
                raise AssertionError(f"check: {name} is read before it is defined") from None
            raise IndexError(f"{text} is read at {error.args[0]}, outside {name}") from None

    return read


def padded(compiler: Compiler, expr: Padded) -> Closure:
    """Return a function that gives the element, or the fill outside; that of a recurrence may be its start."""
    arrays, name, fill = compiler.arrays, expr.element.name, compiler.closure(expr.fill)
    key = subscripts(compiler, expr.element.subscripts)

    def read() -> Number:
        array, at = arrays[name], key()
        inside = array.has(at) if isinstance(array, OnDemand) else at in array
        return array[at] if inside else fill()

    return read


def _reader(compiler: Compiler, expr: Element) -> Closure:
    """Return a function that looks the element up; a KeyError where there is none."""
    arrays, name, env, at = compiler.arrays, expr.name, compiler.env, expr.subscripts
    if all(isinstance(a, Index) for a in at):
        places = [compiler.slot(a) for a in at]
        if len(places) == 1:
            (i,) = places
            return lambda: arrays[name][env[i],]
        if len(places) == 2:
            i, j = places
            return lambda: arrays[name][env[i], env[j]]
        if len(places) == 3:
            i, j, k = places
            return lambda: arrays[name][env[i], env[j], env[k]]
    key = subscripts(compiler, at)
    return lambda: arrays[name][key()]
