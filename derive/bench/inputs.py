"""Numbers for a layer at sizes that a user gives: sizes, inputs, cotangents."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.algebra.nodes import BATCH_SIZE, Kind, Size
from derive.check.instance import Instance
from derive.check.module import GeneratedModule
from derive.check.samples import label_ranges
from derive.check.search import axes_of
from derive.check.sizes import allowed, choose_instance, completed, defaults
from derive.check.work import work
from derive.errors import DeriveError, ShapeError, UnknownNameError
from derive.language.layer import Layer, Parameter
from derive.pipeline import build_module

__all__ = ["Arrays", "Sizes", "chosen_sizes", "cotangents", "inputs", "instance_at", "parse_sizes", "sized_inputs"]

Arrays = dict[str, NDArray[Any]]
Sizes = Mapping[str, tuple[int, ...]]
"""Lengths by the name of the size; ``...`` may have several."""

ROWS, OTHER, LOOP = 1024, 64, 16
"""The first size of a layer, any other, and one along which a recurrence runs, where the user gives none."""

LITTLE, MUCH = 4_000_000, 100_000_000
"""Scalar operations of a forward pass at sizes that are not given: with windows, and without."""

_RANGES = ((0.0, 1.0, "normal"), (0.2, 2.0, "uniform"), (0.1, 0.9, "uniform"), (1.1, 3.0, "uniform"))


def parse_sizes(text: str) -> dict[str, tuple[int, ...]]:
    """Return the sizes of ``N=8192,D=512``; ``...=16x8`` gives two batch axes.

    Raises:
        DeriveError: it is not written so, or a size is below 1.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([A-Za-z_]\w*|\.\.\.)\s*=\s*(\d+(?:x\d+)*)\s*", part)
        if match is None:
            raise DeriveError(f"--sizes: cannot read '{part.strip()}'", hint="write e.g. --sizes N=8192,D=512")
        name, lengths = match[1], tuple(int(n) for n in match[2].split("x"))
        if len(lengths) > 1 and name != "...":
            raise DeriveError(f"--sizes: {name} is one axis, not {len(lengths)}", hint="only ... stands for several")
        if name in found:
            raise DeriveError(f"--sizes: {name} is given twice")
        found[name] = lengths
    return found


def chosen_sizes(layers: Sequence[Layer], layer: Layer, texts: Sequence[str]) -> list[Sizes]:
    """Return the sizes at which a layer is run: one choice for each text.

    Of several layers each takes the names that it has, and a text without any of its names is not for it.

    Raises:
        DeriveError: a text cannot be read, or none of the layers has a name in it.
    """
    if not texts:
        return [{}]
    found: list[Sizes] = []
    for text in texts:
        given = parse_sizes(text)
        every = {name for each in layers for name in _names(each)}
        own = {name: n for name, n in given.items() if name in _names(layer) or name not in every}
        if own and own not in found:
            found.append(own)
    return found or [{}]


def _names(layer: Layer) -> list[str]:
    """Return what can be given for a layer: its sizes, ``...`` first, and its whole hyper-parameters."""
    batch = ["..."] if BATCH_SIZE in axes_of(layer) else []
    whole = [h.name for h in layer.hypers if h.kind is Kind.INT]
    return [*batch, *(size.name for size in layer.sizes if size != BATCH_SIZE), *whole]


def instance_at(layer: Layer, given: Sizes) -> Instance:
    """Return the layer's sizes: those that are given, and likely ones for the others; integer hypers alike.

    Raises:
        UnknownNameError: the layer has no such size.
        ShapeError: the sizes do not fulfil the layer's conditions.
    """
    has_batch = BATCH_SIZE in axes_of(layer)
    known = [*(("...",) if has_batch else ()), *(size.name for size in layer.sizes if size != BATCH_SIZE)]
    whole = {h.name for h in layer.hypers if h.kind is Kind.INT}
    for name in given:
        if name not in known and name not in whole:
            near = difflib.get_close_matches(name, known, 1)
            listed = ", ".join(known) or "none"
            hint = f"did you mean '{near[0]}'? " if near else ""
            made = {derived.size.name: derived for derived in layer.derived}
            why = "is computed from others" if name in made else f"is no size of {layer.name}"
            raise UnknownNameError(f"--sizes: '{name}' {why}", hint=f"{hint}its sizes are: {listed}")
        if name in known and min(given[name]) < 1:
            raise DeriveError(f"--sizes: {name} = {given[name][0]}, and a size is at least 1")
    hypers = defaults(layer) | {name: given[name][0] for name in whole & given.keys()}
    fixed = Instance({name: n[0] for name, n in given.items() if name in known and name != "..."}, (), hypers)
    if has_batch:
        fixed = replace(fixed, batch=given.get("...", ()))
    open_names = [name for name in known if name not in given]
    found = _likely(layer, fixed, known, open_names) or _grown(layer, fixed, open_names)
    if found is None:
        small = choose_instance(layer)
        fitting = ",".join(f"{name}={small.sizes[name]}" for name in known if name != "...")
        raise ShapeError(
            f"{layer.name} cannot be run at {fixed}" if fixed.sizes else f"{layer.name} cannot be run at likely sizes",
            layer.span,
            f"give all of its sizes, so that they fit: --sizes {fitting}",
        )
    order = [*known, *(derived.size.name for derived in layer.derived)]
    return replace(found, sizes={name: found.sizes[name] for name in order if name != "..."})


