"""Affine reads as views: slices, and an axis for every letter of a window.

    x[i + 1]                       x[1:]
    x[T - 1 - t]                   x[::-1]
    x[2*p]                         x[::2]
    x[p*stride + r]                sliding_window_view(x, R, axis=0)[::stride]
    x[g*D + d]                     x.reshape(G, D)
    padded(x)[p + r - pad]         x_padded = _pad(x, (pad, pad)), and x_padded[p + r]

Nothing is copied but by the padding, which is made once a function for all
reads that want the same. What is no slice of distinct letters (``x[i + j, i - j]``)
is left to integer arrays (:mod:`derive.lower.gather`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sympy import Add, Expr, Mul, S

from derive.algebra.functions import And, Clip, Ge, Lt, Where
from derive.algebra.indices import elements, free_indices, fresh, rebuild
from derive.algebra.nodes import BATCH, Element, Index, Padded, Tensor
from derive.language.layer import Statement
from derive.lower.affine import Affine, Ranges, affine
from derive.lower.arrays import Array, Cast, Dtype, Pad, Read, Regroup, Span, Take, Windows

if TYPE_CHECKING:
    from derive.lower.expressions import Expressions

__all__ = ["Opened", "offset_letters", "opened", "padded_apart", "padded_array"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A tensor as a view whose subscripts are plain letters, numbers, and what only integer arrays can address.

    Attributes:
        source: the view.
        subscripts: one an axis of ``source``.
        spans: the axes that are sliced.
        turned: letters that run backwards along their axis.
        offsets: letters of windows that move along the others.
    """

    source: Array
    subscripts: tuple[Expr, ...]
    spans: Mapping[int, Span]
    turned: frozenset[Index]
    offsets: tuple[Index, ...]


def _separable(subscripts: Sequence[Expr], axis: int) -> Affine | None:
    """Return the affine form of a subscript whose letters no other one has."""
    form = affine(subscripts[axis])
    if form is None:
        return None
    others = frozenset().union(*(free_indices(s) for k, s in enumerate(subscripts) if k != axis))
    return None if others.intersection(i for i, _ in form.letters) else form


def opened(ranges: Ranges, source: Array, subscripts: Sequence[Expr]) -> Opened | None:
    """Return a view with an axis for every letter, or None where every subscript is a whole axis or none is affine.

    Args:
        ranges: what is known of the sizes.
        source: the tensor; its axes have names that no subscript has.
        subscripts: one an axis.
    """
    axes = list(source.indices)
    new: list[Expr] = list(subscripts)
    starts: dict[int, tuple[Expr, Expr]] = {}
    turned: set[Index] = set()
    split: dict[int, tuple[Index, ...]] = {}
    along: list[int] = []
    lengths: list[Expr] = []
    windows: list[tuple[Index, Expr]] = []
    for k in range(len(subscripts)):
        form = _separable(subscripts, k)
        if form is None:
            continue
        (first, factor), *rest = form.letters
        if not rest and factor == 1 and form.start == 0 and ranges.is_equal(first.size, axes[k].size):
            continue
        turned |= {i for i, f in form.letters if f.could_extract_minus_sign()}
        positive = [(i, -f if f.could_extract_minus_sign() else f) for i, f in form.letters]
        start = form.least
        digits = ranges.tight(positive) if rest else None
        if digits is not None:
            count = Mul(*(i.size for i in digits)).expand()
            split[k] = digits
            starts[k] = (start, S.One)
            new[k] = Index(axes[k].name, count)
            continue
        (position, step), *others = ranges.offsets(positive, axes[k].size) if rest else positive
        new[k] = position
        starts[k] = (start, step)
        for letter, factor in others:
            along.append(k)
            lengths.append((letter.size - 1) * factor + 1)
            windows.append((letter, factor))
    if not starts:
        return None
    array = source
    if windows:
        slid = list(axes)
        for k, length in zip(along, lengths, strict=True):
            slid[k] = Index(slid[k].name, slid[k].size - length + 1)
        taken = [*slid, *(i for s in subscripts for i in free_indices(s))]
        for (letter, _), length in zip(windows, lengths, strict=True):
            own = fresh(Index(letter.name, length), taken)
            slid.append(own)
            taken.append(own)
        array = Windows(tuple(slid), source.dtype, (source,), along=tuple(along), lengths=tuple(lengths))
        axes = slid
        for j, (letter, factor) in enumerate(windows):
            starts[len(subscripts) + j] = (S.Zero, factor)
            new.append(letter)
    spans: dict[int, Span] = {}
    for k, (start, step) in starts.items():
        letter = new[k]
        assert isinstance(letter, Index)
        span = ranges.span(start, step, letter.size, axes[k].size)
        if not span.whole:
            spans[k] = span
    if split:
        found = _digits(array, axes, new, spans, split)
        if found is None:
            return None
        array, new, spans = found
    small = [i for digits in split.values() for i in digits[1:] if all(map(ranges.is_small, digits[1:]))]
    return Opened(array, tuple(new), spans, frozenset(turned), (*(i for i, _ in windows), *small))


