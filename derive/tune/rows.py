"""Which operations can be done for some rows at a time, and in how many goes over the rows.

The leading axis of the large arrays is the axis of rows. An operation is

    LOCAL   what it gives for a row, it computes from the same row of what it reads
    SUM     a sum over the rows
    WHOLE   anything else: a product of matrices, a scatter, what has no rows

A sum is known after a go over all rows, so batch normalization takes two:

    first   dgamma = sum[n](dy*xhat), dbeta = sum[n](dy)
    second  dx, which reads them
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from derive.algebra.nodes import BATCH, BATCH_SIZE, Index
from derive.lower.arrays import (
    Apply,
    Array,
    Assign,
    Axis,
    Binary,
    Cast,
    Contract,
    Copy,
    Delete,
    Einsum,
    Expand,
    Helper,
    InPlace,
    Instruction,
    Name,
    Number,
    Ones,
    Reduce,
    Reshape,
    Transpose,
    Unary,
    Vecdot,
    transform,
    values,
    walk,
)
from derive.lower.steps import mapped
from derive.tune.tape import is_large, names_in, written

__all__ = ["ROWS", "Go", "Role", "goes", "one_axis", "role", "row_size"]

ROWS = Index("rows", BATCH_SIZE)
"""The leading batch axes as one."""

_ELEMENTWISE = (Apply, Binary, Cast, Copy, Expand, Name, Number, Unary)
_OVER = (Einsum, Helper, Reduce, Vecdot)


class Role(Enum):
    """What an operation is to the rows."""

    LOCAL = "local"
    SUM = "sum"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Go:
    """What is computed as a whole, and then for the rows, some at a time."""

    before: tuple[Instruction, ...]
    rows: tuple[Instruction, ...]


def one_axis(code: Sequence[Instruction]) -> list[Instruction] | None:
    """Return the code with the leading batch axes as one axis ``ROWS``, or None where it needs them as they are."""

    def change(array: Array) -> Array:
        if isinstance(array, Reshape) and array.axes == array.args[0].axes:
            return array.args[0]
        changed: dict[str, object] = {}
        if BATCH in array.axes:
            changed["axes"] = tuple(ROWS if axis == BATCH else axis for axis in array.axes)
        if BATCH in getattr(array, "over", ()):
            changed["over"] = tuple(ROWS if axis == BATCH else axis for axis in array.over)  # type: ignore[attr-defined]
        return replace(array, **changed) if changed else array  # type: ignore[arg-type]

    def twice(value: Array) -> Array:
        """Return the value with other axes, and then without the reshapes that do nothing any more."""
        return transform(transform(value, change), change)

    result = []
    for instruction in code:
        nodes = [n for v in values(instruction) for n in walk(v)]
        if any(BATCH in n.axes for n in nodes):
            known = (*_ELEMENTWISE, Contract, Einsum, Ones, Reduce, Transpose, Vecdot)
            fine = all(
                isinstance(n, known) or (isinstance(n, Reshape) and n.args[0].axes[:1] == (BATCH,))
                for n in nodes
                if BATCH in (*n.axes, *(axis for a in n.args for axis in a.axes))
            )
            if not fine or not isinstance(instruction, (Assign, InPlace, Delete)):
                return None
        result.append(mapped(instruction, twice))
    return result


def row_size(code: Iterable[Instruction], rank: int) -> Axis:
    """Return the leading axis that most large arrays have."""
    votes: dict[object, int] = {}
    axes: dict[object, Axis] = {}
    for instruction in code:
        for value in values(instruction):
            for node in walk(value):
                if is_large(node, rank) and node.axes:
                    first = node.axes[0]
                    assert first is not None
                    votes[first.size] = votes.get(first.size, 0) + 1
                    axes.setdefault(first.size, first)
    best = max(votes, key=lambda size: votes[size], default=None)
    return axes[best] if best is not None else None


def role(instruction: Instruction, row: Index) -> tuple[Role, Index]:
    """Return what an operation is to the rows, and the index of the rows in it."""
    if not isinstance(instruction, (Assign, InPlace)):
        return Role.WHOLE, row
    value = instruction.value
    lead = value.axes[:1]
    if isinstance(instruction, Assign) and lead and lead[0] is not None and lead[0].size == row.size:
        return (Role.LOCAL if _is_local(value, lead[0]) else Role.WHOLE), lead[0]
    if isinstance(instruction, Assign) and value.args:
        for arg in value.args:
            lead = arg.axes[:1]
            if lead and lead[0] is not None and lead[0].size == row.size and _sums(value, lead[0]):
                return Role.SUM, lead[0]
    return Role.WHOLE, row


def _is_local(value: Array, row: Index) -> bool:
    for node in _computed(value):
        if row not in node.axes:
            if not isinstance(node, Ones) and any(row in a.axes for a in node.args):
                return False
            continue
        if row in node.axes[1:]:
            return False
        if isinstance(node, _ELEMENTWISE):
            continue
        if isinstance(node, Contract):
            a, b = node.args
            stacked = a.axes[:1] == b.axes[:1] == (row,) and len(a.axes) > 2 and len(b.axes) > 2
            if not stacked and not (row not in b.axes and len(b.axes) == 1 and len(a.axes) > 1):
                return False
            continue
        if isinstance(node, Transpose) and node.args[0].axes[:1] == (row,):
            continue
        if isinstance(node, _OVER) and all(a.axes[:1] == (row,) or row not in a.axes for a in node.args):
            continue
        return False
    return True


def _computed(value: Array) -> Iterator[Array]:
    """Give the array and what it is computed from; of ones, only how many there are matters."""
    yield value
    if not isinstance(value, Ones):
        for arg in value.args:
            yield from _computed(arg)


def _sums(value: Array, row: Index) -> bool:
    """Return whether a value is a sum over the rows of what each of them gives by itself."""
    if row in value.axes:
        return False
    if isinstance(value, Reduce):
        return value.op == "sum" and row in value.over and not value.keep and _is_local(value.args[0], row)
    if isinstance(value, Einsum):
        return all(a.axes[:1] == (row,) and _is_local(a, row) for a in value.args)
    if isinstance(value, Contract):
        ones, array = value.args
        return isinstance(ones, Ones) and array.axes[:1] == (row,) and _is_local(array, row)
    return False


def goes(code: Sequence[Instruction], row: Index, whole: Collection[str] = ()) -> list[Go]:
    """Return the code in as few goes over the rows as there must be, what each needs as a whole before it.

    Args:
        code: single operations, in order.
        row: an index of the axis of rows.
        whole: names that are computed as a whole whatever they are.
    """
    roles = [role(i, row) for i in code]
    whole_names = frozenset(whole)
    writes: dict[str, int] = {}
    for instruction in code:
        for name in written(instruction):
            writes[name] = writes.get(name, 0) + 1
    several = {name for name, count in writes.items() if count > 1}
    for k, instruction in enumerate(code):  # what is written to again and again is a matter of the whole
        touched = {*written(instruction), *(n for v in values(instruction) for n in names_in(v))}
        if touched & several or whole_names.intersection(written(instruction)):
            roles[k] = (Role.WHOLE, row)
    turn: list[int] = []
    for k, instruction in enumerate(code):
        own, index = roles[k]
        reads = {n.name: n for v in values(instruction) for n in walk(v) if isinstance(n, Name)}
        targets = set(written(instruction))
        at = 0
        for j in range(k):
            earlier = set(written(code[j]))
            read_there = {n for v in values(code[j]) for n in names_in(v)}
            if not (earlier & (reads.keys() | targets)) and not (read_there & targets):
                continue
            by_row = own is not Role.WHOLE and all(
                n.axes[:1] == (index,)
                for v in values(instruction)
                for n in walk(v)
                if isinstance(n, Name) and n.name in earlier
            )
            match roles[j][0]:
                case Role.LOCAL if by_row:
                    at = max(at, turn[j])
                case Role.WHOLE:
                    at = max(at, turn[j])
                case _:
                    at = max(at, turn[j] + 1)
        turn.append(at)
    result = []
    for number in range(max(turn, default=-1) + 1):
        before = tuple(i for i, t, r in zip(code, turn, roles, strict=True) if t == number and r[0] is Role.WHOLE)
        rows = tuple(i for i, t, r in zip(code, turn, roles, strict=True) if t == number and r[0] is not Role.WHOLE)
        result.append(Go(before, rows))
    return result
