"""What stands beside the formulas: every symbol with its shape, the layer's text.

Both the terminal and LaTeX show the same rows; only the spelling differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sympy import Expr

from derive.algebra.indices import elements
from derive.algebra.nodes import Element, Index, KeepingReduction, Kind, Reduction, Tensor
from derive.calculus.program import Equation, Pass, Program, Stage, Step
from derive.language.layer import Layer, Statement
from derive.language.text import show_layer
from derive.render.names import Reading, readings

__all__ = ["Symbol", "default_text", "expressions", "grouped", "index_ranges", "layer_text", "quoted", "symbols"]

FUNCTIONS = {
    "jvp": "Tangents",
    "double_backward": "Backward of the backward",
    "hvp": "Hessian times a vector",
}
"""What the formulas of a program's further functions are headed."""

_INPUT = {
    Kind.REAL: "input",
    Kind.POSITIVE: "input, positive",
    Kind.UNIT: "input, between 0 and 1",
    Kind.INT: "input, integers",
    Kind.BOOL: "input, each 0 or 1",
}


_MEANING = {
    "d": "cotangent of",
    "d2": "second cotangent of",
    "dot": "tangent of",
    "next": "carried share of",
    "total": "over all paths:",
    "in": "before the loop: part of",
    "inner": "inner part of",
    "factor": "factor of",
    "pre": "pre-activation of",
}
"""What the outermost part of a name says of the rest."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A row: the symbol with indices, the sizes of its axes, what it is.

    Attributes:
        of: for a cotangent, the name it belongs to; the meaning ends with it.
    """

    symbol: Expr
    axes: tuple[Expr, ...]
    meaning: str
    of: str = ""


def symbols(program: Program) -> list[Symbol]:
    """Return the rows: inputs, constants, intermediate results, outputs, cotangents, gradients."""
    layer = program.layer
    read = _first_reads(program)
    rows = []
    for p in layer.parameters:
        gradient = program.adjoint_of(p.name)
        subscripts = gradient.subscripts if gradient is not None else ()
        rows.append(Symbol(read.get(p.name, Element(p.tensor, *subscripts)), p.axes, _INPUT[p.kind]))
    rows += [Symbol(h.symbol, (), f"constant, default {default_text(h.default)}") for h in layer.hypers]
    found = readings(program)
    for s in program.forward:
        if s.name in program.outputs:
            rows.append(Symbol(s.target, s.axes, "output"))
        else:
            rows.append(_described(s, found, "intermediate result"))
    for output, cotangent in zip(program.outputs, program.cotangents, strict=True):
        target = next((s.target for s in program.forward if s.name == output), None)
        subscripts = target.subscripts if target is not None else ()
        axes = layer.axes(output)
        rows.append(Symbol(Element(Tensor(cotangent), *subscripts), axes, "given: cotangent of", output))
    owner = {gradient: parameter for parameter, gradient in program.gradients}
    for s in program.backward:
        if s.name in owner:
            rows.append(Symbol(s.target, s.axes, "gradient of", owner[s.name]))
        else:
            rows.append(_described(s, found, "shared by gradients"))
    for function in program.passes:
        rows += _further(function, program, found)
    found_rows: dict[str, Symbol] = {}
    for row in rows:
        found_rows.setdefault(row.symbol.name, row)
    return list(found_rows.values())


def _described(statement: Statement, found: Mapping[str, Reading], otherwise: str) -> Symbol:
    """Return the row of a statement: what its name says, or ``otherwise``."""
    reading = found.get(statement.name)
    meaning = _MEANING.get(reading.word) if reading is not None else None
    if meaning is None or reading is None:
        return Symbol(statement.target, statement.axes, otherwise)
    return Symbol(statement.target, statement.axes, meaning, reading.of)


