"""What Python has and the language has not: what to call it, and what to write instead."""

from __future__ import annotations

import ast

from derive.errors import LayerSyntaxError
from derive.language.reader import Text
from derive.language.tree import written

__all__ = ["REFUSED_OPERATORS", "refused"]

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
# What arrays have, by its name there, and how a layer says it.
_ATTRIBUTES = {
    "T": "write the indices in the order that is meant: x[d, n]",
    "mT": "write the indices in the order that is meant: x[d, n]",
    "shape": "a size is a capitalised name in the brackets, x: Real[N, D], and may stand as a number",
    "size": "a size is a capitalised name in the brackets, x: Real[N, D], and may stand as a number",
    **{name: f"write {name}[d](x[n, d])" for name in ("sum", "mean", "max", "min", "prod", "std", "var", "argmax")},
}
REFUSED_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
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


def refused(node: ast.AST, text: Text) -> LayerSyntaxError:
    """Return the error of a form that is not in the language."""
    if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
        return LayerSyntaxError(
            f"an attribute, '.{node.attr}', is not part of the layer language", text.span(node), _ATTRIBUTES[node.attr]
        )
    what, hint = _REFUSED.get(type(node), (f"'{written(text.span(node))}'", None))
    return LayerSyntaxError(f"{what} is not part of the layer language", text.span(node), hint)
