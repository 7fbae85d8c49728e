"""A network with calls as an ``ArrayProgram``: its own equations lowered, the calls between them.

The network's own equations are a program of the opened network (see
:mod:`derive.calculus.calls`) and lowered as any other; then the calls take
their places, and what the opened network had as further inputs, outputs,
cotangents and gradients becomes what passes between the modules.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sympy import Expr

from derive.algebra.nodes import BATCH_SIZE, Hyper, Index
from derive.algebra.text import show
from derive.calculus.adjoint import adjoint_name
from derive.calculus.calls import Item, Site, Woven
from derive.lower.arrays import (
    Array,
    ArrayProgram,
    Assign,
    Binary,
    CallBackward,
    CallForward,
    Copy,
    Dtype,
    Dtypes,
    Field,
    InPlace,
    Instruction,
    Name,
    Number,
    Part,
    SizeOf,
    values,
    walk,
)
from derive.lower.program import lower
from derive.lower.scalars import sizes_in
from derive.lower.sizes import find_sizes, shaped

__all__ = ["gradient_field", "lower_calls"]


def gradient_field(parameter: str) -> str:
    """Return the name of a parameter's field in a module's ``Gradients``."""
    name = adjoint_name(parameter)
    return name + "_" * keyword.iskeyword(name)


def lower_calls(network: Woven) -> ArrayProgram:
    """Turn a network's own equations into whole-array operations and put its calls between them."""
    arrays = lower(network.program)
    layer = network.network
    sites = [item for item in network.forward if isinstance(item, Site)]
    read = {*layer.returns, *(f.name for f in arrays.cache), *(a for site in sites for a in site.arguments)}
    read |= {n.name for i in arrays.forward for value in values(i) for n in walk(value) if isinstance(n, Name)}
    work = _Calls(arrays, _caches(network, sites), frozenset(read))
    own_inputs = arrays.inputs[: len(layer.parameters)]
    inputs = {i.name: tuple(map(_letter, i.axes)) for i in own_inputs}
    kept = tuple(f for f in arrays.cache if f.axes is not None or isinstance(f.value, Hyper))
    held = {f.name: f.axes for f in kept if f.axes is not None}
    forward = _placed(arrays.forward, network.forward, work.forward, _assigned)
    forward = tuple(shaped(i, inputs) for i in _unowned(forward, network.network.returns))
    backward = _placed(arrays.backward, network.backward, work.backward, _assigned)
    backward = _accumulated(_unowned(backward, [name for _, name in network.gradients]))
    expected = arrays.cotangents[: len(layer.returns)]
    backward_sizes, missing = find_sizes(backward, held, expected, layer.derived)
    checked = [*(x.size for x in arrays.labels), *(c.expr for c in arrays.conditions)]
    further = [SizeOf(s, Part.LENGTH) for size in checked for s in sorted(sizes_in(size), key=str)]
    forward_sizes, lost = find_sizes(forward, inputs, (), layer.derived, [*missing, *further])
    assert not lost, f"lower: no parameter has the sizes {lost}"
    numbers = (Field(_size_name(f), None, Dtype.NUMBER, f.size) for f in missing)
    caches = (
        Field(work.caches[site.results], None, Dtype.NUMBER, module=site.call.layer.name)
        for site in sites
        if site.differentiated
    )
    precision = next((f.name for f in kept if f.axes is not None and f.dtype is Dtype.REAL), None)
    reals = sum(p.kind.differentiable for p in layer.parameters)
    return replace(
        arrays,
        inputs=own_inputs,
        forward=forward,
        backward=backward,
        outputs=arrays.outputs[: len(layer.returns)],
        cotangents=expected,
        gradients=network.gradients,
        cache=(*kept, *caches, *numbers),
        forward_sizes=forward_sizes,
        backward_sizes=backward_sizes,
        dtypes=Dtypes.EACH if reals > 1 else Dtypes.ONE if precision is None else Dtypes.ARRAY,
        precision=precision,
        forward_formulas=_placed(arrays.forward_formulas, network.forward, _forward_formula, _left),
        backward_formulas=_placed(arrays.backward_formulas, network.backward, _backward_formula, _left),
        modules=tuple(dict.fromkeys(site.call.layer.name for site in sites)),
    )


def _letter(size: Expr) -> Index:
    return Index("..." if size == BATCH_SIZE else "i", size)


def _size_name(size: SizeOf) -> str:
    return "batch" if size.part is Part.BATCH else str(size.size.name)


def _caches(network: Woven, sites: Iterable[Site]) -> dict[tuple[str, ...], str]:
    """Return a name for the cache of each call whose backward is called."""
    program, layer = network.program, network.network
    taken = {p.name for p in program.layer.parameters} | {h.name for h in layer.hypers} | {s.name for s in layer.sizes}
    taken |= {s.name for s in (*program.forward, *program.backward)} | {d.size.name for d in layer.derived}
    names: dict[tuple[str, ...], str] = {}
    for site in sites:
        if site.differentiated:
            name = f"{site.results[0]}_cache"
            while name in taken:
                name += "_"
            taken.add(name)
            names[site.results] = name
    return names


