"""Statements with Kronecker deltas: scatters instead of one-hot arrays.

    dw[v, d] = sum[n](dy[n, d]*delta(v, t[n]))     dw = np.zeros(…); np.add.at(dw, t, dy)
    dz[n, c] = s*(p[n, c] - delta(c, t[n]))        dz = p.copy(); dz[np.arange(N), t] -= 1; dz *= s
    dx[i, j] = g[i]*delta(i, j)                    dx = np.zeros(…); dx[np.arange(N), np.arange(N)] = g
    dx[n, d] = g[d]*delta(n, 0)                    dx = np.zeros(…); dx[0] = g

A delta that fixes an index of the left side becomes a place to add to; what is
left over is a comparison, which is always right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Add, Expr, Integer, Mul, S

from derive.algebra.functions import Eq
from derive.algebra.indices import free_indices, substitute
from derive.algebra.nodes import BATCH, Delta, Element, Index, Sum
from derive.language.layer import Statement
from derive.lower.affine import Ranges
from derive.lower.arrays import AddAt, Assign, Fill, InPlace, Instruction, PutAlong, Update
from derive.lower.arrays import Dtype as _Dtype
from derive.lower.expressions import Expressions, as_real
from derive.lower.gather import addressed_first, computed_axes, places
from derive.lower.prepare import settled
from derive.lower.scalars import is_number

__all__ = ["flat", "has_delta", "scatter", "terms_of"]


# A product of sums with deltas is multiplied out to at most so many terms; beyond, comparisons are shorter.
_MOST_TERMS = 8


def has_delta(expr: Expr) -> bool:
    """Return whether a Kronecker delta occurs in the expression."""
    return isinstance(expr, Delta) or any(has_delta(a) for a in expr.args)


@dataclass(frozen=True, slots=True)
class _Scatter:
    """value[…] is added at ``subscripts`` (one an axis of the target), for all values of ``over`` as well."""

    subscripts: tuple[Expr, ...]
    value: Expr
    over: tuple[Index, ...]


def scatter(lowerer: Expressions, statement: Statement, *, inside: bool = False) -> list[Instruction] | None:
    """Return the instructions for a statement with deltas, or None where none of them fixes an index.

    Args:
        lowerer: for the values and places.
        statement: the deltas fix its indices.
        inside: whether computed places surely lie inside their axes.
    """
    outer, terms = terms_of(statement.expr)
    if len(terms) > _MOST_TERMS:
        return None
    dense: list[Expr] = []
    scattered: list[_Scatter] = []
    for term in terms:
        found = _fixed(lowerer.ranges, term, statement.indices, inside) if has_delta(term) else None
        if found is not None and found.value == 0:
            continue
        if found is not None and _lowerable(found, statement.indices):
            scattered.append(found)
        else:
            dense.append(settled(_compared(term)))
    if not scattered:
        return None
    if not dense and outer != 1:
        scattered = [_Scatter(s.subscripts, _times(outer, s, statement.indices), s.over) for s in scattered]
        outer = S.One
    scattered = _merged(scattered)
    name, indices = statement.name, statement.indices
    result: list[Instruction] = []
    if dense:
        from derive.lower.statements import owned

        result += owned(lowerer, Statement(name, indices, Add(*dense), statement.kind))
    else:
        result.append(Assign(name, Fill(indices, _Dtype.REAL, value=S.Zero)))
    apart = len(scattered) == 1 or _apart(scattered, indices)
    for item in sorted(scattered, key=lambda s: [int(x) if isinstance(x, Integer) else -1 for x in s.subscripts]):
        result.append(_instruction(lowerer, name, indices, item, first=not dense and apart))
    if outer != 1:
        from derive.lower.arrays import Number

        factor = lowerer.lower(outer, indices)
        if isinstance(factor, Number) and (1 / factor.value).is_integer:
            result.append(InPlace(name, "/", type(factor)((), factor.dtype, value=1 / factor.value)))
        else:
            result.append(InPlace(name, "*", as_real(factor)))
    return result


def _apart(items: Sequence[_Scatter], target: Sequence[Index]) -> bool:
    """Return whether the items go to places that are surely different: numbers along one axis."""
    for k, _ in enumerate(target):
        numbers = [item.subscripts[k] for item in items]
        if all(isinstance(n, Integer) for n in numbers) and len(set(numbers)) == len(numbers):
            return True
    return False


def _merged(items: list[_Scatter]) -> list[_Scatter]:
    """Add what goes to the same places; a factor that all have in common is written once."""
    groups: dict[tuple[tuple[Expr, ...], tuple[Index, ...]], list[Expr]] = {}
    for item in items:
        groups.setdefault((item.subscripts, item.over), []).append(item.value)
    result = []
    for (subscripts, over), found in groups.items():
        value = found[0]
        if len(found) > 1:
            common = set(Mul.make_args(found[0])).intersection(*(Mul.make_args(v) for v in found[1:]))
            if all(v.as_coeff_Mul()[0] == -1 for v in found):
                common.add(S.NegativeOne)
            factor = Mul(*common)
            value = factor * Add(*(v / factor for v in found))
        result.append(_Scatter(subscripts, value, over))
    return result


def terms_of(expr: Expr) -> tuple[Expr, list[Expr]]:
    """Split into a common factor without deltas and the terms of the rest, expanded as far as deltas go."""
    if isinstance(expr, Mul):
        inside = [f for f in expr.args if has_delta(f)]
        if len(inside) == 1 and isinstance(inside[0], Add):
            outer = Mul(*(f for f in expr.args if f is not inside[0]))
            terms = [t for a in inside[0].args for t in _expanded(a)]
            dense = [t for t in terms if not has_delta(t)]
            if dense and all(t.as_coeff_Mul()[0].is_negative for t in dense):
                return -outer, [-t for t in terms]
            return outer, terms
    return S.One, [t for a in Add.make_args(expr) for t in _expanded(a)]


def _expanded(term: Expr) -> list[Expr]:
    """Multiply out sums that contain a delta, inside bound sums too."""
    if not has_delta(term):
        return [term]
    if isinstance(term, Add):
        return [t for a in term.args for t in _expanded(a)]
    if isinstance(term, Sum):
        return [_sum_of(t, term.indices) for t in _expanded(term.body)]
    if isinstance(term, Mul):
        for factor in term.args:
            if has_delta(factor) and isinstance(factor, (Add, Sum)):
                rest = Mul(*(f for f in term.args if f is not factor))
                parts = _expanded(factor)
                if len(parts) > 1:
                    return [t for part in parts for t in _expanded(rest * part)]
    return [term]


def _sum_of(body: Expr, indices: Sequence[Index]) -> Expr:
    return Sum(body, *indices)


def flat(term: Expr) -> tuple[list[Expr], tuple[Index, ...]] | None:
    """Return factors and bound indices of a product of (nested) sums; only sums with a delta are opened."""
    factors: list[Expr] = []
    bound: list[Index] = []
    for factor in Mul.make_args(term):
        if isinstance(factor, Sum) and has_delta(factor):
            inner = flat(factor.body)
            if inner is None or set(bound) & {*factor.indices, *inner[1]}:
                return None
            factors += inner[0]
            bound += [*factor.indices, *inner[1]]
        else:
            factors.append(factor)
    if any(free_indices(f).intersection(bound) for f in Mul.make_args(term) if not isinstance(f, Sum)):
        return None
    return factors, tuple(bound)


def _fixed(ranges: Ranges, term: Expr, target: Sequence[Index], inside: bool) -> _Scatter | None:
    """Use deltas to fix indices of the target: ``c*delta(v, t[n])`` is added at ``v = t[n]``."""
    opened = flat(term)
    if opened is None:
        return None
    factors, bound = opened
    fixed: dict[Index, Expr] = {}
    rest: list[Expr] = []
    for factor in factors:
        if not isinstance(factor, Delta):
            rest.append(_compared(factor))
            continue
        for index, place in sorted(
            (pair for pair in (factor.args, factor.args[::-1]) if pair[0] in target),
            key=lambda pair: -target.index(pair[0]),
        ):
            free = free_indices(place)
            if not inside and _leaves(ranges, place, index):
                continue
            if index not in fixed and index not in free and not free & set(fixed) and index != BATCH:
                if any(index in free_indices(other) for other in fixed.values()):
                    continue
                fixed[index] = place
                break
        else:
            rest.append(factor)
    if not fixed:
        return None
    value = _compared(substitute(Mul(*rest), fixed))
    subscripts = tuple(fixed.get(i, i) for i in target)
    needed = frozenset().union(*map(free_indices, subscripts))
    inner = tuple(i for i in bound if i not in needed)
    over = tuple(i for i in bound if i in needed)
    if inner:
        value = settled(Sum(value, *inner))
    return _Scatter(subscripts, value, over)


def _leaves(ranges: Ranges, place: Expr, index: Index) -> bool:
    """Return whether a place may lie outside the axis: then a comparison is right, an address is not.

    Labels have been verified to lie inside.
    """
    if isinstance(place, Index):
        return place != index and place.size != index.size
    if is_number(place):
        return not ranges.is_inside(place, index.size)
    return not isinstance(place, Element)


def _times(outer: Expr, item: _Scatter, target: Sequence[Index]) -> Expr:
    fixed = {i: s for i, s in zip(target, item.subscripts, strict=True) if i != s}
    return substitute(outer, fixed) * item.value


def _compared(expr: Expr) -> Expr:
    """Write the deltas of an expression as comparisons."""
    from derive.algebra.indices import rebuild

    if isinstance(expr, Delta):
        return Eq(*expr.args)
    if not has_delta(expr):
        return expr
    return rebuild(expr, (_compared(a) for a in expr.args))


def _lowerable(item: _Scatter, target: Sequence[Index]) -> bool:
    """Return whether NumPy can address these places; batch axes must be taken whole or along one axis."""
    _, inside = computed_axes(item.subscripts)
    if BATCH not in inside or BATCH in item.over:
        return True
    return _along(item, target) is not None


def _along(item: _Scatter, target: Sequence[Index]) -> Index | None:
    """Return the one axis that is addressed row by row of a batch."""
    moved = [i for i, s in zip(target, item.subscripts, strict=True) if i != s]
    _, inside = computed_axes(item.subscripts)
    if len(moved) == 1 and not item.over and inside <= set(target):
        return moved[0]
    return None


def _instruction(
    lowerer: Expressions, name: str, indices: tuple[Index, ...], item: _Scatter, *, first: bool
) -> Instruction:
    value, op = item.value, "+"
    coefficient, _ = value.as_coeff_Mul()
    if coefficient.is_negative and not first:
        value, op = -value, "-"
    _, inside = computed_axes(item.subscripts)
    if BATCH in inside and BATCH not in item.over:
        over = _along(item, indices)
        assert over is not None
        order = [None if i == over else i for i in indices]
        at = lowerer.lower(item.subscripts[indices.index(over)], order)
        return PutAlong(name, indices, over, at, "" if first else op, as_real(lowerer.lower(value, order)))
    turned = addressed_first(item.subscripts)
    subscripts = [item.subscripts[k] for k in turned]
    found = places(lowerer, subscripts, (*indices, *item.over))
    assert found is not None, f"lower: places of {name}"
    where, arrays, axes = found
    array = as_real(lowerer.lower(value, axes))
    view = tuple(indices[k] for k in turned)
    if item.over:
        return AddAt(name, indices, view, where, arrays, op, array)
    return Update(name, indices, view, where, arrays, "" if first else op, array)
