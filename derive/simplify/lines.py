"""Backward statements in the making: a target and its terms."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from derive.algebra.indices import names
from derive.algebra.letters import readable
from derive.algebra.nodes import Element, Index
from derive.algebra.terms import Terms, as_expr, term_names
from derive.language.layer import Carry, Statement
from derive.language.loops import flat, loops
from derive.simplify.structure import expression

__all__ = ["Line", "expanded", "in_order", "indices_of", "needed", "statement_of"]


@dataclass(frozen=True)
class Line:
    """``target = Σ terms``; ``carry`` makes it a recurrence."""

    target: Element
    terms: Terms
    carry: Carry | None = None

    @property
    def name(self) -> str:
        """The name on the left side."""
        return self.target.name

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names on the right side, and in the start of a recurrence."""
        start = names(self.carry.start) if self.carry is not None else frozenset()
        return start.union(*map(term_names, self.terms))


def indices_of(target: Element) -> tuple[Index, ...]:
    """Return the letters of a left side."""
    return tuple(s for s in target.subscripts if isinstance(s, Index))


def statement_of(line: Line, results: Container[str] = ()) -> Statement:
    """Return the line as it is computed: common factors taken out, letters that people read."""
    indices = indices_of(line.target)
    return Statement(line.name, indices, readable(expression(line.terms, results), indices), carry=line.carry)


def expanded(line: Line) -> Statement:
    """Return the line term by term."""
    return Statement(line.name, indices_of(line.target), as_expr(line.terms), carry=line.carry)


def needed(lines: Sequence[Line], roots: Iterable[str]) -> list[Line]:
    """Drop the lines that no wanted gradient reads, directly or through others."""
    by_name = {line.name: line for line in lines}
    live: set[str] = set()
    work = [name for name in roots if name in by_name]
    while work:
        name = work.pop()
        if name not in live:
            live.add(name)
            work += [n for n in by_name[name].reads if n in by_name]
    return [line for line in lines if line.name in live]


def in_order(lines: Sequence[Line]) -> list[Line]:
    """Order the lines so that each is computed before it is read, otherwise as given."""
    by_name = {line.name: line for line in lines}
    if any(line.carry is not None for line in lines):
        return [by_name[s.name] for s in flat(loops([expanded(line) for line in lines]))]
    place = {line.name: k for k, line in enumerate(lines)}
    done: dict[str, Line] = {}

    def visit(line: Line) -> None:
        if line.name in done:
            return
        for name in sorted(line.reads & by_name.keys() - {line.name}, key=place.__getitem__):
            visit(by_name[name])
        done[line.name] = line

    for line in lines:
        visit(line)
    return list(done.values())
