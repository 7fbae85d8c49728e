"""Mistakes in one line of the derivation: in its paths, its factors, its sums.

A piece ``Σ_bound coefficient · Π atom^exponent`` is left out or has another
factor; an atom is missing, has another exponent or lacks one of its terms; a
sum is missing, runs over another axis, or leaves something out. What the
results would be then follows from the rest of the derivation. Other names in
the place of the right ones are in :mod:`derive.diagnosis.standins`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sympy import Add, Expr, Integer, S, sympify

from derive.algebra.indices import elements, free_indices, substitute
from derive.algebra.nodes import Delta, Element, Hyper, Index, Max, Padded
from derive.algebra.terms import Term
from derive.diagnosis.causes import Cause, Guess
from derive.diagnosis.forms import Derivation, Piece
from derive.diagnosis.site import Site, factor_text
from derive.diagnosis.standins import further, names

__all__ = ["phase"]


def phase(derived: Derivation, number: int, wanted: Callable[[frozenset[str]], bool]) -> Iterator[Guess]:
    """Yield the guesses of a phase about the lines whose reach is wanted."""
    work = (paths, atoms, sums, names, further)[number]
    for form in derived.forms:
        for place in range(len(form.lines)):
            if wanted(form.reach[place]):
                yield from work(Site(derived, form, place))


# Paths


def paths(site: Site) -> Iterator[Guess]:
    """Yield the guesses that a piece, or all of them, has another factor: 0 where it is left out."""
    pieces = site.line.pieces
    alone = len(pieces) == 1
    for piece in pieces:
        cost = 1.0 + 0.1 * alone + 0.15 * (not piece.via)  # a path of the chain rule says more than a term
        yield site.guess(Cause.FACTOR, "", {piece: piece.term}, cost, _path(site, piece))
    routes = dict.fromkeys(p.via for p in pieces)
    for via in routes:
        several = [p for p in pieces if p.via == via]
        if via and 1 < len(several) < len(pieces):
            yield site.guess(Cause.FACTOR, "", {p: p.term for p in several}, 1.05, _path(site, several[0]))
    if len(pieces) > 1:
        yield site.guess(Cause.FACTOR, "", {p: p.term for p in pieces}, 1.2, _whole(site))
    for other in site.earlier():
        is_gradient = any(symbol == other for _, symbol in site.derived.program.gradients)
        if is_gradient and site.axes(other) == site.axes(site.symbol):
            yield site.replaced(Cause.SWAPPED, f"{other} stands in the place of {site.symbol}", other, 1.5)
    for index in site.line.indices:
        if isinstance(index.size, Integer) and index.size <= 8:
            size = int(index.size)
            for a in range(size):
                for b in range(a + 1, size):
                    order = [{a: b, b: a}.get(k, k) for k in range(size)]
                    text = f"{site.symbol} has {index.name} = {a} and {index.name} = {b} exchanged"
                    yield site.permuted(Cause.SWAPPED, text, index, order, 1.6)


def _path(site: Site, piece: Piece) -> Callable[[float, str | None], tuple[Cause, str] | None]:
    alone = len(site.line.pieces) == 1
    which = site.called(piece)

    def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
        if alone:
            return _scaled(site.symbol, value, name)
        if name == "0":
            return Cause.PATH_MISSING, f"{which} is left out"
        if name == "2":
            return Cause.PATH_TWICE, f"{which} is counted twice"
        if name == "-1":
            return Cause.SIGN, f"{which} has the wrong sign"
        return None if name is None else (Cause.FACTOR, factor_text(which, name))

    return fits


def _whole(site: Site) -> Callable[[float, str | None], tuple[Cause, str] | None]:
    return lambda value, name: _scaled(site.symbol, value, name)


def _scaled(symbol: str, value: float, name: str | None) -> tuple[Cause, str] | None:
    if name == "0":
        return Cause.ZERO, f"{symbol} is zero"
    if name is None:
        return None
    if name == "-1":
        return Cause.SIGN, f"{symbol} has the wrong sign"
    return Cause.FACTOR, factor_text(symbol, name)


# Atoms


def atoms(site: Site) -> Iterator[Guess]:
    """Yield the guesses that a factor is missing, has another exponent, or lacks one of its terms."""
    for piece in site.line.pieces:
        term = piece.term
        for atom, exponent in term.factors:
            if isinstance(atom, Element) and atom.name in site.adjoints:
                continue
            if not free_indices(atom) and not elements(atom) and not isinstance(atom, Hyper):
                continue  # a size: the factor that is found says it
            if isinstance(atom, Delta):
                yield from _deltas(site, piece, atom)
                continue
            for cause, text, new, cost in _changes(site, atom, exponent, term):
                yield site.guess(cause, text, {piece: _with(term, atom, new)}, cost)
        yield from _settings(site, piece)
    yield from _common(site)


def _with(term: Term, atom: Expr, new: tuple[tuple[Expr, Expr], ...]) -> Term:
    return Term(term.coefficient, (*term.without([atom]), *new), term.bound)


_Change = tuple[Cause, str, tuple[tuple[Expr, Expr], ...], float]


def _changes(site: Site, atom: Expr, exponent: Expr, term: Term) -> Iterator[_Change]:
    """Yield what can stand in the place of ``atom**exponent``: cause, text, factors, cost."""
    shown = site.atom(atom**exponent, term)
    yield Cause.FACTOR, f"the factor {shown} is missing in {site.symbol}", (), 1.5
    for other in _exponents(exponent):
        text = f"{site.atom(atom**other, term)} stands in {site.symbol} where {shown} belongs"
        yield Cause.FACTOR, text, ((atom, other),), 2.25 if site.form.paths else 2.35
    for lesser in _lesser(atom):
        text = f"{site.atom(lesser**exponent, term)} stands in {site.symbol} where {shown} belongs"
        constant = isinstance(atom, Add) and any(a.is_Rational for a in atom.args)
        yield Cause.DERIVATIVE if constant else Cause.INTERMEDIATE, text, ((lesser, exponent),), 1.9
    if isinstance(atom, Add) and exponent == 1:
        for value in elements(atom):
            if atom == 1 - value**2:
                text = f"the derivative of sigmoid stands in {site.symbol} where that of tanh belongs"
                yield Cause.DERIVATIVE, text, ((value, S.One), (1 - value, S.One)), 2.0
            elif atom == 1 - value and term.exponent(value) == 1:
                text = f"the derivative of tanh stands in {site.symbol} where that of sigmoid belongs"
                yield Cause.DERIVATIVE, text, ((1 - value**2, S.One), (value, S.NegativeOne)), 2.0


def _common(site: Site) -> Iterator[Guess]:
    """Yield the same guesses about a factor that all pieces have in common."""
    pieces = site.line.pieces
    if len(pieces) < 2:
        return
    first = pieces[0].term
    for atom, exponent in first.factors:
        shared = all(p.term.exponent(atom) == exponent for p in pieces) and not isinstance(atom, Delta)
        if not shared or atom in site.adjoints or not (free_indices(atom) or elements(atom)):
            continue
        for cause, text, new, cost in _changes(site, atom, exponent, first):
            yield site.guess(cause, text, {p: _with(p.term, atom, new) for p in pieces}, cost + 0.05)


def _deltas(site: Site, piece: Piece, delta: Delta) -> Iterator[Guess]:
    term = piece.term
    rest = term.without([delta])
    shown = site.atom(delta, term)
    if not set(term.bound) & free_indices(delta):
        text = f"{shown} is missing in {site.symbol}: only those elements get a gradient"
        yield site.guess(Cause.PLACE, text, {piece: Term(term.coefficient, rest, term.bound)}, 2.0)
    for label, own in (delta.args, delta.args[::-1]):
        if isinstance(label, Element) and isinstance(own, Index):
            for row in label.subscripts:
                if isinstance(row, Index) and row in site.line.indices:
                    fresh = Index(f"{row.name}'0", row.size)
                    anywhere = Max(Delta(own, substitute(label, {row: fresh})), fresh)
                    text = f"{site.symbol} has at the labels of every {row.name} what belongs at its own"
                    changed = {piece: Term(term.coefficient, (*rest, (anywhere, S.One)), term.bound)}
                    yield site.guess(Cause.PLACE, text, changed, 2.4)


def _settings(site: Site, piece: Piece) -> Iterator[Guess]:
    """Yield the guesses that a hyper-parameter is taken for 0 or 1, everywhere or along one axis of a window."""
    term = piece.term
    places = dict.fromkeys(
        s
        for a, _ in term.factors
        for s in (a.args if isinstance(a, Delta) else a.element.subscripts if isinstance(a, Padded) else ())
        if not isinstance(s, Index)
    )
    for hyper in site.derived.layer.hypers:
        for value in (0, 1):
            taken: dict[Expr, Expr] = {hyper.symbol: sympify(value)}
            windows = [s for s in places if s.has(hyper.symbol)]
            mappings = [taken, *({s: substitute(s, taken)} for s in windows if len(windows) > 1)]
            for k, mapping in enumerate(mappings):
                factors = tuple((substitute(a, mapping), e) for a, e in term.factors)
                if factors != term.factors:
                    along = f" in {site.atom(windows[k - 1], term)}" if k else ""
                    text = f"{site.symbol} is computed as if {hyper.name} were {value}{along}"
                    changed = {piece: Term(term.coefficient, factors, term.bound)}
                    yield site.guess(Cause.SETTING, text, changed, 2.0 + 0.05 * bool(k))


def _exponents(exponent: Expr) -> tuple[Expr, ...]:
    if not exponent.is_Rational:
        return ()
    others = (exponent + 1, exponent - 1, -exponent, exponent + 2, exponent - 2, exponent / 2, exponent * 2,
              exponent + S.Half, exponent - S.Half)  # fmt: skip
    return tuple(dict.fromkeys(o for o in others if o not in (0, exponent)))


def _lesser(atom: Expr) -> Iterator[Expr]:
    """Yield a sum with one of its terms left out, of the other sign or of another power; arguments likewise."""
    if isinstance(atom, Add):
        for term in atom.args:
            rest = atom - term
            yield rest
            yield rest - term
            sign, positive = (-1, -term) if term.could_extract_minus_sign() else (1, term)
            base, exponent = positive.as_base_exp()
            if exponent == 2:
                yield rest + sign * base
            elif exponent == 1 and elements(base):
                yield rest + sign * base**2
    elif atom.args and atom.is_Function and not isinstance(atom, (Element, Padded, Delta)):
        yield atom.args[0]


# Sums


def sums(site: Site) -> Iterator[Guess]:
    """Yield the guesses that a sum is missing, runs over another axis, over one too many or over a part."""
    for piece in site.line.pieces:
        term = piece.term
        for b in term.bound:
            yield from _inner(site, piece, b)
            yield from _parts(site, piece, b)
            if not (site.is_gradient and site.reach == {site.symbol}):
                yield from _kept(site, piece, b)
        for f in site.line.indices:
            if any(f in free_indices(a) for a, _ in term.factors):
                fresh = Index(f"{f.name}'0", f.size)
                factors = tuple((substitute(a, {f: fresh}), e) for a, e in term.factors)
                text = f"{site.symbol} is summed over {f.name}, which it should not be"
                changed = {piece: Term(term.coefficient, factors, (*term.bound, fresh))}
                yield site.guess(Cause.SUM_AXIS, text, changed, 2.3)


def _inner(site: Site, piece: Piece, b: Index) -> Iterator[Guess]:
    """``Σ_k dy[k]·p[k]`` without its sum is ``dy[c]·p[c]``; over another axis it is ``Σ_n dy[n, c]·p[n, c]``."""
    term, letter = piece.term, b.name.partition("'")[0]
    inside = [(a, e) for a, e in term.factors if b in free_indices(a)]
    outside = [(a, e) for a, e in term.factors if b not in free_indices(a)]
    rest = tuple(i for i in term.bound if i != b)

    def changed(mapping: dict[Expr, Expr], bound: tuple[Index, ...]) -> dict[Piece, Term]:
        moved = [(substitute(a, mapping), e) for a, e in inside]
        return {piece: Term(term.coefficient, (*moved, *outside), bound)}

    free = site.line.indices
    others = [i for i in free if any(i in free_indices(a) for a, _ in inside)]
    for other in others:
        fresh = Index(f"{other.name}'0", other.size)
        text = f"the sum in {site.symbol} runs over {other.name} too"
        yield site.guess(Cause.SUM_AXIS, text, changed({other: fresh}, (*term.bound, fresh)), 2.2)
    for f in (i for i in free if i.size == b.size):
        text = f"the sum over {letter} in {site.symbol} is missing"
        yield site.guess(Cause.SUM_MISSING, text, changed({b: f}, rest), 2.0)
        for other in (i for i in others if i != f):
            fresh = Index(f"{other.name}'0", other.size)
            text = f"the sum in {site.symbol} runs over {other.name} where it should run over {letter}"
            yield site.guess(Cause.SUM_AXIS, text, changed({b: f, other: fresh}, (*rest, fresh)), 2.1)


def _parts(site: Site, piece: Piece, b: Index) -> Iterator[Guess]:
    """Yield the guesses that a sum leaves out its first or its last, or takes one of them alone."""
    term, letter = piece.term, b.name.partition("'")[0]
    for which, at in (("first", S.Zero), ("last", b.size - 1)):
        here = Delta(b, at)
        for what, factor in ((f"leaves out the {which}", 1 - here), (f"takes the {which} alone", here)):
            text = f"the sum over {letter} in {site.symbol} {what}"
            changed = {piece: Term(term.coefficient, (*term.factors, (factor, S.One)), term.bound)}
            yield site.guess(Cause.PLACE, text, changed, 2.4)


def _kept(site: Site, piece: Piece, b: Index) -> Iterator[Guess]:
    """Yield the guesses that a line which others read keeps an axis that should be summed."""
    term, letter = piece.term, b.name.partition("'")[0]
    rest = tuple(i for i in term.bound if i != b)
    text = f"the sum over {letter} in {site.symbol} is missing"
    loose = Term(term.coefficient, term.factors, rest)
    yield site.unsummed(Cause.SUM_MISSING, text, piece, loose, (b,), 2.2)
    for f in site.line.indices:
        if any(f in free_indices(a) for a, _ in term.factors):
            text = f"the sum in {site.symbol} runs over {f.name} where it should run over {letter}"
            loose = Term(term.coefficient, term.factors, (*rest, f))
            yield site.unsummed(Cause.SUM_AXIS, text, piece, loose, (b,), 2.25)
