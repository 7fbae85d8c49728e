"""Formulas as SymPy expressions, once every index has its range.

Values carry a kind: what may stand in a condition (``Bool``), what is an
integer tensor's (``Int``), and everything else (``Real``). Sizes, integer
literals and ``Int`` hyper-parameters are plain numbers: they take the kind of
what they meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from sympy import Expr, S

from derive.algebra.nodes import BATCH, Element, Index, Kind
from derive.errors import LayerSyntaxError, ShapeError
from derive.language.arithmetic import apply, checked, operate
from derive.language.calls import Layers, inline_elements
from derive.language.ranges import Letter
from derive.language.reductions import reduced
from derive.language.scope import KEEPING, Scope
from derive.language.text import signature
from derive.language.tree import Call, Dots, Expression, Name, Number, Operation, Read, Reduce, Truth, written

__all__ = ["Builder", "Class", "Value"]

Indices = Mapping[str, Index]


class Class(IntEnum):
    """What a value is; of two, the result is the larger one."""

    NUMBER = 0
    BOOL = 1
    INT = 2
    REAL = 3


class Value(NamedTuple):
    """An expression and what its value is."""

    expr: Expr
    kind: Class


_CLASS = {Kind.BOOL: Class.BOOL, Kind.INT: Class.INT}
_TRUTHS = ("<", "<=", ">", ">=", "==", "!=", "and", "or", "not")
_INTEGER_FUNCTIONS = ("maximum", "minimum", "clip", "abs", "sign", "square", "stop_gradient", "relu")
_INTEGER_REDUCTIONS = ("sum", "prod", "max", "min")


class Builder:
    """Builds the expressions of one statement.

    Args:
        scope: what names stand for.
        bound: the letters each reduction introduces, with their ranges.
        layers: layers that may be called on elements.
    """

    def __init__(self, scope: Scope, bound: Mapping[int, Mapping[str, Letter]], layers: Layers) -> None:
        self.scope = scope
        self.bound = bound
        self.layers = layers

    def value(self, node: Expression, indices: Indices) -> Value:
        """Return the value of an expression in which ``indices`` are bound.

        Raises:
            LayerSyntaxError: a constant is not a real number, or a condition is not one.
        """
        match node:
            case Number():
                return Value(node.value, Class.NUMBER if node.integer else Class.REAL)
            case Name():
                return self._name(node, indices)
            case Read():
                tensor = self.scope.tensors[node.name.id].tensor
                subscripts = [BATCH if isinstance(s, Dots) else self.value(s, indices).expr for s in node.subscripts]
                return Value(Element(tensor, *subscripts), _CLASS.get(tensor.kind, Class.REAL))
            case Operation():
                return self._operation(node, [self.value(operand, indices) for operand in node.operands])
            case Reduce():
                return self._reduce(node, indices)
            case Call():
                return self._call(node, indices)
        raise AssertionError(node)

    def constant(self, node: Expression) -> Expr:
        """Return a hyper-parameter's value; truth values are 1 and 0."""
        if isinstance(node, Truth):
            return S.One if node.value else S.Zero
        return self.value(node, {}).expr

    def _name(self, node: Name, indices: Indices) -> Value:
        if node.id in indices:
            return Value(indices[node.id], Class.INT)
        known = self.scope.tensors.get(node.id)
        if known is not None:
            return Value(Element(known.tensor), _CLASS.get(known.tensor.kind, Class.REAL))
        found = self.scope.scalar(node)
        assert found is not None, node
        expr, kind = found
        return Value(expr, {Kind.INT: Class.NUMBER, Kind.BOOL: Class.BOOL}.get(kind, Class.REAL))

    def _operation(self, node: Operation, operands: Sequence[Value]) -> Value:
        operator = node.operator
        if operator in ("and", "or", "not"):
            for operand, value in zip(node.operands, operands, strict=True):
                _check_condition(operand, value, f"'{operator}' joins" if operator != "not" else "'not' negates")
        expr = operate(operator, [value.expr for value in operands], node.at)
        if operator in _TRUTHS:
            return Value(expr, Class.BOOL)
        kind = max(value.kind for value in operands)
        if kind is Class.BOOL and not (operator == "*" and all(value.kind is Class.BOOL for value in operands)):
            kind = Class.INT
        if operator == "/" or (operator == "**" and not (expr.is_integer and kind < Class.REAL)):
            kind = Class.REAL
        return Value(expr, kind)

    def _reduce(self, node: Reduce, indices: Indices) -> Value:
        word = node.word.id
        if word in KEEPING:
            own = {_letter(letter): indices[_letter(letter)] for letter in node.letters}
            body = self.value(node.body, indices)
        else:
            own = {name: index(letter) for name, letter in self.bound[id(node)].items()}
            body = self.value(node.body, {**indices, **own})
        expr = checked(reduced(word, body.expr, tuple(own.values())), node.at)
        kind = Class.REAL
        if word == "argmax" or (word in _INTEGER_REDUCTIONS and body.kind in (Class.BOOL, Class.INT)):
            kind = Class.INT
        return Value(expr, kind)

    def _call(self, node: Call, indices: Indices) -> Value:
        word = node.name.id
        values = [self.value(argument, indices) for argument in node.arguments]
        arguments = [value.expr for value in values]
        layer = self.layers.on_elements(node.name, self.scope.layer)
        if layer is not None:
            for parameter, argument, value in zip(layer.parameters, node.arguments, values, strict=True):
                accepts = {Kind.INT: (Class.NUMBER, Class.INT), Kind.BOOL: (Class.BOOL,)}.get(parameter.kind)
                if accepts is not None and value.kind not in accepts:
                    raise ShapeError(
                        f"'{parameter.name}' of {layer.name} is {parameter.kind.value}, "
                        f"'{written(argument.at)}' is not",
                        argument.at,
                        signature(layer),
                    )
            hypers = {name.id: self.constant(value) for name, value in node.keywords}
            return Value(inline_elements(layer, arguments, hypers, node), Class.REAL)
        kind = Class.REAL
        if word == "where":
            _check_condition(node.arguments[0], values[0], "'where' takes")
            kind = max(values[1].kind, values[2].kind)
        elif word in _INTEGER_FUNCTIONS:
            kind = max(value.kind for value in values)
            kind = Class.INT if kind is Class.BOOL else kind
        return Value(apply(word, arguments, node.at), kind)


def _letter(node: Name | Dots) -> str:
    return node.id if isinstance(node, Name) else "..."


def index(letter: Letter) -> Index:
    """Return a letter whose range is known as an index."""
    assert letter.size is not None, letter
    return BATCH if letter.name == "..." else Index(letter.name, letter.size)


def _check_condition(node: Expression, value: Value, what: str) -> None:
    if value.kind is not Class.BOOL:
        text = written(node.at)
        raise LayerSyntaxError(f"{what} a condition, '{text}' is a number", node.at, f"compare it: {text} != 0")
