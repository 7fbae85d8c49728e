"""Reverse mode, one statement at a time, by one rule.

In ``v[I] = e``, let ``u[f]`` be something that ``e`` reads under bound indices
``B``, with scalar derivative ``c``. It contributes

    du[j] += Σ_{I ∪ B} dv[I] · c · δ(j, f)

Where ``f`` is plain distinct indices, renaming them to ``j`` removes the deltas
at once and the indices that remain stay summed: this is the sum that one
forgets after broadcasting. Where it is not (a diagonal, a gather), the delta
stays. Contributions along all paths are added.

A reduction on the way is one linear step with its own weights:

    sum 1    mean 1/count    max [e = max]/ties    logsumexp softmax(e) (0 where all e are -inf)
    norm e/norm (0 at 0)     prod the product of the others

and softmax, log-softmax are written through their own output. The softmax
that a logsumexp or a log-softmax passes on is read from the statement that
computes it, where there is one.

A window is no exception: ``x[p*s + r]`` leaves the delta ``δ(j, p*s + r)``, and
what a padded read finds outside lands nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sympy import Expr, Mul, S, exp

from derive.algebra.functions import And, Eq, Ne, Where
from derive.algebra.indices import is_binder, substitute
from derive.algebra.letters import plain_letters, readable
from derive.algebra.nodes import (
    Delta,
    Element,
    Index,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Padded,
    Partial,
    Prod,
    SafeSoftmax,
    Softmax,
    Std,
    Sum,
    Tensor,
    Var,
)
from derive.algebra.places import all_inside, chosen
from derive.algebra.terms import Letters, Term, Terms, collect, normal, unify
from derive.calculus.infinite import Infinities, may_vanish
from derive.calculus.local import derivative, variables
from derive.calculus.program import Equation
from derive.errors import DerivationError
from derive.language.layer import Carry, Statement

__all__ = [
    "Adjoint",
    "Context",
    "Edge",
    "adjoint_name",
    "distributions",
    "edges",
    "local_edges",
    "partials",
    "paths_to",
    "through",
]


@dataclass(frozen=True, slots=True)
class Adjoint:
    """The adjoint of ``name``: ``d<name>[indices] = Σ paths``.

    Attributes:
        name: of the tensor (without the d).
        symbol: of the adjoint: ``d<name>``, or ``d<name>_total`` for an output
            that later statements read, whose ``d<name>`` the caller hands in.
        indices: the letters of the left side.
        paths: one (name of the statement it comes through, terms) a path.
        partials: gives the local derivatives other than 1, ``∂v/∂u`` a path.
        carry: for ``d<name>_next``, which is read one step earlier in the backward's order.
    """

    name: str
    symbol: str
    indices: tuple[Index, ...]
    paths: tuple[tuple[str, Terms], ...]
    partials: Callable[[], tuple[Equation, ...]] = field(default=tuple, compare=False, repr=False)
    carry: Carry | None = None

    @property
    def target(self) -> Element:
        """``d<name>[indices]``."""
        return Element(Tensor(self.symbol), *self.indices)

    @property
    def terms(self) -> Terms:
        """The sum over all paths."""
        return collect(t for _, terms in self.paths for t in terms)


def adjoint_name(name: str) -> str:
    """Return the name of the cotangent of ``name``."""
    return "d" + name


@dataclass(frozen=True, slots=True)
class Edge:
    """One read of ``element``: its cotangent is ``Σ_bound coefficient``, the statement's cotangent times ``local``."""

    element: Element
    coefficient: Expr
    bound: tuple[Index, ...]
    local: Expr = S.One
    padded: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What the edges of one statement need.

    Attributes:
        statement: it.
        letters: the source of bound indices.
        distributions: the statements that are a softmax or a log-softmax, the former first.
        infinite: what may be infinite of what it reads.
    """

    statement: Statement
    letters: Letters
    distributions: tuple[Statement, ...]
    infinite: Infinities = field(default_factory=dict)


def paths_to(
    edges: Sequence[tuple[str, Edge]], indices: tuple[Index, ...], letters: Letters
) -> tuple[tuple[str, Terms], ...]:
    """Return the contributions to ``du[indices]``, one (statement, terms) a path."""
    by_path: dict[str, list[Term]] = {}
    for via, edge in edges:
        by_path.setdefault(via, []).extend(_landed(edge, indices, letters))
    return tuple((via, collect(terms)) for via, terms in by_path.items())


def _landed(edge: Edge, indices: tuple[Index, ...], letters: Letters) -> Iterator[Term]:
    """``Σ_bound coefficient · δ(j, f)`` with the deltas of plain indices resolved."""
    fresh = {i: letters.fresh(i) for i in edge.bound}
    coefficient = substitute(edge.coefficient, fresh)
    subscripts = [substitute(s, fresh) for s in edge.element.subscripts]
    # A bound index may carry the letter of a target: the fresh letters keep them apart.
    deltas = [Delta(j, f) for j, f in zip(indices, subscripts, strict=True)]
    for term in normal(coefficient, letters):
        bound = (*term.bound, *fresh.values())
        for factors in _by_choice(term.factors, bound):
            yield Term.of(term.coefficient, (*factors, *((d, S.One) for d in deltas if d is not S.One)), bound)


Factors = tuple[tuple[Expr, Expr], ...]


def _by_choice(factors: Factors, bound: tuple[Index, ...]) -> Iterator[Factors]:
    """``where(r == 0, a, b)`` under a sum over two r is ``a`` at the first and ``b`` at the second: two terms."""
    for place, (atom, exponent) in enumerate(factors):
        if not (isinstance(atom, Where) and isinstance(atom.args[0], (Eq, Ne)) and exponent == 1):
            continue
        condition, *branches = atom.args
        here, there = chosen(Where(condition, S.One, S.Zero), bound), chosen(Where(condition, S.Zero, S.One), bound)
        if isinstance(here, Delta) and isinstance(there, Delta):
            rest = (*factors[:place], *factors[place + 1 :])
            for delta, branch in zip((here, there), branches, strict=True):
                if branch != 0:
                    number, value = branch.as_coeff_Mul()
                    parts = tuple((f, S.One) for f in (number, value) if f != 1)
                    yield from _by_choice((*rest, (delta, S.One), *parts), bound)
            return
    yield factors


def distributions(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return the statements that are a softmax or a log-softmax, the former first."""
    found = [s for s in statements if isinstance(s.expr, (Softmax, LogSoftmax)) and s.expr.at == s.expr.indices]
    return tuple(sorted(found, key=lambda s: isinstance(s.expr, LogSoftmax)))


