"""Give a statement of its own to what needs more than one line of NumPy.

``loss = -mean[n](log_softmax[c](z[n, c])…)`` becomes ``logp[n, c] = log_softmax[c](z[n, c])`` and a
statement that reads ``logp``. Softmax and log-softmax are such, and functions
whose spelling repeats an argument that is not a plain read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import sympy
from sympy import Expr, S

from derive.algebra.functions import BY_CLASS
from derive.algebra.indices import free_indices, names, rebuild, replace_elements, substitute
from derive.algebra.nodes import (
    ArgMax,
    Element,
    Index,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Norm,
    Padded,
    Prod,
    Reduction,
    SafeSoftmax,
    Softmax,
    Std,
    Sum,
    Tensor,
    Var,
)
from derive.calculus.program import Program
from derive.language.layer import Statement
from derive.lower.layout import natural_order
from derive.lower.scalars import is_number

__all__ = ["expressions", "is_staged", "narrowed", "prepared", "settled", "without_aliases", "without_dead"]

_NAMES: dict[type[Expr], str] = {Softmax: "p", SafeSoftmax: "p", LogSoftmax: "logp"}


def prepared(statements: Iterable[Statement], taken: set[str]) -> tuple[Statement, ...]:
    """Return the statements with such parts split off; new names are added to ``taken``."""
    result: list[Statement] = []
    for statement in statements:
        splitter = _Splitter(taken)
        expr = statement.expr
        if isinstance(expr, KeepingReduction):
            expr = rebuild(expr, (splitter.split(a) for a in expr.args))
            if isinstance(expr, KeepingReduction):
                expr = _read_at(expr)
            if not is_staged(expr, statement.indices):
                expr = splitter.split(expr)
        else:
            expr = splitter.split(expr)
        carry = statement.carry
        if carry is not None:
            carry = replace(carry, start=splitter.split(carry.start))
        result += splitter.statements
        result.append(replace(statement, expr=expr, carry=carry))
    return tuple(result)


def _read_at(expr: KeepingReduction) -> Expr:
    """Return softmax over ``k`` read at ``c`` as softmax over ``c``, where ``c`` is free for it."""
    at = expr.at
    if not all(isinstance(a, Index) for a in at) or len(set(at)) < len(at):
        return expr
    if at == expr.indices or free_indices(expr.body).intersection(at) - set(expr.indices):
        return expr
    return expr.func(substitute(expr.body, dict(zip(expr.indices, at, strict=True))), at, at)


def without_dead(program: Program) -> Program:
    """Drop the statements that no output and no gradient needs."""
    needed = {*program.outputs, *program.returned}

    def live(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        kept: set[str] = set()
        changed = True
        while changed:  # once, but for recurrences, which are read before they are defined
            changed = False
            for s in reversed(statements):
                if s.name in needed and s.name not in kept:
                    read = frozenset().union(*(names(e) for e in expressions(s)))
                    changed = changed or not read <= needed
                    needed.update(read)
                    kept.add(s.name)
        return tuple(s for s in statements if s.name in kept)

    backward = live(program.backward)
    return replace(program, forward=live(program.forward), backward=backward)


def without_aliases(program: Program) -> Program:
    """Drop intermediate results that only rename (or transpose) another; what reads them reads that one."""
    fixed = {*program.outputs, *program.returned}
    known: dict[str, tuple[Element, tuple[Index, ...]]] = {}

    def read(element: Element) -> Expr | None:
        if element.name not in known:
            return None
        source, indices = known[element.name]
        return substitute(source, dict(zip(indices, element.subscripts, strict=True)))

    def rewritten(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        result = []
        for s in statements:
            expr = replace_elements(s.expr, read)
            s = _started(s, lambda start: replace_elements(start, read))
            plain = (
                s.carry is None
                and isinstance(expr, Element)
                and expr.kind is s.kind
                and sorted(expr.subscripts, key=str) == sorted(s.indices, key=str)
            )
            if s.name not in fixed and plain:
                known[s.name] = (expr, s.indices)
            else:
                result.append(replace(s, expr=expr))
        return tuple(result)

    forward = rewritten(program.forward)
    return replace(program, forward=forward, backward=rewritten(program.backward))


def narrowed(program: Program) -> Program:
    """Drop the axes along which an intermediate result is constant; its reads lose these subscripts.

    A padded read is not constant along the axis, for it is the fill outside: such results stay whole.
    """
    every = [e for s in (*program.forward, *program.backward) for e in expressions(s)]
    padded = {read.element.name for e in every for read in e.atoms(Padded)}
    fixed = {*program.outputs, *program.returned, *padded}
    keep: dict[str, tuple[int, ...]] = {}

    def read(element: Element) -> Expr | None:
        if element.name not in keep:
            return None
        return Element(element.tensor, *(element.subscripts[k] for k in keep[element.name]))

    def rewritten(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        result = []
        for s in statements:
            expr = replace_elements(s.expr, read)
            s = _started(s, lambda start: replace_elements(start, read))
            free = free_indices(expr)
            if s.carry is not None:
                free = free.union((s.carry.index,), free_indices(s.carry.start))
            indices = s.indices
            if s.name not in fixed and not free.issuperset(indices):
                keep[s.name] = tuple(k for k, i in enumerate(indices) if i in free)
                indices = tuple(i for i in indices if i in free)
            result.append(replace(s, indices=indices, expr=expr))
        return tuple(result)

    forward = rewritten(program.forward)
    return replace(program, forward=forward, backward=rewritten(program.backward))


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """Return what a statement computes: its expression, and the start of a recurrence."""
    return (statement.expr,) if statement.carry is None else (statement.expr, statement.carry.start)


def _started(statement: Statement, change: Callable[[Expr], Expr]) -> Statement:
    """Return the statement with the start of its recurrence changed."""
    carry = statement.carry
    return statement if carry is None else replace(statement, carry=replace(carry, start=change(carry.start)))


def is_staged(expr: Expr, indices: tuple[Index, ...]) -> bool:
    """Return whether ``expr`` is a softmax that the statement's own array can hold, step by step."""
    return (
        isinstance(expr, KeepingReduction)
        and expr.at == expr.indices
        and free_indices(expr.body) == set(indices)
        and set(expr.indices) <= set(indices)
    )