def _likely(layer: Layer, fixed: Instance, known: Sequence[str], names: Sequence[str]) -> Instance | None:
    """Return many rows of a few columns; None where they do not fit, or windows or much work ask for care."""
    if layer.derived and names:
        return None
    steps = {s.carry.index.size for s in layer.statements if s.carry is not None}
    sizes = dict(fixed.sizes)
    for name in names:
        if name != "...":
            sizes[name] = LOOP if Size(name) in steps else ROWS if name == known[0] else OTHER
    batch = fixed.batch
    if "..." in names:
        batch = (ROWS, OTHER) if known == ["..."] else (ROWS if known[0] == "..." else 1,)
    found = replace(fixed, sizes=sizes, batch=batch)
    if not allowed(layer, found) or not _positive(layer, found):
        return None
    found = completed(layer, found)
    return found if not names or work(layer, found) <= MUCH else None


def _grown(layer: Layer, fixed: Instance, names: Sequence[str]) -> Instance | None:
    """Return the sizes of a check, doubled in turn as long as no computed size shrinks and it is little work."""
    small = choose_instance(layer)
    sizes = {**{name: small.sizes[name] for name in names if name != "..."}, **fixed.sizes}
    found = replace(fixed, sizes=sizes, batch=fixed.batch or (small.batch[:1] and (4,)))
    if not allowed(layer, found) or not _positive(layer, found):
        return None
    found = completed(layer, found)
    growing = [name for name in names if name != "..."]
    while growing:
        for name in tuple(growing):
            more = replace(found, sizes={**{s.name: found.sizes[s.name] for s in layer.sizes if s != BATCH_SIZE},
                                         name: 2 * found.sizes[name]})  # fmt: skip
            if allowed(layer, more) and work(layer, completed(layer, more)) <= LITTLE:
                more = completed(layer, more)
                if all(more.sizes[d.size.name] >= found.sizes[d.size.name] for d in layer.derived):
                    found = more
                    continue
            growing.remove(name)
    return found


def _positive(layer: Layer, instance: Instance) -> bool:
    return min(completed(layer, instance).sizes.values(), default=1) >= 1


def inputs(layer: Layer, instance: Instance, dtype: Any, seed: int = 0) -> Arrays:
    """Return random inputs at which the results are finite.

    Real ones are normal, and from other ranges where a result of the generated code would not be a number.

    Raises:
        DeriveError: no range gives finite results.
    """
    forward = GeneratedModule(layer, build_module(layer)).names["forward"]
    for low, high, kind in _RANGES:
        random = np.random.default_rng(seed)
        arrays = {p.name: _one(layer, p, instance, random, (low, high, kind)).astype(_dtype(p, dtype), copy=False)
                  for p in layer.parameters}  # fmt: skip
        with np.errstate(all="ignore"):
            result, _ = forward(*arrays.values(), **instance.hypers)
        if all(np.isfinite(each).all() for each in (result if len(layer.returns) > 1 else (result,))):
            return arrays
    raise DeriveError(
        f"{layer.name}: no random inputs give finite results at {instance}",
        layer.span,
        "declare inputs of log, sqrt and division as Positive[...] or Unit[...]",
    )


def sized_inputs(layer: Layer, given: Sizes, dtype: Any, seed: int = 0) -> tuple[Instance, Arrays]:
    """Return a layer's sizes, those given among them, and random inputs at which the results are finite.

    Where likely sizes have none, a check's small ones are taken.

    Raises:
        DeriveError: as ``instance_at`` and ``inputs``.
    """
    instance = instance_at(layer, given)
    try:
        return instance, inputs(layer, instance, dtype, seed)
    except DeriveError:
        if given:
            raise
        instance = choose_instance(layer)
        return instance, inputs(layer, instance, dtype, seed)


def _dtype(parameter: Parameter, dtype: Any) -> Any:
    return {Kind.INT: np.int64, Kind.BOOL: np.bool_}.get(parameter.kind, dtype)


def _one(
    layer: Layer, parameter: Parameter, instance: Instance, random: np.random.Generator, real: tuple[float, float, str]
) -> NDArray[Any]:
    shape = instance.shape(parameter.axes)
    match parameter.kind:
        case Kind.INT:
            bounds = [instance.extent(size) for size in label_ranges(layer).get(parameter.name, ())]
            return random.integers(0, min(bounds) if bounds else 3, shape)
        case Kind.BOOL:
            return random.random(shape) < 0.75
        case Kind.POSITIVE:
            return np.asarray(np.exp(random.uniform(-1.2, 0.9, shape)))
        case Kind.UNIT:
            return random.uniform(0.1, 0.9, shape)
    low, high, kind = real
    if kind == "uniform":
        return random.uniform(low, high, shape)
    return np.asarray(random.standard_normal(shape))


def cotangents(layer: Layer, instance: Instance, dtype: Any, seed: int = 1) -> Arrays:
    """Return random cotangents, one an output; 1 for a scalar."""
    random = np.random.default_rng(seed)
    found: Arrays = {}
    for name in layer.returns:
        shape = instance.shape(layer.axes(name))
        value = random.standard_normal(shape) if shape else np.ones(())
        found[f"d{name}"] = np.asarray(value).astype(dtype)
    return found
