"""A search for sizes that suit a layer.

From small numbers on, one size or two are changed as long as that makes the
choice better. A choice is better

1. where more derived sizes are at least 1 and more of the layer's conditions hold,
2. where it is not too much work,
3. where divisions are exact (or, in a second choice, leave as much as can be),
4. where every place of a window comes to lie inside its axis at some time,
5. where no size is 1, which hides a sum,
6. where sizes of one tensor differ, and then, if it is half that work, where all do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from sympy import Add, Expr, Integer, Mul, Pow, expand

from derive.algebra.functions import Ceil, Floor, FloorDiv, Maximum, Minimum, Mod
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH_SIZE, Element, Hyper, Index, Padded, Size
from derive.check.instance import Instance
from derive.check.work import expressions, spreads
from derive.errors import CheckError
from derive.language.layer import Layer

__all__ = ["Search", "axes_of"]

_SMALL, _LARGE = 12, 64  # the largest sizes that are tried first, and at last
_MATTERS = 7  # parts of a cost, from the first on, for which two sizes are changed at a time


def axes_of(layer: Layer) -> list[Expr]:
    """Return the sizes of every axis of every tensor."""
    return [a for p in layer.parameters for a in p.axes] + [a for s in layer.statements for a in s.axes]


_State = dict[str, int]
_Cost = tuple[float, ...]
_Names = Mapping[str, float]
_Number = Callable[[_Names], float]


def _number(expr: Expr) -> _Number:
    """Return a function of sizes and hyper-parameters by name that gives the expression's value."""
    if expr.is_Integer:
        value = int(expr)
        return lambda names: value
    if expr.is_Rational:
        share = expr.p / expr.q
        return lambda names: share
    if isinstance(expr, (Size, Hyper)):
        name = expr.name
        return lambda names: names[name]
    args = [_number(arg) for arg in expr.args]
    match expr:
        case Add():
            return lambda names: sum([a(names) for a in args])
        case Mul():
            return lambda names: math.prod([a(names) for a in args])
        case Pow():
            return lambda names: args[0](names) ** args[1](names)
        case FloorDiv():
            return lambda names: args[0](names) // args[1](names)
        case Mod():
            return lambda names: args[0](names) % args[1](names)
        case Maximum():
            return lambda names: max(a(names) for a in args)
        case Minimum():
            return lambda names: min(a(names) for a in args)
        case Floor():
            return lambda names: args[0](names) // 1
        case Ceil():
            return lambda names: -(-args[0](names) // 1)
    raise AssertionError(f"check: no size can be {expr}")


class Search:
    """Looks for sizes that suit a layer with derived sizes, or one that is much work."""

    def __init__(
        self, layer: Layer, instance: Instance, start: int, first: Instance | None, exact: bool, budget: int
    ) -> None:
        self._layer, self._instance, self._start, self._first, self._exact = layer, instance, start, first, exact
        self._named = [s.name for s in layer.sizes if s != BATCH_SIZE]
        self._fixed = {**instance.hypers, BATCH_SIZE.name: math.prod(instance.batch)}
        self._derived = [(d.size.name, _number(d.expr)) for d in layer.derived]
        self._conditions = [_number(c.expr) for c in layer.conditions]
        windows = {w for s in layer.statements for e in expressions(s) for w in _windows(layer, e)}
        self._windows = [_window(at, axis) for at, axis in sorted(windows, key=str)]
        divisions = {d for s in layer.derived for d in s.expr.atoms(FloorDiv)}
        self._divisions = [(_number(d.args[0]), _number(d.args[1])) for d in divisions]
        self._work = [([_number(size) for size in sizes], n) for sizes, n in spreads(layer.statements).items()]
        self._budget = budget
        self._taken = {*instance.batch, *(int(a) for a in axes_of(layer) if isinstance(a, Integer))}
        tensors = [p.axes for p in layer.parameters] + [s.axes for s in layer.statements]
        beside = {
            frozenset((a, b))
            for axes in tensors
            for a, b in combinations(axes, 2)
            if a != b and BATCH_SIZE not in (a, b)
        }
        self._beside = [(_number(a), _number(b)) for a, b in map(tuple, sorted(beside, key=str))]
        self._again: list[tuple[str, str]] = []
        if first is not None:
            names = [*self._named, *(name for name, _ in self._derived)]
            self._again = [(a, b) for a, b in combinations(names, 2) if first.sizes[a] == first.sizes[b]]

    def run(self) -> dict[str, int]:
        """Return a number for each size that is not derived.

        Raises:
            CheckError: none makes every derived size at least 1 and fulfils the conditions.
        """
        state = dict.fromkeys(self._named, self._start)
        for largest in (_SMALL, _LARGE):
            state = self._climb(state, self._pool(largest))
            if self._cost(state)[0] == 0:
                return state
        needs = [f"{d.size.name} is at least 1" for d in self._layer.derived]
        needs += [c.text for c in self._layer.conditions]
        raise CheckError(
            f"{self._layer.name}: there are no sizes below {_LARGE} so that {', '.join(dict.fromkeys(needs))}",
            self._layer.derived[0].span if self._layer.derived else self._layer.span,
            "give the hyper-parameters defaults that suit small sizes",
        )

    def _pool(self, largest: int) -> list[int]:
        whole = [h for h in self._instance.hypers.values() if type(h) is int and 2 <= h <= _LARGE]
        return sorted({*range(1, largest + 1), *(h * k for h in whole for k in range(1, 4))})

    def _climb(self, state: _State, pool: Sequence[int]) -> _State:
        """Change one size at a time, or two, as long as that makes the choice better."""
        linked = sorted(
            {
                pair
                for d in self._layer.derived
                for pair in combinations(sorted(s.name for s in d.expr.atoms(Size) if s.name in state), 2)
            }
        )
        cost = self._cost(state)
        while True:
            matters = any(cost[:_MATTERS])
            tries = [self._one(state, pool)]
            tries += [self._two(state, pool, linked), self._exchanged(state, pool[-1])] if matters else []
            for moves in tries:
                best, chosen = self._best(moves, cost, state)
                if best < cost:
                    break
            if best == cost:
                return state
            cost, state = best, chosen

    def _one(self, state: _State, pool: Sequence[int]) -> Iterator[_State]:
        """Yield the states with another number for one size."""
        return ({**state, name: n} for name in self._named for n in pool)

    def _two(self, state: _State, pool: Sequence[int], linked: Iterable[tuple[str, str]]) -> Iterator[_State]:
        """Yield the states with other numbers for two sizes of one derived size."""
        return ({**state, a: m, b: n} for a, b in linked for m in pool[:10] for n in pool[:10])

    def _exchanged(self, state: _State, largest: int) -> Iterator[_State]:
        """Yield the states with a larger number for one size and a smaller one for another."""
        for larger in self._named:
            for more in (1, 2, 3):
                for smaller in self._named:
                    if smaller != larger and state[smaller] > 1 and state[larger] + more <= largest:
                        yield {**state, larger: state[larger] + more, smaller: state[smaller] - 1}

    def _best(self, states: Iterable[_State], cost: _Cost, state: _State) -> tuple[_Cost, _State]:
        """Return the best of the states, with its cost; the given one where none is better."""
        for other in states:
            less = self._below(other, cost)
            if less is not None:
                cost, state = less, other
        return cost, state

    def _below(self, state: _State, cost: _Cost) -> _Cost | None:
        """Return the state's cost if it is less than another; its later parts are not computed where it is not."""
        less = False
        parts = []
        for part, limit in zip(self._parts(state), cost, strict=True):
            if not less and part > limit:
                return None
            less = less or part < limit
            parts.append(part)
        return tuple(parts) if less else None

    def _cost(self, state: _State) -> _Cost:
        return tuple(self._parts(state))

    def _parts(self, state: _State) -> Iterator[float]:
        names: dict[str, float] = {**self._fixed, **state}
        short = 0.0
        for name, value in self._derived:
            try:
                length = value(names)
            except ZeroDivisionError:
                length = 0
            short += max(0, 1 - length) + (length % 1 != 0)
            names[name] = max(1, int(length))
        for condition in self._conditions:
            short += max(0, -condition(names))
        yield short
        operations = sum(n * math.prod([size(names) for size in sizes]) for sizes, n in self._work)
        yield max(0, operations - self._budget)
        rests = 0
        for above, below in self._divisions:
            divisor = below(names)
            rests += divisor == 0 or above(names) % divisor != (0 if self._exact else divisor - 1)
        yield rests
        yield sum(_unreached(axis, offset, steps, names) for axis, offset, steps in self._windows)
        lengths = [int(names[name]) for name in self._named] + [int(names[name]) for name, _ in self._derived]
        yield sum(length == 1 for length in lengths)
        yield sum(names[a] == names[b] for a, b in self._again)
        yield sum(a(names) == b(names) for a, b in self._beside)
        yield max(0, operations - self._budget // 2)
        yield len(lengths) - len({*lengths} - self._taken)
        yield sum(length < self._start for length in lengths)
        yield operations


_Window = tuple[_Number, _Number, list[tuple[_Number, _Number]]]


def _windows(layer: Layer, expr: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Yield every padded subscript that is affine in indices, and the length of its axis."""
    if isinstance(expr, Padded):
        for at, axis in zip(expr.element.subscripts, layer.axes(expr.element.name), strict=True):
            indices = free_indices(at)
            factors = [at.coeff(i, 1) for i in indices]
            offset = expand(at - Add(*(f * i for f, i in zip(factors, indices, strict=True))))
            if indices and not any(part.atoms(Index, Element) for part in (offset, *factors)):
                yield at, axis
    for arg in expr.args:
        yield from _windows(layer, arg)


def _window(at: Expr, axis: Expr) -> _Window:
    """Return the length of an axis, the offset of a subscript, and the factor and the range of each index."""
    indices = sorted(free_indices(at), key=str)
    offset = expand(at - Add(*(at.coeff(i, 1) * i for i in indices)))
    return _number(axis), _number(offset), [(_number(at.coeff(i, 1)), _number(i.size)) for i in indices]


def _unreached(axis: _Number, offset: _Number, steps: Sequence[tuple[_Number, _Number]], names: _Names) -> int:
    """Return how many first and last values of an index leave a subscript outside its axis, whatever the others are."""
    length, start = axis(names), offset(names)
    ends = [factor(names) * (size(names) - 1) for factor, size in steps]
    low, high = start + sum(min(0, end) for end in ends), start + sum(max(0, end) for end in ends)
    count = 0
    for end in ends:
        for at in (0, end):
            count += high - max(0, end) + at < 0 or low - min(0, end) + at > length - 1
    return count
