"""How much memory a function takes beside its arguments, its results and the cache.

The instructions are gone through as Python does, one after the other: an array
lives from its assignment to a ``del`` or the end, an operand until its
operation is done. Views cost nothing; a reshape copies what does not lie in the
order of its axes. The most that is held at any time is the answer, a polynomial
in the sizes, or several where neither is the larger for all sizes.

For the backward pass of a convolution, at the product that gives ``dw``, it is

    N*C*R*S*P*Q + N*F*P*Q       the windows one by one, and dy with its axes in another order
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sympy import Add, Expr, Mul, S

from derive.algebra.nodes import Size
from derive.lower.arrays import (
    Array,
    Assign,
    Delete,
    Einsum,
    Expand,
    ForLoop,
    Guarded,
    Helper,
    Instruction,
    Name,
    Number,
    Pad,
    Read,
    Reduce,
    Regroup,
    Reshape,
    Rows,
    Span,
    Take,
    Transpose,
    Update,
    Windows,
    values,
    walk,
)

__all__ = ["has_windows", "peak"]

_VIEWS = (Expand, Transpose, Windows, Rows)

def has_windows(code: Iterable[Instruction]) -> bool:
    """Return whether instructions pad, slide windows, or add to slices in a loop."""
    return any(
        isinstance(i, Update) and any(isinstance(w, Span) for w in i.where) for loop in _loops(code) for i in loop.body
    ) or any(isinstance(node, (Windows, Pad)) for i in code for value in values(i) for node in walk(value))


def _loops(code: Iterable[Instruction]) -> Iterator[ForLoop]:
    for instruction in code:
        if isinstance(instruction, ForLoop):
            yield instruction
        if isinstance(instruction, (ForLoop, Guarded)):
            yield from _loops(instruction.body)


def peak(code: Sequence[Instruction], results: Collection[str]) -> tuple[Expr, ...]:
    """Return the largest numbers of elements that are held at a time.

    Args:
        code: of one function, in order.
        results: names that are returned or cached, which are not counted.
    """
    count = _Count(frozenset(results))
    count.run(code)
    return _largest(map(_leading, count.held_at_a_time))


@dataclass(slots=True)
class _Count:
    """Goes through instructions and notes what is held.

    Attributes:
        results: names that are not counted.
        alive: the sizes of the arrays that have a name.
        views: names of views whose elements do not lie in the order of their axes.
        held_at_a_time: what was held at some time.
    """

    results: frozenset[str]
    alive: dict[str, Expr] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    held_at_a_time: dict[Expr, None] = field(default_factory=dict)

    def run(self, code: Iterable[Instruction]) -> None:
        """Go through the instructions, the body of a loop once."""
        for instruction in code:
            if isinstance(instruction, (ForLoop, Guarded)):
                self.run(instruction.body)
                continue
            if isinstance(instruction, Delete):
                self.alive.pop(instruction.name, None)
                continue
            held = Add(*self.alive.values())
            own: Expr = S.Zero
            for value in values(instruction):
                own, most = self._cost(value)
                counts = not (isinstance(instruction, Assign) and instruction.name in self.results)
                for size in most:
                    self.held_at_a_time.setdefault(held + size - (S.Zero if counts else own))
            if isinstance(instruction, Assign):
                self.views.discard(instruction.name)
                if self._scattered(instruction.value):
                    self.views.add(instruction.name)
                if instruction.name not in self.results and own != 0:
                    self.alive[instruction.name] = own

    def _cost(self, array: Array) -> tuple[Expr, list[Expr]]:
        """Return the elements that a value takes, and what is held at most until it is there."""
        if isinstance(array, (Name, Read, Number)):
            return S.Zero, []
        held: Expr = S.Zero
        most: list[Expr] = []
        for arg in array.args:
            own, inner = self._cost(arg)
            most += [held + size for size in inner]
            held += own
        if self._is_view(array):
            return held, most
        size = _elements(array)
        return size, [*most, held + _inside(array) + size]

    def _is_view(self, array: Array) -> bool:
        if isinstance(array, _VIEWS):
            return True
        if isinstance(array, Take):
            return len(array.args) == 1
        if isinstance(array, (Regroup, Reshape)):
            return not self._scattered(array.args[0])
        return isinstance(array, Pad) and all(w.could_extract_minus_sign() or w == 0 for p in array.widths for w in p)

    def _scattered(self, array: Array) -> bool:
        """Return whether the elements of a value do not lie in memory in the order of its axes."""
        if isinstance(array, Name):
            return array.name in self.views
        if isinstance(array, Take):
            return len(array.args) == 1
        if isinstance(array, Pad):
            return self._is_view(array)
        if isinstance(array, Expand):
            return self._scattered(array.args[0])
        return isinstance(array, _VIEWS)


def _inside(array: Array) -> Expr:
    """Return what an operation itself takes: copies of operands, differences from a mean or from the largest."""
    if isinstance(array, Einsum) and len(array.args) > 1:
        return Add(*map(_elements, array.args))
    if isinstance(array, Helper):
        return 2 * _elements(array.args[0])
    return _elements(array.args[0]) if isinstance(array, Reduce) and array.op in ("var", "std") else S.Zero


def _elements(array: Array) -> Expr:
    return Mul(*(i.size for i in array.indices))


def _largest(sizes: Iterable[Expr]) -> tuple[Expr, ...]:
    """Return those that no other one surely reaches."""
    found: list[Expr] = []
    for size in sizes:
        if any(_reaches(other, size) for other in found):
            continue
        found = [other for other in found if not _reaches(size, other)] + [size]
    return tuple(found)


def _leading(size: Expr) -> Expr:
    """Return a sum without the products that are part of another one with two factors more."""
    terms = Add.make_args(size)
    factors = [frozenset(Mul.make_args(t.as_coeff_Mul()[1])) for t in terms]
    small = [any(own < other and len(other) > len(own) + 1 for other in factors) for own in factors]
    return Add(*(t for t, left_out in zip(terms, small, strict=True) if not left_out))


def _reaches(a: Expr, b: Expr) -> bool:
    """Return whether ``a >= b`` for all sizes, which are at least 1, as far as one sees."""
    rest = a - b
    rest = rest.xreplace({size: size + 1 for size in rest.free_symbols if isinstance(size, Size)}).expand()
    return all(term.as_coeff_Mul()[0] >= 0 for term in Add.make_args(rest))
