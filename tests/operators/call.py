"""A sample of PyTorch's operator database as a call of a layer.

An operator has a function from a sample to a ``Call``: a layer's text, or the
name of a catalogue layer, with the sample's tensors. Texts are written for
the sample's ranks, so that the same text serves all samples that differ in
sizes and hyper-parameters only. What the layer language has no counterpart
for raises ``DoesNotApply`` with the reason.

Views are no mathematics: a tensor may be given in another shape, and an axis
of 1 that PyTorch keeps is reshaped away.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from derive.language import load, parse
from derive.language.layer import Layer
from derive.pipeline import build_module

__all__ = [
    "Call",
    "DoesNotApply",
    "Given",
    "Operator",
    "Sample",
    "arguments",
    "layer_of",
    "module_of",
    "pointwise",
    "reduced",
]

Sample = Any
Number = float | int


class DoesNotApply(Exception):
    """The layer language has no counterpart for a sample; the argument says why."""


@dataclass(frozen=True)
class Given:
    """A sample's tensor, in the shape in which the layer takes it."""

    tensor: Tensor
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Call:
    """A layer and what it is called on.

    Attributes:
        source: a layer's text (its last ``def``) or a name of the catalogue.
        tensors: a tensor for each of its parameters, in order.
        hypers: values of hyper-parameters.
        pick: which of PyTorch's results the layer returns, where it has several.
    """

    source: str
    tensors: tuple[Given | Tensor, ...]
    hypers: Mapping[str, Number] = field(default_factory=dict)
    pick: Callable[[Any], Any] = lambda result: result


@dataclass(frozen=True)
class Operator:
    """An operator of PyTorch's and how its samples are called here."""

    name: str
    call: Callable[[Sample], Call]
    variant: str = ""


@functools.cache
def layer_of(source: str) -> Layer:
    return parse(source) if source.startswith("def ") else load(source)


@functools.cache
def module_of(source: str) -> ModuleType:
    made = ModuleType(f"operator_{len(sys.modules)}")
    sys.modules[made.__name__] = made
    exec(compile(build_module(layer_of(source)), f"{made.__name__}.py", "exec"), made.__dict__)
    return made


def arguments(sample: Sample, names: str, **defaults: Any) -> dict[str, Any]:
    """Bind what follows a sample's input to names; refuse what has none."""
    expected = names.split()
    bound = dict(defaults)
    assert len(sample.args) <= len(expected), (names, sample.args)
    bound.update(zip(expected, sample.args, strict=False))
    for name, value in sample.kwargs.items():
        assert name in expected or name in defaults, (names, name)
        bound[name] = value
    return bound


class Layout:
    """Operands that broadcast: their annotations, their elements, the indices of the result.

    An axis of 1 that is stretched is written as such: ``x: Real[N0, 1]`` is
    read at ``x[i0, 0]``. Operands of one shape are elementwise: ``x[...]``.
    Numbers are hyper-parameters.
    """

    def __init__(self, operands: Mapping[str, Tensor | Number], positive: Sequence[str], whole: bool) -> None:
        self.tensors = {n: v for n, v in operands.items() if isinstance(v, Tensor)}
        self.hypers = {n: v for n, v in operands.items() if not isinstance(v, Tensor)}
        shapes = {tuple(v.shape) for v in self.tensors.values()}
        self.shape = torch.broadcast_shapes(*shapes)
        self.any_rank = whole and (len(shapes) == 1 or shapes == {self.shape, ()})
        self.positive = positive

    def annotation(self, name: str) -> str:
        shape = self.tensors[name].shape
        kind = kind_of(self.tensors[name], name in self.positive)
        if self.any_rank:
            return f"{name}: {kind}[...]" if tuple(shape) == self.shape else f"{name}: {kind}"
        axes = ["1" if self._stretched(p, shape) else f"N{p}" for p in self._places(shape)]
        return f"{name}: {kind}[{', '.join(axes)}]" if axes else f"{name}: {kind}"

    def _places(self, shape: Sequence[int]) -> range:
        return range(len(self.shape) - len(shape), len(self.shape))

    def _stretched(self, place: int, shape: Sequence[int]) -> bool:
        return shape[place - len(self.shape)] == 1 != self.shape[place]

    def element(self, name: str) -> str:
        if name in self.hypers:
            return name
        shape = self.tensors[name].shape
        if self.any_rank:
            return f"{name}[...]" if tuple(shape) == self.shape else name
        indices = ["0" if self._stretched(p, shape) else f"i{p}" for p in self._places(shape)]
        return f"{name}[{', '.join(indices)}]" if indices else name

    def fill(self, formula: str) -> str:
        return formula.format(**{n: self.element(n) for n in (*self.tensors, *self.hypers)})

    def indices(self) -> list[str]:
        return ["..."] if self.any_rank else [f"i{p}" for p in range(len(self.shape))]

    def signature(self) -> str:
        parts = [self.annotation(n) for n in self.tensors]
        if self.hypers:
            parts += ["*", *(f"{n}: {'Int' if isinstance(v, int) else 'Real'} = 1" for n, v in self.hypers.items())]
        return f"def operator({', '.join(parts)}):\n"