class _Splitter:
    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.statements: list[Statement] = []
        self.known: dict[Expr, Expr] = {}

    def split(self, expr: Expr) -> Expr:
        """Return the expression with parts replaced by names."""
        if not expr.args or is_number(expr):
            return expr
        expr = rebuild(expr, (self.split(a) for a in expr.args)) if not isinstance(expr, Element) else expr
        if isinstance(expr, KeepingReduction):
            return self._keeping(expr)
        if isinstance(expr, Reduction):
            return _reduced(expr)
        row = BY_CLASS.get(type(expr))
        if row is not None and any(row.numpy.count(f"{{{k}}}") > 1 for k in range(row.arity)):
            args = [a if isinstance(a, Element) or is_number(a) else self._named(a, "z") for a in expr.args]
            return rebuild(expr, args)
        return expr

    def _keeping(self, expr: KeepingReduction) -> Expr:
        missing = [i for i in expr.indices if i not in free_indices(expr.body)]
        if missing:
            count = sympy.Mul(*(i.size for i in missing))
            kept = [k for k, i in enumerate(expr.indices) if i not in missing]
            indices, at = tuple(expr.indices[k] for k in kept), tuple(expr.at[k] for k in kept)
            inner = expr.func(expr.body, indices, at) if kept else (S.One if isinstance(expr, Softmax) else S.Zero)
            inner = self.split(inner)
            return inner / count if isinstance(expr, Softmax) else inner - sympy.log(count)
        whole = expr.func(expr.body, expr.indices, expr.indices)
        named = self._named(whole, _NAMES[type(expr)])
        return substitute(named, dict(zip(expr.indices, expr.at, strict=True)))

    def _named(self, expr: Expr, stem: str) -> Expr:
        if expr not in self.known:
            indices = natural_order([expr])
            name, number = stem, 2
            while name in self.taken:
                name, number = f"{stem}{number}", number + 1
            self.taken.add(name)
            self.statements.append(Statement(name, indices, expr))
            self.known[expr] = Element(Tensor(name), *indices)
        return self.known[expr]


def settled(expr: Expr) -> Expr:
    """Return the expression without reductions over indices that their bodies lack."""
    if not expr.args or isinstance(expr, Element) or is_number(expr):
        return expr
    expr = rebuild(expr, (settled(a) for a in expr.args))
    return _reduced(expr) if isinstance(expr, Reduction) else expr


def _reduced(expr: Reduction) -> Expr:
    """Take a reduction over indices that its body lacks: ``sum[n](a)`` is ``N*a``."""
    inside = free_indices(expr.body)
    bound = tuple(i for i in expr.indices if i in inside)
    if len(bound) == len(expr.indices):
        return expr
    count = sympy.Mul(*(i.size for i in expr.indices if i not in inside))
    rest = expr.func(expr.body, *bound) if bound else expr.body
    return _over_constant(type(expr), rest, expr.body, count, bool(bound))


def _over_constant(kind: type[Expr], rest: Expr, body: Expr, count: Expr, partly: bool) -> Expr:
    """Return a reduction over indices that the body lacks, ``count`` elements of them."""
    if kind is Sum:
        return count * rest
    if kind is Prod:
        return sympy.Pow(rest, count)
    if kind is LogSumExp:
        return rest + sympy.log(count)
    if kind is Norm:
        return sympy.sqrt(count) * (rest if partly else sympy.Abs(body))
    if kind in (Var, Std) and not partly:
        return S.Zero
    if kind is ArgMax:
        return rest if partly else S.Zero
    return rest
