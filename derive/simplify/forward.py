"""The forward statements that a program computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from sympy import Expr

from derive.algebra.indices import names, replace_elements, substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Element
from derive.calculus.differentiate import Staged
from derive.language.layer import Statement
from derive.language.loops import Loop, loops

__all__ = ["forward_statements", "read_statements"]


def forward_statements(staged: Staged, backward: Sequence[Statement]) -> tuple[Statement, ...]:
    """Keep the forward statements that are read; write automatic names that one reader has back into it.

    Readers are met before what they read, so one pass from the end settles all.
    """
    return read_statements(staged.forward, staged.automatic, backward, staged.layer.returns)


def read_statements(
    statements: Sequence[Statement],
    automatic: Container[str],
    readers: Iterable[Statement],
    roots: Iterable[str] = (),
) -> tuple[Statement, ...]:
    """Keep the statements that ``readers`` read, directly or through others, and those named in ``roots``."""
    read: set[str] = set(roots)
    for statement in readers:
        read |= statement.reads
    live = _live(statements, read)
    loop_of = {s.name: piece for piece in loops(statements) if isinstance(piece, Loop) for s in piece.statements}
    kept: list[Statement] = []
    counts: Counter[str] = Counter()
    for statement in reversed(statements):
        name = statement.name
        if name not in live:
            continue
        place = None
        if name in automatic and name not in read and counts[name] == 1:
            # What is computed for all steps at once is not written into a loop.
            near = (k for k, reader in enumerate(kept) if name in names(reader.expr))
            place = next((k for k in near if loop_of.get(kept[k].name) is loop_of.get(name)), None)
        if place is None:
            kept.append(statement)
        else:
            kept[place] = _written_back(statement, kept[place])
        counts.update(_occurrences(statement.expr))
        if statement.carry is not None:
            counts.update(_occurrences(statement.carry.start))
    return tuple(reversed(kept))


def _live(statements: Sequence[Statement], roots: Iterable[str]) -> set[str]:
    """Return the names that the roots read, directly or through others."""
    defined = {s.name: s for s in statements}
    live: set[str] = set()
    work = [name for name in roots if name in defined]
    while work:
        name = work.pop()
        if name not in live:
            live.add(name)
            work += [n for n in defined[name].reads if n in defined]
    return live


def _occurrences(expr: Expr) -> list[str]:
    found = [expr.name] if isinstance(expr, Element) else []
    for arg in expr.args:
        found += _occurrences(arg)
    return found


def _written_back(gone: Statement, reader: Statement) -> Statement:
    """Return the reader with the definition of ``gone`` in place of its name."""

    def definition(element: Element) -> Expr | None:
        if element.name != gone.name:
            return None
        return substitute(gone.expr, dict(zip(gone.indices, element.subscripts, strict=True)))

    return replace(reader, expr=readable(replace_elements(reader.expr, definition), reader.indices))