def _digits(
    array: Array, axes: Sequence[Index], new: Sequence[Expr], spans: Mapping[int, Span],
    split: Mapping[int, tuple[Index, ...]],
) -> tuple[Array, list[Expr], dict[int, Span]] | None:  # fmt: skip
    """Split axes whose letters number them as digits do: first the part that is read, then a reshape."""
    cut = {k: spans[k] for k in split if k in spans}
    if cut:
        letters = tuple(
            s if k in split and isinstance(s, Index) else a for k, (a, s) in enumerate(zip(axes, new, strict=True))
        )
        array = Take(letters, array.dtype, (array,), where=tuple(cut.get(k) for k in range(len(axes))))
        axes = letters
    result: list[Index] = []
    subscripts: list[Expr] = []
    places: dict[int, Span] = {}
    for k, (axis, subscript) in enumerate(zip(axes, new, strict=True)):
        if k in split:
            result += split[k]
            subscripts += split[k]
            continue
        if k in spans:
            places[len(result)] = spans[k]
        result.append(axis)
        subscripts.append(subscript)
    return Regroup(tuple(result), array.dtype, (array,)), subscripts, places


def offset_letters(ranges: Ranges, expr: Expr, shapes: Mapping[str, Sequence[Expr]]) -> frozenset[Index]:
    """Return the letters by which windows are moved in the reads of an expression, bound ones too."""
    found: set[Index] = set()

    def visit(e: Expr) -> None:
        if isinstance(e, Element):
            for k, size in enumerate(shapes.get(e.name, ())):
                form = _separable(e.subscripts, k)
                if form is None or len(form.letters) < 2:
                    continue
                digits = ranges.tight(_positive(form))
                if digits is None:
                    found.update(i for i, _ in ranges.offsets(_positive(form), size)[1:])
                elif all(map(ranges.is_small, digits[1:])):
                    found.update(digits[1:])
        for arg in e.args:
            visit(arg)

    visit(expr)
    return frozenset(found)


def _positive(form: Affine) -> list[tuple[Index, Expr]]:
    return [(i, -f if f.could_extract_minus_sign() else f) for i, f in form.letters]


# Padding


