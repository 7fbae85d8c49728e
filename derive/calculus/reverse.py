"""The adjoint of every name: the statements backwards, the edges of :mod:`derive.calculus.adjoint` landed.

A recurrence needs no rule of its own. A loop reads ``h[t - 1]`` in step t, so

    dh_next[t] = Σ dv[t] · ∂v[t]/∂h[t - 1]      dh[t] = … + dh_next[t + 1]

with nothing after the last step: backpropagation through time (Werbos, 1990)
is the chain rule, read backwards in time. What reaches h before the first step
goes to its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sympy import Expr, Mul, S

from derive.algebra.indices import elements, free_indices, substitute
from derive.algebra.nodes import BATCH, Delta, Element, Index, Sum, Tensor
from derive.algebra.terms import Letters, Term
from derive.calculus.adjoint import (
    Adjoint,
    Context,
    Edge,
    adjoint_name,
    distributions,
    edges,
    partials,
    paths_to,
    through,
)
from derive.calculus.infinite import infinities
from derive.calculus.local import variables
from derive.language.layer import Carry, Layer, Parameter, Statement
from derive.language.loops import Loop, is_earlier, loops

__all__ = ["GIVEN", "LATER", "adjoints", "target_indices"]

GIVEN = "the result"
"""The name of the path by which the caller's own cotangent reaches an output."""

LATER = "the next step"
"""The name of the path by which a recurrence's cotangent comes back from the step that reads it earlier."""


def adjoints(
    layer: Layer,
    statements: Sequence[Statement],
    letters: Letters,
    naming: Callable[[str], str] = adjoint_name,
) -> list[Adjoint]:
    """Return the adjoint of every name that has one, outputs first, parameters last.

    An output that nothing else reads is its cotangent itself and has no entry;
    one that later statements read too has the cotangent among its paths.

    Args:
        layer: whose parameters and results they are.
        statements: in an order of computation, those of a loop side by side.
        letters: the source of bound indices.
        naming: says what the adjoint of a name is called.

    Raises:
        DerivationError: no derivative is known for a construct.
    """
    work = _Reverse(layer, statements, letters, naming)
    for piece in reversed(loops(statements)):
        if isinstance(piece, Loop):
            work.loop(piece)
        else:
            work.statement(piece)
            if piece.carry is not None:
                work.start(piece, S.Zero)
    chosen = target_indices(layer, statements)
    for parameter in layer.parameters:
        if parameter.kind.differentiable:
            work.parameter(parameter, chosen[parameter.name])
    assert not set(work.incoming) - set(work.defined) - {p.name for p in layer.parameters}
    return work.result


