"""What a backward costs: passes over arrays, multiply-adds of products, bytes, NumPy calls, and the time they take.

The instructions are gone through with numbers for the sizes. An operation reads
its operands and writes its result; what is larger than the cache comes from
memory, and a new large array has its pages made first. Inside a block of rows an
array is taken from memory once, and everything that lies between stays in the
cache. The constants are measured (:mod:`derive.tune.calibration`).

    time = calls*CALL + bytes from memory*MEMORY_BYTE + bytes from the cache*CACHED_BYTE
         + bytes of new arrays*FAULT_BYTE + multiply-adds*MULTIPLY_ADD + functions

It ranks ways of writing one formula on one machine; it is no forecast for another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sympy import Expr, Integer

from derive.algebra.nodes import BATCH_SIZE
from derive.lower.arrays import (
    Apply,
    Array,
    ArrayProgram,
    Assign,
    Blocks,
    Broadcast,
    Cast,
    Contract,
    Delete,
    Einsum,
    Empty,
    Expand,
    Fill,
    ForLoop,
    Guarded,
    Helper,
    InPlace,
    Instruction,
    Into,
    Name,
    Number,
    Ones,
    Reduce,
    Regroup,
    Reshape,
    Room,
    Rows,
    Take,
    Tensordot,
    Transpose,
    Vecdot,
    Windows,
    values,
    walk,
)
from derive.tune import calibration

__all__ = ["BLOCK", "Cost", "cost", "function_cost", "nominal"]

BLOCK = 98304
"""Elements of a block of rows, as generated code has it."""
_ITEM = 4
_VIEWS = (Expand, Name, Number, Regroup, Reshape, Rows, Take, Transpose, Windows)
_FUNCTION = re.compile(r"^(?:np\.)?(\w+)\(")

Sizes = Mapping[Expr, int]


def function_cost(array: Array) -> float:
    """Return what an elementwise function costs in multiplications of an element; 0 for what is no function."""
    if not isinstance(array, Apply):
        return 0.0
    name = _FUNCTION.match(array.spelling)
    return calibration.FUNCTIONS.get(name[1], 0.0) if name is not None else 0.0


@dataclass(slots=True)
class Cost:
    """What some code costs at some sizes.

    Attributes:
        passes: operations on arrays as large as the largest, an eighth of it at least.
        products: multiply-adds of products of matrices.
        memory, cached, fresh: bytes from and to memory, within the cache, and of new large arrays.
        calls: of NumPy.
        functions: elementwise functions, in multiplications of an element.
        saved: elements that forward keeps for backward beside its inputs and outputs.
        extra: elements that are held beside results, at most about.
    """

    passes: float = 0.0
    products: float = 0.0
    memory: float = 0.0
    cached: float = 0.0
    fresh: float = 0.0
    calls: float = 0.0
    functions: float = 0.0
    saved: float = 0.0
    extra: float = 0.0

    @property
    def seconds(self) -> float:
        """The time that it takes, as the constants have it."""
        c = calibration
        elementwise = self.functions * 3 * _ITEM * c.CACHED_BYTE
        traffic = self.memory * c.MEMORY_BYTE + self.cached * c.CACHED_BYTE + self.fresh * c.FAULT_BYTE
        return self.calls * c.CALL + traffic + self.products * c.MULTIPLY_ADD + elementwise


def nominal(arrays: ArrayProgram) -> dict[Expr, int]:
    """Return sizes for which code is written where nobody says others: arrays larger than the cache.

    Axes of large arrays count 512, the first of them 8192; where an array has three
    and more, 64 each and 256 the first.
    """
    most = max((len(i.axes) for i in arrays.inputs), default=0)
    first, other = (8192, 512) if most <= 2 else (256, 64)
    leading = {i.axes[0] for i in [i for i in arrays.inputs if len(i.axes) == most][:1] if i.axes}
    sizes: dict[Expr, int] = {}
    for axis in (axis for i in arrays.inputs for axis in i.axes):
        if not isinstance(axis, Integer):
            lone = axis == BATCH_SIZE and most == 1
            sizes[axis] = first * other if lone else first if axis in leading else other
    return sizes


def cost(arrays: ArrayProgram, sizes: Sizes) -> Cost:
    """Return what the backward of a program costs at some sizes; unknown ones count 64."""
    count = _Count(dict(sizes), _largest(arrays, sizes))
    for instruction in arrays.backward:
        count.add(instruction)
    inner = {i.name for i in arrays.inputs} | {name for name, _, _ in arrays.outputs}
    count.cost.saved = sum(count.elements(f.axes) for f in arrays.cache if f.axes is not None and f.name not in inner)
    count.cost.extra = max(count.held, default=0.0)
    return count.cost


def _largest(arrays: ArrayProgram, sizes: Sizes) -> float:
    found = _Count(dict(sizes), 1.0)
    nodes = (n for i in arrays.backward for v in values(i) for n in walk(v))
    return max((found.elements(n.axes) for n in nodes), default=1.0)


@dataclass(slots=True)
class _Count:
    """Goes through instructions.

    Attributes:
        sizes: numbers for the sizes.
        largest: elements of the largest array.
        rows: the share of the rows that a block has.
        times: how often the instructions run.
        parts: elements of the parts of arrays that a block has taken from memory.
    """

    sizes: dict[Expr, int]
    largest: float
    cost: Cost = field(default_factory=Cost)
    rows: float = 1.0
    times: float = 1.0
    parts: dict[str, float] = field(default_factory=dict)
    held: list[float] = field(default_factory=list)

    def number(self, size: Expr) -> float:
        """Return a size as a number."""
        if size in self.sizes:
            return float(self.sizes[size])
        value = size.xreplace({s: Integer(self.sizes.get(s, 64)) for s in size.free_symbols})
        return max(1.0, float(value)) if value.is_number else 64.0

    def elements(self, axes: Iterable[object] | None) -> float:
        """Return the elements of an array with such axes."""
        total = 1.0
        for axis in axes or ():
            if axis is not None:
                total *= self.number(axis.size)  # type: ignore[attr-defined]
        return total

    def add(self, instruction: Instruction) -> None:
        """Add an instruction's cost."""
        match instruction:
            case Blocks():
                self._blocks(instruction)
            case ForLoop(size=size, body=body):
                self.times *= self.number(size)
                for inner in body:
                    self.add(inner)
                self.times /= self.number(size)
            case Guarded(body=body):
                for inner in body:
                    self.add(inner)
            case Room(axes=axes):
                total = 1.0
                for axis in axes:
                    total *= self.number(axis)
                self._fresh(total)
                self.cost.calls += 2 * self.times
            case Delete():
                pass
            case Assign(value=Empty() | Fill() as made):
                self._fresh(self.elements(made.axes))
                self.cost.calls += self.times
            case _:
                for value in values(instruction):
                    own = isinstance(instruction, (Into, InPlace))
                    self._value(value, into=own)
                if isinstance(instruction, InPlace):
                    target = max(self.elements(instruction.value.axes), 1.0)
                    self._operation(2 * target if instruction.value.axes else 0.0, target)

    def _blocks(self, blocks: Blocks) -> None:
        """Add a loop over blocks of rows."""
        lead = blocks.of.axes[0]
        assert lead is not None
        width = self.elements(blocks.of.axes[1:])
        rows = self.number(lead.size)
        own = max(1.0, min(rows, BLOCK // max(width, 1.0)))
        count = max(1.0, rows / own)
        inner = _Count({**self.sizes, lead.size: int(own)}, self.largest / count, Cost(), times=1.0)
        for instruction in blocks.body:
            inner.add(instruction)
        taken = sum(self.elements(array.axes) for _, array in blocks.parts)
        found = inner.cost
        self.cost.memory += taken * _ITEM
        self.cost.cached += max(0.0, (found.cached + found.memory) * count - taken * _ITEM)  # the first time is above
        self.cost.calls += (found.calls + len(blocks.parts) + 1) * count + 3
        self.cost.products += found.products * count
        self.cost.functions += found.functions * count
        self.cost.passes += found.passes
        self.held.append(own * width * max(1, len(blocks.scratch)))

    def _fresh(self, elements: float) -> None:
        if elements * _ITEM > calibration.CACHE / 4:
            self.cost.fresh += elements * _ITEM * self.times

    def _value(self, array: Array, *, into: bool = False) -> float:
        """Add a value's cost; return its elements."""
        elements = self.elements(array.axes)
        if isinstance(array, (Name, Number)):
            return elements
        given = [self._value(a) for a in array.args] if not isinstance(array, Ones) else []
        if isinstance(array, _VIEWS):
            self.cost.calls += self.times * (0.5 if not isinstance(array, (Name, Number)) else 0.0)
            return elements
        read = sum(given)
        if isinstance(array, (Contract, Einsum, Tensordot)) and len(array.args) > 1:
            over = [axis for a in array.args for axis in a.axes if axis is not None and axis not in array.axes]
            amount = elements * self.elements(dict.fromkeys(over))
            if min(given) > max(elements, 1) / 64 and len(set(given)) > 0 and amount > 2 * max(given):
                self.cost.products += amount * self.times
                self._operation(read + elements, 0.0)
            else:
                self._operation(read + elements, max(given))
        elif isinstance(array, (Reduce, Vecdot, Helper, Einsum)):
            self._operation(read + elements, max(given, default=0.0))
        else:
            self._operation(read + elements, max(elements, *given, 0.0) if given else elements)
            self.cost.functions += function_cost(array) * elements * self.times
        if not into and not isinstance(array, (Ones, Broadcast, Cast)):
            self._fresh(elements)
            self.held.append(elements)
        return elements

    def _operation(self, elements: float, largest: float) -> None:
        """Add a call that touches so many elements."""
        self.cost.calls += self.times
        amount = elements * _ITEM * self.times
        if elements * _ITEM > calibration.CACHE:
            self.cost.memory += amount
        else:
            self.cost.cached += amount
        if 8 * largest >= self.largest:
            self.cost.passes += self.times