def local_edges(
    statement: Statement, known: tuple[Statement, ...], letters: Letters, infinite: Infinities
) -> Iterator[Edge]:
    """Yield the reads of a statement; the coefficient of each is its local derivative.

    ``∂v[I]/∂u[f] = Σ coefficient`` over the edge's bound indices other than ``I``.

    Args:
        statement: ``v[I] = e``.
        known: the :func:`distributions` of the statements before it.
        letters: the source of bound indices.
        infinite: what may be infinite of what it reads.
    """
    context = Context(statement, letters, known, infinite)
    yield from through(statement.expr, S.One, statement.indices, statement.target, context)


def edges(context: Context, symbol: str) -> Iterator[Edge]:
    """Yield what the context's statement reads; ``symbol`` is the name of its cotangent."""
    statement = context.statement
    cotangent = Element(Tensor(symbol), *statement.indices)
    for edge in through(statement.expr, cotangent, statement.indices, statement.target, context):
        local = Mul(*(f for f in Mul.make_args(edge.coefficient) if f != cotangent))
        yield replace(edge, local=local)


def partials(edges: Sequence[tuple[str, Edge]], defined: Mapping[str, Statement]) -> tuple[Equation, ...]:
    """The local derivatives ``∂v/∂u`` of the statements that read ``u``, where one formula says them."""
    by_path: dict[str, list[Edge]] = {}
    for via, edge in edges:
        by_path.setdefault(via, []).append(edge)
    found: list[Equation] = []
    for via, several in by_path.items():
        statement = defined[via]
        widest = max(several, key=lambda e: len(e.bound))
        if len(several) > 1 and not isinstance(statement.expr, KeepingReduction):
            continue
        total = S.Zero
        for edge in several:
            places = zip(widest.element.subscripts, edge.element.subscripts, strict=True)
            total = total + edge.local * Mul(*(Delta(a, b) for a, b in places))
        if total == 1:
            continue
        inner = [i for i in widest.bound if i not in statement.indices]
        mapping = plain_letters(inner, statement.indices)
        wrt = substitute(widest.element, mapping)
        taken = (*statement.indices, *(m for m in mapping.values() if isinstance(m, Index)))
        found.append(Equation(Partial(statement.target, wrt), readable(substitute(total, mapping), taken)))
    return tuple(found)