class _Reverse:
    """The adjoints found so far, and the reads of every name that wait for its turn.

    Attributes:
        incoming: for every name, (statement that reads it, edge).
        earlier: reads of a recurrence one step earlier from outside its loop, which may hit its start.
    """

    def __init__(
        self, layer: Layer, statements: Sequence[Statement], letters: Letters, naming: Callable[[str], str]
    ) -> None:
        self.layer = layer
        self.letters = letters
        self.naming = naming
        self.defined = {s.name: s for s in statements}
        self.distributions = distributions(statements)
        self.infinite = infinities(statements)
        self.incoming: dict[str, list[tuple[str, Edge]]] = {}
        self.earlier: dict[str, list[Edge]] = {}
        self.result: list[Adjoint] = []
        self.taken = {p.name for p in layer.parameters} | set(self.defined)
        self.taken |= {self.naming(name) for name in self.taken}

    def statement(self, statement: Statement, loop: Loop | None = None, later: Element | None = None) -> list[Edge]:
        """Take a statement's adjoint and note what it reads.

        Args:
            statement: it.
            loop: the loop that it belongs to.
            later: the cotangent that comes back from the next step, where there is one.

        Returns:
            the edges to elements of the loop one step earlier, which are not noted.
        """
        if not statement.kind.differentiable:
            return []
        name = statement.name
        symbol = self.naming(name)
        if name in self.incoming or later is not None:
            incoming = self.incoming.get(name, [])
            paths = paths_to(incoming, statement.indices, self.letters)
            if later is not None:
                paths = (*paths, (LATER, (Term.of_atom(later),)))
            if name in self.layer.returns:
                given = Element(Tensor(symbol), *statement.indices)
                paths = ((GIVEN, (Term.of_atom(given),)), *paths)
                symbol += "_total"
            local = partial(partials, incoming, self.defined)
            self.result.append(Adjoint(name, symbol, statement.indices, paths, local))
        elif name not in self.layer.returns:
            return []
        back: list[Edge] = []
        for edge in edges(Context(statement, self.letters, self.distributions, self.infinite), symbol):
            read = edge.element.name
            if loop is not None and read in loop.names and is_earlier(edge.element, self.defined[read]):
                back.append(edge)
                continue
            if self._may_hit_start(edge.element):
                self.earlier.setdefault(read, []).append(edge)
            self.incoming.setdefault(read, []).append((name, edge))
        return back

    def loop(self, loop: Loop) -> None:
        """Take the adjoints of the statements of a loop, and of what they read one step earlier."""
        if not any(s.name in self.incoming or s.name in self.layer.returns for s in loop.statements):
            return
        own = {s.name: s for s in loop.statements}
        carried = {
            element.name
            for statement in loop.statements
            if statement.kind.differentiable
            for element in elements(statement.expr)
            if element.name in own and element.kind.differentiable and is_earlier(element, own[element.name])
        }
        after = {name: self._fresh(f"{self.naming(name)}_next") for name in sorted(carried)}
        back: dict[str, list[tuple[str, Edge]]] = {name: [] for name in carried}
        for statement in reversed(loop.statements):
            later = None
            if statement.name in carried:
                later = _at(after[statement.name], statement, loop.index + loop.step)
            for edge in self.statement(statement, loop, later):
                back[edge.element.name].append((statement.name, edge))
        for statement in reversed(loop.statements):
            if statement.name not in carried:
                if statement.carry is not None:
                    self.start(statement, S.Zero)
                continue
            symbol = after[statement.name]
            here = [(via, replace(e, element=_here(e.element, statement))) for via, e in back[statement.name]]
            paths = paths_to(here, statement.indices, self.letters)
            local = partial(partials, back[statement.name], self.defined)
            carry = Carry(loop.index, -loop.step, S.Zero)
            self.result.append(Adjoint(statement.name, symbol, statement.indices, paths, local, carry))
            first = S.Zero if loop.step == 1 else loop.index.size - 1
            self.start(statement, _at(symbol, statement, first))

    def start(self, statement: Statement, cotangent: Expr) -> None:
        """Note what the start of a recurrence reads; ``cotangent`` reaches it through the first step."""
        assert statement.carry is not None
        index, rest = statement.carry.index, tuple(i for i in statement.indices if i != statement.carry.index)
        first = S.Zero if statement.carry.step == 1 else index.size - 1
        for edge in self.earlier.get(statement.name, []):
            (time,) = (i for i in edge.bound if _time(edge.element, statement) == i - statement.carry.step)
            places = [s for s, i in zip(edge.element.subscripts, statement.indices, strict=True) if i != index]
            # The letters of the reader are its own, whatever those of the start are called.
            fresh = {i: self.letters.fresh(i) for i in edge.bound if i != time}
            moved: dict[Expr, Expr] = {**fresh, time: first}
            deltas = [Delta(j, substitute(f, moved)) for j, f in zip(rest, places, strict=True)]
            inner = tuple(fresh.values())
            flow = Mul(substitute(edge.coefficient, moved), *deltas)
            cotangent = cotangent + (Sum(flow, *inner) if inner else flow)
        if cotangent == 0 or not variables(statement.carry.start):
            return
        context = Context(replace(statement, expr=statement.carry.start), self.letters, (), self.infinite)
        for edge in through(statement.carry.start, cotangent, rest, None, context):
            local = Mul(*(f for f in Mul.make_args(edge.coefficient) if f != cotangent))
            self.incoming.setdefault(edge.element.name, []).append((statement.name, replace(edge, local=local)))

    def parameter(self, parameter: Parameter, indices: tuple[Index, ...]) -> None:
        """Take the adjoint of a parameter."""
        name = parameter.name
        incoming = self.incoming.get(name, [])
        paths = paths_to(incoming, indices, self.letters)
        if name in self.layer.returns:
            given = Element(Tensor(self.naming(name) + "_out"), *indices)
            paths = ((GIVEN, (Term.of_atom(given),)), *paths)
        local = partial(partials, incoming, self.defined)
        self.result.append(Adjoint(name, self.naming(name), indices, paths, local))

    def _may_hit_start(self, element: Element) -> bool:
        statement = self.defined.get(element.name)
        if statement is None or statement.carry is None:
            return False
        place = _time(element, statement)
        return any(place == i - statement.carry.step for i in free_indices(place))

    def _fresh(self, wish: str) -> str:
        name, number = wish, 2
        while name in self.taken:
            name, number = f"{wish}{number}", number + 1
        self.taken.add(name)
        return name