@dataclass(frozen=True, slots=True)
class _Calls:
    """Makes the instructions of calls.

    Attributes:
        arrays: the lowered equations.
        caches: the names of the callees' caches, by what the calls give.
        read: the names that forward returns, keeps or goes on with.
    """

    arrays: ArrayProgram
    caches: dict[tuple[str, ...], str]
    read: frozenset[str]

    def forward(self, site: Site) -> Instruction:
        """Return the call of the callee's forward."""
        keywords = tuple((name, Number((), Dtype.NUMBER, value=value)) for name, value in site.call.hypers)
        arguments = tuple(map(self._array, site.arguments))
        results = tuple(name if name in self.read else None for name in site.results)
        return CallForward(site.call.layer.name, results, self.caches.get(site.results), arguments, keywords)

    def backward(self, site: Site) -> Instruction:
        """Return the call of its backward."""
        fields = tuple(map(gradient_field, site.call.layer.differentiable))
        arguments = tuple(map(self._array, site.cotangents))
        return CallBackward(site.call.layer.name, site.gradients, fields, arguments, self.caches[site.results])

    def _array(self, name: str) -> Array:
        """Return what is handed over under a name; of a recurrence, without its start."""
        return dict(self.arrays.views).get(name, Name((), Dtype.REAL, name=name))


def _assigned(instruction: Instruction) -> set[str]:
    body = getattr(instruction, "body", None)
    return {n for i in body for n in _assigned(i)} if body is not None else {instruction.name}  # type: ignore[union-attr]


def _unowned(code: Sequence[Instruction], results: Sequence[str]) -> tuple[Instruction, ...]:
    """Leave out the copies of what only passes to another module, which writes to none of its inputs."""
    return tuple(
        Assign(i.name, i.value.args[0])
        if isinstance(i, Assign) and isinstance(i.value, Copy) and i.name not in results
        else i
        for i in code
    )


_MANY = 3
"""From so many on, the terms of a sum are added up as the calls give them, so that not all are held at once."""


def _accumulated(code: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """Add up what many calls give for one tensor, ``dw += dw_h2`` after each, where nothing else reads it."""
    given = [name for i in code if isinstance(i, CallBackward) for name in i.results]
    reads = Counter(n.name for i in code for value in values(i) for n in walk(value) if isinstance(n, Name))
    total: dict[str, Assign] = {}
    for i in code:
        terms = _terms(i.value) if isinstance(i, Assign) else ()
        if isinstance(i, Assign) and len(terms) >= _MANY and all(t in given and reads[t] == 1 for t in terms):
            total |= dict.fromkeys(terms, i)
    result: list[Instruction] = []
    begun: set[str] = set()
    for i in code:
        if isinstance(i, CallBackward):
            sums = {name: total[name] for name in i.results if name is not None and name in total}
            starts = {name: s.name for name, s in sums.items() if s.name not in begun}
            first = {target: name for name, target in reversed(starts.items())}  # a call may give two terms of one sum
            names = {name: target for target, name in first.items()}
            result.append(replace(i, results=tuple(name and names.get(name, name) for name in i.results)))
            for name, s in sums.items():
                if name not in names:
                    result.append(InPlace(s.name, "+", Name(s.value.axes, s.value.dtype, name=name)))
            begun |= first.keys()
        elif not (isinstance(i, Assign) and i in total.values()):
            result.append(i)
    return tuple(result)


def _terms(value: Array) -> tuple[str, ...]:
    """Return the names that a sum of whole arrays adds up; () where it is anything else."""
    if isinstance(value, Name):
        return (value.name,)
    if not isinstance(value, Binary) or value.op != "+" or any(a.axes != value.axes for a in value.args):
        return ()
    left, right = map(_terms, value.args)
    return (*left, *right) if left and right else ()


def _left(formula: str) -> set[str]:
    return {re.split(r"\W", formula, maxsplit=1)[0]}


_Piece = TypeVar("_Piece")


def _placed(
    pieces: Sequence[_Piece],
    items: Sequence[Item],
    made: Callable[[Site], _Piece],
    names: Callable[[_Piece], set[str]],
) -> tuple[_Piece, ...]:
    """Put each call after the pieces of all equations that come before it; ``names``: what a piece computes."""
    result: list[_Piece] = []
    start = 0
    before: set[str] = set()
    for item in items:
        if not isinstance(item, Site):
            before.add(item.name)
            continue
        last = max((k for k, piece in enumerate(pieces) if names(piece) & before), default=-1)
        result += pieces[start : last + 1]
        start = max(start, last + 1)
        result.append(made(item))
    return (*result, *pieces[start:])


def _forward_formula(site: Site) -> str:
    given = [*site.arguments, *(f"{name}={show(value)}" for name, value in site.call.hypers)]
    return f"{', '.join(site.results)} = {site.call.layer.name}({', '.join(given)})"


def _backward_formula(site: Site) -> str:
    wanted = [(g, f) for g, f in zip(site.gradients, site.call.layer.differentiable, strict=True) if g is not None]
    return f"{', '.join(g for g, _ in wanted)} = {site.call.layer.name}.backward({', '.join(site.cotangents)})"
