"""Reads of a recurrence before it is computed: of the step before, or an error that says what they are instead."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, S

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Index
from derive.errors import DerivationError
from derive.language.scope import Scope, Started
from derive.language.tree import Expression, Operation, Read, written

__all__ = ["check_earlier", "without_start"]

Form = Callable[[Expression], Expr | None]


def check_earlier(read: Read, started: Started, form: Form, left: frozenset[str], scope: Scope) -> None:
    """Refuse a read of an unfinished recurrence that is not one step earlier.

    Args:
        read: the element.
        started: the recurrence.
        form: gives a subscript as an expression of letters.
        left: the letters of the left side.
        scope: what names stand for.
    """
    name, text = started.name, written(read.at)
    node = read.subscripts[started.position]
    value = form(node)
    if scope.starting:
        raise DerivationError(
            f"the start of '{scope.current}' reads '{name}', which is not computed yet", read.at,
            f"its equation is on line {scope.later[name].line}",
        )  # fmt: skip
    along = _earlier_axis(read, started, form)
    if along is not None and value is not None and value.is_Symbol:
        raise DerivationError(
            f"'{text}' is earlier along axis {along}, and '{name}' runs along axis {started.position}", read.at,
            f"a recurrence runs along one axis; {started.story}",
        )  # fmt: skip
    hint = f"a recurrence reads one step earlier: {started.earlier('t')}"
    free = free_indices(value) if value is not None else frozenset()
    if value is None or len(free) != 1:
        raise DerivationError(f"'{text}' is not one step earlier", node.at, hint)
    (index,) = free
    if index.name not in left:
        raise DerivationError(
            f"'{text}' reads many steps of '{name}' at once, before they are computed", node.at,
            f"'{index.name}' has to be on the left; {hint}",
        )  # fmt: skip
    lag = index - value
    if lag == 1:
        return
    if lag == 0:
        raise DerivationError(
            f"'{text}' is read before it is computed", node.at,
            f"a recurrence reads one step earlier: {started.earlier(index.name)}",
        )  # fmt: skip
    if not lag.is_Integer:
        raise DerivationError(f"'{text}' is not one step earlier", node.at, hint)
    if lag < 0:
        raise DerivationError(
            f"'{text}' reads the future of '{name}'", node.at,
            f"steps run from the first to the last; backwards in time, read the inputs at T - 1 - {index.name}",
        )  # fmt: skip
    raise DerivationError(
        f"'{text}' is {lag} steps earlier", node.at,
        f"carry a copy: g[{index.name}] = {name}[{index.name} - 1] with a start of its own, "
        f"then g[{index.name} - 1] is two steps earlier",
    )  # fmt: skip


def _earlier_axis(read: Read, started: Started, form: Form) -> int | None:
    """Return another axis than that of the steps along which a read is one earlier."""
    for position, subscript in enumerate(read.subscripts):
        if position != started.position and isinstance(subscript, Operation):
            value = form(subscript)
            if value is not None and isinstance(value + 1, Index):
                return position
    return None


def without_start(node: Read, form: Form, scope: Scope) -> DerivationError:
    """Return the error of a name that reads itself and has not been started."""
    name = node.name.id
    lags: list[Expr] = []
    for subscript in node.subscripts:
        value = form(subscript)
        letters = sorted(free_indices(value), key=lambda i: i.name) if value is not None else []
        index = letters[0] if letters else None
        lags.append(index - value if index is not None else S.Zero)
    if scope.starting:
        return DerivationError(
            f"the start of '{name}' reads '{name}'", node.at, "it is what stands before the first step"
        )
    if name in scope.starts:
        return DerivationError(
            f"the start of '{name}' comes after its equation", scope.starts[name].at,
            f"put it before line {node.at.line}",
        )  # fmt: skip
    if any(lag.is_Integer and lag < 0 for lag in lags):
        return DerivationError(
            f"'{name}' reads its own future, '{written(node.at)}'", node.at,
            "a recurrence reads one step earlier; backwards in time, read the inputs at T - 1 - t",
        )  # fmt: skip
    if any(lag != 0 for lag in lags):
        start = ", ".join("-1" if lag != 0 else written(s.at) for lag, s in zip(lags, node.subscripts, strict=True))
        return DerivationError(
            f"'{name}' reads its earlier elements and has no start", node.at, f"write {name}[{start}] = … before it"
        )
    return DerivationError(
        f"'{name}' reads itself", node.at,
        f"a recurrence reads one step earlier, {name}[t - 1], and has a start, {name}[-1] = …",
    )  # fmt: skip
