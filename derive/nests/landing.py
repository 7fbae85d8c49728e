"""Terms with Kronecker deltas: added where they land.

    dz[n, c] = g[n]*(p[n, c] - delta(c, t[n]))
        dz[n, c] = g[n]*p[n, c];  dz[n, t[n]] += -g[n]

    dx[i] = sum[p, r](delta(i, 2*p + r)*dy[p]*w[r])
        dx[i] = 0;  dx[2*p + r] += dy[p]*w[r]  where 0 <= 2*p + r < N

A delta that fixes no letter of the target is solved for a bound letter, or is a
condition. What is summed besides is summed first where that is a product of
matrices: the columns of a convolution's gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sympy import Add, Expr, Mul, S

from derive.algebra.indices import free_indices, fresh, substitute
from derive.algebra.nodes import Delta, Index, Sum
from derive.algebra.windows import solve
from derive.lower.prepare import settled
from derive.nests.pieces import Letters
from derive.nests.products import operands

if TYPE_CHECKING:
    from derive.nests.split import Splitter

__all__ = ["scattered"]


def scattered(splitter: Splitter, name: str, indices: Letters, expr: Expr) -> bool:
    """Append the pieces of an expression with deltas; False where none of them can be landed."""
    base: list[Expr] = []
    landed: list[tuple[list[Expr], list[Index]]] = []
    for term in _delta_terms(expr):
        parts = _flat(term, indices) if term.has(Delta) else None
        if parts is None or not any(isinstance(f, Delta) for f in parts[0]):
            base.append(term)
        else:
            landed.append(parts)
    if not landed:
        return False
    formula = splitter.formula
    rest = Add(*base)
    if rest != 0:
        splitter.assign(name, indices, rest)
    for number, (factors, bound) in enumerate(landed):
        splitter.formula = formula
        _land(splitter, name, indices, factors, bound, first=rest == 0 and number == 0)
    return True


def _land(
    splitter: Splitter, name: str, indices: Letters, factors: list[Expr], bound: list[Index], *, first: bool
) -> None:
    """Append a term with deltas, added where it lands; to zeros if it is the first."""
    places: dict[Index, Expr] = {}
    conditions: list[tuple[Expr, Expr]] = []

    def put(changes: dict[Expr, Expr]) -> None:
        factors[:] = [substitute(f, changes) for f in factors]
        conditions[:] = [(substitute(p, changes).expand(), s) for p, s in conditions]
        for i in places:
            places[i] = substitute(places[i], changes).expand()

    while True:
        delta = next((f for f in factors if isinstance(f, Delta)), None)
        if delta is None:
            break
        factors.remove(delta)
        if free_indices(delta) & splitter.steps:  # which step it is shows when it is computed
            conditions.append((delta.args[0] - delta.args[1], S.One))
            continue
        gathered = _gathered(delta, bound)
        if gathered is not None:
            letter, value = gathered
            bound.remove(letter)
            if not splitter.inside(value, letter.size):
                conditions.append((value, letter.size))
            put({letter: value})
            continue
        landing = _landing(delta, [i for i in indices if i not in places])
        if landing is not None:
            letter, place = landing
            places[letter] = place
            put({letter: place})
            continue
        found = [s for s in (solve(delta, i) for i in bound) if s is not None]
        solution = next((s for s in found if s.condition.divisor == 1), None)
        if solution is not None:
            bound.remove(solution.letter)
            conditions.append((solution.value, solution.letter.size))
            put({solution.letter: solution.value})
            continue
        conditions.append((delta.args[0] - delta.args[1], S.One))
    for letter, place in places.items():
        if not splitter.inside(place, letter.size):
            conditions.append((place, letter.size))
    subscripts = tuple(places.get(i, i) for i in indices)
    outside = {i for e in (*subscripts, *(p for p, _ in conditions)) for i in free_indices(e)} | set(indices)
    inner = [i for i in bound if i not in outside]
    letters = [i for i in indices if i not in places] + [i for i in bound if i not in inner]
    order = (*letters, *inner)
    lifted = [splitter.lifted(f, order) for f in factors]
    summed = [f for f in lifted if free_indices(f).intersection(inner)]
    rest = [f for f in lifted if f not in summed]
    if inner and operands(Mul(*summed), tuple(inner)) is not None:
        free = free_indices(Sum(Mul(*summed), *inner))
        own = _columns_order(splitter, Mul(*summed), tuple(i for i in letters if i in free), indices, places)
        column = splitter.temporary(f"{name}_columns", own)
        splitter.sum(column, own, Sum(Mul(*summed), *inner), S.One)
        rest.append(splitter.tensors[column].element)
        inner, summed = [], []
    if first:
        splitter.add(name, indices, "=", S.Zero, indices)
    splitter.accumulate(name, subscripts, Mul(*rest, *summed), (*letters, *inner), tuple(dict.fromkeys(conditions)))


def _columns_order(
    splitter: Splitter, body: Expr, letters: Letters, indices: Letters, places: dict[Index, Expr]
) -> Letters:
    """Return the letters of what lands somewhere so that the last ones step through neighbours of the target."""
    last = places.get(indices[-1], indices[-1]) if indices else S.Zero
    ends = set(splitter.positions(list(free_indices(last)))[:1])
    groups = [set(free_indices(f)) & set(letters) for f in Mul.make_args(body)]
    tail = next((g for g in groups if g & ends), set())
    common = {i for i in letters if all(i in g for g in groups)}
    tail -= common
    where = {
        i: next((k for k, j in enumerate(indices) if i in free_indices(places.get(j, j))), len(indices))
        for i in letters
    }
    first = min((where[i] for i in letters if i not in tail), default=0)
    tail = {i for i in tail if where[i] >= first}
    return tuple(
        sorted(letters, key=lambda i: (i not in common, i in tail, where[i], splitter.ranges.is_small(i), i.name))
    )


def _gathered(delta: Delta, bound: Sequence[Index]) -> tuple[Index, Expr] | None:
    """Return the one bound letter of a delta, and its value, where nothing has to be divided."""
    letters = [i for i in bound if i in free_indices(delta)]
    if len(letters) != 1:
        return None
    found = solve(delta, letters[0])
    if found is None or found.condition.divisor != 1:
        return None
    return letters[0], found.value


def _landing(delta: Delta, letters: Sequence[Index]) -> tuple[Index, Expr] | None:
    for letter, place in (delta.args, delta.args[::-1]):
        if isinstance(letter, Index) and letter in letters and letter not in free_indices(place):
            return letter, place
    return None


def _delta_terms(expr: Expr) -> list[Expr]:
    """Return the terms of an expression, multiplied out where a delta stands in a factor."""
    result: list[Expr] = []
    for term in Add.make_args(expr):
        if not term.has(Delta):
            result.append(term)
            continue
        factors = list(Mul.make_args(term))
        place = next((k for k, f in enumerate(factors) if isinstance(f, Add) and f.has(Delta)), None)
        if place is not None:
            rest = factors[:place] + factors[place + 1 :]
            for part in factors[place].args:
                result += _delta_terms(Mul(part, *rest))
            continue
        inner = next((f for f in factors if isinstance(f, Sum) and isinstance(f.body, Add) and f.has(Delta)), None)
        if inner is not None:
            rest = [f for f in factors if f is not inner]
            for part in inner.body.args:
                result += _delta_terms(Mul(settled(Sum(part, *inner.indices)), *rest))
            continue
        result.append(term)
    return result


def _flat(term: Expr, indices: Letters) -> tuple[list[Expr], list[Index]] | None:
    """Return the factors of a term and its bound letters, the sums with deltas opened; None where a delta is deeper."""
    factors: list[Expr] = list(Mul.make_args(term))
    bound: list[Index] = []
    while True:
        place = next((k for k, f in enumerate(factors) if isinstance(f, Sum) and f.has(Delta)), None)
        if place is None:
            break
        factor = factors[place]
        others = factors[:place] + factors[place + 1 :]
        taken: set[Index | str] = {i for f in others for i in free_indices(f)} | set(indices) | set(bound)
        renames: dict[Expr, Expr] = {}
        for index in factor.indices:
            renames[index] = fresh(index, taken | (free_indices(factor.body) - {index}))
            taken.add(renames[index])
            bound.append(renames[index])
        inner = list(Mul.make_args(substitute(factor.body, renames)))
        factors = [*others, *inner]
        if any(isinstance(f, Add) and f.has(Delta) for f in inner):
            return None
    if any(not isinstance(f, Delta) and f.has(Delta) for f in factors):
        return None
    return factors, bound
