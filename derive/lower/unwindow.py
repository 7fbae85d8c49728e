"""Sums with deltas of affine subscripts: the adjoint of windows, adding where windows lie.

    dx[i] = sum[p, r](dy[p]*w[r]*delta(i, p*stride + r - pad))

        dx_padded = np.zeros(H + 2 * pad)
        for r in range(R):
            dx_padded[r : r + P * stride : stride] += w[r] * dy
        dx = _pad(dx_padded, (-pad, -pad))

For one offset of the window the places are a slice, all different, so a loop
over the offsets adds whole arrays. What is summed besides (the channels of a
convolution) is summed for all offsets at once, before the loop. Nothing has to
be added up where

- every place has one letter: ``delta(i, t + 1)`` is a shift, ``_pad(dy, (1, 0))``;
- the letters number the places as digits do: ``delta(i, p*k + r)`` with r below
  k is a reshape (pixel shuffle, the channels of groups).

The array that is added to covers all places, inside the axis or not; what lies
outside is cut off. Places that are no slices (``delta(a, i + j)*delta(b, i - j)``)
go to ``np.add.at`` on such an array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Add, Expr, Mul, S

from derive.algebra.indices import free_indices, rebuild, substitute
from derive.algebra.nodes import Delta, Element, Index, KeepingReduction, Reduction, Sum, Tensor
from derive.language.layer import Statement
from derive.lower.affine import Affine, affine
from derive.lower.arrays import (
    Array,
    Assign,
    Binary,
    Broadcast,
    Delete,
    Dtype,
    Empty,
    Entry,
    Fill,
    ForLoop,
    InPlace,
    Instruction,
    Name,
    Pad,
    Regroup,
    Take,
    Update,
)
from derive.lower.expressions import Expressions, as_real
from derive.lower.plan import Counter
from derive.lower.prepare import settled
from derive.lower.scalars import is_number
from derive.lower.scatter import flat, has_delta, scatter, terms_of

__all__ = ["nested", "unwindow"]

LowerRest = Callable[[Statement], list[Instruction]]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where one axis of the target is written.

    Attributes:
        place: the affine subscript; all factors are positive.
        low, high: how far its values reach past the ends of the axis; at least 0, or an expression of any sign.
        position: the letter that is sliced; None where the axis has no letter of its own.
        step: its factor.
        digits: letters that are merged by a reshape, the slowest first.
        apart: how many places there are, where no two values of the letters give the same one; else None.
    """

    place: Affine
    low: Expr
    high: Expr
    position: Index | None
    step: Expr
    digits: tuple[Index, ...]
    apart: Expr | None


@dataclass(frozen=True, slots=True)
class _Landing:
    """A term: ``value`` lands at the places of ``axes``, those of the other axes being the axes themselves.

    Attributes:
        axes: for each fixed index of the target.
        offsets: the letters of the loops.
        value: with the letters of the places; what is summed besides is inside.
        after: a factor with which the whole is multiplied afterwards.
    """

    axes: dict[Index, _Axis]
    offsets: tuple[Index, ...]
    value: Expr
    after: Expr


def unwindow(lowerer: Expressions, statement: Statement, rest: LowerRest) -> list[Instruction] | None:
    """Return the instructions for a statement with deltas of affine subscripts, or None where it has none.

    Args:
        lowerer: for the values.
        statement: the deltas fix its indices.
        rest: lowers a statement of the terms that are of another kind.
    """
    outer, terms = terms_of(statement.expr)
    landings: list[_Landing] = []
    dense: list[Expr] = []
    for term in terms:
        landing = _landing(lowerer, term, statement.indices) if has_delta(term) else None
        if landing is None or (landing.after != 1 and len(terms) > 1):
            dense.append(term)
        else:
            landings.append(landing)
    if not landings:
        return _spread(lowerer, statement, terms) if outer == 1 and len(terms) == 1 else None
    result: list[Instruction] = []
    if dense:
        result += rest(replace(statement, expr=Add(*dense)))
    fresh = not dense
    if fresh and len(landings) > 1:  # what is written at all places first needs no zeros
        landings.sort(key=lambda item: not _everywhere(lowerer, item))
    for landing in landings:
        result += _landed(lowerer, statement, landing, fresh=fresh, alone=len(landings) == 1)
        fresh = False
        outer *= landing.after
    if outer != 1:
        factor = as_real(lowerer.lower(outer, statement.indices))
        match result:
            case [Assign(value=value)]:  # perhaps a view
                return [Assign(statement.name, Binary(statement.indices, Dtype.REAL, (value, factor), op="*"))]
        result.append(InPlace(statement.name, "*", factor))
    return result


