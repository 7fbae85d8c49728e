"""A product that forward saved is read as its factors where one of them multiplies something else anyway.

dx = rrms * (gamma * dy - mean(dy * y) * xhat)        y = gamma * xhat
g = gamma * dy
dx = rrms * (g - mean(g * xhat) * xhat)               y is not read, and need not be saved
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from derive.algebra.nodes import Index
from derive.lower.arrays import (
    Array,
    ArrayProgram,
    Assign,
    Axis,
    Binary,
    Dtype,
    Name,
    Reduce,
    values,
    walk,
)
from derive.lower.sharing import key_of, shared
from derive.lower.steps import mapped
from derive.tune.tape import names_in, written

__all__ = ["by_factors"]


def by_factors(arrays: ArrayProgram) -> ArrayProgram:
    """Return the program with products of the cache read as their factors where that takes no more operations."""
    if arrays.functions or arrays.modules or arrays.stages:
        return arrays
    held = {f.name for f in arrays.cache if f.axes is not None}
    for instruction in arrays.forward:
        if isinstance(instruction, Assign) and instruction.name in held and names_in(instruction.value) <= held:
            changed = _without(arrays, instruction)
            if changed is not None:
                return by_factors(changed)
    return arrays


def _without(arrays: ArrayProgram, made: Assign) -> ArrayProgram | None:
    """Return the program that does not read one product, or None."""
    name, product = made.name, made.value
    if not isinstance(product, Binary) or product.op != "*" or not all(isinstance(a, Name) for a in product.args):
        return None
    small, large = sorted(product.args, key=lambda a: len(a.axes))
    if len(small.axes) == len(large.axes) or None in (*small.axes, *large.axes) or large.axes != product.axes:
        return None
    shapes = {c.like for c in arrays.cotangents} | {s.source for s in arrays.backward_sizes} | {arrays.precision}
    writes = Counter(n for i in (*arrays.forward, *arrays.backward) for n in written(i))
    if name in shapes or writes[name] > 1 or any(writes[a.name] > 1 for a in (small, large)):  # type: ignore[attr-defined]
        return None
    present = {key_of(n, Counter()) for i in arrays.backward for v in values(i) for n in walk(v)}
    found = 0

    def change(array: Array) -> Array:
        nonlocal found
        args = tuple(map(change, array.args))
        array = replace(array, args=args) if args != array.args else array
        if not isinstance(array, Reduce) or not isinstance(array.args[0], Binary) or array.args[0].op != "*":
            return array
        for other, own in (array.args[0].args, array.args[0].args[::-1]):
            if isinstance(own, Name) and own.name == name and other.axes == own.axes and other.dtype is Dtype.REAL:
                letters = dict(zip(product.axes, own.axes, strict=True))
                factor, rest = _read(small, letters), _read(large, letters)
                inner = [Binary(own.axes, Dtype.REAL, pair, op="*") for pair in ((factor, other), (other, factor))]
                known = next((b for b in inner if key_of(b, Counter()) in present), None)
                if known is not None:
                    found += 1
                    return replace(array, args=(replace(array.args[0], args=(known, rest)),))
        return array

    backward = [mapped(i, change) if isinstance(i, Assign) else i for i in arrays.backward]
    if not found or any(name in names_in(v) for i in backward for v in values(i)):
        return None
    taken = {n for i in (*arrays.forward, *arrays.backward) for n in written(i)} | {i.name for i in arrays.inputs}
    taken |= {c.name for c in arrays.cotangents} | {h for h, _ in arrays.hypers} | {f.name for f in arrays.cache}
    taken |= {str(axis) for i in arrays.inputs for axis in i.axes} | {str(size) for size, _ in arrays.derived}
    cache = tuple(f for f in arrays.cache if f.name != name)
    return replace(arrays, backward=tuple(shared(backward, taken)), cache=cache)


def _read(array: Array, letters: dict[Axis, Axis]) -> Array:
    """Return a read of a whole array with the letters of another statement."""
    axes = tuple(letters.get(axis, axis) if isinstance(axis, Index) else axis for axis in array.axes)
    return replace(array, axes=axes)
