"""The grammar: Python's syntax tree to the tree of the layer language.

Everything that a layer file may say has one function here; everything else is
refused where it stands, with the form that is allowed as a hint. No name is
looked up at this stage, and nothing is ever executed.
"""

from __future__ import annotations

import ast
import inspect
import math
import unicodedata
from collections.abc import Iterable

from sympy import Integer, Rational

from derive.algebra.nodes import Kind
from derive.errors import DerivationError, LayerSyntaxError, Span
from derive.language.arithmetic import MAX_BITS
from derive.language.reader import Text
from derive.language.tree import (
    Assign,
    Axis,
    Call,
    Declare,
    Definition,
    Dots,
    Expression,
    HyperSyntax,
    Name,
    Number,
    Operation,
    ParameterSyntax,
    Read,
    Reduce,
    Return,
    StatementSyntax,
    Target,
    Truth,
    raw,
    written,
)

__all__ = ["MAX_LENGTH", "definition", "definitions"]

# Characters of a name or a number, conditions of a chain.
MAX_LENGTH = 100

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], str] = {ast.USub: "neg", ast.UAdd: "pos", ast.Not: "not"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip

# What Python has and the language has not: what to call it, and what to write instead.
_REFUSED: dict[type[ast.AST], tuple[str, str | None]] = {
    ast.Import: ("an import", "the functions of the language are there without one"),
    ast.ImportFrom: ("an import", "the functions of the language are there without one"),
    ast.ClassDef: ("a class", "a layer is a def"),
    ast.AsyncFunctionDef: ("async", "a layer is a plain def"),
    ast.FunctionDef: ("a def inside a def", "put it beside this one, and call it"),
    ast.For: ("a loop", "an index runs by itself: y[n] = x[n]**2 holds for every n"),
    ast.AsyncFor: ("a loop", "an index runs by itself: y[n] = x[n]**2 holds for every n"),
    ast.While: ("a loop", "an index runs by itself: y[n] = x[n]**2 holds for every n"),
    ast.If: ("if", "write where(condition, a, b)"),
    ast.IfExp: ("a conditional expression", "write where(condition, a, b)"),
    ast.With: ("with", None),
    ast.AsyncWith: ("with", None),
    ast.Try: ("try", None),
    ast.TryStar: ("try", None),
    ast.Match: ("match", "write where(condition, a, b)"),
    ast.Raise: ("raise", None),
    ast.Assert: ("assert", None),
    ast.Delete: ("del", None),
    ast.Global: ("global", None),
    ast.Nonlocal: ("nonlocal", None),
    ast.Pass: ("pass", "a layer is a list of equations and a return"),
    ast.Break: ("break", None),
    ast.Continue: ("continue", None),
    ast.AugAssign: ("an assignment that changes a name", "each name is assigned once: give the new value a new name"),
    ast.Lambda: ("lambda", "write the formula where it is used, or as a layer of its own"),
    ast.NamedExpr: ("an assignment inside an expression", "give it a line of its own"),
    ast.ListComp: ("a comprehension", "a reduction names its index: sum[n](x[n])"),
    ast.SetComp: ("a comprehension", "a reduction names its index: sum[n](x[n])"),
    ast.DictComp: ("a comprehension", "a reduction names its index: sum[n](x[n])"),
    ast.GeneratorExp: ("a comprehension", "a reduction names its index: sum[n](x[n])"),
    ast.List: ("a list", None),
    ast.Tuple: ("a tuple", None),
    ast.Set: ("a set", None),
    ast.Dict: ("a dictionary", None),
    ast.JoinedStr: ("an f-string", None),
    ast.Attribute: ("an attribute", "there are no modules or methods: exp(x[n]), not np.exp(x)"),
    ast.Starred: ("a starred expression", None),
    ast.Yield: ("yield", None),
    ast.YieldFrom: ("yield", None),
    ast.Await: ("await", None),
    ast.Slice: ("a slice", "write an index; an equation holds for every value of it"),
}
_REFUSED_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.MatMult: ("@", "write the sum: sum[k](a[n, k] * b[k, m])"),
    ast.BitAnd: ("&", "write 'and'"),
    ast.BitOr: ("|", "write 'or'"),
    ast.BitXor: ("^", "a power is **; of conditions write a != b"),
    ast.Invert: ("~", "write 'not'"),
    ast.LShift: ("<<", "write * 2**k"),
    ast.RShift: (">>", "write // 2**k"),
    ast.Is: ("is", "write =="),
    ast.IsNot: ("is not", "write !="),
    ast.In: ("in", "compare with == and join with 'or'"),
    ast.NotIn: ("not in", "compare with != and join with 'and'"),
}


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
            raise _refused(node, text)
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
        DerivationError: it uses a form of the language that has no derivation yet.
    """
    at = _def_name(node, text)
    _check_identifier(node.name, at)
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
    parameters, hypers = _signature(node, text, at)
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


def _refused(node: ast.AST, text: Text) -> LayerSyntaxError:
    what, hint = _REFUSED.get(type(node), (f"'{written(text.span(node))}'", None))
    return LayerSyntaxError(f"{what} is not part of the layer language", text.span(node), hint)


# Signature


def _signature(
    node: ast.FunctionDef, text: Text, at: Span
) -> tuple[tuple[ParameterSyntax, ...], tuple[HyperSyntax, ...]]:
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
        kind, axes = _annotation(argument.annotation, text)
        parameters.append(ParameterSyntax(text.span(argument), name, kind, axes))
    hypers = []
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        hypers.append(_hyper(argument, default, text))
    return tuple(parameters), tuple(hypers)


def _argument_name(argument: ast.arg, text: Text) -> Name:
    whole = text.span(argument)
    place = Span(whole.source, whole.line, whole.column, len(argument.arg))
    _check_identifier(argument.arg, place)
    return Name(place, argument.arg)


def _hyper(argument: ast.arg, default: ast.expr | None, text: Text) -> HyperSyntax:
    name = _argument_name(argument, text)
    if argument.annotation is None:
        raise LayerSyntaxError(
            f"hyper-parameter '{name.id}' has no kind", name.at, f"write {name.id}: Real = 1.0, or Int, Bool"
        )
    kind, axes = _annotation(argument.annotation, text)
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
    number = _literal(inner, value, text)
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


def _annotation(node: ast.expr, text: Text) -> tuple[Kind, tuple[Axis, ...]]:
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
        _check_identifier(node.id, at)
        if not node.id[0].isupper():
            raise LayerSyntaxError(f"size '{node.id}' is not capitalised", at, form)
        return Name(at, node.id)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        if not 0 < node.value < 2**31:
            raise LayerSyntaxError(f"an axis of {written(at)} elements", at, "an axis has at least one element")
        return Number(at, Integer(node.value), True)
    if isinstance(node, (ast.BinOp, ast.UnaryOp)):
        raise LayerSyntaxError(
            f"'{written(at)}' is not a size",
            at,
            "give the axis a name of its own; P = 2*N in the body defines a size P",
        )
    raise LayerSyntaxError(f"'{written(at)}' is not a size", at, form)


def _check_identifier(name: str, at: Span) -> None:
    """Refuse names that could not stand in every output: code, LaTeX, file names."""
    if not name.isascii() or not raw(at).isascii():
        letter = next((c for c in raw(at) if not c.isascii()), name[0])
        words = unicodedata.name(letter, "").split()
        ascii_name = words[-1].lower() if words[:2] == ["GREEK", "SMALL"] else None
        raise LayerSyntaxError(
            f"'{letter}' in a name",
            at,
            f"names are ASCII letters, digits and _; write {ascii_name}" if ascii_name else
            "names are ASCII letters, digits and _",
        )  # fmt: skip
    if name.startswith("_"):
        raise LayerSyntaxError(f"'{name}' begins with an underscore", at, "a name begins with a letter")
    if len(name) > MAX_LENGTH:
        raise LayerSyntaxError(f"a name of {len(name)} characters", at, f"a name has at most {MAX_LENGTH}")


# Statements


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
            return Assign(at, tuple(_target(item, text) for item in items), _expression(node.value, text))
        case ast.Assign(targets=[target]):
            return Assign(at, (_target(target, text),), _expression(node.value, text))
        case ast.Assign():
            raise LayerSyntaxError("two assignments in one statement", at, "write one equation a line")
        case ast.AnnAssign(target=ast.Name() as name, value=None):
            kind, axes = _annotation(node.annotation, text)
            return Declare(at, _name(name, text), kind, axes)
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
    raise _refused(node, text)


def _target(node: ast.expr, text: Text) -> Target:
    at = text.span(node)
    match node:
        case ast.Name():
            return Target(at, _name(node, text), None)
        case ast.Subscript(value=ast.Name() as name):
            return Target(at, _name(name, text), _subscripts(node, text))
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
        names.append(_name(item, text))
    return tuple(names)


# Expressions


def _name(node: ast.Name, text: Text) -> Name:
    at = text.span(node)
    _check_identifier(node.id, at)
    return Name(at, node.id)


def _expression(node: ast.expr, text: Text) -> Expression:
    at = text.span(node)
    match node:
        case ast.Constant():
            return _constant(node, text)
        case ast.Name():
            return _name(node, text)
        case ast.BinOp():
            _check_operator(node.op, at)
            return Operation(at, _BINARY[type(node.op)], (_expression(node.left, text), _expression(node.right, text)))
        case ast.UnaryOp():
            _check_operator(node.op, at)
            return Operation(at, _UNARY[type(node.op)], (_expression(node.operand, text),))
        case ast.BoolOp():
            _check_chain(len(node.values), at)
            word = "and" if isinstance(node.op, ast.And) else "or"
            return _folded(word, [_expression(value, text) for value in node.values], at)
        case ast.Compare():
            return _comparison(node, text)
        case ast.Call(func=ast.Name() as name):
            return _call(node, _name(name, text), text)
        case ast.Call(func=ast.Subscript(value=ast.Name() as name) as head):
            return _reduction(node, head, _name(name, text), text)
        case ast.Call(func=ast.Attribute() as head):
            raise _refused(head, text)
        case ast.Call():
            raise LayerSyntaxError("a call of an expression", at, "a function is called by its name: exp(x[n])")
        case ast.Subscript(value=ast.Name() as name):
            return Read(at, _name(name, text), _subscripts(node, text))
        case ast.Subscript(value=ast.Call(func=ast.Name(id="padded"))):
            raise DerivationError("padded reads are not supported", at, "read inside the axis: x[n], x[0] or x[N - 1]")
        case ast.Subscript(value=ast.Subscript()):
            raise LayerSyntaxError("brackets after brackets", at, "write all subscripts in one pair: x[n, d]")
        case ast.Subscript():
            raise LayerSyntaxError("subscripts of an expression", at, "give it a name first: y[n] = …, then y[n]")
    raise _refused(node, text)


def _check_operator(operator: ast.AST, at: Span) -> None:
    if type(operator) in _REFUSED_OPERATORS:
        word, hint = _REFUSED_OPERATORS[type(operator)]
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
    sides = [_expression(side, text) for side in (node.left, *node.comparators)]
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
            raise _refused(argument, text)
    keywords: list[tuple[Name, Expression]] = []
    for keyword in node.keywords:
        place = text.span(keyword)
        if keyword.arg is None:
            raise LayerSyntaxError("'**' in a call", place, "name every hyper-parameter: eps=1e-3")
        word = Name(Span(place.source, place.line, place.column, len(keyword.arg)), keyword.arg)
        if any(keyword.arg == other.id for other, _ in keywords):
            raise LayerSyntaxError(f"'{keyword.arg}' is given twice", place, "remove one")
        keywords.append((word, _expression(keyword.value, text)))
    return Call(at, name, tuple(_expression(a, text) for a in node.args), tuple(keywords))


def _reduction(node: ast.Call, head: ast.Subscript, word: Name, text: Text) -> Expression:
    at = text.span(node)
    letters: list[Name | Dots] = []
    for item in head.slice.elts if isinstance(head.slice, ast.Tuple) else [head.slice]:
        place = text.span(item)
        match item:
            case ast.Constant(value=value) if value is ...:
                letters.append(Dots(place))
            case ast.Name():
                letters.append(_name(item, text))
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
    return Reduce(at, word, tuple(letters), _expression(node.args[0], text))


def _subscripts(node: ast.Subscript, text: Text) -> tuple[Expression, ...]:
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
            found.append(_expression(item, text))
    if not found:
        raise LayerSyntaxError("no subscript in the brackets", text.span(node), "a scalar is read without brackets")
    return tuple(found)


def _constant(node: ast.Constant, text: Text) -> Expression:
    at = text.span(node)
    value = node.value
    if isinstance(value, bool):
        return Truth(at, value)
    if isinstance(value, (int, float)):
        return _literal(node, value, text)
    if value is ...:
        raise LayerSyntaxError("'...' is not a value", at, "it stands for the batch axes in subscripts: x[..., d]")
    what = {str: "a string", bytes: "a string", complex: "a complex number", type(None): "None"}[type(value)]
    raise LayerSyntaxError(f"{what} is not part of the layer language", at, "values are real numbers")


def _literal(node: ast.expr, value: int | float, text: Text) -> Number:
    """Return the number exactly as written; one that no float64 can hold is refused."""
    at = text.span(node)
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise LayerSyntaxError("a number too large for float64", at, "the largest is about 1.8e308")
        return Number(at, Integer(value), True)
    spelled = raw(at).replace("_", "")
    if math.isinf(value):
        raise LayerSyntaxError("a number too large for float64", at, "infinity is written inf")
    if len(spelled) > MAX_LENGTH:
        raise LayerSyntaxError(f"a number of {len(spelled)} characters", at, f"write it with at most {MAX_LENGTH}")
    exact = Rational(spelled) if _small_exponent(spelled) else Rational(0)
    if (value == 0 and exact != 0) or not _small_exponent(spelled):
        raise LayerSyntaxError("a number too small for float64", at, "the smallest is about 5e-324")
    return Number(at, exact, False)


def _small_exponent(spelled: str) -> bool:
    exponent = spelled.lower().partition("e")[2]
    return len(exponent) < 6
