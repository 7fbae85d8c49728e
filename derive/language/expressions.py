"""Formulas as SymPy expressions, once every index has its range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sympy import Expr, S

from derive.algebra.nodes import BATCH, Element, Index, Kind, Padded
from derive.errors import LayerSyntaxError, ShapeError
from derive.language.arithmetic import apply, checked, operate
from derive.language.calls import Layers, inline_elements
from derive.language.kinds import Class, class_of
from derive.language.letters import Letter
from derive.language.quotients import moving_quotients, spread
from derive.language.reductions import reduced
from derive.language.scope import CONSTANTS, KEEPING, Scope
from derive.language.text import signature
from derive.language.tree import Call, Dots, Expression, Name, Number, Operation, Pad, Read, Reduce, Truth, written

__all__ = ["Builder", "index"]

Indices = Mapping[str, Index]

_ACCEPTS = {Kind.INT: (Class.NUMBER, Class.INT), Kind.BOOL: (Class.BOOL,)}


class Builder:
    """Builds the expressions of one statement.

    Args:
        scope: what names stand for.
        bound: the letters each reduction introduces, with their ranges.
        layers: layers that may be called on elements.
        left: the indices of the left side.
    """

    def __init__(
        self,
        scope: Scope,
        bound: Mapping[int, Mapping[str, Letter]],
        layers: Layers,
        left: Iterable[Index] = (),
    ) -> None:
        self.scope = scope
        self.bound = bound
        self.layers = layers
        self._around = [i.name for i in left]

    def value(self, node: Expression, indices: Indices) -> Expr:
        """Return the value of an expression in which ``indices`` are bound.

        Raises:
            LayerSyntaxError: a constant is not a real number, or a condition is not one.
        """
        match node:
            case Number():
                return node.value
            case Name():
                return self._name(node, indices)
            case Read():
                return self._element(node, indices, None)
            case Pad():
                return self._element(node.read, indices, S.Zero if node.fill is None else self.constant(node.fill))
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
        return self.value(node, {})

    def _element(self, node: Read, indices: Indices, fill: Expr | None) -> Expr:
        started = self.scope.started.get(node.name.id)
        known = self.scope.tensors[node.name.id] if started is None else self.scope.started_tensor(started)
        subscripts = [BATCH if isinstance(s, Dots) else self.value(s, indices) for s in node.subscripts]
        element = Element(known.tensor, *subscripts)
        self.scope.places.setdefault((self.scope.current, element), node.at)
        if any(moving_quotients(subscript) for subscript in subscripts):
            taken = {*self._around, *indices, *self.scope.hypers, *self.scope.tensors, *CONSTANTS}
            return spread(element, known.axes, fill, taken, self.scope, node.at)
        if fill is None:
            return element
        if started is None and node.name.id not in self.scope.carried and any(map(_is_before, subscripts)):
            return fill
        return Padded(element, fill)

    def _name(self, node: Name, indices: Indices) -> Expr:
        if node.id in indices:
            return indices[node.id]
        known = self.scope.tensors.get(node.id)
        if known is not None:
            return Element(known.tensor)
        found = self.scope.scalar(node)
        assert found is not None, node
        return found

    def _operation(self, node: Operation, operands: Sequence[Expr]) -> Expr:
        if node.operator in ("and", "or", "not"):
            what = "'not' negates" if node.operator == "not" else f"'{node.operator}' joins"
            for operand, value in zip(node.operands, operands, strict=True):
                _check_condition(operand, value, what)
        return operate(node.operator, operands, node.at)

    def _reduce(self, node: Reduce, indices: Indices) -> Expr:
        word = node.word.id
        if word in KEEPING:
            own = {_letter(letter): indices[_letter(letter)] for letter in node.letters}
            body = self.value(node.body, indices)
        else:
            own = {name: self._bound_index(letter) for name, letter in self.bound[id(node)].items()}
            inside = [i.name for i in own.values()]
            self._around += inside
            body = self.value(node.body, {**indices, **own})
            del self._around[len(self._around) - len(inside) :]
        return checked(reduced(word, body, tuple(own.values())), node.at)

    def _bound_index(self, letter: Letter) -> Index:
        """Return the index of a reduction; one that hides another gets a letter of its own, such as n2."""
        if letter.name not in self._around:
            return index(letter)
        taken = set(self._around).union(self.scope.hypers, self.scope.tensors, *self.bound.values())
        number = 2
        while f"{letter.name}{number}" in taken:
            number += 1
        return index(replace(letter, name=f"{letter.name}{number}"))

    def _call(self, node: Call, indices: Indices) -> Expr:
        arguments = [self.value(argument, indices) for argument in node.arguments]
        layer = self.layers.on_elements(node.name, self.scope.layer)
        if layer is None:
            if node.name.id == "where":
                _check_condition(node.arguments[0], arguments[0], "'where' takes")
            return apply(node.name.id, arguments, node.at)
        for parameter, syntax, value in zip(layer.parameters, node.arguments, arguments, strict=True):
            accepts = _ACCEPTS.get(parameter.kind)
            if accepts is not None and class_of(value) not in accepts:
                raise ShapeError(
                    f"'{parameter.name}' of {layer.name} is {parameter.kind.value}, '{written(syntax.at)}' is not",
                    syntax.at,
                    signature(layer),
                )
        hypers = {name.id: self.constant(value) for name, value in node.keywords}
        return inline_elements(layer, arguments, hypers, node)


def _letter(node: Name | Dots) -> str:
    return node.id if isinstance(node, Name) else "..."


def index(letter: Letter) -> Index:
    """Return a letter whose range is known as an index."""
    assert letter.size is not None, letter
    return BATCH if letter.name == "..." else Index(letter.name, letter.size)


def _check_condition(node: Expression, value: Expr, what: str) -> None:
    if class_of(value) is not Class.BOOL:
        text = written(node.at)
        raise LayerSyntaxError(f"{what} a condition, '{text}' is a number", node.at, f"compare it: {text} != 0")


def _is_before(subscript: Expr) -> bool:
    """Return whether a subscript is a negative number: before every axis."""
    return bool(subscript.is_Integer and subscript.is_negative)
