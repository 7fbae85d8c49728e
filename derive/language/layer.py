"""``Layer``: what a layer file says, resolved: names, ranges, shapes, equations.

A ``Layer`` is flat: calls of other layers have been written out, with their
names made distinct, so it is a list of single-assignment index equations.
Which of them came from which call is kept beside them (``Layer.calls``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sympy import Expr, Integer

from derive.algebra.indices import names
from derive.algebra.nodes import Element, Hyper, Index, Kind, Size, Tensor
from derive.algebra.text import show
from derive.errors import Source, Span

__all__ = ["Carry", "Condition", "DerivedSize", "HyperParameter", "Layer", "LayerCall", "Parameter", "Statement"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that is handed to the layer.

    Attributes:
        name: as in the layer file.
        kind: of its elements.
        axes: the sizes, one an axis; ``BATCH_SIZE`` first stands for ``...``.
    """

    name: str
    kind: Kind
    axes: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def tensor(self) -> Tensor:
        """The name as it stands in expressions."""
        return Tensor(self.name, self.kind)


@dataclass(frozen=True, slots=True)
class HyperParameter:
    """A scalar constant with a default."""

    name: str
    kind: Kind
    default: int | float | bool
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def symbol(self) -> Hyper:
        """The name as it stands in expressions."""
        return Hyper(self.name, self.kind)


@dataclass(frozen=True, slots=True)
class DerivedSize:
    """``P = (H + 2*pad - R) // stride + 1``: a size from sizes and hyper-parameters."""

    size: Size
    expr: Expr
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """What the sizes and hyper-parameters of a run have to fulfil: ``expr >= 0``.

    That every read lies inside its axis was proved with these taken for
    granted, so code verifies them: ``stride - 1 >= 0``, "stride is at least 1".

    Attributes:
        expr: an integer expression of sizes, computed ones too, and Int hyper-parameters.
        text: what is fulfilled, as an error message says it.
    """

    expr: Expr
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Carry:
    """What makes a statement a recurrence: it may be read one step earlier.

    ``h[t, n]`` with ``Carry(t, 1, h0[n])`` is computed for t = 0, 1, …;
    ``h[t - 1, n]`` is its earlier element, and ``h[-1, n]`` is ``h0[n]``. With
    ``step`` -1 time runs backwards: the earlier element is ``h[t + 1, n]``, and
    that after the last, ``h[T, n]``, is the start.

    Attributes:
        index: the letter of the axis along which the recurrence runs, one of the statement's indices.
        step: 1, or -1 for a recurrence that runs from the last element to the first.
        start: the value before the first step; its free indices are the statement's others.
    """

    index: Index
    step: int
    start: Expr


@dataclass(frozen=True, slots=True)
class Statement:
    """``name[indices] = expr``; the free indices of ``expr`` are among ``indices``.

    ``carry``: the statement is a recurrence. Which statements form one loop
    follows from what they read (:func:`derive.language.loops.loops`).
    """

    name: str
    indices: tuple[Index, ...]
    expr: Expr
    kind: Kind = Kind.REAL
    span: Span | None = field(default=None, compare=False, repr=False)
    carry: Carry | None = None

    @property
    def tensor(self) -> Tensor:
        """The name as it stands in expressions."""
        return Tensor(self.name, self.kind)

    @property
    def target(self) -> Element:
        """The left side as an element."""
        return Element(self.tensor, *self.indices)

    @property
    def axes(self) -> tuple[Expr, ...]:
        """The sizes of the axes."""
        return tuple(index.size for index in self.indices)

    @property
    def reads(self) -> frozenset[str]:
        """The names on the right side, and in the start of a recurrence."""
        return names(self.expr) | (names(self.carry.start) if self.carry is not None else frozenset())

    @property
    def start(self) -> Element | None:
        """The element that holds the start of a recurrence: ``h[-1, n]``, or ``h[T, n]`` where time runs backwards."""
        if self.carry is None:
            return None
        index = self.carry.index
        place = Integer(-1) if self.carry.step == 1 else index.size
        return Element(self.tensor, *(place if i == index else i for i in self.indices))

    def __str__(self) -> str:
        start = f"{show(self.start)} = {show(self.carry.start)}; " if self.carry is not None else ""
        return f"{start}{show(self.target)} = {show(self.expr)}"


@dataclass(frozen=True, slots=True)
class LayerCall:
    """``a, b = layer(x, w, eps=1e-3)``: a call on whole tensors, as it was before it was written out.

    Attributes:
        layer: the callee.
        arguments: the caller's tensors, one a parameter of the callee.
        hypers: the hyper-parameters that were given, each with its value in the caller's terms.
        results: the caller's names, one a result of the callee.
        statements: the names of the caller's statements that the call was written out to.
    """

    layer: Layer
    arguments: tuple[str, ...]
    hypers: tuple[tuple[str, Expr], ...]
    results: tuple[str, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its parameters, its equations in order, what it returns.

    Attributes:
        name: of the ``def``.
        doc: the docstring, dedented and stripped; "" where there is none.
        parameters: the tensors, in order.
        hypers: the hyper-parameters, in order.
        sizes: every plain size of the parameters, in order of first appearance.
        derived: sizes that are computed, in order.
        statements: the equations; each name is assigned once, before it is used.
        returns: names of the results, in order.
        conditions: what a run has to fulfil, in order: a divisor comes before the size that is divided by it.
        source: the file it came from.
        calls: the calls on whole tensors that were written out, in order.
    """

    name: str
    doc: str
    parameters: tuple[Parameter, ...]
    hypers: tuple[HyperParameter, ...]
    sizes: tuple[Size, ...]
    derived: tuple[DerivedSize, ...]
    statements: tuple[Statement, ...]
    returns: tuple[str, ...]
    conditions: tuple[Condition, ...] = field(default=(), compare=False)
    source: Source | None = field(default=None, compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)
    calls: tuple[LayerCall, ...] = field(default=(), compare=False, repr=False)

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, or None."""
        return next((p for p in self.parameters if p.name == name), None)

    def statement(self, name: str) -> Statement | None:
        """Return the statement that defines ``name``, or None."""
        return next((s for s in self.statements if s.name == name), None)

    def axes(self, name: str) -> tuple[Expr, ...]:
        """Return the sizes of a parameter's, an intermediate's or an output's axes."""
        owner = self.parameter(name) or self.statement(name)
        assert owner is not None, name
        return owner.axes

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The parameters that have a gradient, in order."""
        return tuple(p.name for p in self.parameters if p.kind.differentiable)

    def __str__(self) -> str:
        from derive.language.text import show_layer

        return show_layer(self)
