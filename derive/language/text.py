"""Print a layer in the layer language, so that ``parse`` reads an equal one back."""

from __future__ import annotations

from collections.abc import Iterable

from sympy import Expr

from derive.algebra.nodes import BATCH_SIZE, Element, Index, KeepingReduction, Kind, Reduction
from derive.algebra.text import show
from derive.language.layer import Layer, Statement

__all__ = ["show_layer", "signature"]


def _annotation(kind: Kind, axes: Iterable[Expr]) -> str:
    sizes = ", ".join("..." if axis == BATCH_SIZE else show(axis) for axis in axes)
    return f"{kind.value}[{sizes}]" if sizes else kind.value


def signature(layer: Layer) -> str:
    """Return ``name(x: Real[N, D], *, eps: Real = 1e-05)``."""
    parts = [f"{p.name}: {_annotation(p.kind, p.axes)}" for p in layer.parameters]
    if layer.hypers:
        parts.append("*")
        parts += [f"{h.name}: {h.kind.value} = {h.default!r}" for h in layer.hypers]
    return f"{layer.name}({', '.join(parts)})"


def show_layer(layer: Layer) -> str:
    """Return the layer as text of the layer language, calls written out.

    A tensor's shape is declared where its equation does not tell it.
    """
    lines = [f"def {signature(layer)}:"]
    lines += _docstring(layer.doc)
    lines += [f"    {d.size.name} = {show(d.expr)}" for d in layer.derived]
    for statement in layer.statements:
        if not set(statement.indices) <= _standing(statement.expr):
            lines.append(f"    {_declaration(statement)}")
        lines.append(f"    {statement}")
    lines.append(f"    return {', '.join(layer.returns)}")
    return "\n".join(lines) + "\n"


def _declaration(statement: Statement) -> str:
    return f"{statement.name}: {_annotation(statement.kind, statement.axes)}"


def _standing(expr: Expr) -> frozenset[Expr]:
    """Return the free indices that stand alone on an axis somewhere."""
    if isinstance(expr, Element):
        alone = frozenset(s for s in expr.subscripts if isinstance(s, Index))
        return alone.union(*(_standing(s) for s in expr.subscripts))
    inner = frozenset[Expr]().union(*map(_standing, expr.args))
    if isinstance(expr, Reduction):
        return inner - frozenset(expr.indices)
    if isinstance(expr, KeepingReduction):
        return inner - (frozenset(expr.indices) - frozenset(expr.at))
    return inner


def _docstring(doc: str) -> list[str]:
    """Return the lines of a docstring whose value, dedented, is ``doc``."""
    if not doc:
        return []
    text = "".join(_escaped(character) for character in doc).replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text = text[:-1] + '\\"'
    lines = text.split("\n")
    lines[1:] = [f"    {line}" if line.strip() else line for line in lines[1:]]
    if len(lines) > 1:
        return [f'    """{lines[0]}', *lines[1:], '    """']
    return [f'    """{text}"""']


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character == "\n" or character.isprintable():
        return character
    return character.encode("unicode-escape").decode()
