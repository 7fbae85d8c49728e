"""Mistakes in a forward value that the whole backward pass then reads: another divisor, eps left out, another axis.

The formulas of the backward are right, and one of their numbers is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import sympy
from sympy import Add, Expr, Mul, Pow, Rational, S

from derive.algebra.functions import Relu, Sigmoid
from derive.algebra.indices import elements, free_indices, rebuild, substitute
from derive.algebra.nodes import Element, Hyper, Index, LogSoftmax, Mean, Softmax, Sum
from derive.algebra.text import show
from derive.diagnosis.causes import Cause, Guess, Parts
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation
from derive.language.layer import Statement

__all__ = ["forward_guesses"]


def forward_guesses(derived: Derivation) -> Iterator[Guess]:
    """Yield the guesses that a forward value is computed in another way than the layer does it."""
    if derived.recurrent:
        return
    every = frozenset(s for f in derived.forms for line in f.lines for s in (line.symbol,))
    for statement in derived.forward:
        if statement.name in derived.layer.returns or not statement.kind.differentiable:
            continue
        for what, expr in {show(e): (w, e) for w, e in _variants(statement)}.values():
            if expr == statement.expr:
                continue
            other = replace(statement, expr=expr)
            changed = replace(derived, forward=tuple(other if s is statement else s for s in derived.forward))

            def parts(e: Experiment, wanted: str | None, changed: Derivation = changed) -> Parts:
                found = Experiment(changed, e.sample, ones=e.ones).right()
                return {symbol: (value, None) for symbol, value in found.items()}

            text = f"{statement.name} is computed {what}: {other}"
            yield Guess(Cause.INTERMEDIATE, text, str(other), str(statement), 2.1, parts, every)


def _variants(statement: Statement) -> Iterator[tuple[str, Expr]]:
    """Yield other right sides, each with the words for what is other."""
    expr = statement.expr
    for hyper in sorted((a for a in expr.free_symbols if isinstance(a, Hyper)), key=str):
        if hyper.kind.differentiable:
            yield f"without {hyper.name}", substitute(expr, {hyper: S.Zero})
    for node in _nodes(expr):
        for what, new in _other(node):
            yield what, _with(expr, node, new)
    if isinstance(expr, (Softmax, LogSoftmax)) and expr.at == expr.indices:
        for index in statement.indices:
            if index not in expr.indices:
                yield f"over {index.name}", type(expr)(expr.body, (index,), (index,))


def _nodes(expr: Expr) -> Iterator[Expr]:
    yield expr
    if not isinstance(expr, Element):
        for arg in expr.args:
            yield from _nodes(arg)


def _with(expr: Expr, node: Expr, new: Expr) -> Expr:
    """Return the expression with one node replaced, wherever it occurs; no index is renamed."""
    if expr == node:
        return new
    if not expr.args or isinstance(expr, (Element, Index)):
        return expr
    return rebuild(expr, (_with(arg, node, new) for arg in expr.args))


def _other(node: Expr) -> Iterator[tuple[str, Expr]]:
    if isinstance(node, Mean):
        total = Sum(node.body, *node.indices)
        yield "with N - 1 for N", total / (node.count - 1)
        yield "as a sum, not a mean", total
    elif isinstance(node, Sum):
        yield "as a mean, not a sum", Mean(node.body, *node.indices)
    elif isinstance(node, Pow) and isinstance(node.base, Add) and (2 * node.exp).is_Integer and not node.exp.is_Integer:
        for term in node.base.args:
            if isinstance(term, Hyper):
                rest = node.base - term
                yield f"with {term.name} outside the root", (sympy.sqrt(rest) + term) ** (2 * node.exp)
    elif isinstance(node, Pow) and node.exp.is_Rational and elements(node.base):
        for exponent in (-node.exp, node.exp / 2, node.exp * 2):
            if node.exp != Rational(2):
                yield "with another exponent", node.base**exponent
    elif isinstance(node, Mul):
        for factor in node.args:
            if not elements(factor) and not free_indices(factor):
                yield f"without the factor {show(factor)}", Mul(*(a for a in node.args if a != factor))
    elif isinstance(node, sympy.tanh):
        yield "with sigmoid for tanh", Sigmoid(node.args[0])
        yield "without its tanh", node.args[0]
    elif isinstance(node, Sigmoid):
        yield "with tanh for sigmoid", sympy.tanh(node.args[0])
        yield "without its sigmoid", node.args[0]
    elif isinstance(node, Relu):
        yield "without its relu", node.args[0]
