"""Mistakes in which one name stands where another belongs, lies the other way round, or is too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from sympy import Expr, S, sympify

from derive.algebra.indices import elements, free_indices, substitute, substitute_elements
from derive.algebra.nodes import Delta, Element, Index, Kind, LogSoftmax, Padded, Softmax
from derive.algebra.terms import Term
from derive.diagnosis.causes import Cause, Guess
from derive.diagnosis.forms import Piece
from derive.diagnosis.site import Site

__all__ = ["further", "names"]


def names(site: Site) -> Iterator[Guess]:
    """Yield the guesses about the names that the line reads."""
    for piece in site.line.pieces:
        found = dict.fromkeys(e for a, _ in piece.term.factors for e in elements(a))
        for element in found:
            if element.kind not in (Kind.INT, Kind.BOOL):
                yield from _others(site, [piece], element)
                yield from _transposed(site, piece, element)
                yield from _turned(site, piece, element)
                yield from _normalized(site, piece, element)
        for atom, exponent in piece.term.factors:
            yield from _values(site, piece, atom, exponent)
    yield from _common(site)
    yield from _exchanged(site)


def _substituted(term: Term, mapping: dict[Expr, Expr]) -> Term:
    return Term(term.coefficient, tuple((substitute_elements(a, mapping), e) for a, e in term.factors), term.bound)


def _others(site: Site, pieces: Sequence[Piece], element: Element) -> Iterator[Guess]:
    """Yield the guesses that another tensor's element stands in the place of one."""
    term = pieces[0].term
    if any(isinstance(a, Padded) and a.element == element for a, _ in term.factors):
        return
    inside = (*site.line.indices, *(term.bound if len(pieces) == 1 else ()))
    for other in _candidates(site, element, inside):
        text = f"{site.atom(other, term)} stands in {site.symbol} where {site.atom(element, term)} belongs"
        yield site.guess(Cause.INTERMEDIATE, text, {p: _substituted(p.term, {element: other}) for p in pieces}, 2.2)


def _candidates(site: Site, element: Element, inside: Sequence[Index]) -> Iterator[Expr]:
    """Yield what could stand in its place: other tensors' elements, and the inverse of what is one over a root."""
    places, axes = element.subscripts, site.axes(element.name)
    adjoint = element.name in site.adjoints
    plain = all(isinstance(p, Index) for p in places) and len(set(axes)) == len(axes)
    for name, tensor in (site.earlier() if adjoint else site.values()).items():
        other = site.axes(name)
        if name == element.name:
            continue
        if other == axes:
            found = Element(tensor, *places)
        elif plain and not adjoint:
            chosen = _placed(other, (*places, *inside))
            if chosen is None:
                continue
            found = Element(tensor, *chosen)
        else:
            continue
        yield found
        if site.is_inverse(name):
            yield 1 / found


def _common(site: Site) -> Iterator[Guess]:
    """Yield the guesses about a factor that all pieces have in common."""
    pieces = site.line.pieces
    if len(pieces) < 2:
        return
    for atom, exponent in pieces[0].term.factors:
        if not isinstance(atom, Element) or atom.name in site.adjoints:
            continue
        if all(p.term.exponent(atom) == exponent for p in pieces):
            yield from _others(site, pieces, atom)


def _exchanged(site: Site) -> Iterator[Guess]:
    """Yield the guesses that two names have taken each other's place in the whole line."""
    found = dict.fromkeys(e for p in site.line.pieces for a, _ in p.term.factors for e in elements(a))
    for a, b in combinations(found, 2):
        if a.name != b.name and a.subscripts == b.subscripts and site.axes(a.name) == site.axes(b.name):
            text = f"{a.name} and {b.name} are exchanged in {site.symbol}"
            changed = {p: _substituted(p.term, {a: b, b: a}) for p in site.line.pieces}
            yield site.guess(Cause.SWAPPED, text, changed, 2.15)


