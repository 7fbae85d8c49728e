"""What is added at the first step of a recurrence alone is its start.

    ddh_next[t, n] = delta(0, t)*ddh0[n] + ddh[t - 1, n],   ddh[-1, n] = 0

is ``ddh[t - 1, n]`` with ``ddh[-1, n] = ddh0[n]``. This is how
the derivative by what reached the start of a recurrence comes back: the
transpose of ``dh0[n] = dh_next[0, n]``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, S

from derive.algebra.indices import elements, free_indices, rebuild, replace_elements, substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Delta, Element, Index
from derive.language.layer import Statement

__all__ = ["folded_starts"]


def folded_starts(statements: Sequence[Statement], results: Collection[str]) -> tuple[Statement, ...]:
    """Return the statements with terms of a first step alone as starts of the recurrences beside which they stand.

    A statement that is nothing but the recurrence one step earlier then goes, unless it is among ``results``.
    """
    result = list(statements)
    gone: set[str] = set()
    for place, statement in enumerate(statements):
        carry = statement.carry
        if carry is None or carry.start != 0:
            continue
        reading = [(k, e) for k, s in enumerate(result) for e in _earlier(s, statement)]
        if len(reading) != 1:
            continue
        ((reader, element),) = reading
        index = carry.index
        first = S.Zero if carry.step == 1 else index.size - 1
        expr, start = _split(result[reader].expr, element, index, first)
        letters = [(e, i) for e, i in zip(element.subscripts, statement.indices, strict=True) if i != index]
        if start == 0 or not all(isinstance(e, Index) for e, _ in letters) or len(dict(letters)) < len(letters):
            continue
        if not free_indices(start) <= {e for e, _ in letters}:
            continue
        own = tuple(i for _, i in letters)
        result[reader] = replace(result[reader], expr=expr)
        start = readable(substitute(start, dict(letters)), own)
        result[place] = replace(result[place], carry=replace(carry, start=start))
        copy = result[reader]
        if expr == element and copy.carry is None and copy.name not in results:
            gone.add(copy.name)
            result = [_reading(s, copy, element) for s in result]
    return tuple(s for s in result if s.name not in gone)


def _reading(statement: Statement, copy: Statement, original: Element) -> Statement:
    """Return the statement with reads of the original for those of its copy."""

    def read(element: Element) -> Expr | None:
        if element.name != copy.name:
            return None
        return substitute(original, dict(zip(copy.indices, element.subscripts, strict=True)))

    carry = statement.carry
    if carry is not None:
        carry = replace(carry, start=replace_elements(carry.start, read))
    return replace(statement, expr=replace_elements(statement.expr, read), carry=carry)


def _earlier(statement: Statement, source: Statement) -> list[Element]:
    """Return what ``statement`` reads of the recurrence ``source`` at any other than its own step."""
    assert source.carry is not None
    place = source.indices.index(source.carry.index)
    reads = [e for e in elements(statement.expr) if e.name == source.name]
    if statement.carry is not None:
        reads += [e for e in elements(statement.carry.start) if e.name == source.name]
    return [e for e in reads if not isinstance(e.subscripts[place], Index)]


def _split(expr: Expr, element: Element, index: Index, first: Expr) -> tuple[Expr, Expr]:
    """Return the expression without the terms of the first step beside ``element``, and these."""
    if not expr.args or isinstance(expr, Element):
        return expr, S.Zero
    if isinstance(expr, Add) and element in expr.args:
        delta = Delta(first, index)
        here = [a for a in expr.args if delta in Mul.make_args(a)]
        values = [Mul(*(f for f in Mul.make_args(a) if f != delta)) for a in here]
        if not here or any(index in free_indices(v) for v in values):
            return expr, S.Zero
        return Add(*(a for a in expr.args if a not in here)), Add(*values)
    args: list[Expr] = []
    start: Expr = S.Zero
    for arg in expr.args:
        new, found = _split(arg, element, index, first)
        args.append(new)
        start = start if found == 0 else found
    return rebuild(expr, args), start
