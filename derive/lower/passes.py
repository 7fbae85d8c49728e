"""Further functions of a module beside backward, lowered with it.

All functions read one cache, so they have to agree how an array of the forward
pass is stored. Their statements are therefore appended to those of backward,
each name with its function's in front (``hvp.dz``, which no layer can say), and
lowered together; what comes out is divided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from sympy import Expr

from derive.algebra.indices import rebuild
from derive.algebra.nodes import Element, Tensor
from derive.calculus.program import Pass, Program
from derive.language.layer import Statement
from derive.lower.plan import Piece, Shifted

__all__ = ["by_function", "function_of", "joined", "local_name", "localized", "owners", "qualified"]

_DOT = "."


def qualified(function: str, name: str) -> str:
    """Return the name that a function's own ``name`` has among those of all functions."""
    return f"{function}{_DOT}{name}"


def local_name(name: str) -> str:
    """Return a name as its function says it."""
    return name.rpartition(_DOT)[2]


def function_of(name: str) -> str:
    """Return the function that a name belongs to; "" for backward and forward."""
    return name.rpartition(_DOT)[0]


def joined(program: Program) -> Program:
    """Return the program with the statements and results of its further functions appended to backward's."""
    statements = [s for p in program.passes for s in _qualified_statements(p)]
    results = [(of, qualified(p.name, name)) for p in program.passes for of, name in p.results]
    return replace(program, backward=(*program.backward, *statements), gradients=(*program.gradients, *results))


def by_function(statements: Sequence[Statement]) -> list[tuple[str, list[Statement]]]:
    """Divide statements by the functions that they belong to, in order; backward's come first in any case."""
    found: dict[str, list[Statement]] = {"": []}
    for statement in statements:
        found.setdefault(function_of(statement.name), []).append(statement)
    return list(found.items())


def owners(pieces: Sequence[Piece], owner: Mapping[str, str]) -> list[str]:
    """Return the function that each piece of a plan belongs to.

    Args:
        pieces: of backward and the further functions, one function after the other.
        owner: the function of each statement; what was split off a piece comes right before it.
    """
    result: list[str] = []
    current = ""
    for piece in reversed(pieces):
        current = next((owner[name] for name in _names(piece) if name in owner), current)
        result.append(current)
    return result[::-1]


def _names(piece: Piece) -> Iterator[str]:
    if isinstance(piece, Statement):
        yield piece.name
    elif isinstance(piece, Shifted):
        yield piece.store.name
    else:
        for step in piece.steps:
            yield step.statement.name
            if step.store is not None:
                yield step.store.name


def localized(statement: Statement) -> Statement:
    """Return a statement with the names as its function says them."""
    return _renamed(statement, local_name) if function_of(statement.name) else statement


def _qualified_statements(function: Pass) -> list[Statement]:
    own = {s.name for s in function.statements} | {name for name, _ in function.given}

    def change(name: str) -> str:
        return qualified(function.name, name) if name in own else name

    return [_renamed(s, change) for s in function.statements]


def _renamed(statement: Statement, change: Callable[[str], str]) -> Statement:
    def visit(expr: Expr) -> Expr:
        if not expr.args:
            return expr
        expr = rebuild(expr, map(visit, expr.args))
        if isinstance(expr, Element) and change(expr.name) != expr.name:
            return Element(Tensor(change(expr.name), expr.kind), *expr.subscripts)
        return expr

    carry = statement.carry
    if carry is not None:
        carry = replace(carry, start=visit(carry.start))
    return replace(statement, name=change(statement.name), expr=visit(statement.expr), carry=carry)
