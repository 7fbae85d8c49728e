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
        read |= names(statement.expr)
    kept: list[Statement] = []
    counts: Counter[str] = Counter()
    for statement in reversed(statements):
        name = statement.name
        if name not in read and not counts[name]:
            continue
        if name in automatic and name not in read and counts[name] == 1:
            place = next(k for k, reader in enumerate(kept) if name in names(reader.expr))
            kept[place] = _written_back(statement, kept[place])
        else:
            kept.append(statement)
        counts.update(_occurrences(statement.expr))
    return tuple(reversed(kept))


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
