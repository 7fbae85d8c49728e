"""Reading elements of whole arrays: slices where a read is a slice, a gather where it is one.

``x[n, d]`` is the array itself, ``x[2*p + r]`` a stack of strided slices, one a
value of r, ``padded(x)[…]`` the same of an array with a border, and
``z[n, t[n]]`` a lookup by arrays of places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sympy import Expr, Integer, Poly

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Element, Hyper, Index, Padded, Size

if TYPE_CHECKING:
    from derive.bench.formulas import _Run

__all__ = ["Reads", "Value"]


@dataclass(frozen=True, slots=True)
class Value:
    """An array, or a number, and what its axes are.

    Attributes:
        array: of the library; a Python number where it is the same everywhere.
        axes: one index an axis.
    """

    array: Any
    axes: tuple[Index, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether it is a Python number."""
        return not hasattr(self.array, "shape")


@dataclass(frozen=True, slots=True)
class _Line:
    """A subscript ``sum of steps * index + offset`` with whole numbers."""

    steps: tuple[tuple[Index, int], ...]
    offset: int


class Reads:
    """How a run's arrays are read."""

    def __init__(self, run: _Run) -> None:
        self.run = run

    def read(self, expr: Element | Padded, scope: tuple[Index, ...]) -> Value:
        """Return the elements that ``expr`` reads; the axes are in the order of the scope."""
        element = expr.element if isinstance(expr, Padded) else expr
        run = self.run
        subscripts = list(element.subscripts)
        if element.name in run.steps:
            return self._step(element, scope)
        array = run.tensors[element.name]
        if element.name in run.carried and not isinstance(expr, Padded):
            statement = run.carried[element.name]
            assert statement.carry is not None
            place = statement.indices.index(statement.carry.index)
            if not isinstance(subscripts[place], Index):
                array = run.with_start(element.name)
                if statement.carry.step == 1:
                    subscripts[place] += 1
        fill = run.value(expr.fill, ()).array if isinstance(expr, Padded) else None
        return self._elements(array, subscripts, fill, scope)

    def at(self, value: Value, places: Mapping[Index, Expr], scope: tuple[Index, ...]) -> Value:
        """Return a value with some of its axes read at places of the scope."""
        return self._elements(value.array, [places.get(i, i) for i in value.axes], None, scope)

    def _step(self, element: Element, scope: tuple[Index, ...]) -> Value:
        """Return what a loop has computed for a step: this one or the one before."""
        run = self.run
        steps = run.steps[element.name]
        for place, subscript in enumerate(element.subscripts):
            if free_indices(subscript) and free_indices(subscript) <= run.at.keys():
                t = self._number(subscript)
                rest = [s for k, s in enumerate(element.subscripts) if k != place]
                return self._elements(steps[t], rest, None, scope)
        raise AssertionError(f"bench: {element} is read outside its loop")

    def _number(self, expr: Expr) -> int:
        mapping = {i: Integer(n) for i, n in self.run.at.items()}
        return self.run.extent(expr.xreplace(mapping))

    def _line(self, subscript: Expr) -> _Line | None:
        """Return a subscript as steps and an offset, or None where it is none: a lookup, a quotient."""
        run = self.run
        if subscript.atoms(Element) or not isinstance(subscript, Expr):
            return None
        fixed = {i: Integer(n) for i, n in run.at.items()}
        fixed |= {s: Integer(run.extent(s)) for s in subscript.atoms(Size)}
        fixed |= {
            h: Integer(int(run.instance.hypers[h.name])) for h in subscript.atoms(Hyper) if h.kind.name == "INT"
        }
        expr = subscript.xreplace(fixed)
        letters = sorted((s for s in expr.free_symbols if isinstance(s, Index)), key=lambda i: i.name)
        if expr.free_symbols - {*letters} or not expr.is_polynomial(*letters):
            return None
        if not letters:
            return _Line((), int(expr)) if expr.is_Integer else None
        poly = Poly(expr, *letters)
        if poly.total_degree() > 1 or not all(c.is_Integer for c in poly.coeffs()):
            return None
        steps = tuple((i, int(poly.coeff_monomial(i))) for i in letters)
        return _Line(steps, int(poly.coeff_monomial(1)))

    def _elements(self, array: Any, subscripts: Sequence[Expr], fill: Any, scope: tuple[Index, ...]) -> Value:
        lines = [self._line(s) for s in subscripts]
        seen: set[Index] = set()
        for line in lines:
            letters = {i for i, _ in line.steps} if line is not None else set()
            if line is None or letters & seen or len(letters) > 2 or any(step < 1 for _, step in line.steps):
                return self._looked_up(array, subscripts, fill, scope)
            seen |= letters
        axes: list[Index] = []
        for line in lines:
            assert line is not None
            array, opened = self._sliced(array, len(axes), line, fill)
            axes += opened
        order = [axes.index(i) for i in scope if i in axes]
        if order != sorted(order):
            array = self.run.space.permute(array, order)
        return Value(array, tuple(axes[k] for k in order))

    def _sliced(self, array: Any, axis: int, line: _Line, fill: Any) -> tuple[Any, tuple[Index, ...]]:
        """Return the array with one axis read along a line, and the axes that stand in its place."""
        run, space = self.run, self.run.space
        length = array.shape[axis]
        extents = {i: run.extent(i.size) for i, _ in line.steps}
        first = line.offset
        last = first + sum(step * (extents[i] - 1) for i, step in line.steps)
        if fill is not None and (first < 0 or last >= length):
            before = max(0, -first)
            array = space.pad(array, axis, before, max(0, last - length + 1), fill)
            first += before
        lead = (slice(None),) * axis
        if not line.steps:
            return array[(*lead, first)], ()
        *short, (letter, step) = sorted(line.steps, key=lambda pair: -extents[pair[0]])[::-1]
        count = extents[letter]

        def run_of(start: int) -> Any:
            if step == 1 and start == 0 and count == array.shape[axis]:
                return array
            return array[(*lead, slice(start, start + step * (count - 1) + 1, step))]

        if not short:
            return run_of(first), (letter,)
        (offset, stride) = short[0]
        parts = [run_of(first + stride * k) for k in range(extents[offset])]
        return space.stack(parts, axis), (offset, letter)

    def _looked_up(self, array: Any, subscripts: Sequence[Expr], fill: Any, scope: tuple[Index, ...]) -> Value:
        """Return a lookup by arrays of places; axes that are whole, beside each other and last are left alone."""
        run, space = self.run, self.run.space
        count = len(subscripts)
        tail: list[Index] = []
        while count and isinstance(subscripts[count - 1], Index) and subscripts[count - 1] not in run.at:
            letter = subscripts[count - 1]
            others = {i for s in subscripts[: count - 1] for i in free_indices(s)}
            whole = run.extent(letter.size) == array.shape[count - 1]
            if letter in others or letter in tail or not whole:
                break
            tail.insert(0, letter)
            count -= 1
        values = [run.value(s, scope) for s in subscripts[:count]]
        axes = tuple(i for i in scope if any(i in v.axes for v in values))
        shape = [run.extent(i.size) for i in axes]
        places, inside = [], None
        for axis, value in enumerate(values):
            place = space.whole(run.aligned(value, axes))
            if fill is not None:
                length = array.shape[axis]
                within = (place >= 0) & (place < length)
                inside = within if inside is None else inside & within
                place = space.whole(space.where(within, place, 0))
            places.append(place)
        found = array[tuple(places)]
        lengths = [run.extent(i.size) for i in tail]
        if list(found.shape) != shape + lengths:
            found = space.broadcast(found, shape + lengths)
        if inside is not None and hasattr(inside, "shape"):
            found = space.where(space.reshape(inside, [*inside.shape, *(1 for _ in tail)]), found, float(fill))
        elif inside is not None and not inside:
            found = space.full(shape + lengths, float(fill))
        axes = (*axes, *tail)
        order = [axes.index(i) for i in scope if i in axes]
        if order != sorted(order):
            found = space.permute(found, order)
        return Value(found, tuple(axes[k] for k in order))
