"""Second derivatives: the backward pass as a layer of its own.

A program's backward statements are index equations like any others, so the
backward of the backward is the backward of the layer

    parameters   those of the layer, and the cotangents dy
    statements   forward and backward
    results      the gradients dx, dw, …

With ``S = Σ ⟨ddx, dx⟩`` over the gradients, ``ddx`` being what is handed in for
``dx``, the derivative of ``S`` by ``dy`` is called ``ddy`` and that by a
parameter ``x`` is called ``d2x``: each name of the backward has the adjoint
``d<name>``, and a forward name, whose ``d<name>`` is taken, has ``d2<name>``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sympy import Add, Expr, Mul, S

from derive.algebra.indices import elements, free_indices, substitute_elements
from derive.algebra.nodes import Element, Kind, Tensor
from derive.calculus.adjoint import Adjoint, adjoint_name
from derive.calculus.differentiate import Staged
from derive.calculus.naming import name_intermediates
from derive.calculus.program import Program, Steps
from derive.calculus.reverse import adjoints
from derive.calculus.tangent import tangents
from derive.language.layer import Layer, Parameter, Statement

__all__ = ["Gradient", "as_layer", "curvature", "second_adjoints", "second_namer"]


@dataclass(frozen=True, slots=True)
class Gradient:
    """A backward pass as a layer, its intermediates named.

    Attributes:
        layer: its results are the gradients.
        forward: the statements of the forward pass.
        backward: those of the backward pass, and the parts of them that got a name.
        automatic: the names that the program chose itself.
        cotangents: the names handed in, one an output; none where the cotangent is 1.
        gradients: ``(parameter, name of its gradient)``, in order.
    """

    layer: Layer
    forward: tuple[Statement, ...]
    backward: tuple[Statement, ...]
    automatic: frozenset[str]
    cotangents: tuple[str, ...]
    gradients: tuple[tuple[str, str], ...]

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All statements, in order."""
        return self.forward + self.backward


def as_layer(staged: Staged, program: Program, *, seeded: bool = False) -> Gradient:
    """Return the backward pass of a program as a layer.

    Args:
        staged: the derivation that the program was simplified from.
        program: forward and backward.
        seeded: put 1 for the cotangent; the layer must have one scalar output.
    """
    layer = staged.layer
    given = dict(zip(program.cotangents, layer.returns, strict=True))
    backward = program.backward
    if seeded:
        ones: dict[Expr, Expr] = {Element(Tensor(name)): S.One for name in given}
        backward = tuple(replace(s, expr=substitute_elements(s.expr, ones)) for s in backward)
        given = {}
    cotangents = tuple(Parameter(name, Kind.REAL, layer.axes(output)) for name, output in given.items())
    taken = _names_of(layer) | {s.name for s in (*staged.forward, *backward)} | set(given)
    backward, brackets = _brackets_named(backward, taken)
    extended = replace(
        layer,
        parameters=layer.parameters + cotangents,
        statements=staged.forward + backward,
        returns=tuple(name for _, name in program.gradients),
        calls=(),
    )
    first = len(staged.forward)
    named, automatic, _ = name_intermediates(extended, first)
    return Gradient(
        extended, named[:first], named[first:], staged.automatic | automatic | brackets, tuple(given), program.gradients
    )


def _names_of(layer: Layer) -> set[str]:
    names = {p.name for p in layer.parameters} | {h.name for h in layer.hypers}
    return names | {s.name for s in layer.sizes} | {d.size.name for d in layer.derived}


def _brackets_named(statements: Sequence[Statement], taken: set[str]) -> tuple[tuple[Statement, ...], frozenset[str]]:
    """Name what stands in brackets behind other factors: the derivative by each of these reads it.

    ``dx[n, d] = gamma[d]*rstd[d]*(N*dy[n, d] - …)/N`` becomes ``dx_inner[n, d] =
    N*dy[n, d] - …`` and ``dx[n, d] = gamma[d]*rstd[d]*dx_inner[n, d]/N``.
    """
    result: list[Statement] = []
    made: set[str] = set()
    for statement in statements:
        factors = [f for f in Mul.make_args(statement.expr) if any(e.kind.differentiable for e in elements(f))]
        brackets = [f for f in factors if isinstance(f, Add) and free_indices(f) == frozenset(statement.indices)]
        if len(brackets) == 1 and len(factors) > 1 and statement.carry is None:
            name = f"{statement.name}_inner"
            while name in taken:
                name += "_"
            taken.add(name)
            made.add(name)
            whole = Statement(name, statement.indices, brackets[0])
            result.append(whole)
            rest = Mul(*(f for f in Mul.make_args(statement.expr) if f != brackets[0]))
            statement = replace(statement, expr=rest * whole.target)
        result.append(statement)
    return tuple(result), frozenset(made)


def second_namer(gradient: Gradient) -> Callable[[str], str]:
    """Return what gives an adjoint its name: ``ddx`` for ``dx`` of the backward, ``d2x`` for ``x`` of the forward."""
    own = {s.name for s in gradient.backward} | set(gradient.cotangents)
    taken = _names_of(gradient.layer) | {s.name for s in gradient.statements}
    chosen: dict[str, str] = {}

    def naming(name: str) -> str:
        if name not in chosen:
            symbol = adjoint_name(name) if name in own else f"d2{name}"
            while symbol in taken:
                symbol += "_"
            taken.add(symbol)
            chosen[name] = symbol
        return chosen[name]

    return naming


def _staged(staged: Staged, gradient: Gradient, found: tuple[Adjoint, ...], wanted: tuple[str, ...]) -> Staged:
    return Staged(gradient.layer, gradient.statements, gradient.automatic, found, wanted, staged.letters, Steps())


def second_adjoints(staged: Staged, gradient: Gradient, naming: Callable[[str], str]) -> Staged:
    """Return the derivation of the backward of the backward; wanted are ``ddy`` and every ``d2x``."""
    found = adjoints(gradient.layer, gradient.statements, staged.letters, naming)
    return _staged(staged, gradient, tuple(found), gradient.cotangents + staged.wanted)


def curvature(staged: Staged, gradient: Gradient, naming: Callable[[str], str]) -> Staged:
    """Return the derivation of the gradients' tangents along the wanted parameters: Hessian-vector products."""
    found = tangents(gradient.layer, gradient.statements, staged.wanted, staged.letters, naming)
    return _staged(staged, gradient, tuple(found), tuple(name for _, name in gradient.gradients))
