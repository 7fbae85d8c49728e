"""Print a layer in the layer language, so that ``parse`` reads an equal one back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sympy import Expr

from derive.algebra.indices import free_indices, is_binder, rebuild
from derive.algebra.nodes import BATCH_SIZE, Element, Index, Kind, Padded, Reduction
from derive.algebra.text import show
from derive.language.layer import Layer, Statement
from derive.language.loops import Loop, loops

__all__ = ["show_layer", "signature"]

Axes = Mapping[str, tuple[Expr, ...]]


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
    axes = {p.name: p.axes for p in layer.parameters} | {s.name: s.axes for s in layer.statements}
    for piece in loops(layer.statements):
        together = piece.statements if isinstance(piece, Loop) else (piece,)
        started = [s for s in together if s.carry is not None]
        lines += [f"    {_declaration(s)}" for s in started if _needs_declaration(s, axes)]
        lines += [f"    {show(s.start)} = {_formula(s.carry.start, axes)}" for s in started if s.start and s.carry]
        for statement in together:
            if statement.carry is None and _needs_declaration(statement, axes):
                lines.append(f"    {_declaration(statement)}")
            lines.append(f"    {show(statement.target)} = {_formula(statement.expr, axes)}")
    lines.append(f"    return {', '.join(layer.returns)}")
    return "\n".join(lines) + "\n"


def _declaration(statement: Statement) -> str:
    return f"{statement.name}: {_annotation(statement.kind, statement.axes)}"


def _needs_declaration(statement: Statement, axes: Axes) -> bool:
    """Return whether the ranges of the left side do not follow from the equation."""
    return any(not _range_is_plain(i, statement.expr, axes) for i in statement.indices) or (
        statement.carry is not None and statement.kind is not Kind.REAL
    )


def _range_is_plain(index: Index, expr: Expr, axes: Axes) -> bool:
    """Return whether a free index stands alone on an axis of its size, and on no other axis."""
    sizes = set(_standing(index, expr, axes))
    return sizes == {index.size}


def _standing(index: Index, expr: Expr, axes: Axes) -> Iterator[Expr]:
    """Return the sizes of the axes on which a free index stands alone."""
    if isinstance(expr, Element):
        for size, subscript in zip(axes[expr.name], expr.subscripts, strict=True):
            if subscript == index:
                yield size
            yield from _standing(index, subscript, axes)
    elif not is_binder(expr) or index in free_indices(expr):
        for arg in expr.args:
            yield from _standing(index, arg, axes)


def _formula(expr: Expr, axes: Axes) -> str:
    return show(_with_ranges(expr, axes))


def _with_ranges(expr: Expr, axes: Axes) -> Expr:
    """Return an expression whose reductions name their ranges where an axis would give another: ``sum[i: P](…)``.

    A letter that stands alone nowhere is printed with its range anyway.
    """
    if not expr.args or isinstance(expr, (Element, Padded)):
        return expr
    args = [_with_ranges(arg, axes) for arg in expr.args]
    if isinstance(expr, Reduction):
        for k, index in enumerate(expr.indices, start=1):
            if any(size != index.size for size in _standing(index, expr.body, axes)):
                args[k] = Index(f"{index.name}: {show(index.size)}", BATCH_SIZE)
    return rebuild(expr, args)


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
