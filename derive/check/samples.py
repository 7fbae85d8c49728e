"""Sizes and inputs at which a layer is tried.

Sizes are small and pairwise different (and different from literal sizes and
from the lengths of the batch axes), so that swapped axes cannot pass. Inputs
come from a seed. Those of the first sample are exact in float32, so that code
in any precision sees the very numbers that the formulas saw; those of the
second are not, so that code which rounds them to float32 on the way is seen.

A formula is not differentiable everywhere: ``relu`` has a corner at 0, ``log``
no value below. Inputs are drawn again until every argument of such a function
keeps a distance, and every result is a number: first normal ones, then other
ranges (positive, in (0, 1), above 1, small).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count, product
from random import Random

from sympy import Expr, Integer

from derive.algebra.functions import Eq, FloorDiv, Ge, Gt, Le, Lt, Ne
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH_SIZE, Delta, Element, Index, KeepingReduction, Kind, Reduction, Size
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.instance import Array, Instance, Key
from derive.errors import CheckError
from derive.language.layer import HyperParameter, Layer, Parameter

__all__ = [
    "Sample",
    "choose_instance",
    "choose_other_instance",
    "choose_sizes",
    "draw",
    "label_ranges",
    "other_hypers",
    "other_sample",
    "piecewise_sample",
    "sample",
    "work",
]

# Away from a corner by this much, steps of 1e-5 (amplified a hundred times on the way) stay on one side of it.
KINK_MARGIN = 1e-3
# At a distance d from a pole, central differences with step h lose a share (h/d)**2: 2.5e-7 here.
EDGE_MARGIN = 2e-2
_TRIES = 160
_WIDE_TRIES = 24
_WORK = 12_000  # scalar operations of one forward pass, about 20 ms in multiprecision


@dataclass(frozen=True, slots=True)
class Sample:
    """Numbers for everything a layer is given.

    Attributes:
        instance: the sizes.
        inputs: an array a parameter.
        cotangents: an array an output, called ``d<output>``.
        kink: distance of the nearest corner or jump, in the argument of the function that has it.
        edge: distance of the nearest pole or edge of a domain.
    """

    instance: Instance
    inputs: Mapping[str, Array]
    cotangents: Mapping[str, Array]
    kink: float
    edge: float

    @property
    def smooth(self) -> bool:
        """Whether corners and poles are far enough for finite differences in float64."""
        return self.kink >= KINK_MARGIN and self.edge >= EDGE_MARGIN / 10


# Sizes


def choose_instance(layer: Layer) -> Instance:
    """Return the sizes of the first sample: two batch axes and sizes from 3, less where that is much work.

    An axis of 2 is avoided where it is cheap to: normalized over two elements,
    everything is 1 or -1 and its gradient next to nothing.
    """
    choices: tuple[tuple[tuple[int, ...], int], ...] = (((2, 3), 3), ((2,), 3), ((2,), 2))
    for batch, start in choices:
        instance = choose_sizes(layer, batch=batch, start=start)
        if work(layer, instance) <= _WORK:
            break
    return instance


def choose_other_instance(layer: Layer, first: Instance) -> Instance:
    """Return the sizes of a second sample: larger where that is little work, in the other order, another batch."""
    batches: tuple[tuple[int, ...], ...] = ((),) if len(first.batch) == 2 else ((2, 3), ())
    choices = [
        choose_sizes(layer, batch=batch, start=start, descending=True) for batch in batches for start in (5, 4, 3, 2)
    ]
    little = (instance for instance in choices if work(layer, instance) <= _WORK // 3)
    return next(little, choices[-1])


def other_hypers(layer: Layer, instance: Instance, *, tiny: float | None = None) -> Instance:
    """Return the instance with real hyper-parameters other than their defaults.

    A default of 1 or 0 hides a factor or a term. Integers stay: sizes hang on
    them. ``tiny`` stands in for those below 0.01, where the inputs are to come
    near the bound that they are (``maximum(r, eps)``).
    """

    def other(hyper: HyperParameter) -> int | float | bool:
        if not hyper.kind.differentiable:
            return hyper.default
        if tiny is not None and 0 < abs(hyper.default) < 0.01:
            return tiny
        return float(hyper.default) * 0.8 if hyper.default else 0.25

    return replace(instance, hypers={h.name: other(h) for h in layer.hypers})


def choose_sizes(
    layer: Layer, *, batch: tuple[int, ...] = (2, 3), start: int = 2, descending: bool = False
) -> Instance:
    """Return small, pairwise different sizes that fit the layer.

    Derived sizes come out consistent, at least 1, and, where a choice exists,
    with every division in them exact.

    Args:
        layer: with or without ``...``.
        batch: lengths of the batch axes, where it has ``...``.
        start: the smallest size.
        descending: give the first size the largest number, for another order of sizes.

    Raises:
        CheckError: no choice of small sizes makes every derived size at least 1.
    """
    hypers = {h.name: h.default for h in layer.hypers}
    axes = [a for p in layer.parameters for a in p.axes] + [a for s in layer.statements for a in s.axes]
    taken = {int(a) for a in axes if isinstance(a, Integer)}
    if BATCH_SIZE in axes:
        taken.update(batch)
    else:
        batch = ()
    named = [s.name for s in layer.sizes if s != BATCH_SIZE]
    bound = _in_derived(layer)
    involved = [name for name in named if name in bound]
    sizes, taken = _fit(layer, involved, hypers, taken, batch)
    fresh = (n for n in count(start) if n not in taken)
    rest = [name for name in named if name not in sizes]
    numbers = [next(fresh) for _ in rest]
    sizes.update(zip(rest, reversed(numbers) if descending else numbers, strict=True))
    order = {name: sizes[name] for name in named}
    return _complete(layer, Instance(order, batch, hypers))


def work(layer: Layer, instance: Instance) -> int:
    """Return about how many scalar operations the layer's forward pass takes, element by element."""

    def spread(indices: Iterable[Index]) -> int:
        return math.prod(instance.extent(i.size) for i in indices)

    total = 0
    for statement in layer.statements:
        for node in set(_nodes(statement.expr)):
            if isinstance(node, (Reduction, KeepingReduction)):
                total += spread(free_indices(node.body) | {*node.indices})
            elif node.args and not isinstance(node, Element):
                total += spread(free_indices(node))
    return total