def _spread(lowerer: Expressions, statement: Statement, terms: Sequence[Expr]) -> list[Instruction] | None:
    """Return the instructions for places that are no slices: ``np.add.at`` on an array that has them all."""
    found = flat(terms[0])
    if found is None:
        return None
    factors, bound = found
    moved: list[Expr] = []
    widths: dict[Index, tuple[Expr, Expr]] = {}
    for factor in factors:
        pair = _fixes(factor, statement.indices, bound) if isinstance(factor, Delta) else None
        form = affine(pair[1]) if pair is not None and pair[0] not in widths else None
        if pair is None or form is None:
            moved.append(factor)
            continue
        index, place = pair
        low = lowerer.ranges.width(-form.least)
        high = lowerer.ranges.width(lowerer.ranges.upper(form.largest - (index.size - 1)))
        widths[index] = (low, high)
        moved.append(Delta(Index(index.name, (index.size + low + high).expand()), (place + low).expand()))
    if not widths or any(free_indices(f).intersection(widths) for f in moved):
        return None
    axes = tuple(
        Index(i.name, (i.size + sum(widths[i])).expand()) if i in widths else i for i in statement.indices
    )
    padded = any(w != (0, 0) for w in widths.values())
    buffer = lowerer.fresh(f"{statement.name}_padded") if padded else statement.name
    code = scatter(lowerer, Statement(buffer, axes, Sum(Mul(*moved), *bound), statement.kind), inside=True)
    if code is None or not padded:
        return code
    cut = tuple((-widths[i][0], -widths[i][1]) if i in widths else (S.Zero, S.Zero) for i in statement.indices)
    source = Name(axes, Dtype.REAL, name=buffer)
    return [*code, Assign(statement.name, Pad(statement.indices, Dtype.REAL, (source,), widths=cut))]


def _landing(lowerer: Expressions, term: Expr, target: Sequence[Index]) -> _Landing | None:
    """Take a term apart: which deltas fix which indices, and what is left."""
    found = flat(term)
    if found is None:
        return None
    factors, bound = found
    places: dict[Index, Expr] = {}
    rest: list[Expr] = []
    for factor in factors:
        pair = _fixes(factor, target, bound) if isinstance(factor, Delta) else None
        if pair is not None and pair[0] not in places:
            places[pair[0]] = pair[1]
        else:
            rest.append(factor)
    forms = {i: affine(place) for i, place in places.items()}
    letters = [i for form in forms.values() if form is not None for i, _ in form.letters]
    if not places or None in forms.values() or len(set(letters)) < len(letters):
        return None
    product = Mul(*rest)
    after = Mul(*(f for f in Mul.make_args(product) if free_indices(f).intersection(places)))
    if free_indices(after).intersection(bound) or has_delta(product):
        return None
    product /= after
    turned: dict[Expr, Expr] = {}
    for form in forms.values():
        assert form is not None
        turned |= {i: i.size - 1 - i for i, f in form.letters if f.could_extract_minus_sign()}
    if turned:
        product = substitute(product, turned)
    axes: dict[Index, _Axis] = {}
    offsets: list[Index] = []
    for index, form in forms.items():
        assert form is not None
        axis, own = _axis(lowerer, index, form)
        axes[index] = axis
        offsets += own
    inner = tuple(i for i in bound if i not in letters)
    value = settled(Sum(product, *inner)) if inner else product
    return _Landing(axes, tuple(offsets), value, after)


