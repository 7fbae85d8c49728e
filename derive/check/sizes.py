"""Numbers for the sizes and the hyper-parameters of a layer at which it is tried.

Sizes are small and pairwise different (and different from literal sizes and
from the lengths of the batch axes), so that swapped axes cannot pass. Where a
layer has derived sizes (``P = (H + 2*pad - R) // stride + 1``), or is too much
work with sizes that all differ (a convolution over three axes has a dozen),
they are searched for: from small numbers on, one size or two are changed as
long as that makes the choice better. A choice is better

1. where more derived sizes are at least 1 and more of the layer's conditions hold,
2. where it is not too much work,
3. where divisions are exact (or, in a second choice, leave as much as can be),
4. where every place of a window comes to lie inside its axis at some time,
5. where no size is 1, which hides a sum,
6. where sizes of one tensor differ, and then, if it is half that work, where all do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations, count, product

from sympy import Add, Expr, Integer, Mul, Pow, expand

from derive.algebra.functions import Ceil, Floor, FloorDiv, Maximum, Minimum, Mod
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH_SIZE, Element, Hyper, Index, KeepingReduction, Kind, Padded, Reduction, Size, Sum
from derive.check.instance import Instance
from derive.check.ranges import solved
from derive.errors import CheckError
from derive.language.layer import Layer, Statement

__all__ = [
    "WORK",
    "allowed",
    "choose_instance",
    "choose_other_instance",
    "choose_sizes",
    "defaults",
    "expressions",
    "fits",
    "other_hypers",
    "resized",
    "work",
]

Numbers = Mapping[str, int | float | bool]
_Batch = tuple[int, ...]

WORK = 12_000  # scalar operations of one forward pass, about 20 ms in multiprecision
_SMALL, _LARGE = 12, 64  # the largest sizes that are tried first, and at last


def choose_instance(layer: Layer) -> Instance:
    """Return the sizes of the first sample: two batch axes and sizes from 3, less where that is much work.

    An axis of 2 is avoided where it is cheap to: normalized over two elements,
    everything is 1 or -1 and its gradient next to nothing.
    """
    choices: tuple[tuple[_Batch, int], ...] = (((2, 3), 3), ((2,), 3), ((2,), 2))
    for batch, start in choices:
        instance = choose_sizes(layer, batch=batch, start=start, budget=WORK // 2)
        if work(layer, instance) <= WORK:
            break
    return instance


def choose_other_instance(
    layer: Layer, first: Instance, hypers: Numbers | None = None, *, exact: bool = True
) -> Instance:
    """Return the sizes of a second sample: larger where that is little work, in the other order, another batch.

    Args:
        layer: with or without ``...``.
        first: the sizes of the first sample.
        hypers: values of the hyper-parameters; None for the defaults.
        exact: whether divisions in derived sizes should leave no rest; if not, the largest there is.

    Raises:
        CheckError: no choice of small sizes makes every derived size at least 1 and fulfils the conditions.
    """
    batches: tuple[_Batch, ...] = ((),) if len(first.batch) == 2 else ((2, 3), ())
    for batch, start in product(batches, (5, 4, 3, 2)):
        instance = choose_sizes(
            layer, batch=batch, start=start, first=first, hypers=hypers, exact=exact, budget=WORK // 4
        )
        if work(layer, instance) <= WORK // 3:
            break
    return instance


def defaults(layer: Layer) -> dict[str, int | float | bool]:
    """Return the hyper-parameters as they are if nobody sets them."""
    return {h.name: h.default for h in layer.hypers}


def other_hypers(
    layer: Layer, *, real: bool = True, whole: bool = True, tiny: float | None = None
) -> dict[str, int | float | bool]:
    """Return values of the hyper-parameters that are not their defaults.

    A default of 1 or 0 hides a factor or a term, a stride of 1 hides the
    stride. Real ones get smaller, integers larger by one; those that sizes are
    divided by by two, so that what a stride leaves over is more than the padding.

    Args:
        layer: that has them.
        real: whether real ones are changed.
        whole: whether integers are changed.
        tiny: stands in for real ones below 0.01, where the inputs are to come
            near the bound that they are (``maximum(r, eps)``).
    """
    values = defaults(layer)
    divisors = {d.args[1] for size in layer.derived for d in size.expr.atoms(FloorDiv)}
    for hyper in layer.hypers:
        default = hyper.default
        if hyper.kind.differentiable and real:
            if tiny is not None and 0 < abs(default) < 0.01:
                values[hyper.name] = tiny
            else:
                values[hyper.name] = float(default) * 0.8 if default else 0.25
        elif hyper.kind is Kind.INT and whole:
            values[hyper.name] = int(default) + (2 if hyper.symbol in divisors else 1)
    return values


def choose_sizes(
    layer: Layer,
    *,
    batch: _Batch = (2, 3),
    start: int = 2,
    first: Instance | None = None,
    hypers: Numbers | None = None,
    exact: bool = True,
    budget: int = WORK,
) -> Instance:
    """Return small, pairwise different sizes that fit the layer.

    Args:
        layer: with or without ``...``.
        batch: lengths of the batch axes, where it has ``...``.
        start: the smallest size, where there is a choice.
        first: another choice, from which this one should differ: the first size gets the largest number.
        hypers: values of the hyper-parameters; None for the defaults.
        exact: whether divisions in derived sizes should leave no rest; if not, the largest there is.
        budget: scalar operations of the forward pass, to be kept to where there is a choice.

    Raises:
        CheckError: no choice of small sizes makes every derived size at least 1 and fulfils the conditions.
    """
    values = dict(defaults(layer) if hypers is None else hypers)
    if BATCH_SIZE not in _axes(layer):
        batch = ()
    if not layer.derived and not layer.conditions:
        plain = _in_order(layer, Instance({}, batch, values), start, descending=first is not None)
        if start > 2 or work(layer, plain) <= WORK:
            return plain
    return _Search(layer, Instance({}, batch, values), start, first, exact, budget).run()


def resized(layer: Layer, instance: Instance, size: str, length: int) -> Instance:
    """Return the instance with another length for one size, and with the derived sizes that follow from it."""
    sizes = {s.name: instance.sizes[s.name] for s in layer.sizes if s != BATCH_SIZE} | {size: length}
    return _complete(layer, replace(instance, sizes=sizes))


def allowed(layer: Layer, instance: Instance) -> bool:
    """Return whether sizes and hyper-parameters fulfil the layer's conditions; derived sizes are computed anew."""
    given = {s.name: instance.sizes[s.name] for s in layer.sizes if s != BATCH_SIZE}
    try:
        found = _complete(layer, replace(instance, sizes=given))
        return all(found.extent(condition.expr) >= 0 for condition in layer.conditions)
    except (ZeroDivisionError, ValueError):
        return False


