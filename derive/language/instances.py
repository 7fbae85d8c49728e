"""A callee's equations in the caller's names: sizes, hyper-parameters, tensors, batch axes and letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sympy import Add, Expr, Mul, Pow, Tuple

from derive.algebra.functions import BY_CLASS
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    Element,
    Hyper,
    Index,
    KeepingReduction,
    Padded,
    Reduction,
    Size,
    Tensor,
)
from derive.algebra.text import show
from derive.errors import Span
from derive.language.arithmetic import apply, check_range, checked, operate, power
from derive.language.kinds import kind_of
from derive.language.layer import Carry, Layer, Statement
from derive.language.reductions import reduced
from derive.language.scope import Scope

__all__ = ["Instance", "choose_letters"]


@dataclass(slots=True)
class Instance:
    """A callee's expressions in the caller's names."""

    at: Span
    hypers: dict[Hyper, Expr]
    length: Callable[[Expr, Span], Expr] | None = None
    sizes: dict[Expr, Expr] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Expr] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)
    batch: tuple[Index, ...] = ()
    memo: dict[Expr, Expr] = field(default_factory=dict)

    def expr(self, expr: Expr) -> Expr:
        """Return the expression; equal ones are translated once."""
        found = self.memo.get(expr)
        if found is None:
            found = self.memo[expr] = self._expr(expr)
        return found

    def indices(self, indices: Iterable[Expr]) -> tuple[Index, ...]:
        """Return indices (or subscripts), the batch axes written out."""
        found: list[Index] = []
        for index in indices:
            if index == BATCH:
                found.extend(self.batch)
            else:
                found.append(self.expr(index))
        return tuple(found)

    def statement(self, statement: Statement, name: str) -> Statement:
        """Return an equation of the callee under its name in the caller."""
        expr = check_range(checked(self.expr(statement.expr), self.at), self.at)
        indices = self.indices(statement.indices)
        if statement.carry is None:
            return Statement(name, indices, expr, kind_of(expr), self.at)
        (index,) = self.indices((statement.carry.index,))
        start = check_range(checked(self.expr(statement.carry.start), self.at), self.at)
        return Statement(name, indices, expr, statement.kind, self.at, Carry(index, statement.carry.step, start))

    def _expr(self, expr: Expr) -> Expr:
        match expr:
            case Element():
                if expr.name in self.values:
                    return self.values[expr.name]
                return Element(self.tensors[expr.name], *self.indices(expr.subscripts))
            case Padded():
                inside = self.expr(expr.element)
                return Padded(inside, self.expr(expr.fill)) if isinstance(inside, Element) else inside
            case Index():
                size = self.expr(expr.size)
                if self.length is not None and not isinstance(expr.size, Size):
                    size = self.length(size, self.at)
                return Index(self.letters.get(str(expr.name), str(expr.name)), size)
            case Hyper():
                return self.hypers.get(expr, expr)
            case Size():
                if expr == BATCH_SIZE:
                    return Mul(*(index.size for index in self.batch))
                return self.sizes.get(expr, expr)
            case Reduction():
                return reduced(expr.word, self.expr(expr.body), self.indices(expr.indices))
            case KeepingReduction():
                body, bound = self.expr(expr.body), self.indices(expr.indices)
                if expr.at == expr.indices:
                    return reduced(expr.word, body, bound)
                return expr.func(body, Tuple(*bound), Tuple(*self.indices(expr.at)))
        if not expr.args:
            return expr
        arguments = [self.expr(arg) for arg in expr.args]
        if all(new is old for new, old in zip(arguments, expr.args, strict=True)):
            return expr
        if isinstance(expr, (Add, Mul)):
            return expr.func(*arguments)
        if isinstance(expr, Pow):
            return power(arguments[0], arguments[1], self.at)
        row = BY_CLASS[type(expr)]
        return operate(row.name, arguments, self.at) if row.infix else apply(row.name, arguments, self.at)


def choose_letters(layer: Layer, instance: Instance, batch: tuple[Expr, ...], scope: Scope) -> None:
    """Choose letters for the batch axes, and other ones where a letter would be read as a scalar."""
    scalars = {*scope.hypers, *(name for name, known in scope.tensors.items() if not known.axes)}
    letters: set[str] = set()
    for statement in layer.statements:
        _collect_letters(statement.expr, letters)
        if statement.carry is not None:
            _collect_letters(statement.carry.start, letters)
        letters.update(i.name for i in statement.indices)
    taken = letters | scalars
    for letter in sorted(letters & scalars):
        instance.letters[letter] = new = _fresh_letter(letter, taken)
        taken.add(new)
    found: list[Index] = []
    for size in batch:
        if size == BATCH_SIZE:
            found.append(BATCH)
            continue
        text = show(size).lower()
        letter = text if len(text) == 1 and text.isalpha() and text not in taken else _fresh_letter("", taken)
        taken.add(letter)
        found.append(Index(letter, size))
    instance.batch = tuple(found)


def _fresh_letter(like: str, taken: set[str]) -> str:
    if not like:
        for letter in "nmijkpqrstuvw":
            if letter not in taken:
                return letter
        like = "i"
    number = 2
    while f"{like}{number}" in taken:
        number += 1
    return f"{like}{number}"


def _collect_letters(expr: Expr, found: set[str]) -> None:
    if isinstance(expr, Index):
        found.add(expr.name)
    for arg in expr.args:
        _collect_letters(arg, found)