def _time(element: Element, statement: Statement) -> Expr:
    """The subscript along the axis of a recurrence."""
    assert statement.carry is not None
    return element.subscripts[statement.indices.index(statement.carry.index)]


def _at(symbol: str, statement: Statement, time: Expr) -> Element:
    """``symbol[…]`` with the statement's letters, and ``time`` along the axis of its recurrence."""
    assert statement.carry is not None
    return Element(Tensor(symbol), *(time if i == statement.carry.index else i for i in statement.indices))


def _here(element: Element, statement: Statement) -> Element:
    """``h[t - 1, k]`` as ``h[t, k]``: the step that reads it is the one whose share it is."""
    assert statement.carry is not None
    index = statement.carry.index
    places = zip(element.subscripts, statement.indices, strict=True)
    return Element(element.tensor, *(index if i == index else s for s, i in places))


def target_indices(layer: Layer, statements: Sequence[Statement]) -> dict[str, tuple[Index, ...]]:
    """Choose the letters for every parameter's axes: those of a plain read, else i, j, k along a window.

    A read by the letters of a statement's left side comes before one by the
    letters of a reduction, which may be numbered.
    """
    parameters = {p.name: p for p in layer.parameters}
    chosen: dict[str, tuple[Index, ...]] = {}
    second: dict[str, tuple[Index, ...]] = {}
    partly: dict[str, dict[int, Index | None]] = {}
    for statement in statements:
        start = () if statement.carry is None else elements(statement.carry.start)
        for element in (*elements(statement.expr), *start):
            if element.name in parameters and element.name not in chosen:
                axes = parameters[element.name].axes
                plain = tuple(s for s in element.subscripts if isinstance(s, Index))
                distinct = len({p.name for p in plain}) == len(element.subscripts)
                if distinct and tuple(p.size for p in plain) == axes:
                    own = set(plain) <= set(statement.indices) or not any(p.name[-1].isdigit() for p in plain)
                    (chosen if own else second).setdefault(element.name, plain)
                elif element.name not in partly and len({p.name for p in plain}) == len(plain):
                    partly[element.name] = {
                        place: s if isinstance(s, Index) and s.size == axis else None
                        for place, (s, axis) in enumerate(zip(element.subscripts, axes, strict=True))
                        if not isinstance(s, Element) and not s.is_Integer
                    }
    names = {*parameters, *(h.name for h in layer.hypers), *(s.name for s in (*layer.statements, *statements))}
    return {
        name: chosen.get(name) or second.get(name) or _letters_of(p.axes, partly.get(name, {}), names)
        for name, p in parameters.items()
    }


def _letters_of(axes: Sequence[Expr], read: Mapping[int, Index | None], names: Iterable[str]) -> tuple[Index, ...]:
    """Return letters for axes: the one an axis is ``read`` with, another along a window (None), that of the size."""
    used = {*names, *(i.name for i in read.values() if i is not None)}
    indices: list[Index] = []
    for place, size in enumerate(axes):
        if size == BATCH.size:
            indices.append(BATCH)
            continue
        own = read.get(place)
        if own is None:
            first = size.name[0].lower() if size.is_Symbol and place not in read else "i"
            letter = next((c for c in (first, *"ijklmabcr") if c not in used), f"{first}{len(indices)}")
            used.add(letter)
            own = Index(letter, size)
        indices.append(own)
    return tuple(indices)