def _fixes(delta: Delta, target: Sequence[Index], bound: Sequence[Index]) -> tuple[Index, Expr] | None:
    """Return the index that a delta fixes and its place, whose letters are bound."""
    for index, place in (delta.args, delta.args[::-1]):
        if isinstance(index, Index) and index in target:
            free = free_indices(place)
            if free and free <= set(bound) and not place.has(Element):
                return index, place
            if is_number(place):
                return None
    return None


def _axis(lowerer: Expressions, index: Index, form: Affine) -> tuple[_Axis, tuple[Index, ...]]:
    ranges = lowerer.ranges
    low = ranges.width(-form.least)
    high = ranges.width(ranges.upper(form.largest - (index.size - 1)))
    letters = tuple((i, -f if f.could_extract_minus_sign() else f) for i, f in form.letters)
    place = Affine(form.least, letters)
    if len(letters) == 1:
        ((position, step),) = letters
        return _Axis(place, low, high, position, step, (), position.size if step == 1 else None), ()
    digits = ranges.tight(letters)
    if digits is None:
        (position, step), *others = ranges.offsets(letters, index.size)
        return _Axis(place, low, high, position, step, (), None), tuple(i for i, _ in others)
    count = Mul(*(i.size for i in digits)).expand()
    if all(map(ranges.is_small, digits[1:])):
        return _Axis(place, low, high, digits[0], dict(letters)[digits[0]], (), count), digits[1:]
    return _Axis(place, low, high, None, S.One, digits, count), ()


def _everywhere(lowerer: Expressions, landing: _Landing) -> bool:
    """Return whether a landing without loops writes every element."""
    return not landing.offsets and all(
        a.place.start == 0 and a.step == 1 and lowerer.ranges.is_equal(_count(a), i.size)
        for i, a in landing.axes.items()
    )


def _count(axis: _Axis) -> Expr:
    """Return how many places a slice has."""
    if axis.digits:
        return Mul(*(i.size for i in axis.digits)).expand()
    assert axis.position is not None
    return axis.position.size


def _landed(
    lowerer: Expressions, statement: Statement, landing: _Landing, *, fresh: bool, alone: bool
) -> list[Instruction]:
    """Return the instructions that add a landing to the statement's array, or make the array if it is ``fresh``."""
    name, indices = statement.name, statement.indices
    if not landing.offsets and fresh:
        shifted = _shifted(lowerer, landing, indices)
        if shifted is not None:
            return [Assign(name, shifted)]
    elif not landing.offsets and not _within(landing):
        shifted = _shifted(lowerer, landing, indices)
        if shifted is not None:
            return [InPlace(name, "+", shifted)]
    padded = any(a.low != 0 or a.high != 0 for a in landing.axes.values())
    axes = tuple(_longer(i, landing.axes.get(i)) for i in indices)
    buffer = lowerer.fresh(f"{name}_padded") if padded else name
    code: list[Instruction] = []
    first = padded or (fresh and alone)
    if padded or fresh:
        whole = first and _covered(lowerer, landing, dict(zip(indices, axes, strict=True)))
        made: Array = Empty(axes, Dtype.REAL) if whole else Fill(axes, Dtype.REAL, value=S.Zero)
        code.append(Assign(buffer, made))
    before, body = _updates(lowerer, buffer, axes, indices, landing, first=first)
    code = [*before, *code, *body]
    if padded:
        widths = tuple(
            (-landing.axes[i].low, -landing.axes[i].high) if i in landing.axes else (S.Zero, S.Zero) for i in indices
        )
        cut = Pad(indices, Dtype.REAL, (Name(axes, Dtype.REAL, name=buffer),), widths=widths)
        code.append(Assign(name, cut) if fresh else InPlace(name, "+", cut))
    return code


def _within(landing: _Landing) -> bool:
    """Return whether no place lies outside its axis."""
    return all(a.low == 0 and a.high == 0 for a in landing.axes.values())


