"""Forward mode: the tangent of every name, by the local derivatives of the adjoints.

In ``v[I] = e``, let ``u[f]`` be something that ``e`` reads under bound indices
``B``, with scalar derivative ``c``. The tangent of ``v`` along a direction of
the parameters is

    v_dot[I] = Σ_{u[f] in e} Σ_B c · u_dot[f]

the same edges as in :mod:`derive.calculus.adjoint`, read the other way: where
an adjoint scatters along an edge, a tangent gathers. So softmax gives
``p·(z_dot - Σ p·z_dot)`` and batch normalization, after simplification,
``gamma·rstd·(x_dot - mean(x_dot) - xhat·mean(xhat·x_dot))``. The tangent of a
recurrence is a recurrence in the same direction, from the tangent of its start;
what a padded read finds outside does not move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sympy import S

from derive.algebra.indices import substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Element, Index, Padded, Tensor
from derive.algebra.terms import Letters, Term, as_expr, collect, normal
from derive.calculus.adjoint import Adjoint, Context, Edge, distributions, local_edges, through
from derive.calculus.differentiate import Staged
from derive.calculus.infinite import Infinities, infinities
from derive.calculus.program import Steps
from derive.calculus.reverse import GIVEN, target_indices
from derive.language.layer import Layer, Statement

__all__ = ["pushed_forward", "tangent_namer", "tangents"]


def tangent_namer(taken: Collection[str]) -> Callable[[str], str]:
    """Return what gives the tangent of a name its name: ``x_dot``, underscored further where that is taken."""

    def naming(name: str) -> str:
        symbol = f"{name}_dot"
        while symbol in taken:
            symbol += "_"
        return symbol

    return naming


def tangents(
    layer: Layer,
    statements: Sequence[Statement],
    along: Sequence[str],
    letters: Letters,
    naming: Callable[[str], str],
) -> list[Adjoint]:
    """Return the tangent of every name that has one, in the order of the statements.

    Args:
        layer: whose parameters are moved.
        statements: in order.
        along: the parameters that move; the others have no tangent.
        letters: the source of bound indices.
        naming: what the tangent of a name is called.

    Returns:
        One entry a name that moves, and one an output in any case; that of an
        output that is a parameter is called ``<tangent>_out``.

    Raises:
        DerivationError: no derivative is known for a construct.
    """
    known, infinite = distributions(statements), infinities(statements)
    reads = {s.name: _reads(s, known, letters, infinite) for s in statements if s.kind.differentiable}
    moving = {name: Tensor(naming(name)) for name in (*along, *_reached(reads, along))}
    result: list[Adjoint] = []
    for statement in statements:
        if statement.name not in moving and statement.name not in layer.returns:
            continue
        edges, first = reads[statement.name]
        paths: dict[str, list[Term]] = {}
        for edge in edges:
            if edge.element.name in moving:
                gathered = _gathered(edge, moving, statement.indices, letters)
                paths.setdefault(edge.element.name, []).extend(gathered)
        carry = statement.carry
        if carry is not None:
            rest = tuple(i for i in statement.indices if i != carry.index)
            moved = (t for e in first if e.element.name in moving for t in _gathered(e, moving, rest, letters))
            carry = replace(carry, start=readable(as_expr(collect(moved)), rest))
        found = tuple((source, collect(terms)) for source, terms in paths.items())
        result.append(Adjoint(statement.name, naming(statement.name), statement.indices, found, carry=carry))
    chosen = target_indices(layer, statements)
    for name in layer.returns:
        if layer.parameter(name) is not None:
            indices = chosen[name]
            itself = (Term.of_atom(Element(moving[name], *indices)),) if name in moving else ()
            result.append(Adjoint(name, naming(name) + "_out", indices, ((GIVEN, itself),)))
    return result


Reads = tuple[list[Edge], list[Edge]]


def _reads(statement: Statement, known: tuple[Statement, ...], letters: Letters, infinite: Infinities) -> Reads:
    """Return what a statement reads, and what the start of a recurrence does."""
    edges = list(local_edges(statement, known, letters, infinite))
    if statement.carry is None:
        return edges, []
    start = statement.carry.start
    rest = tuple(i for i in statement.indices if i != statement.carry.index)
    context = Context(replace(statement, expr=start), letters, (), infinite)
    return edges, list(through(start, S.One, rest, None, context))


def _reached(reads: Mapping[str, Reads], along: Iterable[str]) -> list[str]:
    """Return the names that move with the parameters ``along``; those of a loop read one another."""
    sources = {name: {e.element.name for e in (*edges, *first)} for name, (edges, first) in reads.items()}
    moving = set(along)
    while more := [name for name in sources if name not in moving and sources[name] & moving]:
        moving.update(more)
    return [name for name in sources if name in moving]


def _gathered(edge: Edge, moving: Mapping[str, Tensor], own: Sequence[Index], letters: Letters) -> Iterator[Term]:
    """``Σ_B c · u_dot[f]``, the statement's own indices left free."""
    moved = Element(moving[edge.element.name], *edge.element.subscripts)
    fresh = {i: letters.fresh(i) for i in edge.bound if i not in own}
    read = substitute(Padded(moved) if edge.padded else moved, fresh)
    for term in normal(substitute(edge.coefficient, fresh), letters):
        yield Term.of(term.coefficient, (*term.factors, (read, S.One)), (*term.bound, *fresh.values()))


def pushed_forward(staged: Staged, naming: Callable[[str], str]) -> Staged:
    """Return the derivation with the tangents along the wanted parameters in place of the adjoints."""
    found = tangents(staged.layer, staged.forward, staged.wanted, staged.letters, naming)
    return replace(staged, adjoints=tuple(found), wanted=staged.layer.returns, steps=Steps())
