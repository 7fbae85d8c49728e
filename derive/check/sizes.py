"""Numbers for the sizes and the hyper-parameters of a layer at which it is tried.

Sizes are small and pairwise different (and different from literal sizes and
from the lengths of the batch axes), so that swapped axes cannot pass. Where a
layer has derived sizes (``P = (H + 2*pad - R) // stride + 1``) or conditions,
or is too much work with sizes that all differ (a convolution over three axes
has a dozen), they are searched for (:mod:`derive.check.search`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count, product

from sympy import Expr, Integer

from derive.algebra.functions import FloorDiv
from derive.algebra.nodes import BATCH_SIZE, Kind, Size
from derive.check.instance import Instance
from derive.check.search import Search, axes_of
from derive.check.work import WORK, work
from derive.language.layer import Layer

__all__ = [
    "allowed",
    "choose_instance",
    "choose_other_instance",
    "choose_sizes",
    "completed",
    "defaults",
    "fits",
    "other_hypers",
    "resized",
]

Numbers = Mapping[str, int | float | bool]
_Batch = tuple[int, ...]


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
            layer, batch=batch, start=start, first=first, hypers=hypers, exact=exact, budget=WORK // 3
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
    if BATCH_SIZE not in axes_of(layer):
        batch = ()
    if not layer.derived and not layer.conditions:
        plain = _in_order(layer, Instance({}, batch, values), start, descending=first is not None)
        if start > 2 or work(layer, plain) <= WORK:
            return plain
    given = Instance({}, batch, values)
    return completed(layer, replace(given, sizes=Search(layer, given, start, first, exact, budget).run()))


def resized(layer: Layer, instance: Instance, size: str, length: int) -> Instance:
    """Return the instance with another length for one size, and with the derived sizes that follow from it."""
    sizes = {s.name: instance.sizes[s.name] for s in layer.sizes if s != BATCH_SIZE} | {size: length}
    return completed(layer, replace(instance, sizes=sizes))


def allowed(layer: Layer, instance: Instance) -> bool:
    """Return whether sizes and hyper-parameters fulfil the layer's conditions; derived sizes are computed anew."""
    given = {s.name: instance.sizes[s.name] for s in layer.sizes if s != BATCH_SIZE}
    try:
        found = completed(layer, replace(instance, sizes=given))
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
    found = completed(layer, found)
    return all(found.extent(axis) == length for axis, length in computed)


def _in_order(layer: Layer, instance: Instance, start: int, *, descending: bool) -> Instance:
    """Return sizes that are consecutive numbers, without those of literal sizes and of the batch."""
    taken = {int(a) for a in axes_of(layer) if isinstance(a, Integer)} | set(instance.batch)
    named = [s.name for s in layer.sizes if s != BATCH_SIZE]
    fresh = (n for n in count(start) if n not in taken)
    numbers = [next(fresh) for _ in named]
    sizes = dict(zip(named, reversed(numbers) if descending else numbers, strict=True))
    return replace(instance, sizes=sizes)


def completed(layer: Layer, instance: Instance) -> Instance:
    """Return the instance with the derived sizes."""
    sizes = dict(instance.sizes)
    for derived in layer.derived:
        sizes[derived.size.name] = replace(instance, sizes=sizes).extent(derived.expr)
    return replace(instance, sizes=sizes)