def _covered(lowerer: Expressions, landing: _Landing, axes: Mapping[Index, Index]) -> bool:
    """Return whether every element is written exactly once."""
    for index, axis in landing.axes.items():
        start = axis.place.start + axis.low
        if start != 0 or axis.apart is None or not lowerer.ranges.is_equal(axis.apart, axes[index].size):
            return False
    return True


def _longer(index: Index, axis: _Axis | None) -> Index:
    if axis is None or (axis.low == 0 and axis.high == 0):
        return index
    return Index(index.name, (index.size + axis.low + axis.high).expand())


def _order(landing: _Landing, indices: Sequence[Index]) -> tuple[Index, ...]:
    """Return the letters of the value as the axes of the target have them."""
    order: list[Index] = []
    for index in indices:
        axis = landing.axes.get(index)
        if axis is None:
            order.append(index)
        elif axis.digits:
            order += axis.digits
        else:
            assert axis.position is not None
            order.append(axis.position)
    return tuple(order)


def _shifted(lowerer: Expressions, landing: _Landing, indices: Sequence[Index]) -> Array | None:
    """Return ``_pad(value, …)`` where the places of every axis are neighbours, in their order."""
    if any(a.step != 1 for a in landing.axes.values()):
        return None
    order = _order(landing, indices)
    value = _full(lowerer, landing.value, order)
    merged: list[Index] = []
    widths: list[tuple[Expr, Expr]] = []
    for index in indices:
        axis = landing.axes.get(index)
        if axis is None:
            merged.append(index)
            widths.append((S.Zero, S.Zero))
            continue
        count = _count(axis)
        merged.append(Index(index.name, count))
        before = axis.place.start
        after = (index.size - before - count).expand()
        widths.append((before, S.Zero if lowerer.ranges.is_equal(after, S.Zero) else after))
    if any(axis.digits for axis in landing.axes.values()):
        value = Regroup(tuple(merged), Dtype.REAL, (value,))
    if all(a == 0 and b == 0 for a, b in widths):
        return replace(value, axes=tuple(indices)) if isinstance(value, Regroup) else _owned(value, tuple(indices))
    if all(lowerer.ranges.is_at_least(-w) for pair in widths for w in pair):
        spans = [
            None if a == 0 and b == 0 else lowerer.ranges.span(-a, S.One, i.size, whole.size)
            for (a, b), i, whole in zip(widths, indices, merged, strict=True)
        ]
        return Take(tuple(indices), Dtype.REAL, (value,), where=tuple(spans))
    return Pad(tuple(indices), Dtype.REAL, (value,), widths=tuple(widths))


def _owned(value: Array, axes: tuple[Index, ...]) -> Array:
    return value if value.axes == axes else replace(value, axes=axes)


def _full(lowerer: Expressions, expr: Expr, order: tuple[Index, ...]) -> Array:
    """Return the value with all axes of the order."""
    value = as_real(lowerer.lower(expr, order))
    if is_number(expr):
        return Fill(order, Dtype.REAL, value=expr)
    return value if value.axes == order else Broadcast(order, Dtype.REAL, (value,))


