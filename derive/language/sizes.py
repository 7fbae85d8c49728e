"""Arithmetic of sizes: ``P = (H + 2*pad - R)//stride + 1`` is made of sizes, integers and ``Int`` hyper-parameters."""

from __future__ import annotations

from sympy import Expr

from derive.algebra.nodes import Kind
from derive.language.arithmetic import operate
from derive.language.scope import Scope
from derive.language.tree import Expression, Name, Number, Operation

__all__ = ["is_size", "size_value"]

_OPERATORS = ("+", "-", "*", "//", "%", "neg", "pos")


def is_size(node: Expression, scope: Scope) -> bool:
    """Return whether an expression is made of sizes, integers and Int hyper-parameters alone."""
    match node:
        case Number():
            return node.integer
        case Name():
            return node.id in scope.sizes or (node.id in scope.hypers and scope.hypers[node.id].kind is Kind.INT)
        case Operation(operator="**", operands=(base, Number(value=exponent, integer=True))):
            return bool(0 < exponent <= 16) and is_size(base, scope)
        case Operation():
            return node.operator in _OPERATORS and all(is_size(operand, scope) for operand in node.operands)
    return False


def size_value(node: Expression, scope: Scope) -> Expr:
    """Return the value of an expression for which :func:`is_size` holds."""
    match node:
        case Number():
            return node.value
        case Name():
            found = scope.scalar(node)
            assert found is not None
            return found
        case Operation():
            return operate(node.operator, [size_value(operand, scope) for operand in node.operands], node.at)
    raise AssertionError(node)
