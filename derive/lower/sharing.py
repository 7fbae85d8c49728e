"""What a function computes twice is computed once, under a name.

    dr = dn * (1 - z)                 one_minus_z = 1 - z
    dz = …(1 - z)…              →     dr = dn * one_minus_z

Only work on whole arrays counts (a view or a number costs nothing), only in
statements that run once and unguarded, and only while the arrays that it reads
are not written to in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from derive.algebra.nodes import Hyper, Index, Size
from derive.lower.arrays import (
    Accumulate,
    Apply,
    Array,
    Assign,
    Binary,
    Blocks,
    CallBackward,
    CallForward,
    Contract,
    Copy,
    Einsum,
    ForLoop,
    Guarded,
    Helper,
    Instruction,
    Name,
    Number,
    Reduce,
    TakeAlong,
    Tensordot,
    values,
    walk,
)

__all__ = ["descriptive_name", "key_of", "shared", "versions"]

_WORK = (Accumulate, Apply, Binary, Contract, Einsum, Helper, Reduce, TakeAlong, Tensordot)

Key = tuple[object, ...]
"""Equal for expressions that are the same whatever letters their axes have, of arrays not written to in between."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an expression stands: in which instruction, and whether that assigns just this to a name for good."""

    instruction: int
    whole: bool
    array: Array


def shared(code: Sequence[Instruction], taken: set[str]) -> list[Instruction]:
    """Return the instructions with names for what occurs several times.

    Args:
        code: of one function.
        taken: names that mean something else; new ones are added.
    """
    result = list(code)
    while True:
        repeat = _largest(result)
        if repeat is None:
            return result
        key, places = repeat
        array = places[0].array
        owner = next((p.instruction for p in places if p.whole), None)
        if owner is None:
            made = Assign(descriptive_name(array, taken), array)
        else:
            assigned = result[owner]
            assert isinstance(assigned, Assign)
            made = assigned
        first, several = places[0].instruction, {p.instruction for p in places}
        changed: list[Instruction] = []
        for k, (instruction, now) in enumerate(zip(result, versions(result), strict=True)):
            if k == first:
                changed.append(made)
            if k == owner:
                continue
            if k in several:
                instruction = _reading(instruction, made.name, key, now)
            changed.append(instruction)
        result = changed


def _largest(code: Sequence[Instruction]) -> tuple[Key, list[_Place]] | None:
    """Return the largest expression that occurs twice, with its places in order; the first one of equals."""
    writes = Counter(name for instruction in code for name in _written(instruction))
    found: dict[Key, list[_Place]] = {}
    for k, (instruction, now) in enumerate(zip(code, versions(code), strict=True)):
        if isinstance(instruction, (Blocks, Guarded, ForLoop, CallForward, CallBackward)):
            continue
        for value in values(instruction):
            for node in walk(value):
                if _is_work(node):
                    whole = isinstance(instruction, Assign) and node is value
                    if whole and writes[instruction.name] > 1:
                        continue  # its array is gone on with
                    found.setdefault(key_of(node, now), []).append(_Place(k, whole, node))
    repeats = [(key, places) for key, places in found.items() if len(places) > 1]
    return max(repeats, key=lambda repeat: sum(1 for _ in walk(repeat[1][0].array)), default=None)


def _is_work(array: Array) -> bool:
    reads = any(isinstance(n, Name) and n.axes for n in walk(array))
    copied = isinstance(array, Einsum) and len(array.args) == 1 and array.indices == array.args[0].indices
    square = isinstance(array, Binary) and array.args[0] == array.args[1]  # x * x says more than a name for it
    return isinstance(array, _WORK) and bool(array.indices) and reads and not copied and not square


def versions(code: Sequence[Instruction]) -> Iterator[Counter[str]]:
    """Yield, for each instruction, how often each name has been written to before it; the same object each time."""
    now: Counter[str] = Counter()
    for instruction in code:
        yield now
        now.update(_written(instruction))


def key_of(array: Array, now: Counter[str]) -> Key:
    """Return the key of an expression; ``now``: how often each name has been written to."""
    letters: dict[Index, int] = {}

    def key(value: object) -> object:
        match value:
            case Index():
                return letters.setdefault(value, len(letters)), value.size
            case Name():
                return value.name, now[value.name], *map(key, value.axes)
            case tuple():
                return tuple(map(key, value))
            case Array():
                return type(value), *(key(getattr(value, f.name)) for f in fields(value))
        return value

    return (key(array),)


def _written(instruction: Instruction) -> Iterator[str]:
    """Yield the names that an instruction gives a value, changes or ends."""
    match instruction:
        case Guarded(body=body) | ForLoop(body=body) | Blocks(body=body):
            for inner in body:
                yield from _written(inner)
        case CallForward(results=results, cache=cache):
            yield from (name for name in (*results, cache) if name is not None)
        case CallBackward(results=results):
            yield from (name for name in results if name is not None)
        case _:
            yield instruction.name


def _reading(instruction: Instruction, name: str, key: Key, now: Counter[str]) -> Instruction:
    """Return the instruction with the name in the place of the expression with that key."""

    def change(value: Array) -> Array:
        if _is_work(value) and key_of(value, now) == key:
            return Name(value.axes, value.dtype, name=name)
        args = tuple(map(change, value.args))
        return value if all(a is b for a, b in zip(args, value.args, strict=True)) else replace(value, args=args)

    if isinstance(instruction, Assign):
        value = change(instruction.value)
        if isinstance(value, Name):  # an array that nobody else holds
            value = Copy(value.axes, value.dtype, (value,))
        return replace(instruction, value=value)
    changed: dict[str, object] = {"value": change(instruction.value)}  # type: ignore[union-attr]
    for field in ("at", "places"):
        given = getattr(instruction, field, None)
        if given is not None:
            changed[field] = tuple(map(change, given)) if isinstance(given, tuple) else change(given)
    return replace(instruction, **changed)  # type: ignore[arg-type]


# Names

_LONGEST = 24
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_OPERATORS = {"+": "plus", "-": "minus", "*": "times", "/": "over", "**": "to_the"}


def descriptive_name(array: Array, taken: set[str]) -> str:
    """Return a name that says what the expression is: ``one_minus_z``, ``abs_diff``, ``positive``."""
    stem = _wish(array) or "part"
    if len(stem) > _LONGEST or not stem.isidentifier():
        stem = "part"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}{number}", number + 1
    taken.add(name)
    return name


def _wish(array: Array) -> str:
    names = [_operand(a) for a in array.args]
    match array:
        case Binary(op=">" | "<" as op, args=(_, Number(value=value))) if value == 0:
            return "positive" if op == ">" else "negative"
        case Binary(op=op) if op not in _OPERATORS:
            return "mask"
        case Binary(op=op) if all(names):
            return f"{names[0]}_{_OPERATORS[op]}_{names[1]}"
        case Apply() | Reduce() if len(names) == 1 and names[0]:
            return f"{array.word().removeprefix('np.')}_{names[0]}"
    return ""


def _operand(array: Array) -> str:
    match array:
        case Name(name=name):
            return name
        case Number(value=value) if value.is_Integer and 0 <= value < len(_DIGITS):
            return _DIGITS[int(value)]
        case Number(value=value) if isinstance(value, (Hyper, Size)):
            return str(value.name)
    return ""
