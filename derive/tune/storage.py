"""Where each operation writes its result: a gradient's own array, one that nobody reads any more, or a new one.

    a = gamma * dy;  b = a - s;  dx = rstd * b        np.multiply(gamma, dy, out=dx)
                                                      dx -= s
                                                      dx *= rstd

An array is written to only while its last value is not needed: an elementwise
operation may write over an operand that it reads for the last time and in the
same alignment, a product of matrices never. What something else than these
operations changes (a scatter, a loop) keeps its own array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from derive.lower.arrays import (
    Array,
    Assign,
    Axis,
    Contract,
    Copy,
    InPlace,
    Instruction,
    Into,
    Name,
    transform,
    values,
    walk,
)
from derive.lower.operations import ufunc
from derive.lower.steps import mapped
from derive.tune.tape import is_large, names_in

__all__ = ["Storage", "overwritten"]


@dataclass(slots=True)
class Storage:
    """Gives operations in order their arrays.

    Attributes:
        rank: the most axes that an array of the code has.
        results: gradients for which there is an array before they are computed; it may be used for
            what lies between until then.
        last: for every name, the place of the instruction that reads it last.
        made: for a result, the place where it is computed.
        over: for a result, what may lie in its array until then: operands that its operation may write over.
        pinned: names that other instructions change, or that are needed elsewhere.
        spare: makes a new array of such axes and returns its name; None where a new one comes with the operation.
        arrays: where a value lies that has no array of its own name.
        free: arrays that may be written to, by the sizes of their axes.
        owned: arrays of this code, with the sizes of their axes.
    """

    rank: int
    results: Mapping[str, tuple[object, ...]]
    last: Mapping[str, int]
    made: Mapping[str, int]
    over: Mapping[str, frozenset[str]]
    pinned: frozenset[str]
    spare: Callable[[tuple[Axis, ...]], str | None]
    arrays: dict[str, str] = field(default_factory=dict)
    free: dict[str, tuple[object, ...]] = field(default_factory=dict)
    owned: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free |= self.results
        self.owned |= self.results

    def run(self, numbered: Iterable[tuple[int, Instruction]]) -> list[Instruction]:
        """Return the instructions with their arrays; the numbers are their places in the whole code."""
        return [self._placed(k, instruction) for k, instruction in numbered]

    def _placed(self, k: int, instruction: Instruction) -> Instruction:
        placed = self._written(k, instruction)
        for name in {n for v in values(instruction) for n in names_in(v)}:
            own = self.arrays.get(name, name)
            if self.last.get(name, -1) <= k and own in self.owned and name not in self.pinned and self._unused(own, k):
                self.free.setdefault(own, self.owned[own])
        return placed

    def _unused(self, own: str, k: int) -> bool:
        """Return whether no value that is still read lies in an array."""
        if self.made.get(own, k + 1) <= k:
            return False  # it holds the result
        holders = [name for name, array in self.arrays.items() if array == own]
        return all(self.last.get(name, -1) <= k for name in (*holders, own) if name not in self.results)

    def _written(self, k: int, instruction: Instruction) -> Instruction:
        if not isinstance(instruction, Assign):
            return mapped(instruction, self._renamed)
        name, value = instruction.name, instruction.value
        into = (ufunc(value) is not None or (isinstance(value, Copy) and isinstance(value.args[0], Name))) and is_large(
            value, self.rank
        )
        new = self._renamed(value)
        if not into or (name in self.pinned and name not in self.results):
            return Assign(name, new)
        sizes = _sizes(value.axes)
        target = name if name in self.results else self._chosen(k, name, value, sizes)
        if target is None:
            target = self.spare(value.axes)
            if target is None:
                self.owned[name] = sizes
                return Assign(name, new)
            self.owned[target] = sizes
        assert name not in self.results or name in self.free or self._over(k, name, value), f"tune: {name} is taken"
        self.free.pop(target, None)
        self.arrays[name] = target
        return self._operation(target, new)

    def _operation(self, target: str, value: Array) -> Instruction:
        if isinstance(value, Copy):
            return Into(target, value.args[0])
        op = getattr(value, "op", "")
        if op in ("+", "-", "*", "/") and len(value.args) == 2:
            left, right = value.args
            for own, other, fine in ((left, right, True), (right, left, op in "+*")):
                if fine and isinstance(own, Name) and own.name == target and target not in names_in(other):
                    return InPlace(target, op, other)
        return Into(target, value)

    def _over(self, k: int, array: str, value: Array) -> bool:
        """Return whether an operation may write over an array that it reads."""
        holding = [n for n, own in self.arrays.items() if own == array and self.last.get(n, -1) >= k]
        if not holding and self.last.get(array, -1) >= k and array not in self.arrays.values():
            holding = [array]
        return all(self.last[n] == k and n in overwritten(value) and n not in self.pinned for n in holding)

    def _chosen(self, k: int, name: str, value: Array, sizes: tuple[object, ...]) -> str | None:
        """Return an array for a value that lies between, or None."""
        until = self.last.get(name, k)

        def lasts(array: str) -> bool:
            if array not in self.results:
                return True
            return until < self.made[array] or (until == self.made[array] and name in self.over[array])

        for arg in value.args:
            if isinstance(arg, Name):
                own = self.arrays.get(arg.name, arg.name)
                if self.owned.get(own) == sizes and lasts(own) and self._over(k, own, value):
                    return own
        return next((own for own, has in self.free.items() if has == sizes and lasts(own)), None)

    def _renamed(self, value: Array) -> Array:
        def change(array: Array) -> Array:
            if isinstance(array, Name) and array.name in self.arrays:
                return replace(array, name=self.arrays[array.name])
            return array

        return transform(value, change)


def overwritten(value: Array) -> frozenset[str]:
    """Return the names of operands that an operation may write over: read in the same alignment and nowhere else."""
    if isinstance(value, Contract):
        return frozenset()
    direct = [a for a in value.args if isinstance(a, Name) and a.axes == value.axes]
    nested = {n.name for a in value.args if a not in direct for n in walk(a) if isinstance(n, Name)}
    return frozenset(a.name for a in direct if a.name not in nested)


def _sizes(axes: Sequence[Axis]) -> tuple[object, ...]:
    return tuple(None if axis is None else axis.size for axis in axes)