def through(
    expr: Expr,
    cotangent: Expr,
    bound: tuple[Index, ...],
    own: Element | None,
    context: Context,
) -> Iterator[Edge]:
    """Yield the reads of ``expr``, whose cotangent at each value of ``bound`` is given."""
    if is_binder(expr):
        yield from _reduction(expr, cotangent, bound, own, context)
        return
    for variable in variables(expr):
        local = derivative(expr, variable, own, context.infinite)
        if local == 0:
            continue
        flow = _product(cotangent, local)
        if isinstance(variable, (Element, Padded)):
            padded = isinstance(variable, Padded)
            yield Edge(variable.element if padded else variable, flow, bound, padded=padded)
        else:
            yield from _reduction(variable, flow, bound, None, context)


def _product(cotangent: Expr, local: Expr) -> Expr:
    return cotangent if local is S.One else cotangent * local


def _reduction(
    expr: Expr,
    cotangent: Expr,
    bound: tuple[Index, ...],
    own: Element | None,
    context: Context,
) -> Iterator[Edge]:
    if isinstance(expr, (Softmax, LogSoftmax)):
        yield from _normalized(expr, cotangent, bound, own, context)
        return
    fresh = {i: context.letters.fresh(i) for i in expr.indices}
    body = substitute(expr.body, fresh)
    inner = (*bound, *fresh.values())
    value = expr if own is None else own
    if isinstance(expr, Sum):
        weight: Expr = S.One
    elif isinstance(expr, Mean):
        weight = 1 / expr.count
    elif isinstance(expr, (Max, Min)):
        ties = Sum(Eq(expr.body, value), *expr.indices)
        weight = Eq(body, value) / ties
    elif isinstance(expr, LogSumExp):
        softmax = SafeSoftmax if may_vanish(expr.body, context.infinite) else Softmax
        known = None if softmax is SafeSoftmax else _probability(expr, context)
        weight = substitute(known or softmax(expr.body, expr.indices, expr.indices), fresh)
    elif isinstance(expr, Norm):
        weight = body / Where(Eq(value, S.Zero), S.One, value)
    elif isinstance(expr, Prod):
        here = S.One
        for i, f in fresh.items():
            here = Eq(i, f) if here is S.One else And(here, Eq(i, f))
        weight = Prod(Where(here, S.One, expr.body), *expr.indices)
    elif isinstance(expr, Var):
        weight = 2 * (body - Mean(expr.body, *expr.indices)) / expr.count
    elif isinstance(expr, Std):
        weight = (body - Mean(expr.body, *expr.indices)) / (expr.count * Where(Eq(value, S.Zero), S.One, value))
    else:
        raise DerivationError(f"no derivative is known for '{expr.word}'", context.statement.span)
    yield from through(body, _product(cotangent, weight), inner, None, context)


def _probability(expr: LogSumExp | LogSoftmax, context: Context) -> Expr | None:
    """``softmax[indices](body)`` of a logsumexp or log-softmax, if another statement has computed it or its logarithm.

    ``p[n, c]``, or ``exp(logp[n, c])``, in the letters of the reduction.
    """
    for statement in context.distributions:
        own = statement.expr
        if statement.name == context.statement.name:
            continue
        mapping: dict[Expr, Expr] = {}
        if not unify(own.body, expr.body, mapping, frozenset(statement.indices)):
            continue
        if not all_inside(mapping, [own.body], {}):
            continue
        if {mapping.get(i) for i in own.indices} == set(expr.indices) and set(statement.indices) <= set(mapping):
            read = Element(statement.tensor, *(mapping[i] for i in statement.indices))
            return read if isinstance(own, Softmax) else exp(read)
    return None


def _normalized(
    expr: Softmax | LogSoftmax,
    cotangent: Expr,
    bound: tuple[Index, ...],
    own: Element | None,
    context: Context,
) -> Iterator[Edge]:
    """softmax: ``p·(dp - Σ p·dp)``; log-softmax: ``dy - exp(y)·Σ dy``, as two paths into the body."""
    at = expr.at
    fresh = {i: context.letters.fresh(i) for i in expr.indices}

    def value(places: dict[Index, Index]) -> Expr:
        if own is not None and all(isinstance(a, Index) for a in at):
            moved = {a: places[i] for a, i in zip(at, expr.indices, strict=True)}
            return substitute(own, moved)
        return type(expr)(expr.body, expr.indices, tuple(places[i] for i in expr.indices))

    here = own if own is not None else expr
    there = value(fresh)
    direct = cotangent * here if isinstance(expr, Softmax) else cotangent
    if isinstance(expr, LogSoftmax):
        known = _probability(expr, context)
        there = exp(there) if known is None else substitute(known, fresh)
    spread = -direct * there
    body_here = substitute(expr.body, dict(zip(expr.indices, at, strict=True)))
    yield from through(body_here, direct, bound, None, context)
    body_there = substitute(expr.body, fresh)
    yield from through(body_there, spread, (*bound, *fresh.values()), None, context)
