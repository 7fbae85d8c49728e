"""The grammar of formulas: Python's expressions to those of the layer language."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from derive.errors import DerivationError, LayerSyntaxError, Span
from derive.language.reader import Text
from derive.language.refusals import REFUSED_OPERATORS, refused
from derive.language.tree import Call, Dots, Expression, Name, Operation, Read, Reduce, Truth, written
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
        DerivationError: a form of the language that has no derivation yet.
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
        case ast.Subscript(value=ast.Call(func=ast.Name(id="padded"))):
            raise DerivationError("padded reads are not supported", at, "read inside the axis: x[n], x[0] or x[N - 1]")
        case ast.Subscript(value=ast.Subscript()):
            raise LayerSyntaxError("brackets after brackets", at, "write all subscripts in one pair: x[n, d]")
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
        raise DerivationError("padded reads are not supported", at, "read inside the axis: x[n], x[0] or x[N - 1]")
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


def _reduction(node: ast.Call, head: ast.Subscript, word: Name, text: Text) -> Expression:
    at = text.span(node)
    letters: list[Name | Dots] = []
    for item in head.slice.elts if isinstance(head.slice, ast.Tuple) else [head.slice]:
        place = text.span(item)
        match item:
            case ast.Constant(value=value) if value is ...:
                letters.append(Dots(place))
            case ast.Name():
                letters.append(name_of(item, text))
            case ast.Slice():
                raise DerivationError(
                    f"a range in a reduction, '{written(place)}', is not supported",
                    place,
                    f"write {word.id}[{written(place).split(':')[0].strip()}](…): the index runs over a whole axis",
                )
            case _:
                raise LayerSyntaxError(
                    f"'{written(place)}' is not an index", place, f"a reduction names its indices: {word.id}[i, j](…)"
                )
    if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
        count = len(node.args) + len(node.keywords)
        raise LayerSyntaxError(f"'{word.id}[…]' takes one expression, got {count}", at, f"write {word.id}[i](x[i])")
    return Reduce(at, word, tuple(letters), expression(node.args[0], text))


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
