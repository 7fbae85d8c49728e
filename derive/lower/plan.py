"""How recurrences are computed, as data: loops, what their steps compute, and the arrays that keep it.

Made by :mod:`derive.lower.recurrence`, which says what is kept and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sympy import Expr, Integer, S

from derive.algebra.indices import names
from derive.algebra.nodes import Element, Hyper, Index, Kind
from derive.language.layer import Statement

__all__ = ["Counter", "Piece", "Plan", "Shifted", "Start", "Step", "Store", "Unrolled"]


class Counter(Hyper):
    """The number of the step inside a loop: a Python integer."""

    __slots__ = ()

    def __new__(cls, name: str) -> Counter:
        return cls._make(name, Kind.INT, integer=True, nonnegative=True)


@dataclass(frozen=True, slots=True)
class Store:
    """An array with the values of a name at every step.

    Attributes:
        name: of the array.
        indices: its axes; that of time has one row more than there are steps where the start is kept.
        axis: the place of time.
        shift: the row of step 0.
        longer: whether the start has a row.
        kind: of the elements.
    """

    name: str
    indices: tuple[Index, ...]
    axis: int
    shift: int
    longer: bool
    kind: Kind

    def row(self, step: Expr) -> Expr:
        """Return the row of a step; of the last row, -1."""
        place = step + self.shift
        return Integer(-1) if place == self.indices[self.axis].size - 1 else place

    def at(self, step: Expr) -> tuple[Expr, ...]:
        """Return the subscripts of all elements of a step."""
        return tuple(self.row(step) if k == self.axis else i for k, i in enumerate(self.indices))

    def read(self, element: Element) -> Element:
        """Return the element of the array for an element of the name."""
        old = element.subscripts
        return Element(element.tensor, *(self.row(s) if k == self.axis else s for k, s in enumerate(old)))


@dataclass(frozen=True, slots=True)
class Start:
    """What a recurrence has before its first step: a local of that value, or a row of an array."""

    statement: Statement
    store: Store | None = None
    row: Expr = S.Zero


@dataclass(frozen=True, slots=True)
class Step:
    """A statement inside a loop, without the axis of time.

    Attributes:
        statement: what is computed; its name is that of a local.
        store: the array that keeps it, at ``row``; None where nobody else reads it.
        named: whether the local has to exist besides (others of the loop read it under its name).
        before: the name under which the local's earlier value is kept, where it is read after it has changed.
    """

    statement: Statement
    store: Store | None = None
    row: Expr = S.Zero
    named: bool = True
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Unrolled:
    """A loop: what comes before it, and the statements of a step, in order."""

    counter: Counter
    size: Expr
    step: int
    starts: tuple[Start, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Shifted:
    """A recurrence that does not read itself: all steps at once, under a name of its own, and the start."""

    statement: Statement
    start: Start
    store: Store


Piece = Statement | Unrolled | Shifted


@dataclass(frozen=True, slots=True)
class Plan:
    """Statements and loops in an order of computation, for both functions.

    Attributes:
        forward, backward: plain statements read stored names at rows.
        stores: the arrays of what is stored, by name.
        fixed: names whose arrays must have exactly their own axes.
        last: locals whose value after the last step is read.
    """

    forward: tuple[Piece, ...]
    backward: tuple[Piece, ...]
    stores: Mapping[str, Store]
    fixed: frozenset[str]
    last: frozenset[str] = frozenset()

    @property
    def unrolled(self) -> bool:
        """Whether there is a loop."""
        return any(isinstance(piece, Unrolled) for piece in (*self.forward, *self.backward))

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Every statement as it is lowered, those inside loops too."""
        return tuple(s for piece in (*self.forward, *self.backward) for s in _statements(piece))

    @property
    def read_backward(self) -> frozenset[str]:
        """The names that backward reads."""
        found: frozenset[str] = frozenset()
        for piece in self.backward:
            found = found.union(*(names(s.expr) for s in _statements(piece)))
        return found

    def axes(self, pieces: Iterable[Piece]) -> dict[str, tuple[Index, ...]]:
        """Return the axes of all that the pieces define, in order."""
        result: dict[str, tuple[Index, ...]] = {}
        for piece in pieces:
            if isinstance(piece, Statement):
                result[piece.name] = piece.indices
                continue
            if isinstance(piece, Shifted):
                result[piece.statement.name] = piece.statement.indices
                result[piece.store.name] = piece.store.indices
                continue
            for step in piece.steps:
                indices = step.statement.indices
                for name in (step.statement.name, step.before):
                    if name is not None:
                        result[name] = indices
                if step.store is not None:
                    result[step.store.name] = step.store.indices
        return result


def _statements(piece: Piece) -> tuple[Statement, ...]:
    if isinstance(piece, Statement):
        return (piece,)
    if isinstance(piece, Shifted):
        return (piece.start.statement, piece.statement)
    return (*(s.statement for s in piece.starts), *(s.statement for s in piece.steps))
