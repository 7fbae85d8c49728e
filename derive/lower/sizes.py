"""Where the sizes that a function uses as numbers come from: shapes, or the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sympy import Expr

from derive.algebra.nodes import BATCH, BATCH_SIZE, Hyper, Size
from derive.language.layer import DerivedSize
from derive.lower.arrays import (
    AddAt,
    Array,
    Assign,
    Axis,
    Broadcast,
    Cotangent,
    Empty,
    Entry,
    Fill,
    ForLoop,
    Guarded,
    InPlace,
    Instruction,
    Number,
    Pad,
    Part,
    Range,
    Regroup,
    Reshape,
    Room,
    SizeOf,
    Span,
    Take,
    Update,
    Windows,
    transform,
    values,
    walk,
)
from derive.lower.scalars import sizes_in

__all__ = ["find_sizes", "hypers_in", "same_shape", "shaped"]

Arrays = Mapping[str, tuple[Axis, ...]]


def same_shape(sizes: Sequence[Expr], arrays: Arrays) -> str | None:
    """Return the first array with exactly these axes, or None."""
    for name, axes in arrays.items():
        if tuple(None if axis is None else axis.size for axis in axes) == tuple(sizes) and sizes:
            return name
    return None


def shaped(instruction: Instruction, arrays: Arrays) -> Instruction:
    """Return the instruction with new arrays shaped like one that is at hand, where there is one."""

    def change(array: Array) -> Array:
        if isinstance(array, (Fill, Broadcast, Empty)):
            return replace(array, like=same_shape([i.size for i in array.indices], arrays))
        return array

    match instruction:
        case Guarded(body=body) | ForLoop(body=body):
            return replace(instruction, body=tuple(shaped(s, arrays) for s in body))
        case Assign(value=value) | InPlace(value=value):
            return replace(instruction, value=transform(value, change))
        case _:
            return instruction


def find_sizes(
    code: Iterable[Instruction],
    arrays: Arrays,
    cotangents: Sequence[Cotangent],
    derived: Sequence[DerivedSize],
    further: Iterable[SizeOf] = (),
) -> tuple[tuple[SizeOf, ...], tuple[SizeOf, ...]]:
    """Return where each size comes from that ``code`` uses, and those that no array has.

    Args:
        code: of one function.
        arrays: what that function has at its start, with the stored axes.
        cotangents: whose shapes must be known.
        derived: sizes that forward computes; ``further`` sizes are needed as well.
    """
    needed: dict[tuple[Size, Part], None] = {}
    for request in further:
        needed.setdefault((request.size, request.part))
    for cotangent in cotangents:
        if cotangent.like is None:
            _note_shape(cotangent.axes, needed)
    for instruction in code:
        if isinstance(instruction, Room) and instruction.like is None:
            _note_shape(instruction.axes, needed)
        for size in _subscript_sizes(instruction):
            needed.setdefault((size, _part(size)))
        for value in values(instruction):
            for node in walk(value):
                _note(node, needed)
    formulas = {d.size: d.expr for d in derived}
    found: dict[tuple[Size, Part], SizeOf] = {}
    missing: dict[tuple[Size, Part], SizeOf] = {}

    def find(size: Size, part: Part) -> None:
        if (size, part) in found or (size, part) in missing:
            return
        for name, axes in arrays.items():
            sizes = tuple(None if axis is None else axis.size for axis in axes)
            if size in sizes:
                found[size, part] = SizeOf(size, part, name, sizes)
                return
        if size in formulas and not cotangents:
            for inner in sorted(sizes_in(formulas[size]), key=str):
                find(inner, _part(inner))
            found[size, part] = SizeOf(size, part, value=formulas[size])
            return
        if part is Part.COUNT:
            find(size, Part.BATCH)
            found[size, part] = SizeOf(size, part)
            return
        missing[size, part] = SizeOf(size, part)

    for size, part in needed:
        find(size, part)
    return tuple(found.values()), tuple(missing.values())


def _part(size: Expr) -> Part:
    return Part.COUNT if size == BATCH_SIZE else Part.LENGTH


def _note_shape(axes: Iterable[Expr], needed: dict[tuple[Size, Part], None]) -> None:
    for axis in axes:
        if axis == BATCH_SIZE:
            needed.setdefault((BATCH_SIZE, Part.BATCH))
        else:
            for size in sorted(sizes_in(axis), key=str):
                needed.setdefault((size, _part(size)))


def _note(array: Array, needed: dict[tuple[Size, Part], None]) -> None:
    numbers, shape = _numbers(array)
    _note_shape(shape, needed)
    for number in numbers:
        for size in sorted(sizes_in(number), key=str):
            needed.setdefault((size, _part(size)))


def _numbers(array: Array) -> tuple[list[Expr], list[Expr]]:
    """Return the Python numbers that an operation itself is written with, and the lengths of a shape."""
    numbers: list[Expr] = []
    shape: list[Expr] = []
    match array:
        case Number(value=value):
            numbers = [value]
        case Range(size=size):
            numbers = [size]
        case Fill() | Broadcast() | Empty():
            if isinstance(array, Fill):
                numbers = [array.value]
            if array.like is None:
                shape = [i.size for i in array.indices]
        case Reshape(axes=axes):
            shape = [i.size for i in axes if i is not None and not i.size.has(BATCH_SIZE)]
        case Take(where=where):
            numbers = _written(where)
        case Windows(lengths=lengths):
            numbers = [*lengths]
        case Pad(widths=widths, fill=fill):
            numbers = [*(n for pair in widths for n in pair), fill]
        case Regroup(axes=axes):
            shape = [i.size for i in axes if i is not None and (i == BATCH or i.size != BATCH_SIZE)]
    return numbers, shape


def hypers_in(code: Iterable[Instruction]) -> frozenset[Hyper]:
    """Return the hyper-parameters that instructions are written with."""
    found: set[Expr] = set()
    for instruction in code:
        for number in _subscript_numbers(instruction):
            found |= number.free_symbols
        for value in values(instruction):
            for node in walk(value):
                numbers, shape = _numbers(node)
                found = found.union(*(n.free_symbols for n in (*numbers, *shape)))
    return frozenset(s for s in found if isinstance(s, Hyper))


def _written(where: Iterable[Entry]) -> list[Expr]:
    """Return the numbers that stand between brackets."""
    found: list[Expr] = []
    for entry in where:
        found += entry.numbers if isinstance(entry, Span) else [entry] if isinstance(entry, Expr) else []
    return found


def _subscript_sizes(instruction: Instruction) -> list[Size]:
    return [s for number in _subscript_numbers(instruction) for s in sorted(sizes_in(number), key=str)]


def _subscript_numbers(instruction: Instruction) -> list[Expr]:
    match instruction:
        case Guarded(body=body):
            return [n for i in body for n in _subscript_numbers(i)]
        case ForLoop(size=size, body=body):
            return [size, *(n for i in body for n in _subscript_numbers(i))]
        case Update(where=where) | AddAt(where=where):
            return _written(where)
        case _:
            return []
