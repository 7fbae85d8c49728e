"""Mistakes made by rules of syntax, wherever the rule applies: nobody chose them, and nothing was fitted to them.

Every rule says beforehand what its mistakes are to be called. Where a sum has
a number as a term (``1 - h**2``) it is a local derivative, where it has no
adjoint it is a forward value, otherwise it is a path of the chain rule.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Iterator

from benchmarks.mutations import Mutation, Specimen
from derive.diagnosis import Cause

__all__ = ["by_syntax"]

_Change = tuple[str, str, ast.expr, tuple[Cause, ...]]
"""What was done, what stands there now, the new node, and what that is to be called."""


def by_syntax(source: Callable[[str], str], specimens: Iterable[Specimen]) -> Iterator[Mutation]:
    """Yield every mistake that the rules make in the backward passes of specimens."""
    for specimen in specimens:
        text = source(specimen.name)
        tree = ast.parse(text)
        function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.endswith("backward"))
        cached = _cached(function)
        for node in ast.walk(function):
            for kind, shown, new, causes in (*_sums(node), *_products(node), *_calls(node), *_names(node, cached)):
                changed = _replaced(tree, node, new)
                yield Mutation(specimen.name, kind, ast.unparse(node), shown, "", causes, "", ast.unparse(changed))


def _replaced(tree: ast.Module, node: ast.AST, new: ast.expr) -> ast.Module:
    """Return a copy of the tree with one node replaced."""
    memo = {id(node): new}
    return copy.deepcopy(tree, memo)


def _cached(function: ast.FunctionDef) -> list[str]:
    """Return the forward values that the backward unpacks from its cache or is given."""
    for node in function.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            return [n.id for n in node.targets[0].elts if isinstance(n, ast.Name)]
    return []


def _adjoints(node: ast.AST) -> bool:
    """Return whether an expression reads an adjoint: a name in d, or what was made of one."""
    made = ("inner", "m1", "m2", "rows", "flat", "grads", "dout")
    return any(
        isinstance(n, ast.Name) and (n.id.startswith("d") or n.id in made) and n.id not in ("diff", "dilation", "down")
        for n in ast.walk(node)
    )


def _sums(node: ast.AST) -> Iterator[_Change]:
    """``a - b`` as ``a``, as ``b`` and as ``a + b``."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Add, ast.Sub)):
        return
    numbers = [n for n in (node.left, node.right) if isinstance(n, ast.Constant)]
    if not _adjoints(node) and not numbers:
        return  # sizes and subscripts
    left_out: tuple[Cause, ...] = (Cause.PATH_MISSING,)
    turned: tuple[Cause, ...] = (Cause.SIGN,)
    if numbers:
        if not any(isinstance(n, ast.Name) and len(n.id) <= 2 for n in ast.walk(node)) or "N" in ast.unparse(node):
            return
        left_out = turned = (Cause.DERIVATIVE, Cause.INTERMEDIATE, Cause.FACTOR)
    yield "dropped term", ast.unparse(node.left), node.left, left_out
    if not numbers:
        minus = ast.UnaryOp(ast.USub(), node.right) if isinstance(node.op, ast.Sub) else node.right
        yield "dropped term", ast.unparse(minus), minus, left_out
    other = ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
    yield "sign", ast.unparse(other), other, turned


def _products(node: ast.AST) -> Iterator[_Change]:
    """``a * b`` without a factor that is no adjoint, ``a / b`` as ``a``, ``a**3`` as ``a**2``, ``-a`` as ``a``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for gone, kept in ((node.left, node.right), (node.right, node.left)):
            number = isinstance(gone, (ast.Constant, ast.UnaryOp))
            if not _adjoints(gone) and _adjoints(kept):
                causes = (Cause.FACTOR, Cause.PATH_TWICE, Cause.SIGN) if number else (Cause.FACTOR,)
                yield "dropped factor", ast.unparse(kept), kept, causes
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        if _adjoints(node.left) and not _adjoints(node.right):
            yield "dropped divisor", ast.unparse(node.left), node.left, (Cause.FACTOR,)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant):
        value = node.right.value
        if isinstance(value, int) and value > 1:
            new = ast.BinOp(node.left, ast.Pow(), ast.Constant(value - 1))
            yield "exponent", ast.unparse(new), new, (Cause.FACTOR, Cause.DERIVATIVE, Cause.INTERMEDIATE)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _adjoints(node.operand):
        yield "sign", ast.unparse(node.operand), node.operand, (Cause.SIGN,)


def _calls(node: ast.AST) -> Iterator[_Change]:
    """A sum as a mean and the other way round, over another axis, or not at all; results exchanged."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in ("sum", "mean") and isinstance(node.func, ast.Attribute) and _adjoints(node):
            other = copy.deepcopy(node)
            assert isinstance(other.func, ast.Attribute)
            other.func.attr = "mean" if name == "sum" else "sum"
            yield f"{other.func.attr} for {name}", ast.unparse(other), other, (Cause.FACTOR,)
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "np"):
                causes = (Cause.SUM_MISSING, Cause.SHAPE) if name == "sum" else (Cause.SUM_MISSING, Cause.FACTOR)
                yield "missing sum", ast.unparse(node.func.value), node.func.value, causes
            for keyword in other.keywords:
                axis = keyword.value
                if keyword.arg == "axis" and isinstance(axis, (ast.Constant, ast.UnaryOp)):
                    moved = copy.deepcopy(node)
                    for own in moved.keywords:
                        if own.arg == "axis":
                            own.value = ast.Constant(1 if ast.unparse(axis) == "0" else 0)
                    yield "wrong axis", ast.unparse(moved), moved, (Cause.SUM_AXIS,)
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
        names = [n.id for n in node.elts if isinstance(n, ast.Name)]
        if len(names) == len(node.elts) and all(n.startswith("d") for n in names) and len(names) > 1:
            for k in range(len(names) - 1):
                order = [*names[:k], names[k + 1], names[k], *names[k + 2 :]]
                new = ast.Tuple([ast.Name(n, ast.Load()) for n in order], ast.Load())
                yield "swapped results", ast.unparse(new), new, (Cause.SWAPPED,)


def _names(node: ast.AST, cached: list[str]) -> Iterator[_Change]:
    """The next forward value of the cache for one."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in cached and "stride" not in cached:
        other = cached[(cached.index(node.id) + 1) % len(cached)]
        yield "stale value", other, ast.Name(other, ast.Load()), (Cause.INTERMEDIATE, Cause.SWAPPED)