def _further(function: Pass, program: Program, found: Mapping[str, Reading]) -> Iterator[Symbol]:
    """Yield the rows of a further function: what it is given, then its statements."""
    targets = {s.name: s.target for s in (*program.forward, *program.backward)}
    reads = {e.name: e for s in function.statements for e in elements(s.expr) if _is_plain(e)}
    for name, of in function.given:
        axes = program.layer.axes(of)
        like = reads.get(name) or targets.get(of) or program.adjoint_of(of)
        subscripts = like.subscripts if like is not None else ()
        reading = found.get(name)
        meaning = _MEANING.get(reading.word, "") if reading is not None else ""
        row = Symbol(Element(Tensor(name), *subscripts), axes, f"given: {meaning}", reading.of if reading else "")
        yield row if meaning else replace(row, meaning="given", of="")
    for s in function.statements:
        yield _described(s, found, "intermediate result")


def _is_plain(element: Element) -> bool:
    return all(isinstance(i, Index) for i in element.subscripts)


def _first_reads(program: Program) -> dict[str, Element]:
    """Return for each name where it is first read with plain indices, those of the statement preferred."""
    found: dict[str, Element] = {}
    for own in (True, False):
        for s in (*program.layer.statements, *program.forward):
            start = () if s.carry is None else elements(s.carry.start)
            for e in (*elements(s.expr), *start):
                plain = all(isinstance(i, Index) and (i in s.indices or not own) for i in e.subscripts)
                if plain and len(set(e.subscripts)) == len(e.subscripts):
                    found.setdefault(e.name, e)
    return found


def default_text(value: int | float | bool) -> str:
    """Return a default as a layer file has it: 1e-5 rather than 1e-05."""
    return repr(value).replace("e-0", "e-").replace("e+0", "e+").replace("e+", "e")


def layer_text(layer: Layer) -> list[str]:
    """Return the lines of the layer's own ``def``, as written where the file is known."""
    if layer.source is None or layer.span is None:
        return show_layer(layer).splitlines()
    lines = layer.source.text.splitlines()[layer.span.line - 1 :]
    own = lines[:1]
    for line in lines[1:]:
        if line.strip() and not line[0].isspace() and not line.startswith((")", "#")):
            break
        own.append(line)
    while own and (not own[-1].strip() or own[-1].startswith("#")):
        own.pop()
    return own


def expressions(program: Program) -> Iterator[Expr]:
    """Yield every expression that a rendering of the program may show."""
    for s in (*program.forward, *program.backward, *(s for p in program.passes for s in p.statements)):
        yield s.target
        yield s.expr
    for step in program.steps:
        yield from quoted(step)


def quoted(step: Step) -> Iterator[Expr]:
    """Yield every expression that a step shows."""
    yield step.lhs
    yield step.rhs
    for formula in step.formulas:
        if isinstance(formula, Equation):
            yield formula.lhs
            yield formula.rhs
        else:
            yield formula
    for _, term in step.terms:
        yield term


def grouped(program: Program) -> Iterator[tuple[Stage, list[list[Step]]]]:
    """Yield each stage with its steps; neighbours that say the same of single equations go together.

    A simplification or result that repeats an equation shown before is left out.
    """
    shown: set[tuple[Expr, Expr]] = set()
    for stage in Stage:
        groups: list[list[Step]] = []
        for step in program.steps:
            if step.stage is not stage:
                continue
            if stage in (Stage.SIMPLIFY, Stage.RESULT) and (step.lhs, step.rhs) in shown:
                continue
            shown.add((step.lhs, step.rhs))
            last = groups[-1][-1] if groups else None
            if last and last.reason == step.reason and last.formulas == step.formulas and _plain(last) and _plain(step):
                groups[-1].append(step)
            else:
                groups.append([step])
        if groups:
            yield stage, groups


def _plain(step: Step) -> bool:
    return len(step.terms) < 2


def index_ranges(program: Program) -> list[Index]:
    """Return the index letters that have one range throughout, in order of appearance."""
    found: dict[str, dict[Index, None]] = {}

    def visit(e: Expr) -> None:
        if isinstance(e, Index):
            found.setdefault(e.name, {}).setdefault(e)
        elif isinstance(e, (Reduction, KeepingReduction)):
            for index in e.indices:
                visit(index)
        for arg in e.args:
            visit(arg)

    for s in (*program.forward, *program.backward):
        for index in s.indices:
            visit(index)
        visit(s.expr)
    return [next(iter(ranges)) for ranges in found.values() if len(ranges) == 1]
