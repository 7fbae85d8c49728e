"""The derivation, in the forms in which people write a backward pass down.

    as it is written   the adjoint of every name of the layer file, by the chain rule
    staged             the same with the intermediate results named (``xc``, ``rstd``)
    closed             what the program itself would compute

Each is a list of lines ``d<name>[i] = Σ pieces``, every piece one path of the
chain rule or one term of a closed form. They say the same, but a mistake in
code of one form is a small one only in that form: a term forgotten in the
closed form of ``dx`` is no path of the chain rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr

from derive.algebra.indices import names
from derive.algebra.letters import readable
from derive.algebra.nodes import Delta, Element, Index, Tensor
from derive.algebra.terms import Letters, Term, as_expr, normal, term_names
from derive.calculus.adjoint import Adjoint
from derive.calculus.differentiate import Staged, differentiate
from derive.calculus.program import Program
from derive.calculus.reverse import adjoints
from derive.language.layer import Layer, Statement
from derive.simplify import simplify
from derive.stability import stabilize

__all__ = ["Derivation", "Form", "Line", "Piece", "derivation"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One term of a line.

    Attributes:
        via: the forward name through which the path goes; "" for a term of a closed form.
        term: it.
    """

    via: str
    term: Term

    def shown(self, indices: Iterable[Index]) -> Expr:
        """Return the term in letters that people read."""
        return readable(as_expr((self.term,)), tuple(indices))


@dataclass(frozen=True)
class Line:
    """``symbol[indices] = Σ pieces``, the adjoint of ``name``."""

    name: str
    symbol: str
    indices: tuple[Index, ...]
    pieces: tuple[Piece, ...]

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names on the right side."""
        return frozenset().union(*(term_names(p.term) for p in self.pieces))

    @property
    def target(self) -> Element:
        """The left side."""
        return Element(Tensor(self.symbol), *self.indices)

    @property
    def shown(self) -> Expr:
        """The right side in letters that people read."""
        return readable(as_expr(tuple(p.term for p in self.pieces)), self.indices)


@dataclass(frozen=True)
class Form:
    """A list of lines, each after those that it reads.

    Attributes:
        title: what the form is, for messages.
        lines: the adjoints, outputs first.
        paths: whether its pieces are paths of the chain rule.
    """

    title: str
    lines: tuple[Line, ...]
    paths: bool = True

    @cached_property
    def reach(self) -> tuple[frozenset[str], ...]:
        """For every line the symbols that change with it, its own included."""
        found: list[frozenset[str]] = []
        for k, line in enumerate(self.lines):
            changed = {line.symbol}
            for later in self.lines[k + 1 :]:
                if later.reads & changed:
                    changed.add(later.symbol)
            found.append(frozenset(changed))
        return tuple(found)

    @cached_property
    def sources(self) -> dict[str, frozenset[str]]:
        """For every symbol those that it follows from, its own included."""
        return {
            line.symbol: frozenset(
                other.symbol for other, reach in zip(self.lines, self.reach, strict=True) if line.symbol in reach
            )
            for line in self.lines
        }


@dataclass(frozen=True)
class Derivation:
    """A layer, its forward values and the forms of its backward pass.

    Attributes:
        layer: as it was written.
        program: as the program would compute it.
        forward: the statements of all forward names that a form reads, in order.
        forms: the closed form last; none for a recurrence.
        symbols: the name of the adjoint of every forward name and parameter that has one.
        staged: the derivation before simplification.
    """

    layer: Layer
    program: Program
    forward: tuple[Statement, ...]
    forms: tuple[Form, ...]
    symbols: dict[str, str]
    staged: Staged

    @property
    def recurrent(self) -> bool:
        """Whether a statement is a recurrence."""
        return any(s.carry is not None for s in (*self.forward, *self.program.backward))

    @cached_property
    def cotangents(self) -> dict[str, str]:
        """The name of the cotangent that the caller hands in, of every output."""
        return dict(zip(self.program.outputs, self.program.cotangents, strict=True))


def derivation(layer: Layer) -> Derivation:
    """Derive a layer and return all forms of its backward pass.

    Raises:
        DerivationError: no derivative is known for a construct.
    """
    stable, steps = stabilize(layer)
    staged = differentiate(layer, stable, steps)
    program = simplify(staged)
    forward = list(staged.forward)
    known = {s.name for s in forward}
    for statement in (*layer.statements, *program.forward):
        if statement.name not in known:
            forward.append(statement)
            known.add(statement.name)
    symbols = {a.name: a.symbol for a in staged.adjoints if a.carry is None}
    forms: list[Form] = []
    if not any(s.carry is not None for s in (*forward, *program.backward)):
        written = _paths("as it is written", adjoints(layer, layer.statements, Letters()))
        symbols |= {line.name: line.symbol for line in written.lines}
        symbols |= {a.name: a.symbol for a in staged.adjoints}
        forms = [_paths("staged", staged.adjoints), written, _closed(program)]
    return Derivation(layer, program, _ordered(forward, layer), tuple(forms), symbols, staged)


def _paths(title: str, found: Iterable[Adjoint]) -> Form:
    lines = []
    for adjoint in found:
        pieces = [Piece(via, term) for via, terms in adjoint.paths for term in terms]
        lines.append(Line(adjoint.name, adjoint.symbol, adjoint.indices, tuple(pieces)))
    return Form(title, tuple(lines))


def _closed(program: Program) -> Form:
    owner = {symbol: name for name, symbol in program.gradients}
    adjoints = frozenset(s.name for s in program.backward) | frozenset(program.cotangents)
    letters = Letters()
    lines = []
    for s in program.backward:
        pieces = tuple(Piece("", term) for term in _expanded(s.expr, adjoints, letters))
        lines.append(Line(owner.get(s.name, s.name.removeprefix("d")), s.name, s.indices, pieces))
    return Form("closed", tuple(lines), paths=False)


def _expanded(expr: Expr, adjoints: frozenset[str], letters: Letters) -> Iterable[Term]:
    """Return the terms of an expression, brackets around adjoints multiplied out."""
    for term in normal(expr, letters):
        bracket = next(
            (a for a, e in term.factors if a.is_Add and e == 1 and (names(a) & adjoints or a.has(Delta))), None
        )
        if bracket is None:
            yield term
            continue
        rest = Term(term.coefficient, term.without([bracket]), term.bound)
        for part in normal(bracket, letters):
            yield from _expanded(as_expr((rest.times(part),)), adjoints, letters)


def _ordered(statements: list[Statement], layer: Layer) -> tuple[Statement, ...]:
    """Return the statements, each after those that it reads where that can be (recurrences read themselves)."""
    known = {p.name for p in layer.parameters}
    defined = {s.name for s in statements}
    waiting, result = list(statements), []
    while waiting:
        ready = next((s for s in waiting if (s.reads & defined) <= known | {s.name}), waiting[0])
        waiting.remove(ready)
        known.add(ready.name)
        result.append(ready)
    return tuple(result)
