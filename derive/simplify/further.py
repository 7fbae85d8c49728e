"""The further functions of a program: Jacobian-vector products and second derivatives.

Each is derived as the backward pass is (staged, then closed where that is
cheaper), from the same named forward pass: they all read one cache.

    jvp              the outputs' tangents along given tangents of the parameters
    double_backward  the gradients of ⟨ddx, dx⟩ + … by the cotangents and the parameters
    hvp              the Hessian of a scalar result times a vector
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from derive.algebra.places import Axes
from derive.calculus.differentiate import Staged
from derive.calculus.program import Pass, Program
from derive.calculus.second import Gradient, as_layer, curvature, second_adjoints, second_namer
from derive.calculus.tangent import pushed_forward, tangent_namer
from derive.language.layer import Layer, Statement
from derive.simplify.cost import cost
from derive.simplify.forward import forward_statements, read_statements
from derive.simplify.repeats import without_repeats
from derive.simplify.simplify import axes_of, simplified
from derive.simplify.starts import folded_starts

__all__ = ["with_passes"]


def with_passes(staged: Staged, program: Program, *, jvp: bool = False, second: bool = False) -> Program:
    """Return the program with further functions.

    Args:
        staged: the derivation that ``program`` was simplified from.
        program: forward and backward.
        jvp: whether to add ``jvp``.
        second: whether to add ``double_backward``, and ``hvp`` where the layer has one scalar output.

    Raises:
        DerivationError: no derivative is known for a construct.
    """
    passes: list[Pass] = []
    if jvp:
        passes.append(_jvp(staged, program))
    if second:
        passes.append(_double_backward(staged, program))
        if has_scalar_output(staged.layer):
            passes.append(_hvp(staged, program))
    if not passes:
        return program
    reading = [*program.backward, *(s for p in passes for s in p.statements)]
    return replace(program, forward=forward_statements(staged, reading), passes=tuple(passes))


def has_scalar_output(layer: Layer) -> bool:
    """Return whether the layer has one result and that is a scalar."""
    return len(layer.returns) == 1 and not layer.axes(layer.returns[0])


def _jvp(staged: Staged, program: Program) -> Pass:
    naming = tangent_namer(_taken(staged, program))
    pushed = pushed_forward(staged, naming)
    statements, _ = simplified(pushed)
    symbols = {a.name: a.symbol for a in pushed.adjoints}
    given = tuple((naming(name), name) for name in staged.wanted)
    return Pass("jvp", statements, given, tuple((name, symbols[name]) for name in staged.layer.returns))


def _double_backward(staged: Staged, program: Program) -> Pass:
    gradient = as_layer(staged, program)
    naming = second_namer(gradient)
    derivation = second_adjoints(staged, gradient, naming)
    statements, _ = simplified(derivation)
    given = [(naming(name), parameter) for parameter, name in gradient.gradients]
    given += zip(gradient.cotangents, staged.layer.returns, strict=True)
    symbols = {a.name: a.symbol for a in derivation.adjoints}
    results = [(output, symbols[dy]) for dy, output in zip(gradient.cotangents, staged.layer.returns, strict=True)]
    results += [(name, symbols[name]) for name in staged.wanted]
    statements = _after_what_is_read(gradient, statements, [name for _, name in results], axes_of(derivation))
    return Pass("double_backward", statements, tuple(given), tuple(results))


def _hvp(staged: Staged, program: Program) -> Pass:
    """The tangent of the gradient, or, the Hessian being symmetric, the gradient of the slope: the cheaper one."""
    gradient = as_layer(staged, program, seeded=True)
    naming = tangent_namer(_taken(staged, program))
    vectors = {name: naming(parameter) for parameter, name in gradient.gradients}
    products = {parameter: naming(name) for parameter, name in gradient.gradients}
    other = second_namer(gradient)

    def transposed(name: str) -> str:
        return vectors.get(name) or products.get(name) or other(name)

    candidates: list[tuple[tuple[Statement, ...], tuple[tuple[str, str], ...]]] = []
    for derivation in (curvature(staged, gradient, naming), second_adjoints(staged, gradient, transposed)):
        statements, _ = simplified(derivation)
        symbols = {a.name: a.symbol for a in derivation.adjoints}
        wanted = zip(staged.wanted, derivation.wanted, strict=True)
        results = tuple((parameter, symbols[name]) for parameter, name in wanted)
        statements = _after_what_is_read(gradient, statements, [name for _, name in results], axes_of(derivation))
        candidates.append((statements, results))
    statements, results = min(candidates, key=lambda c: cost(c[0]))
    given = tuple((naming(name), name) for name in staged.wanted)
    return Pass("hvp", statements, given, results)


def _after_what_is_read(
    gradient: Gradient, statements: tuple[Statement, ...], results: Collection[str], axes: Axes
) -> tuple[Statement, ...]:
    """Return the statements after those of the backward pass that they read; what is equal is computed once."""
    before = read_statements(gradient.backward, gradient.automatic, statements)
    return folded_starts(without_repeats(before + statements, results, axes), results)


def _taken(staged: Staged, program: Program) -> frozenset[str]:
    layer = staged.layer
    taken = {p.name for p in layer.parameters} | {h.name for h in layer.hypers} | {s.name for s in layer.sizes}
    taken |= {d.size.name for d in layer.derived} | set(program.cotangents)
    return frozenset(taken | {s.name for s in (*staged.forward, *program.backward)})
