"""Mistakes in one piece of the derivation, in the order of how far-fetched they are.

A piece ``Σ_bound coefficient · Π atom^exponent`` of a line is left out or has
another factor; an atom is missing, has another exponent, is another name's
value or lacks one of its terms; a sum is missing or runs over another axis;
a further factor stands in it. What the results would be then follows from the
rest of the derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from sympy import Add, Expr, Rational, S, sympify

from derive.algebra.indices import elements, free_indices, substitute, substitute_elements
from derive.algebra.letters import readable
from derive.algebra.nodes import Delta, Element, Hyper, Index, Kind, Padded, Tensor
from derive.algebra.terms import Term, as_expr
from derive.algebra.text import show
from derive.diagnosis.causes import Cause, Fits, Guess, Parts
from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line, Piece

__all__ = ["PHASES", "factor_text", "line_text", "phase"]

_PATHS, _ATOMS, _SUMS, _NAMES, _FURTHER = range(5)
PHASES = range(5)


def line_text(line: Line) -> str:
    """Return the line in the layer language."""
    return f"{show(line.target)} = {show(line.shown)}"


def phase(derived: Derivation, number: int, wanted: Callable[[frozenset[str]], bool]) -> Iterator[Guess]:
    """Yield the guesses of a phase about the lines whose reach is wanted."""
    for form in derived.forms:
        for place, line in enumerate(form.lines):
            if not wanted(form.reach[place]):
                continue
            site = _Site(derived, form, place, line)
            for k, piece in enumerate(line.pieces):
                if number == _PATHS:
                    yield from site.paths(piece)
                elif number == _ATOMS:
                    yield from site.atoms(piece)
                elif number == _SUMS:
                    yield from site.sums(piece)
                elif number == _NAMES:
                    yield from site.names(piece)
                elif number == _FURTHER:
                    yield from site.further(piece)
                del k
            if number == _PATHS and len(line.pieces) > 1:
                yield site.whole()


@dataclass(frozen=True)
class _Site:
    """A line of a form, about which guesses are made."""

    derived: Derivation
    form: Form
    place: int
    line: Line

    @property
    def reach(self) -> frozenset[str]:
        return self.form.reach[self.place]

    def guess(
        self,
        cause: Cause,
        text: str,
        piece: Piece | None,
        new: Sequence[Term],
        cost: float,
        *,
        fits: Fits | None = None,
        formula: str | None = None,
    ) -> Guess:
        """Return the guess that the piece (None: the whole line) is ``new``, up to a factor."""
        gone = self.line.pieces if piece is None else (piece,)

        def parts(experiment: Experiment) -> Parts | None:
            old = sum((experiment.value(self.form, self.line, p.term) for p in gone), np.asarray(0.0))
            try:
                to = sum((experiment.value(self.form, self.line, t) for t in new), np.asarray(0.0))
            except IndexError:
                return None
            return self._parts(experiment, np.asarray(old), np.asarray(to))

        shown = formula if formula is not None else (self.shown(piece.term) if piece else show(self.line.shown))
        return Guess(cause, text, shown, line_text(self.line), cost, parts, self.reach, fits)

    def _parts(
        self, experiment: Experiment, old: Values, new: Values, odd: tuple[int | Index, ...] | None = None
    ) -> Parts | None:
        with np.errstate(all="ignore"):
            lost = experiment.moved(self.form, self.place, old)
            gained = experiment.moved(self.form, self.place, new, odd)
        if lost is None or gained is None:
            return None
        right = experiment.right()
        return {
            symbol: (right[symbol] - lost[symbol], gained[symbol])
            for symbol in self.reach
            if symbol in right and symbol in gained and gained[symbol].shape == right[symbol].shape
        }

    def shown(self, term: Term) -> str:
        return show(readable(as_expr((term,)), self.line.indices))

    @property
    def symbol(self) -> str:
        return self.line.symbol

    def path(self, piece: Piece) -> str:
        """Say which piece it is."""
        if piece.via:
            return f"the path of {self.symbol} through {piece.via}"
        return f"the term of {self.symbol}"

    # Paths

    def paths(self, piece: Piece) -> Iterator[Guess]:
        alone = len(self.line.pieces) == 1
        which = self.path(piece)

        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            if alone:
                return _scaled(self.symbol, value, name)
            if abs(value) < 1e-7:
                return Cause.PATH_MISSING, f"{which} is left out"
            if name == "2":
                return Cause.PATH_TWICE, f"{which} is counted twice"
            if name == "-1":
                return Cause.SIGN, f"{which} has the wrong sign"
            return None if name is None else (Cause.FACTOR, factor_text(which, name))

        yield self.guess(Cause.FACTOR, "", piece, [piece.term], 1.0 if not alone else 1.1, fits=fits)

    def whole(self) -> Guess:
        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            return _scaled(self.symbol, value, name)

        return self.guess(Cause.FACTOR, "", None, [p.term for p in self.line.pieces], 1.2, fits=fits)

    # Atoms

    def atoms(self, piece: Piece) -> Iterator[Guess]:
        term = piece.term
        adjoints = {line.symbol for line in self.form.lines} | set(self.derived.cotangents.values())
        for atom, exponent in term.factors:
            if isinstance(atom, Element) and atom.name in adjoints:
                continue
            if not free_indices(atom) and not elements(atom) and not isinstance(atom, Hyper):
                continue  # sizes: a factor that is found says it
            rest = term.without([atom])
            shown = show(readable(atom**exponent, (*self.line.indices, *term.bound)))
            if isinstance(atom, Delta):
                if len(free_indices(atom)) and not set(term.bound) & free_indices(atom):
                    text = f"{shown} is missing in {self.symbol}: only those elements get a gradient"
                    yield self.edit(Cause.PLACE, text, piece, term.coefficient, rest, term.bound, 2.0)
                continue
            text = f"the factor {shown} is missing in {self.symbol}"
            yield self.edit(Cause.FACTOR, text, piece, term.coefficient, rest, term.bound, 1.5)
            for other in _exponents(exponent):
                stands = show(readable(atom**other, (*self.line.indices, *term.bound)))
                text = f"{stands} stands in {self.symbol} where {shown} belongs"
                yield self.edit(Cause.FACTOR, text, piece, term.coefficient, (*rest, (atom, other)), term.bound, 1.8)
            for other_atom in _lesser(atom):
                stands = show(readable(other_atom**exponent, (*self.line.indices, *term.bound)))
                text = f"{stands} stands in {self.symbol} where {shown} belongs"
                factors = (*rest, (other_atom, exponent))
                yield self.edit(Cause.DERIVATIVE, text, piece, term.coefficient, factors, term.bound, 1.9)
        for hyper in self.derived.layer.hypers:
            for value in (0, 1):
                swapped = {hyper.symbol: sympify(value)}
                factors = tuple((substitute(a, swapped), e) for a, e in term.factors)
                if factors != term.factors:
                    text = f"{self.symbol} is computed as if {hyper.name} were {value}"
                    yield self.edit(Cause.SETTING, text, piece, term.coefficient, factors, term.bound, 2.0)

    def edit(
        self,
        cause: Cause,
        text: str,
        piece: Piece,
        coefficient: Rational,
        factors: Iterable[tuple[Expr, Expr]],
        bound: Iterable[Index],
        cost: float,
        *,
        formula: str | None = None,
    ) -> Guess:
        """Return the guess that the piece has these factors, and perhaps a number more."""
        new = Term(coefficient, tuple(factors), tuple(bound))

        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            if name == "1":
                return cause, text
            return None if name is None else (cause, factor_text(f"{text}, and it", name))

        return self.guess(cause, text, piece, [new], cost, fits=fits, formula=formula)

    # Sums

    def sums(self, piece: Piece) -> Iterator[Guess]:
        term = piece.term
        free = self.line.indices
        for b in term.bound:
            inside = [(a, e) for a, e in term.factors if b in free_indices(a)]
            outside = [(a, e) for a, e in term.factors if b not in free_indices(a)]
            rest = tuple(i for i in term.bound if i != b)
            letter = b.name.partition("'")[0]
            for f in free:
                if f.size == b.size:
                    # Σ_k dy[k]·p[k] without its sum is dy[c]·p[c].
                    moved = [(substitute(a, {b: f}), e) for a, e in inside]
                    text = f"the sum over {letter} in {self.symbol} is missing"
                    yield self.edit(Cause.SUM_MISSING, text, piece, term.coefficient, [*moved, *outside], rest, 2.0)
                    for other in free:
                        if other != f and any(other in free_indices(a) for a, _ in inside):
                            fresh = Index(f"{other.name}'0", other.size)
                            swapped = [(substitute(a, {b: f, other: fresh}), e) for a, e in inside]
                            text = f"the sum in {self.symbol} runs over {other.name} where it should run over {letter}"
                            yield self.edit(
                                Cause.SUM_AXIS, text, piece, term.coefficient, [*swapped, *outside], (*rest, fresh), 2.1
                            )
                            both = [(substitute(a, {other: fresh}), e) for a, e in inside]
                            text = f"the sum in {self.symbol} runs over {other.name} too"
                            yield self.edit(
                                Cause.SUM_AXIS,
                                text,
                                piece,
                                term.coefficient,
                                [*both, *outside],
                                (*term.bound, fresh),
                                2.2,
                            )
            if self.line.symbol not in {self.derived.symbols.get(p.name) for p in self.derived.layer.parameters}:
                yield self._unsummed(piece, (b,), ())
                for f in free:
                    yield self._unsummed(piece, (b,), (f,))
        yield from self._added(piece)

    def _added(self, piece: Piece) -> Iterator[Guess]:
        """A sum too many: NumPy spreads what is left over the axis again."""
        term = piece.term
        for f in self.line.indices:
            if any(f in free_indices(a) for a, _ in term.factors):
                fresh = Index(f"{f.name}'0", f.size)
                factors = [(substitute(a, {f: fresh}), e) for a, e in term.factors]
                text = f"{self.symbol} is summed over {f.name}, which it should not be"
                yield self.edit(Cause.SUM_AXIS, text, piece, term.coefficient, factors, (*term.bound, fresh), 2.3)

    def _unsummed(self, piece: Piece, kept: tuple[Index, ...], summed: tuple[Index, ...]) -> Guess:
        """The line keeps a bound index as an axis, and is read along the axis of that size."""
        term, own = piece.term, self.line.indices
        bound = tuple(i for i in (*term.bound, *summed) if i not in kept)
        loose = Term(term.coefficient, term.factors, bound)
        letter = ", ".join(i.name.partition("'")[0] for i in kept)
        other = ", ".join(i.name for i in summed)
        text = f"the sum over {letter} in {self.symbol} is missing"
        if summed:
            text = f"the sum in {self.symbol} runs over {other} where it should run over {letter}"
        cause = Cause.SUM_AXIS if summed else Cause.SUM_MISSING

        def parts(experiment: Experiment) -> Parts | None:
            old = experiment.value(self.form, self.line, term)
            named = experiment.named(self.form, loose)
            places: list[int | Index] = [own.index(i) if i in own else i for i in named.axes]
            if any(i not in (*own, *kept) for i in named.axes):
                return None
            gained = experiment.moved(self.form, self.place, named.array, tuple(places))
            lost = experiment.moved(self.form, self.place, old)
            if gained is None or lost is None:
                return None
            right = experiment.right()
            return {
                s: (right[s] - lost[s], gained[s])
                for s in self.reach
                if s in right and s != self.symbol and gained[s].shape == right[s].shape
            }

        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            if name == "1":
                return cause, text
            return None if name is None else (cause, factor_text(f"{text}, and it", name))

        reach = self.reach - {self.symbol}
        return Guess(cause, text, self.shown(term), line_text(self.line), 2.2, parts, reach, fits)

    # Names

    def names(self, piece: Piece) -> Iterator[Guess]:
        term = piece.term
        seen = (*self.line.indices, *term.bound)
        for element in dict.fromkeys(e for a, _ in term.factors for e in elements(a)):
            if element.kind is Kind.INT or element.kind is Kind.BOOL:
                continue
            for other in self._others(element):
                factors = [(substitute_elements(a, {element: other}), x) for a, x in term.factors]
                if any(isinstance(a, Padded) and a.element == element for a, _ in term.factors):
                    continue
                belongs, stands = (show(readable(e, seen)) for e in (element, other))
                text = f"{stands} stands in {self.symbol} where {belongs} belongs"
                yield self.edit(Cause.INTERMEDIATE, text, piece, term.coefficient, factors, term.bound, 2.2)
            places = element.subscripts
            for order in permutations(range(len(places))):
                moved = tuple(places[k] for k in order)
                if moved == places or any(
                    isinstance(a, Index) and isinstance(b, Index) and a.size != b.size
                    for a, b in zip(moved, places, strict=True)
                ):
                    continue
                turned = Element(element.tensor, *moved)
                factors = [(substitute_elements(a, {element: turned}), x) for a, x in term.factors]
                text = f"{element.name} is transposed in {self.symbol}"
                yield self.edit(Cause.TRANSPOSE, text, piece, term.coefficient, factors, term.bound, 2.1)
            yield from self._mirrored(piece, element)
            yield from self._elsewhere(piece, element)

    def _elsewhere(self, piece: Piece, element: Element) -> Iterator[Guess]:
        """``da[m]`` of another gate: a number in a subscript or in a delta is another one."""
        term = piece.term
        for atom, exponent in term.factors:
            if not isinstance(atom, Delta) or element != next(iter(elements(term.factors[0][0])), element):
                continue
            for number, letter in (atom.args, atom.args[::-1]):
                if number.is_Integer and isinstance(letter, Index) and letter.size.is_Integer:
                    for other in range(int(letter.size)):
                        if other != number:
                            swapped = (*term.without([atom]), (Delta(sympify(other), letter), exponent))
                            text = (
                                f"{self.symbol} has at {letter.name} = {other} what belongs at {letter.name} = {number}"
                            )
                            yield self.edit(Cause.SWAPPED, text, piece, term.coefficient, swapped, term.bound, 2.3)

    def _mirrored(self, piece: Piece, element: Element) -> Iterator[Guess]:
        """A kernel that is (or is not) turned around along its axes."""
        term = piece.term
        if not any(isinstance(a, (Delta, Padded)) for a, _ in term.factors):
            return
        turned = [s for s in element.subscripts if isinstance(s, Index) and self._windowed(s, term)]
        if turned:
            new = Element(element.tensor, *(s.size - 1 - s if s in turned else s for s in element.subscripts))
            factors = [(substitute_elements(a, {element: new}), x) for a, x in term.factors]
            text = f"{element.name} is turned around in {self.symbol}"
            yield self.edit(Cause.TRANSPOSE, text, piece, term.coefficient, factors, term.bound, 2.1)

    @staticmethod
    def _windowed(index: Index, term: Term) -> bool:
        inside = [s for a, _ in term.factors if isinstance(a, (Delta, Padded)) for s in
                  (a.args if isinstance(a, Delta) else a.element.subscripts)]  # fmt: skip
        return any(index in free_indices(s) and s != index for s in inside)

    def _others(self, element: Element) -> Iterator[Element]:
        """Yield the elements of other tensors that could stand in its place."""
        places = element.subscripts
        axes = self._axes(element.name)
        adjoints = self.form.lines[: self.place]
        is_adjoint = element.name in {line.symbol for line in self.form.lines} | set(self.derived.cotangents.values())
        names: dict[str, Tensor] = {}
        if is_adjoint:
            names |= {line.symbol: Tensor(line.symbol) for line in adjoints}
            names |= {c: Tensor(c) for c in self.derived.cotangents.values()}
        else:
            names |= {p.name: p.tensor for p in self.derived.layer.parameters if p.kind.differentiable}
            names |= {s.name: s.tensor for s in self.derived.forward if s.kind.differentiable}
        for name, tensor in names.items():
            if name == element.name:
                continue
            other = self._axes(name)
            if other == axes:
                yield Element(tensor, *places)
            elif len(other) < len(axes) and all(a in axes for a in other) and len(set(other)) == len(other):
                if len(set(axes)) == len(axes):
                    yield Element(tensor, *(places[axes.index(a)] for a in other))

    def _axes(self, name: str) -> tuple[Expr, ...]:
        for line in self.form.lines:
            if line.symbol == name:
                return tuple(i.size for i in line.indices)
        layer = self.derived.layer
        parameter = layer.parameter(name)
        if parameter is not None:
            return parameter.axes
        found = next((s for s in self.derived.forward if s.name == name), None)
        if found is not None:
            return found.axes
        output = next((o for o, c in self.derived.cotangents.items() if c == name), None)
        return layer.axes(output) if output is not None else ()

    # A further factor

    def further(self, piece: Piece) -> Iterator[Guess]:
        term = piece.term
        inside = (*self.line.indices, *term.bound)
        tensors = [(p.tensor, p.axes) for p in self.derived.layer.parameters if p.kind.differentiable]
        tensors += [(s.tensor, s.axes) for s in self.derived.forward if s.kind.differentiable]
        for tensor, axes in tensors:
            for places in _placed(axes, inside):
                element = Element(tensor, *places)
                for exponent in (S.One, S.NegativeOne, S.Half, -S.Half, sympify(2)):
                    if exponent != 1 and len(places) > 1 and exponent not in (S.One, S.NegativeOne):
                        continue
                    shown = show(readable(element**exponent, inside))
                    text = f"the factor {shown} is too many in {self.symbol}"
                    factors = Term.of(S.One, (*term.factors, (element, exponent))).factors
                    yield self.edit(Cause.FACTOR, text, piece, term.coefficient, factors, term.bound, 2.5)


def _placed(axes: Sequence[Expr], inside: Sequence[Index]) -> Iterator[tuple[Index, ...]]:
    """Yield ways to read a tensor with indices of the right sizes."""
    if not axes:
        yield ()
        return
    chosen: list[Index] = []
    for axis in axes:
        found = [i for i in inside if i.size == axis and i not in chosen]
        if not found:
            return
        chosen.append(found[0])
    yield tuple(chosen)


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
            base, exponent = term.as_base_exp() if not term.is_Mul else (-term).as_base_exp()
            sign = -1 if term.is_Mul and (-term).is_Pow else 1
            if exponent == 2:
                yield rest + sign * base
            elif term.is_Mul and term.args[0] == -1 and len(term.args) == 2:
                yield rest - term.args[1] ** 2
    elif atom.args and not isinstance(atom, (Element, Padded, Delta)) and atom.is_Function:
        yield atom.args[0]


def factor_text(what: str, name: str) -> str:
    """Say that something has a factor too many, or lacks its inverse."""
    sign = " and the wrong sign" if name.startswith("-") else ""
    name = name.removeprefix("-")
    if "/" in name or name.replace(".", "").isdigit():
        return f"{what} has the factor {name} too many{sign}"
    inverse = f"1/({name})" if "*" in name and "(" not in name else f"1/{name}"
    return f"{what} lacks the factor {inverse}{sign}"


def _scaled(symbol: str, value: float, name: str | None) -> tuple[Cause, str] | None:
    if abs(value) < 1e-7:
        return Cause.ZERO, f"{symbol} is zero"
    if name is None:
        return None
    if name == "-1":
        return Cause.SIGN, f"{symbol} has the wrong sign"
    return Cause.FACTOR, factor_text(symbol, name)
