"""The grammar of formulas: Python's expressions to those of the layer language."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from derive.errors import LayerSyntaxError, Span
from derive.language.reader import Text
from derive.language.refusals import REFUSED_OPERATORS, refused
from derive.language.tree import Call, Dots, Expression, Name, Operation, Pad, Read, Reduce, Truth, written
from derive.language.words import MAX_LENGTH, literal, name_of

__all__ = ["expression", "subscripts"]

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], str] = {ast.USub: "neg", ast.UAdd: "pos", ast.Not: "not"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def expression(node: ast.expr, text: Text) -> Expression:
    """Return a formula as a tree.

    Raises:
        LayerSyntaxError: a form that the language does not have.
    """
    at = text.span(node)
    match node:
        case ast.Constant():
            return _constant(node, text)
        case ast.Name():
            return name_of(node, text)
        case ast.BinOp():
            _check_operator(node.op, at)
            return Operation(at, _BINARY[type(node.op)], (expression(node.left, text), expression(node.right, text)))
        case ast.UnaryOp():
            _check_operator(node.op, at)
            return Operation(at, _UNARY[type(node.op)], (expression(node.operand, text),))
        case ast.BoolOp():
            _check_chain(len(node.values), at)
            word = "and" if isinstance(node.op, ast.And) else "or"
            return _folded(word, [expression(value, text) for value in node.values], at)
        case ast.Compare():
            return _comparison(node, text)
        case ast.Call(func=ast.Name() as name):
            return _call(node, name_of(name, text), text)
        case ast.Call(func=ast.Subscript(value=ast.Name() as name) as head):
            return _reduction(node, head, name_of(name, text), text)
        case ast.Call(func=ast.Attribute() as head):
            raise refused(head, text)
        case ast.Call():
            raise LayerSyntaxError("a call of an expression", at, "a function is called by its name: exp(x[n])")
        case ast.Subscript(value=ast.Name() as name):
            return Read(at, name_of(name, text), subscripts(node, text))
        case ast.Subscript(value=ast.Call(func=ast.Name(id="padded")) as head):
            return _padded(node, head, text)
        case ast.Subscript(value=ast.Subscript()):
            raise LayerSyntaxError("brackets after brackets", at, "write all subscripts in one pair: x[n, d]")
        case ast.Subscript(value=ast.Attribute() as head):
            raise refused(head, text)
        case ast.Subscript():
            raise LayerSyntaxError("subscripts of an expression", at, "give it a name first: y[n] = …, then y[n]")
    raise refused(node, text)


def _check_operator(operator: ast.AST, at: Span) -> None:
    if type(operator) in REFUSED_OPERATORS:
        word, hint = REFUSED_OPERATORS[type(operator)]
        raise LayerSyntaxError(f"operator '{word}' is not part of the layer language", at, hint)


def _check_chain(count: int, at: Span) -> None:
    if count > MAX_LENGTH:
        raise LayerSyntaxError(f"a chain of {count} conditions", at, "give parts of it names of their own")


def _folded(word: str, parts: list[Expression], at: Span) -> Expression:
    result = parts[0]
    for part in parts[1:]:
        result = Operation(at, word, (result, part))
    return result


def _comparison(node: ast.Compare, text: Text) -> Expression:
    at = text.span(node)
    _check_chain(len(node.ops), at)
    for operator in node.ops:
        _check_operator(operator, at)
    sides = [expression(side, text) for side in (node.left, *node.comparators)]
    parts: list[Expression] = [
        Operation(at, _COMPARE[type(operator)], (left, right))
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False)
    ]
    return _folded("and", parts, at)


def _call(node: ast.Call, name: Name, text: Text) -> Expression:
    at = text.span(node)
    if name.id == "padded":
        raise LayerSyntaxError("'padded(…)' without subscripts", at, _PADDED)
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            raise refused(argument, text)
    keywords: list[tuple[Name, Expression]] = []
    for keyword in node.keywords:
        place = text.span(keyword)
        if keyword.arg is None:
            raise LayerSyntaxError("'**' in a call", place, "name every hyper-parameter: eps=1e-3")
        word = Name(Span(place.source, place.line, place.column, len(keyword.arg)), keyword.arg)
        if any(keyword.arg == other.id for other, _ in keywords):
            raise LayerSyntaxError(f"'{keyword.arg}' is given twice", place, "remove one")
        keywords.append((word, expression(keyword.value, text)))
    return Call(at, name, tuple(expression(a, text) for a in node.args), tuple(keywords))


_PADDED = "write padded(x)[n, t - 1]: zero outside; padded(x, -inf)[n, t - 1]: that value"


def _padded(node: ast.Subscript, head: ast.Call, text: Text) -> Expression:
    at, whole = text.span(node), text.span(head)
    for argument in head.args:
        if isinstance(argument, ast.Starred):
            raise refused(argument, text)
    if head.keywords:
        raise LayerSyntaxError("'padded' takes a tensor and the value outside, without names", whole, _PADDED)
    if not 1 <= len(head.args) <= 2:
        count = len(head.args)
        raise LayerSyntaxError(f"'padded' takes a tensor and the value outside, got {count}", whole, _PADDED)
    tensor = head.args[0]
    if isinstance(tensor, ast.Subscript) and isinstance(tensor.value, ast.Name):
        raise LayerSyntaxError(
            "'padded' of an element",
            text.span(tensor),
            f"the subscripts stand behind it: padded({tensor.value.id})[n, t - 1]",
        )
    if not isinstance(tensor, ast.Name):
        raise LayerSyntaxError(
            f"'padded' takes a tensor, '{written(text.span(tensor))}' is none",
            text.span(tensor),
            "give it a name first: u[n] = …, then padded(u)[n - 1]",
        )
    fill = expression(head.args[1], text) if len(head.args) == 2 else None
    return Pad(at, Read(at, name_of(tensor, text), subscripts(node, text)), fill)


def _range(node: ast.Slice, word: Name, text: Text) -> tuple[Name, Expression]:
    """Return the letter and the size of ``r: k``."""
    at = text.span(node)
    form = f"the index, then how many values it has from 0 on: {word.id}[r: k](…)"
    if node.step is not None:
        raise LayerSyntaxError(f"'{written(at)}' has two ranges", at, form)
    if isinstance(node.lower, ast.Constant) and node.lower.value is ...:
        raise LayerSyntaxError("'...' with a range", at, "the batch axes have their own sizes")
    if not isinstance(node.lower, ast.Name) or node.upper is None:
        raise LayerSyntaxError(f"'{written(at)}' is not a range", at, form)
    return name_of(node.lower, text), expression(node.upper, text)


def _reduction(node: ast.Call, head: ast.Subscript, word: Name, text: Text) -> Expression:
    at = text.span(node)
    letters: list[Name | Dots] = []
    ranges: list[Expression | None] = []
    for item in head.slice.elts if isinstance(head.slice, ast.Tuple) else [head.slice]:
        place = text.span(item)
        match item:
            case ast.Constant(value=value) if value is ...:
                letters.append(Dots(place))
                ranges.append(None)
            case ast.Name():
                letters.append(name_of(item, text))
                ranges.append(None)
            case ast.Slice():
                letter, size = _range(item, word, text)
                letters.append(letter)
                ranges.append(size)
            case _:
                raise LayerSyntaxError(
                    f"'{written(place)}' is not an index", place, f"a reduction names its indices: {word.id}[i, j](…)"
                )
    if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
        count = len(node.args) + len(node.keywords)
        raise LayerSyntaxError(f"'{word.id}[…]' takes one expression, got {count}", at, f"write {word.id}[i](x[i])")
    return Reduce(at, word, tuple(letters), tuple(ranges), expression(node.args[0], text))


def subscripts(node: ast.Subscript, text: Text) -> tuple[Expression, ...]:
    """Return what stands in the brackets; ``...`` is the first entry or none."""
    items: Iterable[ast.expr] = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    found: list[Expression] = []
    for position, item in enumerate(items):
        if isinstance(item, ast.Constant) and item.value is ...:
            if position:
                raise LayerSyntaxError(
                    "'...' is not the first subscript", text.span(item), "the batch axes stand first"
                )
            found.append(Dots(text.span(item)))
        else:
            found.append(expression(item, text))
    if not found:
        raise LayerSyntaxError("no subscript in the brackets", text.span(node), "a scalar is read without brackets")
    return tuple(found)


def _constant(node: ast.Constant, text: Text) -> Expression:
    at = text.span(node)
    value = node.value
    if isinstance(value, bool):
        return Truth(at, value)
    if isinstance(value, (int, float)):
        return literal(node, value, text)
    if value is ...:
        raise LayerSyntaxError("'...' is not a value", at, "it stands for the batch axes in subscripts: x[..., d]")
    what = {str: "a string", bytes: "a string", complex: "a complex number", type(None): "None"}[type(value)]
    raise LayerSyntaxError(f"{what} is not part of the layer language", at, "values are real numbers")