def kind_of(tensor: Tensor, positive: bool = False) -> str:
    """The language's kind for a tensor."""
    if tensor.dtype == torch.float64:
        return "Positive" if positive else "Real"
    if tensor.dtype == torch.bool:
        return "Bool"
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        raise DoesNotApply(f"an operand of {str(tensor.dtype).removeprefix('torch.')}")
    return "Int"


def pointwise(
    formula: str, *, reduction: str = "none", positive: Sequence[str] = (), **operands: Tensor | Number | None
) -> Call:
    """An elementwise formula of operands that broadcast: ``{x} * {y}``; its mean or sum over all where asked for."""
    layout = Layout({n: v for n, v in operands.items() if v is not None}, positive, whole=True)
    over = layout.indices()
    body = layout.fill(formula)
    if reduction != "none" and over:
        if reduction == "mean" and 0 in layout.shape:
            raise DoesNotApply("a mean over nothing")
        text = f"    out = {reduction}[{', '.join(over)}]({body})\n"
    elif over:
        text = f"    out[{', '.join(over)}] = {body}\n"
    else:
        text = f"    out = {body}\n"
    return Call(layout.signature() + text + "    return out\n", tuple(layout.tensors.values()), layout.hypers)


def dims_of(dim: Any, rank: int) -> tuple[int, ...]:
    """Axes that PyTorch means by ``dim``, in order: none given are all."""
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return tuple(range(rank))
    dims = dim if isinstance(dim, (list, tuple)) else (dim,)
    return tuple(sorted({d % max(rank, 1) for d in dims}))


def reduced(
    body: str, dim: Any, *, positive: Sequence[str] = (), returns: str = "out", **operands: Tensor | Number | None
) -> Call:
    """A formula that reduces the operands over axes.

    Args:
        body: statements of the layer, a line each, in which ``{x}`` is an element of an operand, ``{over}`` stands for
            the reduced indices, ``{rest}`` for the others, ``{all}`` for all of them.
        dim: as PyTorch takes it.
        positive: operands that are positive.
        returns: what is returned.
        operands: tensors and numbers.
    """
    given = {n: v for n, v in operands.items() if v is not None}
    views = {n: Given(v, (1,)) if v.ndim == 0 else Given(v) for n, v in given.items() if isinstance(v, Tensor)}
    flat = {n: v.reshape(1) if isinstance(v, Tensor) and v.ndim == 0 else v for n, v in given.items()}
    layout = Layout(flat, positive, whole=False)
    dims = dims_of(dim, len(layout.shape))
    if 0 in [layout.shape[d] for d in dims] and any(w in body for w in ("mean", "max", "min", "var", "std")):
        raise DoesNotApply("a mean or maximum over nothing")
    indices = layout.indices()
    over = [i for p, i in enumerate(indices) if p in dims]
    rest = [i for p, i in enumerate(indices) if p not in dims]
    count = "*".join(f"N{d}" for d in dims)
    words = {"over": ", ".join(over), "rest": f"[{', '.join(rest)}]" if rest else "", "all": f"[{', '.join(indices)}]"}
    elements = {n: layout.element(n) for n in (*layout.tensors, *layout.hypers)}
    lines = [f"    {line}\n" for line in body.format(**words, **elements, count=count).splitlines()]
    text = layout.signature() + "".join(lines) + f"    return {returns}\n"
    return Call(text, tuple(views[n] for n in layout.tensors), layout.hypers)
