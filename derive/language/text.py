"""Print a layer in the layer language."""

from __future__ import annotations

from derive.algebra.nodes import Kind
from derive.algebra.text import show
from derive.language.layer import Layer

__all__ = ["show_layer", "signature"]


def _annotation(kind: Kind, axes: tuple[object, ...]) -> str:
    if not axes:
        return kind.value
    return f"{kind.value}[{', '.join(show(a) for a in axes)}]"  # type: ignore[arg-type]


def signature(layer: Layer) -> str:
    """Return ``name(x: Real[N, D], *, eps: Real = 1e-05)``."""
    parts = [f"{p.name}: {_annotation(p.kind, p.axes)}" for p in layer.parameters]
    if layer.hypers:
        parts.append("*")
        parts += [f"{h.name}: {h.kind.value} = {h.default!r}" for h in layer.hypers]
    return f"{layer.name}({', '.join(parts)})"


def show_layer(layer: Layer) -> str:
    """Return the layer as text of the layer language, calls written out."""
    lines = [f"def {signature(layer)}:"]
    if layer.doc:
        lines.append(f'    """{layer.doc}"""')
    lines += [f"    {d.size.name} = {show(d.expr)}" for d in layer.derived]
    lines += [f"    {s}" for s in layer.statements]
    lines.append(f"    return {', '.join(layer.returns)}")
    return "\n".join(lines) + "\n"
