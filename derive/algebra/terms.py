"""The normal form of a linear expression: a sum of terms, each a sum of a product.

    γ·rstd·(dy - Σ dy/N)  ⟶  γ·rstd·dy   and   -1/N · Σ_n' γ·rstd·dy[n']

A ``Term`` is ``coefficient · Σ_bound Π atom^exponent``: all sums of a product
are merged into one, over all their bound indices. Atoms are elements, sizes,
hyper-parameters, deltas, function applications, and sums ``a + b`` that stand
inside a product (those are left whole: expanding ``1 - h²`` helps nobody).
Every bound index is an object of its own (its letter comes from a
:class:`Letters`), so products and substitutions never capture.

An adjoint is linear in the cotangents, so it is always a sum of such terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import sympy
from sympy import Add, Expr, Mul, Pow, Rational, S

from derive.algebra.indices import free_indices, is_binder, names, substitute
from derive.algebra.nodes import Delta, Element, Index, Mean, Padded, Sum
from derive.algebra.places import Axes, all_inside, chosen, may_stand_for

__all__ = [
    "Letters",
    "Term",
    "Terms",
    "as_expr",
    "canonical",
    "collect",
    "components",
    "matches",
    "normal",
    "term_names",
    "unify",
]


class Letters:
    """A source of index letters that nobody else uses: ``n'1``, ``n'2``, …"""

    def __init__(self) -> None:
        self._count = 0

    def fresh(self, index: Index) -> Index:
        """Return an index of the same range with a letter of its own."""
        self._count += 1
        return Index(f"{index.name.partition(chr(39))[0]}'{self._count}", index.size)


@dataclass(frozen=True, slots=True)
class Term:
    """``coefficient · Σ_bound Π atom^exponent``.

    Attributes:
        coefficient: a rational number.
        factors: atom and exponent pairs, each atom once, no exponent 0.
        bound: the summed indices; each occurs in some factor.
    """

    coefficient: Rational
    factors: tuple[tuple[Expr, Expr], ...]
    bound: tuple[Index, ...] = ()

    @staticmethod
    def of(coefficient: Expr, factors: Iterable[tuple[Expr, Expr]], bound: Iterable[Index] = ()) -> Term:
        """Build a term: equal atoms merged, deltas of bound indices resolved, empty sums counted."""
        merged: dict[Expr, Expr] = {}
        number: Expr = coefficient
        indices = list(bound)
        for atom, exponent in factors:
            if exponent is S.One:
                atom = chosen(atom, indices)
            if atom.is_Rational and exponent.is_Integer:
                number = number * atom**exponent
                continue
            merged[atom] = merged.get(atom, S.Zero) + exponent
        live = {a: S.One if isinstance(a, Delta) else e for a, e in merged.items() if e != 0}
        live = _read_at_deltas(live, indices)
        for index, other, delta in _resolvable(live, indices):
            rest = [(a, e) for a, e in live.items() if a != delta]
            moved = _moved(rest, index, other)
            if moved is not None:
                return Term.of(number, moved, [i for i in indices if i != index])
        occurring: frozenset[Index] = frozenset().union(*(free_indices(a) for a in live)) if live else frozenset()
        for index in [i for i in indices if i not in occurring]:
            indices.remove(index)
            for factor, exponent in _monomial(index.size):
                if factor.is_Rational and exponent.is_Integer:
                    number = number * factor**exponent
                    continue
                live[factor] = live.get(factor, S.Zero) + exponent
        live = {a: e for a, e in live.items() if e != 0}
        assert number.is_Rational, number
        return Term(number, tuple(live.items()), tuple(indices))

    @staticmethod
    def of_atom(atom: Expr) -> Term:
        """Return the atom itself as a term."""
        return Term(S.One, ((atom, S.One),))

    def times(self, other: Term) -> Term:
        """Return the product; the bound indices of the two must be different objects."""
        assert not set(self.bound) & set(other.bound)
        return Term.of(
            self.coefficient * other.coefficient, (*self.factors, *other.factors), (*self.bound, *other.bound)
        )

    def scaled(self, number: Expr) -> Term:
        """Return the term with its coefficient multiplied by a rational."""
        return Term(self.coefficient * number, self.factors, self.bound)

    def renamed(self, mapping: Mapping[Expr, Expr], letters: Letters) -> Term:
        """Replace free indices; the bound ones become fresh ones."""
        full: dict[Expr, Expr] = {**{i: letters.fresh(i) for i in self.bound}}
        bound = [full[i] for i in self.bound]
        full.update({k: v for k, v in mapping.items() if k not in full})
        return Term.of(self.coefficient, [(substitute(a, full), e) for a, e in self.factors], bound)

    def free(self) -> frozenset[Index]:
        """Return the indices that are not summed."""
        found: frozenset[Index] = frozenset().union(*(free_indices(a) for a, _ in self.factors))
        return found - frozenset(self.bound)

    def exponent(self, atom: Expr) -> Expr:
        """Return the exponent of an atom, 0 where it does not occur."""
        return next((e for a, e in self.factors if a == atom), S.Zero)

    def without(self, atoms: Iterable[Expr]) -> tuple[tuple[Expr, Expr], ...]:
        """Return the factors except some atoms."""
        gone = set(atoms)
        return tuple((a, e) for a, e in self.factors if a not in gone)


Terms = tuple[Term, ...]


def _resolvable(factors: Mapping[Expr, Expr], bound: Sequence[Index]) -> Iterator[tuple[Index, Expr, Expr]]:
    """Yield bound indices that a delta fixes, with their values and the deltas; certain values first."""
    later: list[tuple[Index, Expr, Expr]] = []
    for atom in factors:
        if not isinstance(atom, Delta):
            continue
        for index, other in (atom.args, atom.args[::-1]):
            if isinstance(index, Index) and index in bound and index not in free_indices(other):
                if may_stand_for(index, other):
                    yield index, other, atom
                elif not isinstance(other, Index):
                    later.append((index, other, atom))
        mirrored = _mirrored(atom, bound)
        if mirrored is not None:
            later.append((*mirrored, atom))
    yield from later


def _mirrored(delta: Delta, bound: Sequence[Index]) -> tuple[Index, Expr] | None:
    """``δ(i, T - 1 - t)`` fixes t at ``T - 1 - i``: a mirrored axis is the same axis."""
    for index, other in (delta.args, delta.args[::-1]):
        if isinstance(index, Index) and isinstance(other, Add):
            for letter in free_indices(other):
                rest = other + letter
                whole = letter.size == index.size and rest - (letter.size - 1) == 0
                if letter in bound and whole:
                    return letter, rest - index
    return None


def _moved(factors: Sequence[tuple[Expr, Expr]], index: Index, value: Expr) -> list[tuple[Expr, Expr]] | None:
    """``Σ_i δ(i, f)·g(i) = g(f)``; where f may lie outside, ``g(f)`` is padded by 0.

    A factor that reads i by itself has i's whole range as its axis (a
    cotangent that a window's adjoint is read with), so it is 0 outside and the
    product with it, be it padded by 0 along another axis already; what else
    reads i is padded to be defined there. None where that does not do: the
    delta stays.
    """
    if may_stand_for(index, value):
        return [(substitute(a, {index: value}), e) for a, e in factors]
    reading = [(a, e) for a, e in factors if index in free_indices(a)]
    plain = [a.element if isinstance(a, Padded) and a.fill == 0 else a for a, _ in reading]
    if not any(isinstance(a, Element) and index in a.subscripts for a in plain):
        return None
    if not all(isinstance(a, (Element, Padded, Delta)) and e.is_positive for a, e in reading):
        return None
    result: list[tuple[Expr, Expr]] = []
    for atom, exponent in factors:
        new = substitute(atom, {index: value})
        result.append((Padded(new) if isinstance(atom, Element) and new != atom else new, exponent))
    return result


def _read_at_deltas(factors: dict[Expr, Expr], bound: Sequence[Index]) -> dict[Expr, Expr]:
    """``δ(c, t[n])·p[n, c]`` is ``δ(c, t[n])·p[n, t[n]]``: what is read off the delta's place is lost."""
    for delta in [a for a in factors if isinstance(a, Delta)]:
        if delta not in factors:  # it was read at the place of another one
            continue
        for index, place in (delta.args, delta.args[::-1]):
            if not isinstance(index, Index) or index in bound or index in free_indices(place):
                continue
            if not may_stand_for(index, place):
                continue
            if any(index in free_indices(a) for a in factors if a != delta):
                moved: dict[Expr, Expr] = {}
                for atom, exponent in factors.items():
                    new = atom if atom == delta else substitute(atom, {index: place})
                    moved[new] = moved.get(new, S.Zero) + exponent
                factors = {a: e for a, e in moved.items() if e != 0}
            break
    return factors