def _values(site: Site, piece: Piece, atom: Expr, exponent: Expr) -> Iterator[Guess]:
    """Yield the guesses that a forward value stands in the place of a function of another: z for exp(logp)."""
    term = piece.term
    if isinstance(atom, (Element, Delta, Padded)) or not atom.args or not elements(atom):
        return
    free = free_indices(atom)
    for name, tensor in site.values().items():
        axes = site.axes(name)
        if not free or len(axes) != len(free) or {i.size for i in free} != set(axes) or len(set(axes)) != len(axes):
            continue
        stands = Element(tensor, *(next(i for i in free if i.size == a) for a in axes))
        if stands == atom:
            continue
        text = f"{site.atom(stands, term)} stands in {site.symbol} where {site.atom(atom, term)} belongs"
        changed = {piece: Term(term.coefficient, (*term.without([atom]), (stands, exponent)), term.bound)}
        yield site.guess(Cause.INTERMEDIATE, text, changed, 2.3)


def _transposed(site: Site, piece: Piece, element: Element) -> Iterator[Guess]:
    places = element.subscripts
    for order in list(permutations(range(len(places))))[1:]:
        moved = tuple(places[k] for k in order)
        fits = all(isinstance(a, Index) and isinstance(b, Index) and a.size == b.size
                   for a, b in zip(moved, places, strict=True))  # fmt: skip
        if fits and moved != places:
            new = {element: Element(element.tensor, *moved)}
            text = f"{element.name} is transposed in {site.symbol}"
            yield site.guess(Cause.TRANSPOSE, text, {piece: _substituted(piece.term, new)}, 2.1)


def _turned(site: Site, piece: Piece, element: Element) -> Iterator[Guess]:
    """Yield the guess that a kernel is turned around along the axes of its window."""
    term = piece.term
    shifts = [s for a, _ in term.factors if isinstance(a, Delta) for s in a.args]
    shifts += [s for a, _ in term.factors if isinstance(a, Padded) for s in a.element.subscripts]
    windowed = {i for s in shifts for i in free_indices(s) if s != i}
    if any(s in windowed for s in element.subscripts):
        places = (s.size - 1 - s if s in windowed else s for s in element.subscripts)
        text = f"{element.name} is turned around in {site.symbol}"
        new = {element: Element(element.tensor, *places)}
        yield site.guess(Cause.TRANSPOSE, text, {piece: _substituted(term, new)}, 2.1)


def _normalized(site: Site, piece: Piece, element: Element) -> Iterator[Guess]:
    """Yield the guesses that a softmax, or its logarithm, is taken over another axis."""
    statement = next((s for s in site.derived.forward if s.name == element.name), None)
    if statement is None or not isinstance(statement.expr, (Softmax, LogSoftmax)):
        return
    own = statement.expr
    places = dict(zip(statement.indices, element.subscripts, strict=True))
    if own.at != own.indices or not all(isinstance(p, Index) for p in places.values()):
        return
    for other in (i for i in statement.indices if i not in own.indices):
        moved = type(own)(own.body, (other,), (places[other],))
        fixed = {i: p for i, p in places.items() if i != other and i != p}
        new = {element: substitute(moved, fixed)}
        over = ", ".join(i.name for i in own.indices)
        text = f"{element.name} in {site.symbol} is normalized over {other.name} where it should be over {over}"
        yield site.guess(Cause.SUM_AXIS, text, {piece: _substituted(piece.term, new)}, 2.2)


# A further factor


def further(site: Site) -> Iterator[Guess]:
    """Yield the guesses that a forward value is a factor too many."""
    for piece in site.line.pieces:
        term = piece.term
        inside = (*site.line.indices, *term.bound)
        for name, tensor in site.values().items():
            places = _placed(site.axes(name), inside)
            if places is None:
                continue
            element = Element(tensor, *places)
            powers = (S.One, S.NegativeOne, S.Half, -S.Half, sympify(2)) if len(places) < 2 else (S.One, S.NegativeOne)
            for exponent in powers:
                text = f"the factor {site.atom(element**exponent, term)} is too many in {site.symbol}"
                factors = Term.of(S.One, (*term.factors, (element, exponent))).factors
                yield site.guess(Cause.FACTOR, text, {piece: Term(term.coefficient, factors, term.bound)}, 2.5)


def _placed(axes: Sequence[Expr], inside: Sequence[Index]) -> tuple[Index, ...] | None:
    """Return indices of the right sizes to read a tensor with, or None."""
    chosen: list[Index] = []
    for axis in axes:
        found = next((i for i in inside if i.size == axis and i not in chosen), None)
        if found is None:
            return None
        chosen.append(found)
    return tuple(chosen)
