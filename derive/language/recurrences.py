"""Recurrences: their starts, and the loops that they form.

``h[-1, n] = h0[n]`` comes first and gives h its start; then ``h[t, n]`` may
read ``h[t - 1, n]``, and so may the statements between. Which statements make
one loop follows from what they read (:mod:`derive.language.loops`); those of
one loop get one letter for its steps, whatever letters they were written with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Expr

from derive.algebra.indices import elements, fresh, substitute
from derive.algebra.nodes import BATCH_SIZE, Element, Index
from derive.algebra.text import show
from derive.errors import DerivationError, ShapeError, UnknownNameError
from derive.language.layer import Carry, Statement
from derive.language.letters import Letter
from derive.language.loops import Loop, flat, loops
from derive.language.ranges import Ranges
from derive.language.scope import Declared, Scope, Started, axes_text, count
from derive.language.tree import Expression, Number, Operation, Target, written

__all__ = ["carried", "check_start", "in_loops", "is_start", "stand_start_declared", "stand_started"]


def _is_before_first(node: Expression) -> bool:
    match node:
        case Operation(operator="neg", operands=(Number(value=value),)):
            return bool(value == 1)
    return False


def is_start(target: Target) -> bool:
    """Return whether a left side is that of a start, ``h[-1, n]``."""
    return any(map(_is_before_first, target.subscripts or ()))


def check_start(target: Target, scope: Scope) -> int:
    """Return the axis along which a recurrence starts.

    Raises:
        DerivationError: it has another start, or its equation stands before.
        UnknownNameError: it has no equation.
    """
    name, text = target.name.id, written(target.at)
    places = [k for k, s in enumerate(target.subscripts or ()) if _is_before_first(s)]
    if len(places) > 1:
        raise DerivationError(
            f"'{text}' starts along {len(places)} axes", target.at, "a recurrence runs along one axis: h[-1, n] = …"
        )
    first = scope.started.get(name)
    if first is not None and first.start is not None:
        if first.position != places[0]:
            raise DerivationError(
                f"'{name}' starts along two axes, {first.position} and {places[0]}", target.at,
                f"a recurrence runs along one axis; {first.story}",
            )  # fmt: skip
        raise DerivationError(f"'{name}' has two starts", target.at, f"the first is on line {first.at.line}")
    if name in scope.later and name in scope.tensors:
        raise DerivationError(
            f"the start of '{name}' comes after its equation", target.at,
            f"put it before line {scope.later[name].line}",
        )  # fmt: skip
    if name not in scope.later and name not in scope.tensors:
        raise UnknownNameError(
            f"'{name}' has a start and no equation", target.at, f"write {text.replace('-1', 't', 1)} = …"
        )
    return places[0]


def stand_start_declared(
    target: Target, letters: dict[str, Letter], declared: Declared, position: int, ranges: Ranges
) -> None:
    """Give the letters of a start the shape that was declared."""
    name = target.name.id
    shape = axes_text(declared.axes) if declared.axes else "a scalar"
    story = f"{name} is declared as {shape} on line {declared.at.line}"
    if len(declared.axes) != len(letters) + 1:
        raise ShapeError(
            f"'{name}' is declared with {count(len(declared.axes), 'axis', 'axes')} and has {len(letters) + 1} here",
            target.at,
            story,
        )
    axes = [(k, size) for k, size in enumerate(declared.axes) if k != position]
    for (axis, size), letter in zip(axes, letters.values(), strict=True):
        if (letter.name == "...") != (size == BATCH_SIZE):
            raise ShapeError(f"'...' stands for the batch axes, index '{letter.name}' for one", letter.at, story)
        ranges.subscripts.stand(letter, size, f"{name}, axis {axis}", letter.at, story)
        letter.declared = True


def stand_started(target: Target, letters: dict[str, Letter], started: Started, ranges: Ranges) -> None:
    """Give the letters of a recurrence's equation the shape of its start."""
    name = target.name.id
    if len(letters) != len(started.axes):
        raise ShapeError(
            f"'{name}' starts with {count(len(started.axes), 'axis', 'axes')} and has {len(letters)} here",
            target.at,
            started.story,
        )
    for position, (letter, size, other) in enumerate(zip(letters.values(), started.axes, started.letters, strict=True)):
        if (letter.name == "...") != (other is not None and other.name == "..."):
            raise ShapeError(
                f"'...' stands for the batch axes, index '{letter.name}' for one", letter.at, started.story
            )
        ranges.subscripts.stand(letter, size, f"{name}, axis {position}", letter.at, started.story)


def carried(statement: Statement, started: Started, scope: Scope) -> Statement:
    """Return the equation of a recurrence with its start."""
    letters: dict[Expr, Expr] = {}
    for index, letter in zip(statement.indices, started.letters, strict=True):
        if letter is not None:
            letters[scope.closed(letter)] = index
    assert started.start is not None
    start = substitute(scope.closed(started.start), letters)
    return replace(statement, carry=Carry(statement.indices[started.position], 1, start))


# Loops