@dataclass(slots=True)
class _Padding:
    """Replaces padded reads by reads of padded arrays, and makes these.

    Attributes:
        ranges: what is known of the sizes.
        shapes: the axes of every tensor.
        taken: the names in use.
        made: the padded arrays so far, by what they hold.
        statements: those that were made since somebody last looked.
        left: names whose padded reads stay.
    """

    ranges: Ranges
    shapes: Mapping[str, Sequence[Expr]]
    taken: set[str]
    made: dict[object, Statement]
    statements: list[Statement] = field(default_factory=list)
    left: frozenset[str] = frozenset()

    def apart(self, expr: Expr) -> Expr:
        """Return the expression without padded reads."""
        if not expr.args:
            return expr
        expr = rebuild(expr, map(self.apart, expr.args)) if not isinstance(expr, Padded) else expr
        if not isinstance(expr, Padded) or expr.element.name in self.left:
            return expr
        return self._read(expr.element, expr.fill)

    def _read(self, element: Element, fill: Expr) -> Expr:
        sizes = self.shapes[element.name]
        widths: list[tuple[Expr, Expr]] = []
        outside: list[int] = []
        for k, (subscript, size) in enumerate(zip(element.subscripts, sizes, strict=True)):
            if isinstance(subscript, Index) and subscript.size == size:
                widths.append((S.Zero, S.Zero))
                continue
            form = affine(subscript)
            if form is None:
                widths.append((S.Zero, S.Zero))
                if not self._inside(subscript, size):
                    outside.append(k)
                continue
            low = self.ranges.width(-form.least)
            high = self.ranges.width(self.ranges.upper(form.largest - (size - 1)))
            widths.append((low, high))
        read = element
        if any(a != 0 or b != 0 for a, b in widths):
            read = self._padded(element, tuple(widths), fill)
        return self._masked(read, element, outside, fill) if outside else read

    def _inside(self, subscript: Expr, size: Expr) -> bool:
        if free_indices(subscript) or subscript.has(Element):
            return False
        return self.ranges.is_at_least(subscript) and self.ranges.is_at_least(size - 1 - subscript)

    def _padded(self, element: Element, widths: tuple[tuple[Expr, Expr], ...], fill: Expr) -> Element:
        key = (element.name, fill, widths)
        if key not in self.made:
            letters: list[Index] = []
            subscripts: list[Expr] = []
            sizes = self.shapes[element.name]
            for k, ((low, high), size) in enumerate(zip(widths, sizes, strict=True)):
                letter = BATCH if size == BATCH.size else Index(f"i{k}", (size + low + high).expand())
                letters.append(letter)
                subscripts.append(letter - low)
            name, number = f"{element.name}_padded", 2
            while name in self.taken:
                name, number = f"{element.name}_padded{number}", number + 1
            self.taken.add(name)
            read = Padded(Element(element.tensor, *subscripts), fill)
            statement = Statement(name, tuple(letters), read, element.kind)
            self.made[key] = statement
            self.statements.append(statement)
        name = self.made[key].name
        moved = (s + low for s, (low, _) in zip(element.subscripts, widths, strict=True))
        return Element(Tensor(name, element.kind), *(s.expand() if isinstance(s, Add) else s for s in moved))

    def _masked(self, read: Element, element: Element, outside: Sequence[int], fill: Expr) -> Expr:
        """Return the read where certain subscripts are inside, of any form they may be, and the fill elsewhere."""
        test: Expr = S.One
        subscripts = list(read.subscripts)
        for k in outside:
            subscript, size = element.subscripts[k], self.shapes[element.name][k]
            if not free_indices(subscript) and not elements(subscript):
                if self.ranges.is_at_least(-1 - subscript) or self.ranges.is_at_least(subscript - size):
                    return fill
                if self.ranges.is_inside(subscript, size):
                    continue
                if self.ranges.is_at_least(subscript):
                    inside: Expr = Lt(subscript, size)
                else:
                    inside = And(Ge(subscript, 0), Lt(subscript, size))
            else:
                inside = And(Ge(subscript, 0), Lt(subscript, size))
            test = inside if test is S.One else And(test, inside)
            subscripts[k] = Clip(subscript, 0, size - 1)
        if test is S.One:
            return Element(read.tensor, *subscripts)
        return Where(test, Element(read.tensor, *subscripts), fill)


def padded_apart(
    statements: Iterable[Statement],
    ranges: Ranges,
    shapes: Mapping[str, Sequence[Expr]],
    taken: set[str],
    made: dict[object, Statement],
    left: Mapping[str, frozenset[str]] | None = None,
) -> tuple[Statement, ...]:
    """Return the statements with a statement of its own for every padded array that they read.

    Args:
        statements: of one function, in order.
        ranges: what is known of the sizes.
        shapes: the axes of every tensor that they read.
        taken: the names in use; new ones are added.
        made: the padded arrays that are there already; new ones are added.
        left: for a statement of a loop, the loop's names: their padded reads stay, as each step has its own.
    """
    statements = tuple(statements)
    left = left or {}
    padding = _Padding(ranges, {**shapes, **{s.name: s.axes for s in statements}}, taken, made)
    result: list[Statement] = []
    for statement in statements:
        padding.left = left.get(statement.name, frozenset())
        expr = padding.apart(statement.expr)
        result += padding.statements
        padding.statements.clear()
        result.append(replace(statement, expr=expr))
    return tuple(result)



def padded_array(lowerer: Expressions, statement: Statement) -> Array:
    """Return the padded array of a statement that :func:`padded_apart` has made."""
    read = statement.expr
    assert isinstance(read, Padded), f"lower: {statement}"
    sizes = lowerer.shapes[read.element.name]
    letters = tuple(Index(i.name, size) for i, size in zip(statement.indices, sizes, strict=True))
    widths: list[tuple[Expr, Expr]] = []
    for letter, subscript, size in zip(statement.indices, read.element.subscripts, sizes, strict=True):
        low = (letter - subscript).expand()
        widths.append((low, (letter.size - size - low).expand()))
    dtype = Dtype.of(read.element.kind)
    source: Array = Read(letters, dtype, name=read.element.name)
    fits = dtype is Dtype.REAL or (dtype is Dtype.INT and read.fill.is_integer) or read.fill in (S.Zero, S.One)
    if not fits:
        source = Cast(letters, Dtype.REAL, (source,))
    return Pad(statement.indices, source.dtype, (source,), widths=tuple(widths), fill=read.fill)
