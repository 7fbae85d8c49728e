"""Inputs at which a layer is tried.

They come from a seed. Those of the first sample are exact in float32, so that code
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
from random import Random

from sympy import Expr

from derive.algebra.functions import Eq, Ge, Gt, Le, Lt, Ne
from derive.algebra.indices import elements, free_indices
from derive.algebra.nodes import Delta, Element, Index, Kind, Padded
from derive.check.compile import UndefinedError
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.instance import Array, Instance, Key
from derive.check.sizes import (
    allowed,
    choose_other_instance,
    choose_sizes,
    other_hypers,
    resized,
)
from derive.check.work import WORK, expressions, work
from derive.errors import CheckError
from derive.language.layer import Layer, Parameter

__all__ = [
    "Sample",
    "draw",
    "label_ranges",
    "other_sample",
    "piecewise_sample",
    "sample",
    "short_samples",
]

# Away from a corner by this much, steps of 1e-5 (amplified a hundred times on the way) stay on one side of it.
KINK_MARGIN = 1e-3
# At a distance d from a pole, central differences with step h lose a share (h/d)**2: 2.5e-7 here.
EDGE_MARGIN = 2e-2
_TRIES = 160
_WIDE_TRIES = 24


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
        nodes = [node for expr in expressions(statement) for node in _nodes(expr)]
        padded = {node.element for node in nodes if isinstance(node, Padded)}
        for node in nodes:
            if isinstance(node, Element) and node.subscripts and node not in padded:
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
    if keys and not choices:
        raise CheckError("no label is inside an axis of length 0")
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
    if min(instance.sizes.values(), default=0) < 0:
        raise CheckError(f"{layer.name}: a size is negative at {instance}", layer.span)
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

    Of other hyper-parameters, those that leave sizes or finite results are
    taken; where a division in a derived size may leave a rest, it does.

    Raises:
        CheckError: no draw gives finite results, whatever the hyper-parameters.
    """
    tried: list[Instance] = []
    for whole, real in ((True, True), (False, True), (False, False)):
        for exact in (False, True) if layer.derived else (True,):
            with suppress(CheckError):
                hypers = other_hypers(layer, whole=whole, real=real)
                instance = choose_other_instance(layer, first.instance, hypers, exact=exact)
                if instance not in tried:
                    tried.append(instance)
                    return sample(layer, instance, seed, single=False)
    raise CheckError(f"{layer.name}: no other sizes found at which its results are finite numbers", layer.span)


def short_samples(layer: Layer, first: Sample, seed: int) -> list[Sample]:
    """Return samples in which recurrences have one step, and none; fewer where that is not defined."""
    steps = dict.fromkeys(s.carry.index.size for s in layer.statements if s.carry is not None)
    found: list[Sample] = []
    for size in steps:
        for length in (1, 0) if size in layer.sizes else ():
            instance = resized(layer, first.instance, size.name, length)
            if allowed(layer, instance) and not (length == 0 and _reads_one_of(layer, size)):
                with suppress(CheckError):
                    found.append(sample(layer, instance, seed))
    return found


def _reads_one_of(layer: Layer, size: Expr) -> bool:
    """Return whether an element of an axis of that size is read by a number: ``h[T - 1, n]`` needs one."""
    for statement in layer.statements:
        for expr in expressions(statement):
            for element in elements(expr):
                places = zip(element.subscripts, layer.axes(element.name), strict=True)
                if any(axis == size and not free_indices(at) for at, axis in places):
                    return True
    return False


def piecewise_sample(layer: Layer, first: Sample, seed: int) -> Sample | None:
    """Return a sample with wide inputs, for a layer of functions in pieces: on as many pieces as can be met.

    ``relu6`` of normal numbers never leaves the middle piece at the upper end.
    Of many wide draws at larger sizes, the one that meets most pieces is taken.

    Returns:
        None where the first sample met no corner or jump, or no wide draw gives finite results.
    """
    if math.isinf(first.kink):
        return None
    starts = (3,) if layer.derived or layer.conditions else (8, 5, 3)
    choices = (choose_sizes(layer, batch=(4, 5), start=start, budget=WORK // 8) for start in starts)
    little = (instance for instance in choices if work(layer, instance) <= WORK // 8)
    instance = replace(next(little, first.instance), hypers=other_hypers(layer, whole=False, tiny=1.0))
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
    """Return the sample, without cotangents, if the layer's results are finite.

    Raises:
        CheckError: a read lies outside its tensor, whatever the inputs.
    """
    try:
        arrays = evaluator.run(inputs)
    except IndexError as error:
        if all(p.kind is not Kind.INT for p in layer.parameters):
            raise CheckError(f"{layer.name}: {error}, at {evaluator.instance}", layer.span) from None
        return None
    except (OverflowError, UndefinedError):
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