def fits(layer: Layer, instance: Instance, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether parameters of these shapes go together.

    Args:
        layer: whose parameters they are.
        instance: the hyper-parameters; its sizes do not matter.
        shapes: by the parameter's name.
    """
    sizes: dict[str, int] = {}
    batches: set[tuple[int, ...]] = set()
    computed: list[tuple[Expr, int]] = []
    made = {d.size for d in layer.derived}
    for parameter in layer.parameters:
        axes, shape = parameter.axes, shapes[parameter.name]
        if BATCH_SIZE in axes:
            leading = len(shape) - len(axes) + 1
            if leading < 0:
                return False
            batches.add(shape[:leading])
            axes, shape = axes[1:], shape[leading:]
        if len(axes) != len(shape):
            return False
        for axis, length in zip(axes, shape, strict=True):
            if not isinstance(axis, Size) or axis in made:
                computed.append((axis, length))
            elif sizes.setdefault(axis.name, length) != length:
                return False
    if len(batches) > 1:
        return False
    found = replace(instance, sizes=sizes, batch=next(iter(batches), ()))
    if not allowed(layer, found):
        return False
    found = _complete(layer, found)
    return all(found.extent(axis) == length for axis, length in computed)


def _axes(layer: Layer) -> list[Expr]:
    return [a for p in layer.parameters for a in p.axes] + [a for s in layer.statements for a in s.axes]


def _in_order(layer: Layer, instance: Instance, start: int, *, descending: bool) -> Instance:
    """Return sizes that are consecutive numbers, without those of literal sizes and of the batch."""
    taken = {int(a) for a in _axes(layer) if isinstance(a, Integer)} | set(instance.batch)
    named = [s.name for s in layer.sizes if s != BATCH_SIZE]
    fresh = (n for n in count(start) if n not in taken)
    numbers = [next(fresh) for _ in named]
    sizes = dict(zip(named, reversed(numbers) if descending else numbers, strict=True))
    return replace(instance, sizes=sizes)


def _complete(layer: Layer, instance: Instance) -> Instance:
    """Return the instance with the derived sizes."""
    sizes = dict(instance.sizes)
    for derived in layer.derived:
        sizes[derived.size.name] = replace(instance, sizes=sizes).extent(derived.expr)
    return replace(instance, sizes=sizes)


# How much work a layer is


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """Return what a statement computes: its right side, and its start where it is a recurrence."""
    return (statement.expr,) if statement.carry is None else (statement.expr, statement.carry.start)


def work(layer: Layer, instance: Instance) -> int:
    """Return about how many scalar operations the layer's forward pass takes, element by element."""
    extents: dict[Expr, int] = {}
    total = 0
    for sizes, times in _spreads(layer.statements).items():
        for size in sizes:
            if size not in extents:
                extents[size] = instance.extent(size)
        total += times * math.prod(extents[size] for size in sizes)
    return total


@lru_cache(maxsize=256)
def _spreads(statements: tuple[Statement, ...]) -> Mapping[tuple[Expr, ...], int]:
    """Return for each operation the sizes of the indices over which it is repeated, and how many have the same."""
    found: Counter[tuple[Expr, ...]] = Counter()
    for statement in statements:
        found[tuple(sorted((i.size for i in statement.indices), key=str))] += 1  # each element is put in its place
        seen = {pair for expr in expressions(statement) for pair in _operations(expr, frozenset())}
        for _, indices in seen:
            found[tuple(sorted((i.size for i in indices), key=str))] += 1
    return found


def _operations(expr: Expr, given: frozenset[Index]) -> Iterator[tuple[Expr, frozenset[Index]]]:
    """Yield each operation with its indices; those in ``given`` are solved for, and do not run."""
    if isinstance(expr, (Reduction, KeepingReduction)):
        running = free_indices(expr.body) | {*expr.indices}
        inner = given | (solved(expr) if isinstance(expr, Sum) else frozenset())
        yield expr, running - inner
        yield from _operations(expr.body, inner)
        return
    if expr.args and not isinstance(expr, Element):
        yield expr, free_indices(expr) - given
    for arg in expr.args:
        yield from _operations(arg, given)


# The search

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


class _Search:
    """Looks for sizes that suit a layer with derived sizes, or one that is much work."""

    def __init__(
        self, layer: Layer, instance: Instance, start: int, first: Instance | None, exact: bool, budget: int
    ) -> None:
        self._layer, self._instance, self._start, self._first, self._exact = layer, instance, start, first, exact
        self._named = [s.name for s in layer.sizes if s != BATCH_SIZE]
        self._fixed = {**instance.hypers, BATCH_SIZE.name: math.prod(instance.batch)}
        self._derived = [(d.size.name, _number(d.expr)) for d in layer.derived]
        self._conditions = [_number(c.expr) for c in layer.conditions]
        self._windows = [w for s in layer.statements for e in expressions(s) for w in _windows(layer, e)]
        divisions = {d for s in layer.derived for d in s.expr.atoms(FloorDiv)}
        self._divisions = [(_number(d.args[0]), _number(d.args[1])) for d in divisions]
        self._work = [([_number(size) for size in sizes], n) for sizes, n in _spreads(layer.statements).items()]
        self._budget = budget
        self._taken = {*instance.batch, *(int(a) for a in _axes(layer) if isinstance(a, Integer))}
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
            self._again = [(a, b) for a, b in combinations(self._named, 2) if first.sizes[a] == first.sizes[b]]

    def run(self) -> Instance:
        """Return the best choice.

        Raises:
            CheckError: none makes every derived size at least 1 and fulfils the conditions.
        """
        state = dict.fromkeys(self._named, self._start)
        for largest in (_SMALL, _LARGE):
            state = self._climb(state, self._pool(largest))
            if self._cost(state)[0] == 0:
                return _complete(self._layer, replace(self._instance, sizes=state))
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
        """Change one size at a time, or two of one derived size, as long as that makes the choice better."""
        linked = {
            pair
            for d in self._layer.derived
            for pair in combinations(sorted(s.name for s in d.expr.atoms(Size) if s.name in state), 2)
        }
        cost = self._cost(state)
        while True:
            single = ({**state, name: n} for name in self._named for n in pool)
            best, chosen = self._best(single, cost, state)
            if best == cost:
                double = ({**state, a: m, b: n} for a, b in sorted(linked) for m in pool[:10] for n in pool[:10])
                best, chosen = self._best(double, cost, state)
                if best == cost:
                    return state
            cost, state = best, chosen

    def _best(self, states: Iterable[_State], cost: _Cost, state: _State) -> tuple[_Cost, _State]:
        """Return the best of the states, with its cost; the given one where none is better."""
        for other in states:
            other_cost = self._cost(other)
            if other_cost < cost:
                cost, state = other_cost, other
        return cost, state

    def _cost(self, state: _State) -> _Cost:
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
        lengths = [int(names[name]) for name in self._named] + [int(names[name]) for name, _ in self._derived]
        operations = sum(n * math.prod(size(names) for size in sizes) for sizes, n in self._work)
        rests = 0
        for above, below in self._divisions:
            divisor = below(names)
            rests += divisor == 0 or above(names) % divisor != (0 if self._exact else divisor - 1)
        return (
            short,
            max(0, operations - self._budget),
            rests,
            sum(_unreached(axis, offset, steps, names) for axis, offset, steps in self._windows),
            sum(length == 1 for length in lengths),
            sum(names[a] == names[b] for a, b in self._again),
            sum(a(names) == b(names) for a, b in self._beside),
            max(0, operations - self._budget // 2),
            len(lengths) - len({*lengths} - self._taken),
            sum(length < self._start for length in lengths),
            operations,
        )


_Window = tuple[_Number, _Number, list[tuple[_Number, _Number]]]


def _windows(layer: Layer, expr: Expr) -> Iterator[_Window]:
    """Yield the length of the axis, the offset and each index' factor and range of every affine padded subscript."""
    if isinstance(expr, Padded):
        for at, axis in zip(expr.element.subscripts, layer.axes(expr.element.name), strict=True):
            indices = sorted(free_indices(at), key=str)
            offset = expand(at - Add(*(at.coeff(i, 1) * i for i in indices)))
            factors = [at.coeff(i, 1) for i in indices]
            if indices and all(part.atoms(Index, Element) == set() for part in (offset, *factors)):
                steps = [(_number(f), _number(i.size)) for f, i in zip(factors, indices, strict=True)]
                yield _number(axis), _number(offset), steps
    for arg in expr.args:
        yield from _windows(layer, arg)


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
