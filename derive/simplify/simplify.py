"""Simplification, in the order in which an expert does it.

1. find the facts about the forward values,
2. write intermediate adjoints out where paths meet again, applying the facts,
3. recognise sums that are results anyway (``dbeta`` inside ``dx``),
4. give repeated products a name,
5. take common factors out,
6. drop what nobody reads, and write back the forward names that only one reader has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sympy import Add, Expr, Mul, S

from derive.algebra.indices import free_indices, names, replace_elements, substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Element, Index, Tensor
from derive.algebra.terms import Letters, Term, Terms, as_expr, collect, matches, term_names, unify
from derive.calculus.adjoint import adjoint_name
from derive.calculus.differentiate import Staged
from derive.calculus.program import Equation, Program, Stage, Step
from derive.language.layer import Layer, Statement
from derive.simplify.closing import Closed, close, inline
from derive.simplify.cost import cost
from derive.simplify.facts import Fact, FactBook, apply_facts, definition_fact, find_facts
from derive.simplify.structure import common_factors, expression

__all__ = ["simplify"]


@dataclass(frozen=True)
class _Line:
    """A backward statement in the making."""

    target: Element
    terms: Terms

    @property
    def name(self) -> str:
        return self.target.name

    @cached_property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*map(term_names, self.terms))


def simplify(staged: Staged) -> Program:
    """Return the program of a staged derivation: closed forms where they are cheaper."""
    letters = staged.letters
    facts = find_facts(staged.forward, letters)
    closed = close(staged.adjoints, facts, staged.wanted, letters)
    steps = list(staged.steps)
    seen: set[int] = set()
    for entry in closed:
        steps += _explained(entry, seen)
    wanted = [c for c in closed if c.adjoint.name in staged.wanted]
    lines = [_Line(c.adjoint.target, c.terms) for c in closed if c.kept]
    lines = _needed(lines, {c.adjoint.symbol for c in wanted})
    lines, more = _through_results(lines, [c.adjoint.symbol for c in wanted], facts, letters)
    steps += more
    lines, more = _without_vanishing_sums(lines, facts, letters)
    steps += more
    lines, more = _name_products(lines, closed, letters)
    steps += more
    lines = _needed(lines, {c.adjoint.symbol for c in wanted})
    results = [c.adjoint.symbol for c in wanted]
    lines = _in_order(_without_copies(lines, results))
    plain = _in_order(_without_copies(_staged_lines(staged, set(results)), results))
    # Factors in front of a bracket read better and cost a pass at most: they do not count against a closed form.
    closed_cost = min(cost(map(_statement, lines)), cost(map(_expanded, lines)))
    if cost(map(_statement, plain)) < _WORTH_STAGES * closed_cost:
        lines = plain
        steps.append(_kept_staged(_statement(lines[-1])))
    backward = tuple(map(_statement, lines))
    for statement in backward:
        steps.append(Step(Stage.RESULT, statement.target, statement.expr, _result_reason(statement.expr)))
    forward = _forward(staged, backward)
    symbols = {c.adjoint.name: c.adjoint.symbol for c in wanted}
    return Program(
        staged.layer,
        forward,
        backward,
        staged.layer.returns,
        tuple(_given(name, staged.layer) for name in staged.layer.returns),
        tuple((name, symbols[name]) for name in staged.wanted),
        tuple(steps),
    )


def _staged_lines(staged: Staged, results: set[str]) -> list[_Line]:
    """The staged backward pass: every adjoint a statement of its own."""
    return _needed([_Line(a.target, a.terms) for a in staged.adjoints], results)


def _without_copies(lines: Sequence[_Line], results: Sequence[str]) -> list[_Line]:
    """Read ``ddiff`` under the name ``dx`` where the result ``dx[n] = ddiff[n]`` is a copy of it."""
    current = list(lines)
    renamed: set[str] = set()
    for name in results:
        line = next((entry for entry in current if entry.name == name), None)
        if line is None or len(line.terms) != 1 or line.terms[0].coefficient != 1 or line.terms[0].bound:
            continue
        factors = line.terms[0].factors
        if len(factors) != 1 or factors[0][1] != 1 or not isinstance(factors[0][0], Element):
            continue
        source = factors[0][0]
        origin = next((entry for entry in current if entry.name == source.name), None)
        if origin is None or origin.name in results or origin.name in renamed:
            continue
        if source.subscripts != line.target.subscripts or len(set(source.subscripts)) < len(source.subscripts):
            continue
        renamed.add(name)
        tensor = line.target.tensor
        current = [
            _Line(Element(tensor, *entry.target.subscripts), entry.terms)
            if entry is origin
            else _Line(entry.target, _renamed(entry.terms, origin.name, tensor))
            for entry in current
            if entry is not line
        ]
    return current


def _renamed(terms: Terms, name: str, tensor: Tensor) -> Terms:
    def moved(atom: Expr) -> Expr:
        return replace_elements(atom, lambda e: Element(tensor, *e.subscripts) if e.name == name else None)

    return tuple(Term.of(t.coefficient, [(moved(a), e) for a, e in t.factors], t.bound) for t in terms)


def _expanded(line: _Line) -> Statement:
    return Statement(line.name, _indices(line.target), as_expr(line.terms))


def _kept_staged(last: Statement) -> Step:
    return Step(Stage.SIMPLIFY, last.target, last.expr, "the staged form is cheaper than the closed one and stays")


def _result_reason(expr: Expr) -> str:
    return "common factors taken out" if any(isinstance(f, Add) for f in Mul.make_args(expr)) else "as it is computed"


def _given(output: str, layer: Layer) -> str:
    """The name of the cotangent that the caller hands in."""
    return adjoint_name(output) + ("_out" if layer.parameter(output) else "")


def _explained(entry: Closed, seen: set[int]) -> list[Step]:
    """The steps that closed one adjoint."""
    target = entry.adjoint.target
    steps = []
    for fact in entry.facts:
        steps += _fact_steps(fact, seen)
    if entry.inlined:
        written = readable(as_expr(entry.before), entry.adjoint.indices)
        steps.append(Step(Stage.SIMPLIFY, target, written, f"write out {', '.join(entry.inlined)}"))
    if entry.facts:
        equations = tuple(_equation(f) for f in entry.facts)
        holes = ", ".join(f"{{{k}}}" for k in range(len(equations)))
        why = "; ".join(dict.fromkeys(f.reason for f in entry.facts))
        steps.append(
            Step(
                Stage.SIMPLIFY,
                target,
                readable(as_expr(entry.terms), entry.adjoint.indices),
                f"use {holes}: {why}",
                equations,
            )
        )
    return steps


def _equation(fact: Fact) -> Equation:
    free = {v: _plain(v) for v in fact.variables - frozenset(fact.summed)}
    left = substitute(as_expr((fact.left(),)), free)
    right = substitute(as_expr((fact.result,) if fact.result else ()), free)
    taken = tuple(i for i in free.values() if isinstance(i, Index))
    return Equation(readable(left, taken), readable(right, taken))


def _plain(index: Index) -> Index:
    return Index(index.name.partition("'")[0], index.size)


def _fact_steps(fact: Fact, seen: set[int]) -> list[Step]:
    """A fact, after the facts it rests on: what was summed, and why it collapses."""
    if id(fact) in seen:
        return []
    seen.add(id(fact))
    steps = [step for earlier in fact.through for step in _fact_steps(earlier, seen)]
    equation = _equation(fact)
    if fact.origin is None:
        return [*steps, Step(Stage.FACT, equation.lhs, equation.rhs, fact.reason)]
    formulas = (Equation(fact.origin.target, fact.origin.expr), *map(_equation, fact.through))
    holes = " and ".join(f"{{{k}}}" for k in range(1, len(formulas)))
    reason = f"{fact.reason}: sum both sides of {{0}} and use {holes}"
    return [*steps, Step(Stage.FACT, equation.lhs, equation.rhs, reason, formulas)]


def _needed(lines: Sequence[_Line], roots: set[str]) -> list[_Line]:
    """Drop the lines that no wanted gradient reads, directly or through others."""
    by_name = {line.name: line for line in lines}
    live: set[str] = set()
    work = [name for name in roots if name in by_name]
    while work:
        name = work.pop()
        if name not in live:
            live.add(name)
            work += [n for n in by_name[name].reads if n in by_name]
    return [line for line in lines if line.name in live]


def _in_order(lines: Sequence[_Line]) -> list[_Line]:
    """Order the lines so that each is computed before it is read, otherwise as given."""
    by_name = {line.name: line for line in lines}
    place = {line.name: k for k, line in enumerate(lines)}
    done: dict[str, _Line] = {}

    def visit(line: _Line) -> None:
        if line.name in done:
            return
        for name in sorted(line.reads & by_name.keys() - {line.name}, key=place.__getitem__):
            visit(by_name[name])
        done[line.name] = line

    for line in lines:
        visit(line)
    return list(done.values())


def _other_readings(fact: Fact, products: Sequence[Fact]) -> Iterator[Fact]:
    """``Σ dw·v = n·dg`` and ``w = g·v/n`` give ``Σ dw·w = g·dg``: the same sum under another name."""
    assert fact.result is not None
    for product in products:
        if product.summed or product.result is None or len(product.result.factors) != 1:
            continue
        ((name, exponent),) = product.result.factors
        for k, (atom, power) in enumerate(fact.pattern):
            for here, (inner, inner_power) in enumerate(product.pattern):
                mapping: dict[Expr, Expr] = {}
                if power != inner_power or exponent != 1 or not unify(inner, atom, mapping, product.variables):
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


def _through_results(
    lines: Sequence[_Line], results: Sequence[str], facts: FactBook, letters: Letters
) -> tuple[list[_Line], list[Step]]:
    """Read what has a line of its own by its name: ``Σ dy·xhat`` inside ``dx`` is ``dgamma``."""
    sources: list[tuple[int, Fact]] = []
    for k, line in enumerate(lines):
        if len(line.terms) == 1 and (line.name in results or not line.terms[0].bound):
            what = "sum" if line.terms[0].bound else "product"
            fact = definition_fact(line.target, line.terms, f"this {what} is {line.name}", line.name)
            if fact is not None:
                sources.append((k, fact))
                if fact.summed:
                    sources += [(k, other) for other in _other_readings(fact, facts.products)]
    result: list[_Line] = []
    steps: list[Step] = []
    defining = {k for k, _ in sources}
    everything = FactBook(f for _, f in sources)
    for k, line in enumerate(lines):
        # A result that is such a sum itself may read an earlier one, never itself or a later one.
        usable = FactBook(f for j, f in sources if j < k) if k in defining else everything
        terms, used = apply_facts(line.terms, usable, letters)
        if used:
            equations = tuple(_equation(f) for f in used)
            holes = ", ".join(f"{{{n}}}" for n in range(len(equations)))
            steps.append(
                Step(
                    Stage.SIMPLIFY,
                    line.target,
                    readable(as_expr(terms), _indices(line.target)),
                    f"use {holes}: {'; '.join(f.reason for f in used)}",
                    equations,
                )
            )
        result.append(_Line(line.target, terms))
    return result, steps


def _without_vanishing_sums(
    lines: Sequence[_Line], facts: FactBook, letters: Letters
) -> tuple[list[_Line], list[Step]]:
    """Find the results that are 0: a bias before a batch normalization has no gradient.

    ``db = Σ_n dh`` reads only the adjoint ``dh``; written out, with the facts
    and with the sums that are lines themselves, all its terms cancel.
    """
    current = list(lines)
    steps: list[Step] = []
    for k, line in enumerate(current):
        if not line.terms or not all(_plain_sum(t, line, current) for t in line.terms):
            continue
        others = {entry.name: (entry.target, entry.terms) for entry in current if entry is not line}
        known = [
            fact
            for entry in current
            if entry is not line
            and len(entry.terms) == 1
            and (fact := definition_fact(entry.target, entry.terms, f"this sum is {entry.name}", entry.name))
        ]
        terms, opened = line.terms, set[str]()
        for _ in range(_DEEPEST):
            known_now = FactBook(f for f in known if f.source not in opened)
            terms, _ = apply_facts(terms, known_now, letters)
            terms, _ = apply_facts(terms, facts, letters)
            reads = frozenset().union(*map(term_names, terms)) & others.keys()
            bound = {
                a.name for t in terms for a, _ in t.factors if isinstance(a, Element) and set(t.bound) & free_indices(a)
            }
            opening = {name: others[name] for name in reads & bound}
            if not terms or not opening:
                break
            opened |= opening.keys()
            terms, _ = inline(terms, opening, letters)
            terms, _ = apply_facts(terms, facts, letters)
        if not terms:
            current[k] = _Line(line.target, ())
            written = ", ".join(sorted(opened))
            steps.append(Step(Stage.SIMPLIFY, line.target, S.Zero, f"write out {written}: every term cancels"))
    return current, steps


_WORTH_STAGES = 0.97
"""What the staged form must cost of the closed one to be taken: less is within the error of the model."""

_DEEPEST = 3
"""How many times a sum is written out in search of a cancellation."""


def _plain_sum(term: Term, line: _Line, lines: Sequence[_Line]) -> bool:
    """Whether a term is the sum of one adjoint that has a line of its own."""
    if not term.bound:
        return False
    inner = [a for a, _ in term.factors if set(term.bound) & free_indices(a)]
    return (
        len(inner) == 1
        and isinstance(inner[0], Element)
        and any(e.name == inner[0].name for e in lines if e is not line)
    )


def _indices(target: Element) -> tuple[Index, ...]:
    return tuple(s for s in target.subscripts if isinstance(s, Index))


def _name_products(
    lines: Sequence[_Line], closed: Sequence[Closed], letters: Letters
) -> tuple[list[_Line], list[Step]]:
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
        variables = frozenset(_indices(entry.adjoint.target))
        rest = tuple((a, -e) for a, e in scale.factors)
        result = Term.of(1 / scale.coefficient, [(entry.adjoint.target, term.factors[0][1] ** 0), *rest])
        fact = Fact(pattern, (), result, f"the definition of {entry.adjoint.symbol}", entry.adjoint.symbol)
        count = 0
        renewed: list[_Line] = []
        for line in current:
            front = common_factors(line.terms)
            inside = [_divided(t, front) for t in line.terms]
            folded, used = apply_facts(tuple(inside), FactBook([fact]), letters)
            if used:
                count += sum(1 for t in inside if any(True for _ in matches(pattern, variables, (), t)))
                back = [Term.of(t.coefficient, (*t.factors, *front.items()), t.bound) for t in folded]
                renewed.append(_Line(line.target, collect(back)))
            else:
                renewed.append(line)
        if count >= 2:
            definition = _Line(entry.adjoint.target, entry.terms)
            current = [definition, *renewed]
            steps.append(
                Step(
                    Stage.SIMPLIFY,
                    entry.adjoint.target,
                    readable(as_expr(entry.terms), entry.adjoint.indices),
                    f"this product is read {count} times and keeps its name",
                )
            )
    return current, steps


def _divided(term: Term, front: dict[Expr, Expr]) -> Term:
    return Term.of(term.coefficient, (*term.factors, *((a, -e) for a, e in front.items())), term.bound)


def _statement(line: _Line) -> Statement:
    indices = _indices(line.target)
    return Statement(line.name, indices, readable(expression(line.terms), indices))


def _forward(staged: Staged, backward: Sequence[Statement]) -> tuple[Statement, ...]:
    """Keep the forward statements that are read; write single-use automatic names back."""
    read: set[str] = set(staged.layer.returns)
    for statement in backward:
        read |= names(statement.expr)
    statements = list(staged.forward)
    changed = True
    while changed:
        changed = False
        counts: dict[str, int] = {}
        for statement in statements:
            for element in _occurrences(statement.expr):
                counts[element] = counts.get(element, 0) + 1
        for k, statement in enumerate(statements):
            name = statement.name
            if name in read:
                continue
            if not counts.get(name):
                del statements[k]
                changed = True
                break
            if name in staged.automatic and counts[name] == 1:
                statements = _written_back(statements, k)
                changed = True
                break
    return tuple(statements)


def _occurrences(expr: Expr) -> list[str]:
    found = [expr.name] if isinstance(expr, Element) else []
    for arg in expr.args:
        found += _occurrences(arg)
    return found


def _written_back(statements: list[Statement], k: int) -> list[Statement]:
    gone = statements[k]

    def definition(element: Element) -> Expr | None:
        if element.name != gone.name:
            return None
        return substitute(gone.expr, dict(zip(gone.indices, element.subscripts, strict=True)))

    result = []
    for j, statement in enumerate(statements):
        if j == k:
            continue
        if gone.name in names(statement.expr):
            expr = readable(replace_elements(statement.expr, definition), statement.indices)
            statement = replace(statement, expr=expr)
        result.append(statement)
    return result
