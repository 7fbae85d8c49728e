"""A ``Program`` as C functions: statements to pieces, pieces to nests, nests to loops, buffers and locals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sympy import Expr

from derive.algebra.nodes import BATCH_SIZE
from derive.algebra.nodes import Kind as Elements
from derive.calculus.program import Program
from derive.language.layer import Layer, Statement
from derive.lower.affine import Ranges
from derive.lower.labels import label_checks, nonempty_sizes
from derive.lower.prepare import narrowed, without_aliases, without_dead
from derive.nests.fuse import fused
from derive.nests.inline import inlined
from derive.nests.nodes import Argument, Check, CProgram, Function, Kind, Role
from derive.nests.pieces import Piece
from derive.nests.saved import keeping_softmax, reading_less
from derive.nests.split import Splitter
from derive.nests.storage import arrays, stored

__all__ = ["nests"]

_KINDS = {Elements.INT: Kind.INT, Elements.BOOL: Kind.BOOL}


def nests(program: Program) -> CProgram:
    """Turn the forward and backward statements of a program into loops."""
    layer = program.layer
    original = without_dead(without_aliases(program))
    program = narrowed(original)
    shapes = {p.name: p.axes for p in layer.parameters}
    for cotangent, output in zip(program.cotangents, program.outputs, strict=True):
        shapes[cotangent] = _axes(program, output)
    taken = {*shapes, *(h.name for h in layer.hypers), *(s.name for s in (*program.forward, *program.backward))}
    taken |= {s.name for s in (*layer.sizes, *(d.size for d in layer.derived))}
    program = reading_less(keeping_softmax(program, taken))
    checked = [(x.name, x.size) for x in label_checks(layer, original)]
    splitter = Splitter(
        shapes, Ranges(layer.derived, layer.sizes, layer.conditions), taken, ((n, s) for n, s in checked)
    )
    earlier = splitter.split(program.forward)
    made = {p.name for p in earlier}
    later = splitter.split(program.backward)
    read = {e.name for p in later for e in p.reads}
    kept = [name for name in splitter.tensors if name in made and name in read]
    common = _numbers(layer)
    inputs = [Argument(p.name, Role.INPUT, _kind(p.kind), p.axes, p.name) for p in layer.parameters]
    outputs = [_result(splitter, program, name, Role.OUTPUT) for name in program.outputs]
    own = {a.name for a in outputs}
    cache = [_array(splitter, name, Role.CACHE) for name in kept if name not in own]
    forward = _function(
        splitter,
        layer,
        "forward",
        [*common, *inputs, *outputs, *cache],
        earlier,
        checked,
    )
    given = [a for a in inputs if a.name in read]
    given += [_again(a) for a in outputs if a.name in read and a.name not in {i.name for i in inputs}]
    cotangents = [
        Argument(name, Role.COTANGENT, Kind.REAL, shapes[name], name) for name in program.cotangents
    ]
    gradients = [_result(splitter, program, name, Role.GRADIENT) for _, name in program.gradients]
    backward = _function(
        splitter, layer, "backward", [*common, *given, *cache, *cotangents, *gradients], later, ()
    )
    return CProgram(
        layer=layer.name,
        doc=layer.doc,
        source=layer.source.name.rpartition("/")[2] if layer.source is not None else f"{layer.name}.layer",
        forward=forward,
        backward=backward,
        conditions=layer.conditions,
        nonempty=nonempty_sizes(layer, original),
        gradients=program.gradients,
        formulas=(tuple(map(str, original.forward)), tuple(map(str, original.backward))),
    )


def _numbers(layer: Layer) -> list[Argument]:
    """Return the arguments that are handed by value: the sizes, the batch first, and the hyper-parameters."""
    axes = {a for p in layer.parameters for a in p.axes}
    result = [Argument("...", Role.SIZE, Kind.INT, source="...")] if BATCH_SIZE in axes else []
    result += [Argument(s.name, Role.SIZE, Kind.INT, source=s.name) for s in layer.sizes if s != BATCH_SIZE]
    result += [Argument(h.name, Role.HYPER, _kind(h.kind), source=h.name) for h in layer.hypers]
    return result


def _function(
    splitter: Splitter,
    layer: Layer,
    name: str,
    arguments: Sequence[Argument],
    pieces: Sequence[Piece],
    checked: Iterable[tuple[str, Expr]],
) -> Function:
    handed = {a.name: a.shape for a in arguments if not a.by_value}
    tensors = splitter.tensors
    trees = fused(pieces, tensors)
    fewer = inlined(pieces, arrays(trees, tensors, handed))
    if len(fewer) < len(pieces):
        trees = fused(fewer, tensors)
    body, buffers = stored(trees, tensors, handed)
    checks = [Check(n, size, k + 1) for k, (n, size) in enumerate(checked)]
    return Function(
        name=f"{layer.name}_{name}",
        arguments=tuple(arguments),
        derived=tuple((d.size, d.expr) for d in layer.derived),
        buffers=buffers,
        body=(*checks, *body),
        labels=tuple(checked),
    )


def _kind(kind: Elements) -> Kind:
    return _KINDS.get(kind, Kind.REAL)


def _axes(program: Program, name: str) -> tuple[Expr, ...]:
    statement = program.definition(name)
    if statement is not None:
        return statement.axes
    return program.layer.axes(name)


def _array(splitter: Splitter, name: str, role: Role) -> Argument:
    tensor = splitter.tensors[name]
    return Argument(name, role, _kind(tensor.kind), tuple(i.size for i in tensor.indices), name)


def _result(splitter: Splitter, program: Program, name: str, role: Role) -> Argument:
    statement: Statement | None = program.definition(name)
    assert statement is not None, f"nests: no {name}"
    return Argument(name, role, _kind(statement.kind), statement.axes, name)


def _again(argument: Argument) -> Argument:
    return Argument(argument.name, Role.CACHE, argument.kind, argument.shape, argument.source)

