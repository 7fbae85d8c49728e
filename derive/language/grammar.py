"""The grammar: Python's syntax tree to the tree of the layer language.

Everything that a layer file may say has one function here, in ``signatures``
or in ``formulas``; everything else is refused where it stands, with the form
that is allowed as a hint. No name is looked up at this stage, and nothing is
ever executed.
"""

from __future__ import annotations

import ast
import inspect

from derive.errors import LayerSyntaxError, Span
from derive.language.formulas import expression, subscripts
from derive.language.reader import Text
from derive.language.refusals import refused
from derive.language.signatures import annotation, signature_of
from derive.language.tree import Assign, Declare, Definition, Name, Return, StatementSyntax, Target, written
from derive.language.words import check_identifier, name_of

__all__ = ["definition", "definitions"]


def definitions(module: ast.Module, text: Text) -> dict[str, ast.FunctionDef]:
    """Return every ``def`` of the text by name, in order.

    Raises:
        LayerSyntaxError: something else stands there, or nothing at all.
    """
    found: dict[str, ast.FunctionDef] = {}
    for node in module.body:
        if not isinstance(node, ast.FunctionDef):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                raise LayerSyntaxError(
                    "a string outside a def",
                    text.span(node),
                    "a comment begins with #; a layer's text is its docstring",
                )
            if isinstance(node, ast.Expr):
                raise LayerSyntaxError("an expression outside a def", text.span(node), _FORM)
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                raise LayerSyntaxError(
                    "an assignment outside a def",
                    text.span(node),
                    "a constant is a hyper-parameter: *, eps: Real = 1e-5",
                )
            raise refused(node, text)
        if node.name in found:
            line = text.span(found[node.name]).line
            raise LayerSyntaxError(
                f"a second layer named '{node.name}'", _def_name(node, text), f"the first one is on line {line}"
            )
        found[node.name] = node
    if not found:
        raise LayerSyntaxError("no layer in the text", text.place(1, 0), _FORM)
    return found


_FORM = "a layer file holds layers: def name(x: Real[N, D]): … return y"


def definition(node: ast.FunctionDef, text: Text, decorated: bool = False) -> Definition:
    """Return one ``def`` as a tree.

    Args:
        node: the def.
        text: where it stands.
        decorated: whether decorators are allowed (the ``@layer`` of a Python file).

    Raises:
        LayerSyntaxError: it says what the language does not have.
    """
    at = _def_name(node, text)
    check_identifier(node.name, at)
    if node.decorator_list and not decorated:
        raise LayerSyntaxError(
            "a decorator in a layer file", text.span(node.decorator_list[0]), "remove it; @layer is for Python files"
        )
    if getattr(node, "type_params", ()):
        raise LayerSyntaxError("type parameters in a layer", at, "sizes are the capitalised names in Real[N, D]")
    if node.returns is not None:
        raise LayerSyntaxError(
            "an annotation of the result", text.span(node.returns), "remove it: the shape follows from the equations"
        )
    parameters, hypers = signature_of(node, text, at)
    body = list(node.body)
    doc = _docstring(body, text)
    statements = tuple(_statement(s, text, s is body[-1]) for s in body)
    if not statements or not isinstance(statements[-1], Return):
        place = text.span(body[-1]) if body else at
        raise LayerSyntaxError(
            f"layer '{node.name}' does not end with a return", place, "write 'return y' on its last line"
        )
    return Definition(at, node.name, doc, parameters, hypers, statements, text.source)


def _def_name(node: ast.FunctionDef, text: Text) -> Span:
    line = text.lines[node.lineno - 1] if node.lineno <= len(text.lines) else ""
    start = line.find(node.name, len(line) - len(line.lstrip()) + 3)
    if start < 0:
        return text.span(node)
    return text.place(node.lineno, start, len(node.name))


def _docstring(body: list[ast.stmt], text: Text) -> str:
    """Take the docstring off the body."""
    match body[0]:
        case ast.Expr(value=ast.Constant(value=str(raw))):
            at = text.span(body.pop(0))
            try:
                raw.encode()
            except UnicodeEncodeError:
                raise LayerSyntaxError(
                    "half of a character in the docstring", at, "write the character itself"
                ) from None
            return inspect.cleandoc(raw).strip()
    return ""


def _statement(node: ast.stmt, text: Text, last: bool) -> StatementSyntax:
    at = text.span(node)
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=items)]):
            return Assign(at, tuple(_target(item, text) for item in items), expression(node.value, text))
        case ast.Assign(targets=[target]):
            return Assign(at, (_target(target, text),), expression(node.value, text))
        case ast.Assign():
            raise LayerSyntaxError("two assignments in one statement", at, "write one equation a line")
        case ast.AnnAssign(target=ast.Name() as name, value=None):
            kind, axes = annotation(node.annotation, text)
            return Declare(at, name_of(name, text), kind, axes)
        case ast.AnnAssign(value=None):
            raise LayerSyntaxError("a declaration of an element", at, "declare the whole tensor: y: Real[N, P]")
        case ast.AnnAssign():
            raise LayerSyntaxError(
                "a declaration with a value", at, "declare on one line, y: Real[N, P], assign on the next"
            )
        case ast.Return():
            if not last:
                raise LayerSyntaxError(
                    "'return' is not the last statement", at, "what follows it would never be computed"
                )
            return Return(at, _returned(node, text))
        case ast.Expr(value=ast.Constant(value=str())):
            raise LayerSyntaxError("a string is not a statement", at, "a comment begins with #")
        case ast.Expr():
            raise LayerSyntaxError("an expression is not a statement", at, "write y[n] = … or return y")
    raise refused(node, text)


def _target(node: ast.expr, text: Text) -> Target:
    at = text.span(node)
    match node:
        case ast.Name():
            return Target(at, name_of(node, text), None)
        case ast.Subscript(value=ast.Name() as name):
            return Target(at, name_of(name, text), subscripts(node, text))
    raise LayerSyntaxError(f"'{written(at)}' can't be assigned to", at, "the left side is y[n, d], or y for a scalar")


def _returned(node: ast.Return, text: Text) -> tuple[Name, ...]:
    hint = "write 'return y', or 'return a, b'"
    if node.value is None:
        raise LayerSyntaxError("'return' returns nothing", text.span(node), hint)
    items = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    if not items:
        raise LayerSyntaxError("'return' returns nothing", text.span(node), hint)
    names = []
    for item in items:
        if not isinstance(item, ast.Name):
            raise LayerSyntaxError("'return' takes names only", text.span(item), f"give the result a name; {hint}")
        names.append(name_of(item, text))
    return tuple(names)