def _complete(layer: Layer, instance: Instance) -> Instance:
    """Return the instance with the derived sizes."""
    sizes = dict(instance.sizes)
    for derived in layer.derived:
        sizes[derived.size.name] = Instance(sizes, instance.batch, instance.hypers).extent(derived.expr)
    return Instance(sizes, instance.batch, instance.hypers)


def _in_derived(layer: Layer) -> set[str]:
    return {s.name for derived in layer.derived for s in derived.expr.atoms(Size)}


def _fit(
    layer: Layer,
    names: Sequence[str],
    hypers: Mapping[str, int | float | bool],
    taken: set[int],
    batch: tuple[int, ...],
) -> tuple[dict[str, int], set[int]]:
    """Return numbers for the sizes that derived sizes are made of, and all numbers now taken."""
    if not layer.derived:
        return {}, taken
    whole = [int(h) for h in hypers.values() if isinstance(h, int) and not isinstance(h, bool) and 2 <= h <= 64]
    pool = sorted({*range(2, 10), *(h * k for h in whole for k in range(1, 4))} - taken)
    width = {0: 1, 1: 40, 2: 20, 3: 14, 4: 9}.get(len(names), 6)
    choices = sorted(product(pool[:width], repeat=len(names)), key=lambda c: (sum(c), c))
    for allowed in (_strict, _exact, _possible):
        for choice in choices:
            if len(set(choice)) < len(choice):
                continue
            trial = Instance(dict(zip(names, choice, strict=True)), batch, hypers)
            try:
                made = [_complete(layer, trial).sizes[d.size.name] for d in layer.derived]
            except (ValueError, ZeroDivisionError):
                continue
            if min(made) >= 1 and allowed(layer, _complete(layer, trial), [*choice, *taken], made):
                return dict(trial.sizes), {*taken, *choice, *made}
    listed = ", ".join(d.size.name for d in layer.derived)
    raise CheckError(
        f"{layer.name}: no sizes below {pool[-1]} make {listed} at least 1",
        layer.derived[0].span,
        "give the hyper-parameters defaults that suit small sizes",
    )


def _possible(layer: Layer, instance: Instance, used: Sequence[int], made: Sequence[int]) -> bool:
    return True


def _exact(layer: Layer, instance: Instance, used: Sequence[int], made: Sequence[int]) -> bool:
    divisions = chain.from_iterable(d.expr.atoms(FloorDiv) for d in layer.derived)
    return all(instance.extent(d.args[0]) % instance.extent(d.args[1]) == 0 for d in divisions)


