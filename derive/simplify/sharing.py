"""Sharing between the lines of a backward pass: what is computed once is read by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sympy import Expr, Pow, S

from derive.algebra.functions import BY_CLASS
from derive.algebra.indices import free_indices, names, rebuild, replace_elements, substitute
from derive.algebra.nodes import Element, Tensor
from derive.algebra.places import Axes, all_inside
from derive.algebra.terms import Letters, Term, Terms, collect, matches, unify
from derive.calculus.program import Step
from derive.language.layer import Statement
from derive.language.loops import loops
from derive.simplify.closing import Closed
from derive.simplify.explain import by_facts, rewritten
from derive.simplify.facts import Fact, FactBook, apply_facts, definition_fact, invertible
from derive.simplify.lines import Line, expanded, indices_of
from derive.simplify.structure import common_factors

__all__ = ["name_products", "read_earlier", "read_forward_values", "read_results", "without_copies"]


def read_results(
    lines: Sequence[Line], results: Sequence[str], facts: FactBook, letters: Letters
) -> tuple[list[Line], list[Step]]:
    """Read what has a line of its own by its name: ``Σ dy·xhat`` inside ``dx`` is ``dgamma``."""
    sources: list[tuple[int, Fact]] = []
    for k, line in enumerate(lines):
        if len(line.terms) == 1 and (line.name in results or not line.terms[0].bound):
            what = "sum" if line.terms[0].bound else "product"
            fact = definition_fact(line.target, line.terms, f"this {what} is {line.name}", line.name)
            if fact is not None:
                sources.append((k, fact))
                if fact.summed:
                    sources += [(k, other) for other in _other_readings(fact, facts)]
    result: list[Line] = []
    steps: list[Step] = []
    defining = {k for k, _ in sources}
    everything = FactBook((f for _, f in sources), facts.axes)
    for k, line in enumerate(lines):
        # A result that is such a sum itself may read an earlier one, never itself or a later one.
        usable = FactBook((f for j, f in sources if j < k), facts.axes) if k in defining else everything
        terms, used = apply_facts(line.terms, usable, letters)
        if used:
            steps.append(by_facts(line.target, terms, used))
        result.append(replace(line, terms=terms))
    if any(line.carry is not None for line in lines) and not _is_computable(result):
        return list(lines), []  # a loop would read a result that comes after it
    return result, steps


def _is_computable(lines: Sequence[Line]) -> bool:
    try:
        loops([expanded(line) for line in lines])
    except ValueError:
        return False
    return True


def _other_readings(fact: Fact, facts: FactBook) -> Iterator[Fact]:
    """``Σ dw·v = n·dg`` and ``w = g·v/n`` give ``Σ dw·w = g·dg``: the same sum under another name."""
    assert fact.result is not None
    for product in facts.products:
        if product.summed or product.result is None or len(product.result.factors) != 1:
            continue
        ((name, exponent),) = product.result.factors
        for k, (atom, power) in enumerate(fact.pattern):
            for here, (inner, inner_power) in enumerate(product.pattern):
                mapping: dict[Expr, Expr] = {}
                if power != inner_power or exponent != 1 or not unify(inner, atom, mapping, product.variables):
                    continue
                if not all_inside(mapping, [inner], facts.axes):
                    continue
                rest = [(substitute(a, mapping), e) for j, (a, e) in enumerate(product.pattern) if j != here]
                if any(free_indices(a) & set(fact.summed) for a, _ in rest):
                    continue
                if not free_indices(substitute(name, mapping)) <= fact.variables:
                    continue
                pattern = (*fact.pattern[:k], (substitute(name, mapping), S.One), *fact.pattern[k + 1 :])
                scale = 1 / product.result.coefficient
                result = Term.of(fact.result.coefficient * scale, (*fact.result.factors, *rest))
                yield replace(fact, pattern=pattern, result=result, reason=f"{fact.reason}, by {product.reason}")


def name_products(
    lines: Sequence[Line], closed: Sequence[Closed], axes: Axes, letters: Letters
) -> tuple[list[Line], list[Step]]:
    """Give a product that several sums read its staged name again: ``g = γ·dy`` in layernorm.

    Only what remains after the common factors counts: in batchnorm ``γ`` comes
    out of every sum and nothing is repeated.
    """
    current = list(lines)
    steps: list[Step] = []
    for entry in closed:
        if entry.kept or len(entry.terms) != 1:
            continue
        term = entry.terms[0]
        sized = [a for a, _ in term.factors if names(a)]
        if term.bound or len(sized) < 2 or not all(isinstance(a, Element) for a in sized):
            continue
        pattern = tuple((a, e) for a, e in term.factors if names(a))
        scale = Term.of(term.coefficient, [(a, e) for a, e in term.factors if not names(a)])
        variables = frozenset(indices_of(entry.adjoint.target))
        if frozenset().union(*(free_indices(a) for a in sized)) != variables:
            continue  # the same number along an axis: the product does not say at which of its elements to read it
        if not all(e.is_negative or invertible(a) for a, e in scale.factors):
            continue  # a mask, which may be 0
        rest = tuple((a, -e) for a, e in scale.factors)
        result = Term.of(1 / scale.coefficient, [(entry.adjoint.target, term.factors[0][1] ** 0), *rest])
        fact = Fact(pattern, (), result, f"the definition of {entry.adjoint.symbol}", entry.adjoint.symbol)
        count = 0
        renewed: list[Line] = []
        for line in current:
            if not fact.reads <= line.reads:
                renewed.append(line)
                continue
            front = common_factors(line.terms)
            inside = [_divided(t, front) for t in line.terms]
            folded, used = apply_facts(tuple(inside), FactBook([fact], axes), letters)
            if used:
                count += sum(1 for t in inside if any(True for _ in matches(pattern, variables, (), t, axes)))
                back = [Term.of(t.coefficient, (*t.factors, *front.items()), t.bound) for t in folded]
                renewed.append(replace(line, terms=collect(back)))
            else:
                renewed.append(line)
        if count >= 2:
            definition = Line(entry.adjoint.target, entry.terms)
            current = [definition, *renewed]
            why = f"this product is read {count} times and keeps its name"
            steps.append(rewritten(entry.adjoint.target, entry.terms, why))
    return current, steps


def _divided(term: Term, front: dict[Expr, Expr]) -> Term:
    return Term.of(term.coefficient, (*term.factors, *((a, -e) for a, e in front.items())), term.bound)


def without_copies(lines: Sequence[Line], results: Sequence[str]) -> list[Line]:
    """Read ``ddiff`` under the name ``dx`` where the result ``dx[n] = ddiff[n]`` is a copy of it."""
    current = {line.name: line for line in lines}
    renamed: set[str] = set()
    starts = frozenset().union(*(names(line.carry.start) for line in lines if line.carry is not None))
    for name in results:
        line = current.get(name)
        source = _copied(line) if line is not None else None
        if line is None or source is None or source.name not in current:
            continue
        if source.name in results or source.name in renamed or line.carry is not None or source.name in starts:
            continue
        renamed.add(name)
        tensor = line.target.tensor
        moved: dict[str, Line] = {}
        for entry in current.values():
            if entry.name == source.name:
                moved[name] = replace(
                    entry,
                    target=Element(tensor, *entry.target.subscripts),
                    terms=_renamed(entry.terms, source.name, tensor),
                )
            elif entry.name != name:
                moved[entry.name] = replace(entry, terms=_renamed(entry.terms, source.name, tensor))
        current = moved
    return list(current.values())


def read_earlier(lines: Sequence[Line], results: Sequence[str]) -> tuple[list[Line], list[Step]]:
    """Read an adjoint one step earlier by its own name, where what comes back is a multiple of it.

    With ``dy_next[t] = a·dy[t]`` and ``a`` the same at every step, ``dy_next[t + 1]`` is ``a·dy[t + 1]``.
    """
    current = {line.name: line for line in lines}
    steps: list[Step] = []
    for line in lines:
        carry = line.carry
        if carry is None or carry.start != 0 or line.name in results or len(line.terms) != 1 or line.terms[0].bound:
            continue
        term = line.terms[0]
        own = [a for a, e in term.factors if isinstance(a, Element) and carry.index in free_indices(a)]
        source = current.get(own[0].name) if len(own) == 1 else None
        if source is None or source.carry is not None or own[0].subscripts != line.target.subscripts:
            continue
        rest = [(a, e) for a, e in term.factors if a != own[0]]
        if any(carry.index in free_indices(a) for a, _ in rest) or term.exponent(own[0]) != 1:
            continue
        if source.target.subscripts != line.target.subscripts:
            continue

        def read(found: Element, *, gone: str = line.name, new: Tensor = own[0].tensor) -> Element | None:
            return Element(new, *found.subscripts) if found.name == gone else None

        places = indices_of(line.target)
        for other in list(current.values()):
            if line.name not in other.reads:
                continue
            terms: list[Term] = []
            for t in other.terms:
                hits = [a for a, _ in t.factors if isinstance(a, Element) and a.name == line.name]
                scale: list[tuple[Expr, Expr]] = []
                for hit in hits:
                    moved: dict[Expr, Expr] = dict(zip(places, hit.subscripts, strict=True))
                    scale += [(substitute(a, moved), e) for a, e in rest]
                factors = [(replace_elements(a, read), e) for a, e in t.factors]
                number = term.coefficient ** len(hits)
                terms.append(Term.of(t.coefficient * number, (*factors, *scale), t.bound))
            current[other.name] = replace(other, terms=collect(terms))
        current[source.name] = replace(current[source.name], carry=carry)
        del current[line.name]
        why = f"{line.name} is a multiple of {source.name}, which is read one step earlier instead"
        steps.append(rewritten(current[source.name].target, current[source.name].terms, why))
    return list(current.values()), steps


def _copied(line: Line) -> Element | None:
    """Return what the line is a copy of, axis by axis."""
    if len(line.terms) != 1 or line.terms[0].coefficient != 1 or line.terms[0].bound:
        return None
    factors = line.terms[0].factors
    if len(factors) != 1 or factors[0][1] != 1 or not isinstance(factors[0][0], Element):
        return None
    source = factors[0][0]
    plain = source.subscripts == line.target.subscripts and len(set(source.subscripts)) == len(source.subscripts)
    return source if plain else None


def read_forward_values(statement: Statement, forward: Sequence[Statement], axes: Axes) -> Statement:
    """Read a function of the inputs that forward has computed under its name: ``p`` for ``sigmoid(z)``, ``z**a``."""
    known = [s for s in forward if _is_function(s.expr)]
    known = [s for s in known if free_indices(s.expr) == frozenset(s.indices)]

    def visit(expr: Expr) -> Expr:
        for source in known:
            mapping: dict[Expr, Expr] = {}
            if type(expr) is not type(source.expr) or not unify(source.expr, expr, mapping, frozenset(source.indices)):
                continue
            if all_inside(mapping, [source.expr], axes):
                return substitute(source.target, mapping)
        return rebuild(expr, map(visit, expr.args)) if expr.args and not isinstance(expr, Element) else expr

    expr = visit(statement.expr) if known else statement.expr
    return statement if expr is statement.expr else replace(statement, expr=expr)


def _is_function(expr: Expr) -> bool:
    """Whether an expression is one function of the table, or a power that is no root."""
    if isinstance(expr, Pow):
        return not expr.exp.is_number
    return type(expr) in BY_CLASS and not BY_CLASS[type(expr)].infix


def _renamed(terms: Terms, name: str, tensor: Tensor) -> Terms:
    def moved(atom: Expr) -> Expr:
        return replace_elements(atom, lambda e: Element(tensor, *e.subscripts) if e.name == name else None)

    return tuple(Term.of(t.coefficient, [(moved(a), e) for a, e in t.factors], t.bound) for t in terms)
