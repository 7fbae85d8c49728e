"""``Program``: a layer's forward statements and the adjoint of every name.

The adjoint (cotangent) of ``v`` is called ``dv`` and has ``v``'s shape:
``dv[i] = ∂⟨dy, y⟩/∂v[i]``. The steps that led to the formulas are kept as
data, each with its reason, for whoever prints the derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import overload

from sympy import Expr

from derive.algebra.nodes import Element
from derive.language.layer import Layer, Statement

__all__ = ["Equation", "Pass", "Program", "Stage", "Step", "Steps"]


@dataclass(frozen=True, slots=True)
class Equation:
    """``lhs = rhs``, both expressions."""

    lhs: Expr
    rhs: Expr


class Stage(Enum):
    """Where in the derivation a step belongs."""

    REWRITE = "forward, made stable"
    NAME = "names for intermediate results"
    CHAIN = "chain rule"
    FACT = "facts about the forward values"
    SIMPLIFY = "simplification"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the derivation: an equation that now holds, and why.

    Attributes:
        stage: the part of the derivation it belongs to.
        lhs, rhs: the equation after the step.
        reason: a sentence, plain text; ``{0}``, ``{1}`` … stand for ``formulas``.
        formulas: equations or expressions that the reason quotes.
        terms: for a chain-rule step, one (path name, contribution) a path, in order;
            their sum is ``rhs``.
    """

    stage: Stage
    lhs: Expr
    rhs: Expr
    reason: str
    formulas: tuple[Expr | Equation, ...] = ()
    terms: tuple[tuple[str, Expr], ...] = ()


class Steps(Sequence[Step]):
    """Steps that are put together when somebody first looks at them: most who derive only want the code."""

    def __init__(self, *parts: Callable[[], Iterable[Step]]) -> None:
        self._parts = parts

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return tuple(step for part in self._parts for step in part())

    @overload
    def __getitem__(self, place: int) -> Step: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Step]: ...
    def __getitem__(self, place: int | slice) -> Step | Sequence[Step]:
        return self._steps[place]

    def __len__(self) -> int:
        return len(self._steps)


@dataclass(frozen=True, slots=True)
class Pass:
    """A further function beside forward and backward: a Jacobian-vector product, a second derivative.

    Attributes:
        name: of the function: ``jvp``, ``double_backward`` or ``hvp``.
        statements: in order; a statement may read parameters, forward values,
            what the caller hands in and earlier statements.
        given: what the caller hands in, in order: its name, and the name of the
            parameter or output that has its shape.
        results: what is returned, in order: the name of what it belongs to (the
            output of a tangent, the parameter of a gradient), and of its statement.
    """

    name: str
    statements: tuple[Statement, ...]
    given: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.name}:", *(f"    {s}" for s in self.statements)]) + "\n"


@dataclass(frozen=True, slots=True)
class Program:
    """Forward statements, backward statements, and what they mean.

    Attributes:
        layer: the layer as it was written.
        forward: the statements that are computed, in order; they define every
            name the backward reads and every output.
        backward: the adjoint statements in order; a statement may read forward
            names, parameters, cotangents and earlier adjoints.
        outputs: names of the results (``layer.returns``).
        cotangents: one name an output, ``d<output>``, handed to ``backward``.
        gradients: ``(parameter, name of its gradient statement)``, in order.
        steps: the derivation.
        passes: further functions that were asked for.
        stages: ``(forward name, name of its adjoint)`` of the intermediate results
            whose adjoints are returned too, in order.
    """

    layer: Layer
    forward: tuple[Statement, ...]
    backward: tuple[Statement, ...]
    outputs: tuple[str, ...]
    cotangents: tuple[str, ...]
    gradients: tuple[tuple[str, str], ...]
    steps: Sequence[Step] = field(default=(), compare=False, repr=False)
    passes: tuple[Pass, ...] = ()
    stages: tuple[tuple[str, str], ...] = ()

    @property
    def returned(self) -> tuple[str, ...]:
        """The names of what backward returns: gradients, then the adjoints of stages."""
        return tuple(name for _, name in (*self.gradients, *self.stages))

    def definition(self, name: str) -> Statement | None:
        """Return the forward or backward statement that defines ``name``, or None."""
        return next((s for s in (*self.forward, *self.backward) if s.name == name), None)

    def adjoint_of(self, name: str) -> Element | None:
        """Return the target of the gradient of a parameter, or None."""
        for parameter, gradient in self.gradients:
            if parameter == name:
                statement = self.definition(gradient)
                return None if statement is None else statement.target
        return None

    def __str__(self) -> str:
        lines = ["forward:"]
        lines += [f"    {s}" for s in self.forward]
        lines.append("backward:")
        lines += [f"    {s}" for s in self.backward]
        return "\n".join(lines) + "\n" + "".join(map(str, self.passes))