def _strict(layer: Layer, instance: Instance, used: Sequence[int], made: Sequence[int]) -> bool:
    distinct = len({*used, *made}) == len(set(used)) + len(made)
    return min(made) >= 2 and distinct and _exact(layer, instance, used, made)


# Inputs

_Draw = Callable[[Random], float]

_REAL: tuple[_Draw, ...] = (
    lambda r: r.gauss(0.0, 1.0),
    lambda r: r.uniform(0.2, 2.0),
    lambda r: r.uniform(0.1, 0.9),
    lambda r: r.uniform(1.1, 3.0),
    lambda r: r.uniform(-0.5, 0.5),
    lambda r: r.uniform(-2.0, -0.2),
)
_WIDE: _Draw = lambda r: r.gauss(0.0, r.choice((0.5, 3.0, 9.0)))  # noqa: E731
_WIDELY = -1


def _singles(array: Array) -> Array:
    """Return the array with floats rounded to the nearest float32; integers stay."""
    return {key: struct.unpack("f", struct.pack("f", v))[0] if isinstance(v, float) else v for key, v in array.items()}


def label_ranges(layer: Layer) -> dict[str, list[Expr]]:
    """Return, for each integer tensor used as a subscript or compared with an index, the ranges it has to keep."""
    found: dict[str, list[Expr]] = {}

    def note(subscript: Expr, size: Expr) -> None:
        if isinstance(subscript, Element) and subscript.kind is Kind.INT:
            found.setdefault(subscript.name, []).append(size)

    for statement in reversed(layer.statements):
        for inner in found.get(statement.name, ()):
            note(statement.expr, inner)
        for node in _nodes(statement.expr):
            if isinstance(node, Element) and node.subscripts:
                for subscript, size in zip(node.subscripts, layer.axes(node.name), strict=True):
                    note(subscript, size)
            elif isinstance(node, (Delta, Eq, Ne, Lt, Le, Gt, Ge)):
                a, b = node.args
                for one, other in ((a, b), (b, a)):
                    if isinstance(other, Index):
                        note(one, other.size)
    return found


def _nodes(expr: Expr) -> Iterable[Expr]:
    yield expr
    for arg in expr.args:
        yield from _nodes(arg)


def draw(
    layer: Layer, instance: Instance, rng: Random, styles: Mapping[str, int] | None = None, *, single: bool = True
) -> dict[str, Array]:
    """Return random inputs of the right kinds.

    Args:
        layer: whose parameters are drawn.
        instance: the sizes.
        rng: where the randomness comes from.
        styles: the range of each Real parameter, as a place in the list of ranges; 0 (normal) where it has none.
        single: whether the numbers are exact in float32.
    """
    labels = label_ranges(layer)
    styles = styles or {}
    inputs = {
        p.name: _draw_one(p, instance, rng, labels.get(p.name, ()), styles.get(p.name, 0)) for p in layer.parameters
    }
    return {name: _singles(array) for name, array in inputs.items()} if single else inputs


def _draw_one(parameter: Parameter, instance: Instance, rng: Random, ranges: Sequence[Expr], style: int) -> Array:
    keys = instance.keys(parameter.axes)
    match parameter.kind:
        case Kind.INT:
            return _labels(keys, rng, min(map(instance.extent, ranges)) if ranges else None, style)
        case Kind.BOOL:
            mask = {key: int(rng.random() < 0.75) for key in keys}
            if len(set(mask.values())) == 1 and len(keys) > 1:
                mask[rng.choice(keys)] ^= 1
            return mask
        case Kind.POSITIVE:
            return {key: math.exp(rng.uniform(-1.2, 0.9)) for key in keys}
        case Kind.UNIT:
            return {key: rng.uniform(0.1, 0.9) for key in keys}
    drawn = _WIDE if style == _WIDELY else _REAL[style]
    return {key: drawn(rng) for key in keys}


def _labels(keys: Sequence[Key], rng: Random, bound: int | None, style: int) -> Array:
    """Return integers in the range they index, or small ones of both signs; one label comes twice.

    A gradient that overwrites where it should add is wrong only where two
    labels agree.
    """
    choices = range(bound) if bound is not None else ((-1, 1, 2, 0) if style == 0 else (1, 2, 3))
    labels = {key: rng.choice(choices) for key in keys}
    if len(keys) > 2:
        labels[keys[-1]] = labels[keys[0]]
    return labels


