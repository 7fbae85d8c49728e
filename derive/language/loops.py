"""Which statements form a loop: recurrences that read one another's earlier elements.

A recurrence (a statement with a :class:`~derive.language.layer.Carry`) and the
statements on the way from its earlier element back to it have to be computed
step by step; everything else is computed for all steps at once, before or
after. So a loop is a strongly connected component of "reads", and nothing has
to be marked by hand: of an LSTM, the gates belong to the loop and the products
with the inputs do not.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sympy import Expr

from derive.algebra.indices import elements, names
from derive.algebra.nodes import Element, Index
from derive.language.layer import Statement

__all__ = ["Loop", "flat", "is_earlier", "loops"]


@dataclass(frozen=True, slots=True)
class Loop:
    """Statements that are computed together, one step after the other.

    Attributes:
        index: the letter of the axis; every statement has it among its indices.
        step: 1 for steps 0, 1, …; -1 for the last step first.
        statements: in the order of computation within a step; those with a
            ``carry`` may be read one step earlier.
    """

    index: Index
    step: int
    statements: tuple[Statement, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names that the loop computes."""
        return frozenset(s.name for s in self.statements)


def is_earlier(element: Element, statement: Statement) -> bool:
    """Return whether ``element`` reads the recurrence ``statement`` one step before the step ``carry.index``."""
    carry = statement.carry
    if carry is None or element.name != statement.name:
        return False
    place = statement.indices.index(carry.index)
    return bool(element.subscripts[place] == carry.index - carry.step)


def loops(statements: Sequence[Statement]) -> tuple[Statement | Loop, ...]:
    """Return the statements in an order of computation, those of a loop gathered.

    Statements without a recurrence among them come back as they are. Otherwise
    each comes after what it reads, and as early as its place allows.

    Raises:
        ValueError: statements read one another without a recurrence between them;
            its arguments are their names.
    """
    if all(s.carry is None for s in statements):
        return tuple(statements)
    defined = {s.name: s for s in statements}
    reads = {s.name: _reads(s) & defined.keys() for s in statements}
    readers: dict[str, set[str]] = {name: set() for name in defined}
    for name, read in reads.items():
        for other in read:
            readers[other].add(name)
    owner: dict[str, str] = {name: name for name in defined}
    for statement in statements:
        if statement.carry is None or owner[statement.name] != statement.name:
            continue
        before, after = _reached(statement.name, reads), _reached(statement.name, readers)
        if statement.name in before:
            for name in before & after:
                owner[name] = statement.name
    members: dict[str, list[Statement]] = {}
    for statement in statements:
        members.setdefault(owner[statement.name], []).append(statement)
    pieces: dict[str, Statement | Loop] = {}
    for first, group in members.items():
        carry = defined[first].carry
        if len(group) > 1 or first in reads[first]:
            assert carry is not None
            pieces[first] = Loop(carry.index, carry.step, _within(group))
        else:
            pieces[first] = group[0]
    needs = {key: {owner[r] for s in group for r in reads[s.name]} - {key} for key, group in members.items()}
    for first, group in members.items():
        for statement in group:
            if statement.carry is not None:
                needs[first] |= {owner[r] for r in names(statement.carry.start) & defined.keys()} - {first}
    return tuple(pieces[key] for key in _ordered(list(members), needs))


def flat(pieces: Iterable[Statement | Loop]) -> tuple[Statement, ...]:
    """Return all statements of :func:`loops` in their order."""
    return tuple(s for piece in pieces for s in (piece.statements if isinstance(piece, Loop) else (piece,)))


def _reads(statement: Statement) -> frozenset[str]:
    return names(statement.expr)


def _reached(name: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Return what can be reached from a name; the name itself only through a cycle."""
    found: set[str] = set()
    work = list(edges[name])
    while work:
        other = work.pop()
        if other not in found:
            found.add(other)
            work += edges[other]
    return found


def _within(group: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return the statements of a loop in the order of computation within a step."""
    defined = {s.name: s for s in group}
    needs: dict[str, set[str]] = {}
    for statement in group:
        now: set[str] = set()
        for element in elements(statement.expr):
            if element.name in defined and not _is_before(element, defined[element.name]):
                now.add(element.name)
        needs[statement.name] = now
    return tuple(defined[name] for name in _ordered(list(defined), needs))


def _is_before(element: Element, statement: Statement) -> bool:
    """Return whether the element is that of an earlier step, whatever the letter of the reader's axis."""
    carry = statement.carry
    if carry is None:
        return False
    subscript: Expr = element.subscripts[statement.indices.index(carry.index)]
    return any(subscript == index - carry.step for index in subscript.free_symbols if isinstance(index, Index))


def _ordered(keys: Sequence[str], needs: Mapping[str, set[str]]) -> list[str]:
    """Return the keys so that each comes after what it needs, otherwise as given."""
    place = {key: k for k, key in enumerate(keys)}
    left = {key: len(needs[key] & place.keys()) for key in keys}
    waiting: dict[str, list[str]] = {key: [] for key in keys}
    for key in keys:
        for need in needs[key] & place.keys():
            waiting[need].append(key)
    ready = [place[key] for key in keys if left[key] == 0]
    heapq.heapify(ready)
    result: list[str] = []
    while ready:
        key = keys[heapq.heappop(ready)]
        result.append(key)
        for other in waiting[key]:
            left[other] -= 1
            if left[other] == 0:
                heapq.heappush(ready, place[other])
    if len(result) < len(keys):
        raise ValueError(*(key for key in keys if key not in result))
    return result