def in_loops(statements: Sequence[Statement], scope: Scope) -> tuple[Statement, ...]:
    """Return the statements in an order of computation, those of a loop with one letter for its steps.

    Raises:
        DerivationError: statements read one another otherwise than one step earlier, or a start is of no use.
    """
    if all(s.carry is None for s in statements):
        return tuple(statements)
    try:
        pieces = loops(statements)
    except ValueError as cycle:
        _check_starts([s for s in statements if s.name in cycle.args], scope)
        raise _cycle(statements, cycle.args) from None
    looped: set[str] = set()
    result: list[Statement] = []
    for piece in pieces:
        if isinstance(piece, Loop):
            looped |= piece.names
            _check_starts(piece.statements, scope)
            result += _one_letter(piece, scope)
        else:
            result.append(piece)
    for statement in statements:
        if statement.carry is not None and statement.name not in looped:
            raise DerivationError(
                f"'{statement.name}' has a start and is no recurrence: nothing on the way to it reads "
                f"{_earlier(statement)}",
                scope.starts[statement.name].at,
                "remove the start, or read the earlier element",
            )
    return flat(loops(result))


def _check_starts(together: Sequence[Statement], scope: Scope) -> None:
    """Refuse the start of a recurrence that reads what is computed with it."""
    members = {s.name for s in together}
    for statement in together:
        if statement.carry is None:
            continue
        for element in elements(statement.carry.start):
            if element.name in members:
                raise DerivationError(
                    f"the start of '{statement.name}' reads '{element.name}', which is computed step by step with it",
                    scope.places.get((statement.name, element), statement.span),
                    "a start reads what is there before the first step",
                )


def _earlier(statement: Statement) -> str:
    assert statement.carry is not None
    time = statement.carry.index
    return show(Element(statement.tensor, *(i - 1 if i == time else i for i in statement.indices)))


def _cycle(statements: Sequence[Statement], names: Sequence[str]) -> DerivationError:
    first = next(s for s in statements if s.name in names)
    others = " and ".join(f"'{n}'" for n in names)
    return DerivationError(
        f"{others} need one another within one step", first.span,
        "of a recurrence only the earlier element is known: h[t - 1]",
    )  # fmt: skip


def _one_letter(loop: Loop, scope: Scope) -> list[Statement]:
    """Return the statements of a loop with the loop's letter for the steps."""
    times = _times(loop, scope)
    letter = loop.statements[0].indices[times[loop.statements[0].name]]
    found = []
    for statement in loop.statements:
        own = statement.indices[times[statement.name]]
        _check_reads(statement, own, loop, times, scope)
        found.append(_renamed(statement, own, letter))
    return found


def _times(loop: Loop, scope: Scope) -> dict[str, int]:
    """Return the axis along which each statement of a loop runs: that at which it reads another's steps."""
    members = {s.name: s for s in loop.statements}
    times = {s.name: s.indices.index(s.carry.index) for s in loop.statements if s.carry is not None}
    while len(times) < len(members):
        before = len(times)
        for statement in loop.statements:
            if statement.name in times:
                continue
            for element in elements(statement.expr):
                if element.name in times:
                    subscript = element.subscripts[times[element.name]]
                    own = next((i for i in statement.indices if subscript in (i, i - 1)), None)
                    if own is not None:
                        times[statement.name] = statement.indices.index(own)
                        break
        if len(times) == before:
            statement = next(s for s in loop.statements if s.name not in times)
            element = next(e for e in elements(statement.expr) if e.name in members)
            raise _not_a_step(statement, element, loop, scope)
    return times


def _check_reads(statement: Statement, own: Index, loop: Loop, times: dict[str, int], scope: Scope) -> None:
    """Refuse reads inside a loop other than of this step and, of a recurrence, the step before."""
    members = {s.name: s for s in loop.statements}
    for element in elements(statement.expr):
        if element.name not in members:
            continue
        subscript = element.subscripts[times[element.name]]
        recurrent = members[element.name].carry is not None
        if subscript == own or (subscript == own - 1 and recurrent):
            continue
        if subscript == own - 1:
            start = ", ".join("-1" if k == times[element.name] else i.name
                              for k, i in enumerate(members[element.name].indices))  # fmt: skip
            raise DerivationError(
                f"'{show(element)}' is one step earlier, and '{element.name}' has no start",
                scope.places.get((statement.name, element), statement.span),
                f"it is computed step by step with '{loop.statements[0].name}': "
                f"write {element.name}[{start}] = … before it",
            )
        raise _not_a_step(statement, element, loop, scope)


def _not_a_step(statement: Statement, element: Element, loop: Loop, scope: Scope) -> DerivationError:
    names = " and ".join(f"'{s.name}'" for s in loop.statements)
    return DerivationError(
        f"'{show(element)}' in the equation of '{statement.name}' is neither of the same step nor one step earlier",
        scope.places.get((statement.name, element), statement.span),
        f"{names} are computed together, step by step",
    )


def _renamed(statement: Statement, own: Index, letter: Index) -> Statement:
    if own == letter:
        return statement
    mapping: dict[Expr, Expr] = {own: letter}
    for other in statement.indices:
        if other.name == letter.name:
            mapping[other] = fresh(other, {i.name for i in statement.indices} | {letter.name})
    carry = statement.carry
    if carry is not None:
        carry = Carry(letter, carry.step, substitute(carry.start, mapping))
    return replace(
        statement,
        indices=tuple(mapping.get(i, i) for i in statement.indices),
        expr=substitute(statement.expr, mapping),
        carry=carry,
    )
