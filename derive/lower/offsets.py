"""Reductions of windows: a loop over their offsets, each step of which is about whole arrays.

    y[n, p] = max[r: k](x[n, p*stride + r])

        y = np.full((N, P), -np.inf, dtype=x.dtype)
        for r in range(k):
            np.maximum(y, x[:, r : r + P * stride : stride], out=y)

A reduction of a view of windows along its short last axes takes 10 to 30 times
as long. Where the offsets are axes of the result (the weights of a depthwise
convolution), each step gives one of its rows. Contractions are another matter,
they are matrix products (:mod:`derive.lower.grouped`). Norms, log-sum-exps,
variances and softmaxes of windows are computed from the view, as of any array:
their differences from a largest element or a mean are as large as all windows.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, S

from derive.algebra.functions import Eq
from derive.algebra.indices import rebuild, substitute
from derive.algebra.nodes import Element, Index, Max, Mean, Min, Prod, Reduction, Sum, Tensor
from derive.language.layer import Statement
from derive.lower.affine import Ranges
from derive.lower.arrays import Assign, Dtype, Empty, Entry, Fill, InPlace, Instruction, Number, Update
from derive.lower.expressions import Expressions, as_real, contracts, separate
from derive.lower.layout import natural_order
from derive.lower.prepare import settled
from derive.lower.scalars import is_number
from derive.lower.scatter import has_delta
from derive.lower.unwindow import nested
from derive.lower.windows import offset_letters

__all__ = ["over_offsets", "windows_apart"]

# How a reduction goes on from what it has, and what it starts with.
_STEPS: dict[type[Expr], tuple[str, Expr]] = {
    Sum: ("+", S.Zero), Mean: ("+", S.Zero), Prod: ("*", S.One),
    Max: ("max", S.NegativeInfinity), Min: ("min", S.Infinity),
}  # fmt: skip


def windows_apart(
    statements: Iterable[Statement],
    ranges: Ranges,
    shapes: Mapping[str, Sequence[Expr]],
    taken: set[str],
    left: Container[str] = (),
) -> tuple[Statement, ...]:
    """Give a statement of its own to every reduction that is to be a loop over the offsets of windows.

    Args:
        statements: of one function, in order; padded reads have been replaced.
        ranges: what is known of the sizes.
        shapes: the axes of every tensor that they read.
        taken: the names in use; new ones are added.
        left: statements that stay as they are.
    """
    statements = tuple(statements)
    shapes = {**shapes, **{s.name: s.axes for s in statements}}
    result: list[Statement] = []
    for statement in statements:
        if statement.name in left:
            result.append(statement)
            continue
        known: dict[Expr, Expr] = {}
        made: list[Statement] = []

        def named(expr: Expr, indices: Sequence[Index], known: dict[Expr, Expr] = known,
                  made: list[Statement] = made) -> Expr:  # fmt: skip
            if expr not in known:
                order = natural_order([expr], indices)
                stem = "ties" if isinstance(expr, Reduction) and isinstance(expr.body, Eq) else "total"
                name, number = stem, 2
                while name in taken:
                    name, number = f"{stem}{number}", number + 1
                taken.add(name)
                made.append(Statement(name, order, expr))
                known[expr] = Element(Tensor(name), *order)
            return known[expr]

        def visit(expr: Expr, indices: Sequence[Index], whole: bool) -> Expr:
            if not expr.args or isinstance(expr, Element):
                return expr
            inner = whole and isinstance(expr, Mul) and sum(not is_number(a) for a in expr.args) == 1
            expr = rebuild(expr, (visit(a, indices, inner) for a in expr.args))
            if not isinstance(expr, Reduction) or not _letters(ranges, shapes, expr):
                return expr
            outside: Expr = S.One
            if isinstance(expr, (Sum, Mean)):
                outside, body = separate(expr.body, expr.indices)
                expr = expr.func(body, *expr.indices)
            if whole and outside == 1:
                return expr
            return outside * named(expr, indices)

        terms = [t for t in Add.make_args(statement.expr) if not has_delta(t)]
        if len(terms) == 1 and terms[0] != statement.expr:  # the others are added to what this one gives
            rest = visit(statement.expr - terms[0], statement.indices, False)
            expr = visit(terms[0], statement.indices, True) + rest
        else:
            expr = visit(statement.expr, statement.indices, True)
        result += made
        result.append(replace(statement, expr=expr))
    return tuple(result)


def _letters(ranges: Ranges, shapes: Mapping[str, Sequence[Expr]], expr: Reduction) -> tuple[Index, ...]:
    """Return the offsets over which a reduction is to be a loop; none where it is not."""
    if type(expr) not in _STEPS or expr.is_integer:
        return ()
    if isinstance(expr, (Sum, Mean)):
        terms = expr.body.args if expr.body.is_Add else (expr.body,)
        if any(contracts(t, expr.indices) for t in terms):
            return ()
    return tuple(sorted(offset_letters(ranges, expr.body, shapes), key=lambda i: i.name))


def over_offsets(lowerer: Expressions, statement: Statement) -> list[Instruction] | None:
    """Return the loop for a statement that is a reduction of windows, times a number; None for any other."""
    numbers = Mul(*(f for f in Mul.make_args(statement.expr) if is_number(f)))
    expr = statement.expr / numbers
    if not isinstance(expr, Reduction) or not statement.kind.differentiable:
        return None
    letters = _letters(lowerer.ranges, lowerer.shapes, expr)
    if not letters:
        return None
    bound = tuple(i for i in letters if i in expr.indices)
    rows = tuple(i for i in letters if i in statement.indices)
    if len(bound) + len(rows) < len(letters) or (bound and rows):
        return None
    name, indices = statement.name, statement.indices
    counters = {i: lowerer.counter(i) for i in letters}
    if rows:
        left = tuple(i for i in indices if i not in rows)
        value = as_real(lowerer.lower(substitute(statement.expr, dict(counters)), left))
        where: tuple[Entry, ...] = tuple(counters.get(i) for i in indices)
        update = Update(name, indices, indices, where, (), "", value)
        return [Assign(name, Empty(indices, Dtype.REAL)), *nested(counters, [update])]
    rest = tuple(i for i in expr.indices if i not in bound)
    kind = Sum if isinstance(expr, Mean) else type(expr)
    body = substitute(expr.body, dict(counters))
    step = lowerer.lower(settled(kind(body, *rest)) if rest else body, indices)
    if step.dtype is Dtype.INT:
        step = as_real(step)
    op, start = _STEPS[type(expr)]
    if isinstance(expr, Mean):
        numbers /= expr.count
    code: list[Instruction] = [
        Assign(name, Fill(indices, Dtype.REAL, value=start)),
        *nested(counters, [InPlace(name, op, step)]),
    ]
    if numbers != 1:
        top, bottom = numbers.as_numer_denom()
        factor, by = (bottom, "/") if top == 1 else (numbers, "*")
        code.append(InPlace(name, by, Number((), Dtype.NUMBER, value=factor)))
    return code
