"""What forward saves: the result of an expensive function that backward would compute again.

    y = 0.5 * x * erfc(-x / sqrt(2))        forward computes erfc anyway: backward reads it from the cache
    dz = exp(logp); dz[n, t[n]] -= 1; …     exp(logp) is saved in the place of logp, which nothing else reads

The first takes an array more in the cache and saves the function; the second
moves the function from backward to forward, at the same memory, or at one array
more where the field is an input or a result, which lives on anyway.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from derive.algebra.nodes import Hyper
from derive.lower.arrays import (
    Apply,
    Array,
    ArrayProgram,
    Assign,
    Copy,
    Dtype,
    Field,
    InPlace,
    Instruction,
    Name,
    Number,
    Unary,
    values,
    walk,
)
from derive.lower.sharing import descriptive_name, key_of, versions
from derive.lower.steps import mapped
from derive.tune.cost import function_cost
from derive.tune.tape import names_in, written

__all__ = ["saved_again", "with_saved"]

EXPENSIVE = 2.5
"""Multiplications that a function costs at least, where it is worth an array in the cache."""

_FUNCTION = re.compile(r"^(?:np\.)?(\w+)\(")


def with_saved(arrays: ArrayProgram, *, moved: bool) -> ArrayProgram:
    """Return the program with what forward computes anyway, and is expensive, in the cache.

    Args:
        arrays: as lowered.
        moved: whether functions also move from backward to forward, where a field of the cache is replaced.
    """
    while True:
        changed = saved_again(arrays) or (_moved(arrays) if moved else None)
        if changed is None:
            return arrays
        arrays = changed


def saved_again(arrays: ArrayProgram) -> ArrayProgram | None:
    """Return the program with one result of forward in the cache that backward computes again, or None."""
    if arrays.functions or arrays.modules:
        return None
    held = {f.name for f in arrays.cache if f.axes is not None}
    last = Counter(name for i in arrays.forward for name in written(i))
    for candidate in _candidates(arrays, held):
        wanted = key_of(candidate, last)
        for place, (instruction, now) in enumerate(zip(arrays.forward, versions(arrays.forward), strict=True)):
            if not isinstance(instruction, (Assign, InPlace)):
                continue
            found = next((n for n in walk(instruction.value) if type(n) is Apply and key_of(n, now) == wanted), None)
            if found is None or (isinstance(instruction, Assign) and found is instruction.value):
                continue
            name = _named(found, arrays)
            forward = [
                *arrays.forward[:place],
                Assign(name, found),
                _replaced(instruction, found, name),
                *arrays.forward[place + 1 :],
            ]
            return _cached(arrays, forward, candidate, name, found)
    return None


def _moved(arrays: ArrayProgram) -> ArrayProgram | None:
    """Return the program with a function of a field of the cache in its place, where nothing else reads the field."""
    if arrays.functions or arrays.modules:
        return None
    held = {f.name for f in arrays.cache if f.axes is not None}
    reads = Counter(n.name for i in arrays.backward for v in values(i) for n in walk(v) if isinstance(n, Name))
    for candidate in _candidates(arrays, held):
        (field, *others) = names_in(candidate)
        if others or reads[field] != 1:
            continue
        numbers = [n.value for n in walk(candidate) if isinstance(n, Number)]
        if any(isinstance(s, Hyper) for value in numbers for s in value.free_symbols):
            continue
        name = _named(candidate, arrays)
        return _cached(arrays, [*arrays.forward, Assign(name, candidate)], candidate, name, candidate)
    return None


def _candidates(arrays: ArrayProgram, held: set[str]) -> Iterator[Array]:
    """Give the expensive functions of saved arrays that backward computes, largest first."""
    changed = {name for i in arrays.backward for name in written(i)}
    found: list[Array] = []
    for instruction in arrays.backward:
        if isinstance(instruction, (Assign, InPlace)):
            for node in walk(instruction.value):
                names = names_in(node)
                if function_cost(node) >= EXPENSIVE and names and names <= held - changed and node.dtype is Dtype.REAL:
                    found.append(node)
    yield from sorted(found, key=lambda node: -sum(map(function_cost, walk(node))))


def _named(array: Array, arrays: ArrayProgram) -> str:
    """Return a name that says what a function is of: ``erfc_x``, ``exp_logp``."""
    function = _FUNCTION.match(array.spelling) if isinstance(array, Apply) else None
    names = sorted(names_in(array))
    taken = _taken(arrays)
    if function is None or len(names) != 1:
        return descriptive_name(array, taken)
    minus = "minus_" if isinstance(array.args[0], Unary) else ""
    stem = f"{function[1]}_{minus}{names[0]}"
    return next(n for n in (stem, *(f"{stem}{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def _taken(arrays: ArrayProgram) -> set[str]:
    taken = {i.name for i in arrays.inputs} | {h for h, _ in arrays.hypers} | {f.name for f in arrays.cache}
    taken |= {n for i in (*arrays.forward, *arrays.backward) for n in written(i)}
    taken |= {c.name for c in arrays.cotangents} | {name for _, name in arrays.gradients}
    return taken | {str(axis) for i in arrays.inputs for axis in i.axes} | {str(size) for size, _ in arrays.derived}


def _replaced(instruction: Instruction, part: Array, name: str) -> Instruction:
    def change(array: Array) -> Array:
        if array == part:
            return Name(part.axes, part.dtype, name=name)
        args = tuple(map(change, array.args))
        return replace(array, args=args) if args != array.args else array

    changed = mapped(instruction, change)
    if isinstance(changed, Assign) and isinstance(changed.value, Name):
        value = changed.value
        return replace(changed, value=Copy(value.axes, value.dtype, (value,)))
    return changed


def _cached(arrays: ArrayProgram, forward: Sequence[Instruction], part: Array, name: str, made: Array) -> ArrayProgram:
    """Return the program with ``part`` of backward read from the cache; fields that nobody reads any more go."""
    backward = tuple(_replaced(i, part, name) for i in arrays.backward)
    read = {n for i in backward for v in values(i) for n in names_in(v)}
    read |= {n for i in backward for v in values(i) for node in walk(v) for n in [getattr(node, "like", None)] if n}
    before = {n for i in arrays.backward for v in values(i) for n in names_in(v)}
    kept = tuple(f for f in arrays.cache if f.axes is None or f.name in read or f.name not in before)
    gone = {f.name for f in arrays.cache} - {f.name for f in kept}
    field = Field(name, made.axes)
    swap = {old: name for old in gone if _shape(arrays, old) == made.axes}

    def like(old: str | None) -> str | None:
        return swap.get(old, old) if old is not None else None

    cotangents = tuple(replace(c, like=like(c.like)) for c in arrays.cotangents)
    sizes = tuple(replace(s, source=like(s.source)) for s in arrays.backward_sizes)
    named = {c.like for c in cotangents} | {s.source for s in sizes}
    if named & gone or arrays.precision in gone - swap.keys():
        kept, gone = arrays.cache, set()  # its shape or dtype is still needed
        cotangents, sizes = arrays.cotangents, arrays.backward_sizes
    precision = swap.get(arrays.precision, arrays.precision) if arrays.precision in gone else arrays.precision
    end = sum(f.axes is not None for f in kept)
    place = next((k for k, f in enumerate(arrays.cache) if f.name in gone), end)
    fields = [*kept[:place], field, *kept[place:]]
    return replace(
        arrays,
        forward=tuple(forward),
        backward=backward,
        cache=tuple(fields),
        cotangents=cotangents,
        backward_sizes=sizes,
        precision=precision,
    )


def _shape(arrays: ArrayProgram, name: str) -> object:
    return next((f.axes for f in arrays.cache if f.name == name), None)