def _monomial(expr: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Yield atom and exponent pairs of a product; a sum is one atom."""
    for factor in Mul.make_args(expr):
        base, exponent = factor.as_base_exp() if isinstance(factor, Pow) else (factor, S.One)
        if factor.is_Rational:
            yield factor, S.One
        elif (
            isinstance(factor, Pow) and isinstance(base, Element) and not free_indices(exponent) and not names(exponent)
        ):
            yield base, exponent  # p**(q - 1) with a hyper-parameter q
        elif isinstance(factor, Pow) and exponent.is_Rational:
            if isinstance(base, Mul) and exponent.is_Integer:
                yield from ((b, e * exponent) for b, e in _monomial(base))
            elif isinstance(base, Add) and exponent.is_Integer:
                yield from ((b, e * exponent) for b, e in _primitive(base))
            else:
                yield base, exponent
        elif isinstance(factor, Add):
            yield from _primitive(factor)
        else:
            yield factor, S.One


def _primitive(expr: Add) -> Iterator[tuple[Expr, Expr]]:
    """``2h - 2`` is 2 times ``h - 1``: SymPy distributes a number over a sum by itself."""
    content, rest = expr.primitive()
    if content.q > 1:
        content, rest = S.One, expr
    if content != 1:
        yield content, S.One
    yield rest, S.One


def normal(expr: Expr, letters: Letters) -> Terms:
    """Return the terms of an expression: sums and means distributed, products merged.

    A sum ``a + b`` is expanded where it is the whole expression or the whole
    body of a sum, and where a product has a ``Sum`` or ``Mean`` of it as a
    factor; inside another product it stays one atom.
    """
    return collect(_normal(expr, letters))


def _normal(expr: Expr, letters: Letters) -> Iterator[Term]:
    if isinstance(expr, Add):
        for arg in expr.args:
            yield from _normal(arg, letters)
        return
    if isinstance(expr, (Sum, Mean)):
        fresh = {i: letters.fresh(i) for i in expr.indices}
        body = substitute(expr.body, fresh)
        weight = list(_monomial(1 / expr.count)) if isinstance(expr, Mean) else []
        for term in _normal(body, letters):
            yield Term.of(term.coefficient, (*term.factors, *weight), (*term.bound, *fresh.values()))
        return
    if isinstance(expr, Mul):
        products: list[Term] = [Term(S.One, (), ())]
        plain: list[tuple[Expr, Expr]] = []
        number: Expr = S.One
        for factor in expr.args:
            if isinstance(factor, (Sum, Mean)):
                inner = list(_normal(factor, letters))
                products = [p.times(t.renamed({}, letters)) for p in products for t in inner]
            elif factor.is_Rational:
                number = number * factor
            else:
                plain.extend(_monomial(factor))
        for product in products:
            yield Term.of(product.coefficient * number, (*product.factors, *plain), product.bound)
        return
    if expr.is_Rational:
        yield Term(expr, (), ())
        return
    yield Term.of(S.One, _monomial(expr))


def canonical(term: Term) -> frozenset[tuple[Expr, Expr]]:
    """Return the factors with the bound indices named by a fixed scheme.

    Two terms with the same canonical factors differ at most in their
    coefficient and in the letters of their sums.
    """
    if not term.bound:
        return frozenset(term.factors)
    if len(term.bound) == 1:
        only: dict[Expr, Expr] = {term.bound[0]: Index("'0", term.bound[0].size)}
        return frozenset((substitute(a, only), e) for a, e in term.factors)
    groups: dict[tuple[object, ...], list[Index]] = {}
    for index in term.bound:
        groups.setdefault(_signature(index, term), []).append(index)
    ordered = sorted(groups, key=str)
    best: tuple[list[str], frozenset[tuple[Expr, Expr]]] | None = None
    for choice in _orders([groups[key] for key in ordered]):
        mapping: dict[Expr, Expr] = {i: Index(f"'{k}", i.size) for k, i in enumerate(choice)}
        factors = frozenset((substitute(a, mapping), e) for a, e in term.factors)
        if len(ordered) == len(term.bound):
            return factors
        key = sorted(str(f) for f in factors)
        if best is None or key < best[0]:
            best = (key, factors)
    assert best is not None
    return best[1]


@lru_cache(maxsize=4096)
def _text(expr: Expr) -> str:
    return str(expr)


def _signature(index: Index, term: Term) -> tuple[object, ...]:
    """What can be said of a bound index without naming any other."""
    places: list[tuple[str, str, str]] = []
    for atom, exponent in term.factors:
        if index in free_indices(atom):
            if isinstance(atom, Element):
                at = "".join(str(k) for k, s in enumerate(atom.subscripts) if index in free_indices(s))
                places.append((atom.name, at, _text(exponent)))
            else:
                places.append((type(atom).__name__, " ".join(sorted(names(atom))), _text(exponent)))
    return (_text(index.size), tuple(sorted(places)))


def _orders(groups: list[list[Index]]) -> Iterator[tuple[Index, ...]]:
    if not groups:
        yield ()
        return
    heads = permutations(groups[0]) if len(groups[0]) <= 4 else iter((tuple(groups[0]),))
    for head in heads:
        for tail in _orders(groups[1:]):
            yield (*head, *tail)


def collect(terms: Iterable[Term]) -> Terms:
    """Add up like terms and drop those with coefficient 0, keeping the order of first appearance."""
    found: dict[frozenset[tuple[Expr, Expr]], Term] = {}
    for term in terms:
        key = canonical(term)
        if key in found:
            old = found[key]
            found[key] = Term(old.coefficient + term.coefficient, old.factors, old.bound)
        else:
            found[key] = term
    return tuple(t for t in found.values() if t.coefficient != 0)


def term_names(term: Term) -> frozenset[str]:
    """Return the names of all tensors that a term reads."""
    return frozenset().union(*(names(a) for a, _ in term.factors)) if term.factors else frozenset()


def components(term: Term) -> tuple[list[tuple[Expr, Expr]], list[tuple[list[tuple[Expr, Expr]], list[Index]]]]:
    """Split a term into outer factors and independent sums.

    ``Σ_{n',m'} a[d]·x[n']·y[m']·z[m']`` is ``a[d] · Σ_n' x · Σ_m' y·z``: two
    bound indices belong to one sum where a factor has both.
    """
    outer: list[tuple[Expr, Expr]] = []
    parent: dict[Index, Index] = {i: i for i in term.bound}

    def root(i: Index) -> Index:
        while parent[i] != i:
            i = parent[i]
        return i

    inner: list[tuple[Expr, Expr, list[Index]]] = []
    for atom, exponent in term.factors:
        mine = [i for i in term.bound if i in free_indices(atom)]
        if not mine:
            outer.append((atom, exponent))
            continue
        inner.append((atom, exponent, mine))
        for other in mine[1:]:
            parent[root(other)] = root(mine[0])
    sums: dict[Index, tuple[list[tuple[Expr, Expr]], list[Index]]] = {}
    for index in term.bound:
        sums.setdefault(root(index), ([], []))[1].append(index)
    for atom, exponent, mine in inner:
        sums[root(mine[0])][0].append((atom, exponent))
    return outer, list(sums.values())


def unify(pattern: Expr, expr: Expr, mapping: dict[Expr, Expr], variables: frozenset[Index]) -> bool:
    """Match ``expr`` against ``pattern`` whose ``variables`` stand for subscripts; extends ``mapping``.

    A variable may come to stand for a constant or a gather: whether the pattern speaks of it
    :func:`~derive.algebra.places.all_inside` knows.
    """
    if isinstance(pattern, Index) and pattern in variables:
        if pattern in mapping:
            return bool(mapping[pattern] == expr)
        if not may_stand_for(pattern, expr):
            return False  # a shifted place may lie outside what the pattern speaks of
        mapping[pattern] = expr
        return True
    if not (free_indices(pattern) & variables) and pattern == expr:
        return True
    if type(pattern) is not type(expr) or len(pattern.args) != len(expr.args) or not pattern.args:
        return False
    if isinstance(pattern, (Add, Mul)):
        return _unify_set(list(pattern.args), list(expr.args), mapping, variables)
    if not all(unify(p, e, mapping, variables) for p, e in zip(pattern.args, expr.args, strict=True)):
        return False
    # The diagonal sum[j](x[j, j]) is none of the sums sum[j](x[i, j]): what i stands for is not bound.
    return not is_binder(pattern) or not any(
        free_indices(value) & set(expr.indices) for name, value in mapping.items() if name not in pattern.indices
    )


def _unify_set(pattern: list[Expr], exprs: list[Expr], mapping: dict[Expr, Expr], variables: frozenset[Index]) -> bool:
    if not pattern:
        return True
    for k, candidate in enumerate(exprs):
        trial = dict(mapping)
        if unify(pattern[0], candidate, trial, variables):
            rest = exprs[:k] + exprs[k + 1 :]
            if _unify_set(pattern[1:], rest, trial, variables):
                mapping.clear()
                mapping.update(trial)
                return True
    return False


def matches(
    pattern: Sequence[tuple[Expr, Expr]],
    variables: frozenset[Index],
    summed: Sequence[Index],
    term: Term,
    axes: Axes,
) -> Iterator[tuple[dict[Expr, Expr], tuple[tuple[Expr, Expr], ...], tuple[Index, ...]]]:
    """Find a (sum of a) product inside a term.

    Args:
        pattern: atom and exponent pairs.
        variables: the pattern's indices; ``summed`` are those of its sum.
        term: where to look; its factors must have at least the pattern's exponents.
        axes: of the tensors that the pattern reads.

    Yields:
        the values of the variables, each in the variable's range, the factors that remain, and the bound
        indices that remain. The summed indices must be bound in the term and
        occur nowhere else in it.
    """
    available = dict(term.factors)

    Found = tuple[dict[Expr, Expr], dict[Expr, Expr]]

    def search(k: int, mapping: dict[Expr, Expr], left: dict[Expr, Expr]) -> Iterator[Found]:
        if k == len(pattern):
            yield mapping, left
            return
        atom, exponent = pattern[k]
        for candidate, have in list(left.items()):
            if not (
                have == exponent or (have.is_Rational and exponent.is_Rational and (have - exponent) * exponent > 0)
            ):
                continue
            trial = dict(mapping)
            if unify(atom, candidate, trial, variables):
                rest = dict(left)
                if have == exponent:
                    del rest[candidate]
                else:
                    rest[candidate] = have - exponent
                yield from search(k + 1, trial, rest)

    for mapping, left in search(0, {}, available):
        hit = [mapping.get(i) for i in summed]
        if any(h not in term.bound for h in hit) or len(set(hit)) != len(hit):
            continue
        others: frozenset[Index] = frozenset().union(*(free_indices(a) for a in left)) if left else frozenset()
        if any(h in others for h in hit):
            continue
        # A summed index must not be read through another variable of the pattern.
        if any(h in free_indices(v) for k, v in mapping.items() for h in hit if k not in summed):
            continue
        if all_inside(mapping, [a for a, _ in pattern], axes):
            yield mapping, tuple(left.items()), tuple(i for i in term.bound if i not in hit)


def as_expr(terms: Terms) -> Expr:
    """Return the plain sum of the terms, each with its independent sums, unfactored."""
    total = []
    for term in terms:
        outer, sums = components(term)
        parts = [a**e for a, e in outer]
        parts += [Sum(sympy.Mul(*(a**e for a, e in factors)), *bound) for factors, bound in sums]
        total.append(sympy.Mul(term.coefficient, *parts))
    return sympy.Add(*total)