def sample(layer: Layer, instance: Instance, seed: int, *, single: bool = True) -> Sample:
    """Return inputs at which everything is a number, away from corners and poles, and random cotangents.

    Where no draw keeps the whole distance, the best one is returned.

    Args:
        layer: with its kinds and domains.
        instance: the sizes.
        seed: the same one gives the same sample.
        single: whether the numbers are exact in float32.

    Raises:
        CheckError: no draw gives finite results, or a label cannot be kept inside an axis.
    """
    rng = Random(seed)
    evaluator = Evaluator(layer.statements, instance, floats(), watch=True)
    best: Sample | None = None
    for attempt in range(_TRIES):
        found = _try(layer, evaluator, draw(layer, instance, rng, _styles(layer, attempt, rng), single=single))
        if found is None:
            continue
        if best is None or _distance(found) > _distance(best):
            best = found
        if _distance(best) >= 1 or (attempt >= 40 and best.smooth):
            break
    if best is None:
        raise CheckError(
            f"{layer.name}: no inputs found at which its results are finite numbers ({_TRIES} tries)",
            layer.span,
            "declare inputs of log, sqrt and division as Positive[...] or Unit[...]",
        )
    return _with_cotangents(layer, best, rng, single=single)


def other_sample(layer: Layer, first: Sample, seed: int) -> Sample:
    """Return a second sample: other sizes, another batch, other hyper-parameters, numbers of full precision.

    Where other hyper-parameters leave no finite results, they have their defaults.
    """
    instance = choose_other_instance(layer, first.instance)
    changed = other_hypers(layer, instance)
    if changed != instance:
        with suppress(CheckError):
            return sample(layer, changed, seed, single=False)
    return sample(layer, instance, seed, single=False)


def piecewise_sample(layer: Layer, first: Sample, seed: int) -> Sample | None:
    """Return a sample with wide inputs, for a layer of functions in pieces: on as many pieces as can be met.

    ``relu6`` of normal numbers never leaves the middle piece at the upper end.
    Of many wide draws at larger sizes, the one that meets most pieces is taken.

    Returns:
        None where the first sample met no corner or jump, or no wide draw gives finite results.
    """
    if math.isinf(first.kink):
        return None
    choices = [choose_sizes(layer, batch=(4, 5), start=start) for start in (8, 5, 3)]
    little = (instance for instance in choices if work(layer, instance) <= _WORK // 8)
    instance = other_hypers(layer, next(little, first.instance), tiny=1.0)
    rng = Random(f"pieces {seed}")
    evaluator = Evaluator(layer.statements, instance, floats(), watch=True)
    styles = dict.fromkeys((p.name for p in layer.parameters if p.kind is Kind.REAL), _WIDELY)
    best: tuple[int, Sample] | None = None
    for _ in range(_WIDE_TRIES):
        found = _try(layer, evaluator, draw(layer, instance, rng, styles))
        if found is not None and found.smooth and (best is None or evaluator.sides > best[0]):
            best = evaluator.sides, found
    return None if best is None else _with_cotangents(layer, best[1], rng, single=True)


def _try(layer: Layer, evaluator: Evaluator, inputs: dict[str, Array]) -> Sample | None:
    """Return the sample, without cotangents, if the layer's results are finite."""
    try:
        arrays = evaluator.run(inputs)
    except (IndexError, OverflowError):
        return None
    if not all(_finite(arrays[name].values()) for name in layer.returns):
        return None
    return Sample(evaluator.instance, inputs, {}, evaluator.kink, evaluator.edge)


def _with_cotangents(layer: Layer, found: Sample, rng: Random, *, single: bool) -> Sample:
    cotangents: dict[str, Array] = {
        f"d{name}": {key: rng.gauss(0.0, 1.0) for key in found.instance.keys(layer.axes(name))}
        for name in layer.returns
    }
    if single:
        cotangents = {name: _singles(array) for name, array in cotangents.items()}
    return replace(found, cotangents=cotangents)


def _styles(layer: Layer, attempt: int, rng: Random) -> dict[str, int]:
    """Return the ranges to draw from: normal first, then each range for all, then a mixture."""
    if attempt < 12:
        return {}
    if attempt < 12 + 4 * len(_REAL):
        return dict.fromkeys((p.name for p in layer.parameters), (attempt - 12) // 4)
    if attempt < 60:
        return {}
    return {p.name: rng.randrange(len(_REAL)) for p in layer.parameters}


def _finite(values: Iterable[object]) -> bool:
    return all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)


def _distance(found: Sample) -> float:
    return min(found.kink / KINK_MARGIN, found.edge / EDGE_MARGIN)
