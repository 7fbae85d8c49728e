"""Statements as single operations on large arrays: what can be written into an array that is there.

    dx = rstd * (g - s - m * xhat)

becomes

    scratch = m * xhat;  a = g - s;  b = a - scratch;  dx = rstd * b

Sums and products of matrices come before the elementwise operations of their
statement, so that an array is as soon as possible read for the last time. What
is small (numbers, vectors beside matrices) stays an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from derive.lower.arrays import (
    Array,
    Assign,
    Contract,
    Einsum,
    InPlace,
    Instruction,
    Name,
    Ones,
    Reduce,
    Vecdot,
    values,
    walk,
)
from derive.lower.operations import UFUNCS, ufunc

__all__ = ["Tape", "large_rank", "is_large", "is_operation", "names_in", "written"]

_SUMS = (Reduce, Einsum, Contract, Vecdot)


def is_large(array: Array, rank: int) -> bool:
    """Return whether an array is as large as those of a layer whose arrays have up to ``rank`` axes."""
    return None not in array.axes and len(array.axes) >= min(rank, 2)


def is_operation(array: Array, rank: int) -> bool:
    """Return whether an array is the result of one operation on large arrays."""
    return (ufunc(array) is not None and is_large(array, rank)) or (
        isinstance(array, _SUMS) and any(is_large(a, rank) for a in array.args)
    )


def names_in(value: Array) -> frozenset[str]:
    """Return the names that a value reads."""
    return frozenset(node.name for node in walk(value) if isinstance(node, Name))


def written(instruction: Instruction) -> Iterator[str]:
    """Yield the names that an instruction gives a value or changes."""
    body = getattr(instruction, "body", None)
    if body is not None:
        for inner in body:
            yield from written(inner)
    else:
        yield instruction.name  # type: ignore[union-attr]


@dataclass(slots=True)
class Tape:
    """Takes statements apart.

    Attributes:
        rank: the most axes that an array has.
        fresh: gives a name like a given one for what lies between.
        code: the operations so far.
        between: the names of results that only the statement's own operations read.
    """

    rank: int
    fresh: Callable[[str], str]
    code: list[Instruction] = field(default_factory=list)
    between: set[str] = field(default_factory=set)

    def add(self, instructions: Iterable[Instruction]) -> None:
        """Take the assignments apart; everything else stays as it is."""
        for instruction in instructions:
            if isinstance(instruction, Assign):
                value = self._summed(instruction.value, top=True)
                self.code.append(replace(instruction, value=self._operands(value)))
            elif isinstance(instruction, InPlace) and instruction.op in UFUNCS:
                value = self._summed(instruction.value, top=False)
                self.code.append(replace(instruction, value=self._leaf(value)))
            else:
                self.code.append(instruction)

    def _summed(self, array: Array, *, top: bool) -> Array:
        """Return the array with every sum in it under a name; not the array itself where it is at the ``top``."""
        array = _with(array, [self._summed(a, top=False) for a in array.args])
        if isinstance(array, _SUMS) and is_operation(array, self.rank) and not top:
            return self._named(self._operands(array))
        return array

    def _operands(self, array: Array) -> Array:
        """Return one operation on what has a name, is small, or is a view."""
        return _with(array, [self._leaf(a) for a in array.args])

    def _leaf(self, array: Array) -> Array:
        array = self._operands(array)
        return self._named(array) if is_operation(array, self.rank) else array

    def _named(self, array: Array) -> Array:
        name = self.fresh("sums" if isinstance(array, (Reduce, Vecdot)) or _is_sum(array) else "part")
        self.between.add(name)
        self.code.append(Assign(name, array))
        axes = array.axes
        return Name(axes, array.dtype, name=name)


def _is_sum(array: Array) -> bool:
    """Return whether a product is with ones, so that it is a sum."""
    return isinstance(array, Contract) and any(isinstance(a, Ones) for a in array.args)


def _with(array: Array, args: Sequence[Array]) -> Array:
    if all(a is b for a, b in zip(args, array.args, strict=True)):
        return array
    return replace(array, args=tuple(args))


def large_rank(code: Iterable[Instruction]) -> int:
    """Return the most axes that an array of the code has."""
    return max((len(n.axes) for i in code for v in values(i) for n in walk(v) if None not in n.axes), default=0)