def _updates(
    lowerer: Expressions, buffer: str, axes: tuple[Index, ...], indices: Sequence[Index], landing: _Landing,
    *, first: bool,
) -> tuple[list[Instruction], list[Instruction]]:  # fmt: skip
    """Return what is computed before the loop, and the loop (or the one update where there is nothing to loop over).

    Args:
        lowerer: for the values.
        buffer: the array that is added to.
        axes: of the buffer.
        indices: of the target.
        landing: what is added.
        first: whether nothing but zeros is there.
    """
    counters = {letter: lowerer.counter(letter) for letter in landing.offsets}
    before: list[Instruction] = []
    made: list[str] = []
    value = landing.value
    if counters:
        value, before, made = _hoisted(lowerer, buffer, landing, _order(landing, indices))
        value = substitute(value, dict(counters))
    order = _order(landing, indices)
    once = first and all(a.apart is not None or len(a.place.letters) == 1 for a in landing.axes.values())
    negative = value.as_coeff_Mul()[0].is_negative and not once
    array = as_real(lowerer.lower(-value if negative else value, order))
    where: list[Entry] = []
    for index, whole in zip(indices, axes, strict=True):
        axis = landing.axes.get(index)
        if axis is None:
            where.append(None)
            continue
        factors = dict(axis.place.letters)
        start = axis.place.start + axis.low + Add(*(factors[i] * c for i, c in counters.items() if i in factors))
        where.append(lowerer.ranges.span(start.expand(), axis.step, _count(axis), whole.size))
    if any(a.digits for a in landing.axes.values()):
        array = Regroup(
            tuple(Index(i.name, _count(landing.axes[i])) if i in landing.axes else i for i in indices),
            Dtype.REAL,
            (_broadcast(array, order),),
        )
    op = "-" if negative else "" if once else "+"
    update = Update(buffer, axes, axes, tuple(where), (), op, array)
    return before, [*nested(counters, [update]), *(Delete(name) for name in made)]


def _broadcast(array: Array, order: tuple[Index, ...]) -> Array:
    return array if array.axes == order else Broadcast(order, Dtype.REAL, (array,))


def nested(counters: dict[Index, Counter], body: Sequence[Instruction]) -> list[Instruction]:
    """Return a loop in a loop … over the counters around the body."""
    code = list(body)
    for letter, counter in reversed(counters.items()):
        code = [ForLoop(str(counter.name), letter.size, 1, tuple(code))]
    return code


def _beside(value: Expr, offsets: frozenset[Index]) -> frozenset[Index]:
    """Return the letters of the factors that have one of the offsets."""
    found: frozenset[Index] = frozenset()
    for term in Add.make_args(value.body if isinstance(value, Sum) else value):
        for factor in Mul.make_args(term):
            letters = free_indices(factor)
            if letters & offsets:
                found |= letters
    return found


def _hoisted(
    lowerer: Expressions, buffer: str, landing: _Landing, order: tuple[Index, ...]
) -> tuple[Expr, list[Instruction], list[str]]:
    """Give names to what is computed once, before the loop: sums, and factors without the letters of the loop.

    Returns:
        the value with these names, their assignments, and the names that are large.
    """
    code: list[Instruction] = []
    large: list[str] = []
    positions = {a.position for a in landing.axes.values()}
    beside = _beside(landing.value, frozenset(landing.offsets))  # what lies together is added faster
    first = next((k for k, i in enumerate(order) if i in positions or i in beside), len(order))
    everything = (*order[:first], *landing.offsets, *order[first:])
    stem = buffer.removesuffix("_padded")

    def named(expr: Expr, name: str) -> Expr:
        indices = tuple(i for i in everything if i in free_indices(expr))
        name = lowerer.fresh(name)
        lowerer.shapes[name] = tuple(i.size for i in indices)
        before, lowerer.grouped = lowerer.grouped, True
        array = as_real(lowerer.lower(expr, indices))
        lowerer.grouped = before
        if array.axes != indices:
            array = Broadcast(indices, Dtype.REAL, (array,))
        code.append(Assign(name, array))
        return Element(Tensor(name), *indices)

    def visit(expr: Expr) -> Expr:
        if isinstance(expr, (Reduction, KeepingReduction)):
            moves = bool(free_indices(expr).intersection(landing.offsets))
            element = named(expr, f"{stem}_columns" if moves else "term")
            if moves:
                large.append(element.name)
            return element
        return expr if not expr.args or isinstance(expr, Element) else rebuild(expr, map(visit, expr.args))

    value = visit(landing.value)
    fixed = [f for f in Mul.make_args(value) if not free_indices(f).intersection(landing.offsets)]
    letters = [f for f in fixed if free_indices(f)]
    if letters and not (len(fixed) == 1 and isinstance(fixed[0], Element)):
        value = named(Mul(*fixed), "term") * Mul(*(f for f in Mul.make_args(value) if f not in fixed))
    return value, code, large

