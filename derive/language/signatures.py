"""The grammar of signatures: tensors with their kinds and axes, hyper-parameters with their defaults."""

from __future__ import annotations

import ast

from sympy import Integer

from derive.algebra.nodes import Kind
from derive.errors import LayerSyntaxError, Span
from derive.language.reader import Text
from derive.language.tree import Axis, Dots, HyperSyntax, Name, Number, ParameterSyntax, written
from derive.language.words import check_identifier, literal

__all__ = ["annotation", "signature_of"]


def signature_of(
    node: ast.FunctionDef, text: Text, at: Span
) -> tuple[tuple[ParameterSyntax, ...], tuple[HyperSyntax, ...]]:
    """Return the tensors and the hyper-parameters of a ``def``."""
    arguments = node.args
    for star, stars in ((arguments.vararg, "*"), (arguments.kwarg, "**")):
        if star is not None:
            raise LayerSyntaxError(
                f"'{stars}{star.arg}' in a signature",
                text.span(star),
                "name every tensor; hyper-parameters follow a bare *",
            )
    if arguments.posonlyargs:
        raise LayerSyntaxError("'/' in a signature", text.span(arguments.posonlyargs[0]), "remove it")
    if arguments.defaults:
        guilty = arguments.args[len(arguments.args) - len(arguments.defaults)]
        raise LayerSyntaxError(
            f"tensor '{guilty.arg}' has a default",
            text.span(arguments.defaults[0]),
            f"a constant stands after a bare *: *, {guilty.arg}: Real = …",
        )
    if not arguments.args:
        raise LayerSyntaxError(f"layer '{node.name}' has no tensor", at, "write def name(x: Real[N, D]):")
    parameters = []
    for argument in arguments.args:
        name = _argument_name(argument, text)
        if argument.annotation is None:
            raise LayerSyntaxError(
                f"tensor '{name.id}' has no kind", name.at, f"write {name.id}: Real[N], or {name.id}: Real for a scalar"
            )
        kind, axes = annotation(argument.annotation, text)
        parameters.append(ParameterSyntax(text.span(argument), name, kind, axes))
    hypers = []
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        hypers.append(_hyper(argument, default, text))
    return tuple(parameters), tuple(hypers)


def _argument_name(argument: ast.arg, text: Text) -> Name:
    whole = text.span(argument)
    place = Span(whole.source, whole.line, whole.column, len(argument.arg))
    check_identifier(argument.arg, place)
    return Name(place, argument.arg)


def _hyper(argument: ast.arg, default: ast.expr | None, text: Text) -> HyperSyntax:
    name = _argument_name(argument, text)
    if argument.annotation is None:
        raise LayerSyntaxError(
            f"hyper-parameter '{name.id}' has no kind", name.at, f"write {name.id}: Real = 1.0, or Int, Bool"
        )
    kind, axes = annotation(argument.annotation, text)
    if axes:
        raise LayerSyntaxError(
            f"hyper-parameter '{name.id}' has axes",
            text.span(argument.annotation),
            "a hyper-parameter is a scalar; tensors stand before the *",
        )
    if default is None:
        raise LayerSyntaxError(
            f"hyper-parameter '{name.id}' has no default", text.span(argument), f"write {name.id}: {kind.value} = 1"
        )
    return HyperSyntax(text.span(argument), name, kind, _default(default, kind, name.id, text))


def _default(node: ast.expr, kind: Kind, name: str, text: Text) -> int | float | bool:
    at = text.span(node)
    sign, inner = 1, node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign, inner = -1 if isinstance(node.op, ast.USub) else 1, node.operand
    value = inner.value if isinstance(inner, ast.Constant) else None
    if isinstance(value, bool):
        if kind is not Kind.BOOL or inner is not node:
            raise LayerSyntaxError(
                f"the default of '{name}' is a truth value, its kind is {kind.value}", at, "write a number"
            )
        return value
    if not isinstance(value, (int, float)):
        raise LayerSyntaxError(
            f"the default of '{name}' is not a number",
            at,
            "a default is a literal, such as 1e-5; compute with it in the body",
        )
    number = literal(inner, value, text)
    if kind is Kind.BOOL:
        raise LayerSyntaxError(f"the default of '{name}' is a number, its kind is Bool", at, "write True or False")
    if kind is Kind.INT and not number.integer:
        raise LayerSyntaxError(f"the default of '{name}' is not an integer", at, f"write {name}: Real = {written(at)}")
    if kind in (Kind.POSITIVE, Kind.UNIT) and not sign * number.value > 0:
        raise LayerSyntaxError(f"the default of '{name}' is not positive, its kind is {kind.value}", at, "write Real")
    if kind is Kind.UNIT and not number.value < 1:
        raise LayerSyntaxError(
            f"the default of '{name}' is not in (0, 1), its kind is Unit", at, "write Positive or Real"
        )
    return sign * value


def annotation(node: ast.expr, text: Text) -> tuple[Kind, tuple[Axis, ...]]:
    """Return ``Real[N, D]`` as a kind and axes."""
    base = node.value if isinstance(node, ast.Subscript) else node
    kinds = ", ".join(kind.value for kind in Kind)
    if not isinstance(base, ast.Name):
        raise LayerSyntaxError("a kind is expected", text.span(node), f"one of {kinds}: x: Real[N, D]")
    kind = next((kind for kind in Kind if kind.value == base.id), None)
    if kind is None:
        raise LayerSyntaxError(f"unknown kind '{base.id}'", text.span(base), f"one of {kinds}: x: Real[N, D]")
    if not isinstance(node, ast.Subscript):
        return kind, ()
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if not items:
        raise LayerSyntaxError("no axis in the brackets", text.span(node), f"a scalar is {kind.value} without brackets")
    return kind, tuple(_axis(item, text, position) for position, item in enumerate(items))


def _axis(node: ast.expr, text: Text, position: int) -> Axis:
    at = text.span(node)
    form = "an axis is a capitalised name or an integer: Real[N, 3]"
    if isinstance(node, ast.Constant) and node.value is ...:
        if position:
            raise LayerSyntaxError("'...' is not the first entry", at, "the batch axes stand first: Real[..., N, D]")
        return Dots(at)
    if isinstance(node, ast.Name):
        check_identifier(node.id, at)
        if not node.id[0].isupper():
            raise LayerSyntaxError(
                f"size '{node.id}' is not capitalised", at, f"{form}; R = {node.id} in the body defines a size R"
            )
        return Name(at, node.id)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        if not 0 < node.value < 2**31:
            raise LayerSyntaxError(f"an axis of {written(at)} elements", at, "an axis has at least one element")
        return Number(at, Integer(node.value), True)
    if isinstance(node, (ast.BinOp, ast.UnaryOp)):
        raise LayerSyntaxError(
            f"'{written(at)}' is not a size",
            at,
            f"give the axis a name of its own; P = {written(at)} in the body defines a size P",
        )
    raise LayerSyntaxError(f"'{written(at)}' is not a size", at, form)
