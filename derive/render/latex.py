r"""Write a program's formulas and derivation as LaTeX.

    latex(program)                     aligned equations, to paste into a paper
    latex(program, steps=True)         the derivation too, each step with its reason
    latex(program, standalone=True)    a document that compiles

Everything a user wrote (names, docstring, source) is escaped; the text is
ASCII. Equations wider than the text are broken by estimated widths
(:mod:`derive.render.formula`), so no line of the document is overfull.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy
from sympy import Expr

import derive
from derive.algebra.functions import BY_CLASS, Heaviside, Sigmoid, StopGradient
from derive.algebra.indices import free_indices
from derive.algebra.letters import readable
from derive.algebra.nodes import BATCH, BATCH_SIZE, Delta, Element, Index, Norm
from derive.calculus.program import Equation, Program, Step
from derive.language.layer import Statement
from derive.render.formula import TRUTH, Box, Notation, Piece
from derive.render.latex_equations import QUAD, RELATION, WIDTH, Block, aligned, blocks, clear, cut
from derive.render.latex_printer import TexPrinter
from derive.render.latex_text import code, escape
from derive.render.legend import FUNCTIONS, expressions, grouped, index_ranges, layer_text, quoted, symbols
from derive.render.templates import environment

__all__ = ["latex", "tex"]

_INLINE = 300.0  # a wider formula is set apart from its sentence
_BESIDE = 180.0  # and one of several that is wider than this
# Words of reasons; a tensor or index called so stays a word in a sentence.
_WORDS = frozenset({
    "and", "any", "are", "as", "both", "by", "chain", "common", "computed", "definition", "each", "factors", "for",
    "form", "from", "give", "gradient", "in", "intermediate", "is", "it", "its", "keep", "keeps", "name", "names",
    "nothing", "of", "on", "once", "one", "or", "out", "over", "product", "read", "reads", "result", "rule", "sides",
    "stays", "sum", "sums", "taken", "the", "this", "times", "to", "twice", "use", "value", "vanish", "vanishes",
    "where", "write",
})  # fmt: skip
# A formula of the layer language, or a word; "a" only where it is no article.
_WORD = re.compile(r"(\S*\w[(\[]\S*[)\]]|(?<![\w.(\[])(?!a (?!is\b|are\b|and\b|over\b)[a-z])[^\W\d]\w*(?![\w(\[]))")
_COLUMNS = 106  # characters of program text on a line


def tex(expr: Expr, notation: Notation | None = None) -> str:
    r"""Return an expression as LaTeX for maths mode, on one line.

    >>> tex(Mean(x[n, d], n))
    '\\frac{1}{N} \\sum_{n=1}^{N} x_{n,d}'
    """
    return TexPrinter(notation).box(expr).text


@dataclass(frozen=True, slots=True)
class StepView:
    """A numbered step: its reason as LaTeX text, its equation as lines of ``align*``."""

    number: int
    reason: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageView:
    """Steps of one part of the derivation."""

    title: str
    steps: tuple[StepView, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What the templates lay out: finished strings only.

    Attributes:
        rows: ``(symbol, name in code, shape, meaning)``.
        columns: their format, of fixed widths, so that the table may go on over pages.
        remarks: sentences about the notation.
        forward, backward: blocks of equations.
        functions: ``(heading, lines)`` of the further functions.
        packages: that the output needs.
    """

    version: str
    name: str
    title: str
    abstract: tuple[str, ...]
    source: tuple[str, ...]
    rows: tuple[tuple[str, str, str, str], ...]
    columns: str
    remarks: tuple[str, ...]
    forward: tuple[Block, ...]
    backward: tuple[Block, ...]
    stages: tuple[StageView, ...]
    functions: tuple[tuple[str, tuple[Block, ...]], ...] = ()
    packages: tuple[str, ...] = ("amsmath",)


def latex(program: Program, *, steps: bool = False, standalone: bool = False) -> str:
    """Return the formulas of a program as LaTeX.

    Args:
        program: from ``derive_program``.
        steps: the derivation too, step by step, each with its reason.
        standalone: a whole document, rather than a fragment to paste.
    """
    printer = TexPrinter(Notation.of(program))
    layer = program.layer
    paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", layer.doc) if p.strip()]
    rows, columns = _rows(program, printer)
    view = View(
        version=derive.__version__,
        name=code(layer.name),
        title=escape(paragraphs[0]) if paragraphs else "",
        abstract=tuple(escape(p) for p in paragraphs[1:]),
        source=tuple(code(line) for line in _wrapped(layer_text(layer))),
        rows=tuple(rows),
        columns=columns,
        remarks=tuple(_remarks(program, printer)),
        forward=blocks(program.forward, printer),
        backward=blocks(program.backward, printer),
        stages=tuple(_stages(program, printer)) if steps else (),
        functions=tuple((FUNCTIONS[p.name], blocks(p.statements, printer)) for p in program.passes),
    )
    template = environment("latex").get_template("document.tex.jinja" if standalone else "fragment.tex.jinja")
    return template.render(v=view)


def _wrapped(lines: Iterable[str]) -> list[str]:
    """Break program text that is wider than the page, further lines indented."""
    out = []
    for line in lines:
        indent = len(line) - len(line.lstrip()) + 8
        while len(line) > _COLUMNS:
            cut = line.rfind(" ", min(indent, _COLUMNS // 2), _COLUMNS)
            cut = _COLUMNS if cut <= 0 else cut
            out.append(line[:cut])
            line = " " * min(indent, _COLUMNS // 2) + line[cut:].lstrip()
        out.append(line)
    return out


def _stages(program: Program, printer: TexPrinter) -> list[StageView]:
    views, number = [], 0
    for stage, groups in grouped(program):
        found = []
        for steps in groups:
            number += 1
            lines = _step_lines(steps[0], program, printer)
            if len(steps) > 1:
                lines = aligned(((s.lhs, s.rhs) for s in steps), printer)
            found.append(StepView(number, _reason(steps[0], program, printer), lines))
        views.append(StageView(_sentence(escape(stage.value), ""), tuple(found)))
    return views


def _sentence(text: str, end: str) -> str:
    """Return text that starts with a capital, unless with a formula, and ends with ``end``."""
    if re.match(r"[a-z]+(?![\w(\[])", text):
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", ":", r"\]")) else text + end


def _step_lines(step: Step, program: Program, printer: TexPrinter) -> tuple[str, ...]:
    left = printer.box(step.lhs)
    if len(step.terms) < 2 or left.width > WIDTH / 2:
        return aligned([(step.lhs, step.rhs)], printer)
    room = WIDTH - left.width - RELATION
    lines = []
    for i, (path, term) in enumerate(step.terms):
        pieces = printer.pieces(clear(term, step.lhs))
        label, width = _path(path, program, printer)
        total = sum(p.width for p in pieces)
        note = rf"\qquad \text{{(through {label})}}"
        if i and not pieces[0].text.startswith(printer.negative):
            pieces[0] = Piece(f"+ {pieces[0].text}", pieces[0].width + 13.0)
        if total + width + 80.0 <= room:
            pieces = [Piece(pieces[0].text + "".join(p.joint + p.text for p in pieces[1:]) + note, total)]
        else:
            pieces = [*pieces, Piece(note, width + 80.0, 0)]
        if i:
            lines += cut("", pieces, room - QUAD, room)
        else:
            lines += cut(f"{left.text} &= ", pieces, room, room)
    return tuple(lines)


def _path(path: str, program: Program, printer: TexPrinter) -> tuple[str, float]:
    known = {s.name for s in program.forward} | {s.name for s in program.layer.statements}
    if path in known or path in program.cotangents or path.isidentifier():
        box = printer.name(path)
        return f"${box.text}$", box.width
    return escape(path), 5.0 * len(path)


def _reason(step: Step, program: Program, printer: TexPrinter) -> str:
    """Return the reason as text; ``{0}`` becomes the first formula, set apart where it is wide."""
    known = _known(program, step) | printer.notation.readings.keys()
    parts = re.split(r"\{(\d+)\}", step.reason)
    out = []
    for i, part in enumerate(parts):
        if i % 2 == 0:
            out.append(_prose(part, known, printer))
        elif int(part) < len(step.formulas):
            formula = step.formulas[int(part)]
            if isinstance(formula, Equation):
                left, right = printer.box(formula.lhs), printer.box(clear(formula.rhs, formula.lhs))
                text, width = f"{left.text} = {right.text}", left.width + right.width + RELATION
            else:
                box = printer.box(readable(formula))
                text, width = box.text, box.width
            if width > (_BESIDE if len(step.formulas) > 1 else _INLINE):
                text = rf"\[ {text} \]"
            elif re.search(r"\\frac|\\begin", text):
                text = rf"$\displaystyle {text}$"
            else:
                text = f"${text}$"
            out.append(text)
        else:
            out.append(escape(f"{{{part}}}"))
    return _sentence(re.sub(r"(\\\]\n?)[:;,]? +([a-z]?)", lambda m: f"{m[1]}\n{m[2].upper()}", "".join(out)), ".")


def _known(program: Program, step: Step) -> frozenset[str]:
    """Return the names, of tensors and indices, that a reason may mention."""
    named = {s.name for s in (*program.layer.statements, *program.forward, *program.backward)}
    named |= {p.name for p in program.layer.parameters} | set(program.cotangents)
    for e in quoted(step):
        named |= {a.name for a in sympy.preorder_traversal(e) if isinstance(a, (Element, Index))}
    return frozenset(named - _WORDS - {BATCH.name})


def _prose(text: str, known: frozenset[str], printer: TexPrinter) -> str:
    """Return words of a reason as LaTeX: the layer's names in maths, formulas of the layer language as code."""
    out = []
    for part in _WORD.split(text):
        if part in known:
            out.append(f"${_name(part, printer)}$")
        elif re.search(r"\w[(\[]", part):
            out.append(r"\allowbreak{}".join(rf"\texttt{{{code(p)}}}" for p in re.findall(r".{1,24}", part)))
        else:
            out.append(escape(part))
    return "".join(out)


def _rows(program: Program, printer: TexPrinter) -> tuple[list[tuple[str, str, str, str]], str]:
    """Return the rows of the table of symbols and the format of its columns."""
    rows = []
    widths = [40.0, 40.0, 32.0]
    for symbol in symbols(program):
        name, head = symbol.symbol.name, printer.box(symbol.symbol)
        axes = [Box(r"\ldots", 12.0) if a == BATCH_SIZE else printer.box(a) for a in symbol.axes]
        shape = r" \times ".join(a.text for a in axes)
        across = sum(a.width for a in axes) + 12.5 * len(axes)
        widths = [max(w, new) for w, new in zip(widths, (head.width, 5.3 * len(name), across), strict=True)]
        meaning = escape(symbol.meaning) + (f" ${_name(symbol.of, printer)}$" if symbol.of else "")
        rows.append((head.text, code(name), f"${shape}$" if shape else "scalar", meaning))
    widths.append(max(WIDTH - sum(widths) - 3 * 12.0, 110.0))
    return rows, "@{}" + "".join(f"p{{{math.ceil(w)}pt}}" for w in widths) + "@{}"


def _name(name: str, printer: TexPrinter) -> str:
    return printer.name(name).text


def _statements(program: Program) -> Iterator[Statement]:
    yield from (*program.forward, *program.backward)
    for function in program.passes:
        yield from function.statements


def _further_remarks(program: Program, printer: TexPrinter) -> list[str]:
    """Return what the signs of the further functions mean."""
    given = {function.name: [_name(name, printer) for name, _ in function.given] for function in program.passes}
    remarks = []
    along = dict.fromkeys(name for key in ("jvp", "hvp") for name in given.get(key, ()))
    if along:
        listed = ", ".join(f"${name}$" for name in along)
        verb = "is" if len(along) == 1 else "are"
        remarks.append(
            rf"$\dot{{v}}$ denotes the tangent of $v$, its derivative along a direction of the parameters; "
            rf"{listed} {verb} given."
        )
    if "double_backward" in given:
        pairs = zip(given["double_backward"], (_name(g, printer) for _, g in program.gradients), strict=False)
        inner = " $+$ ".join(rf"$\langle {bar}, {own} \rangle$" for bar, own in pairs)
        remarks.append(
            rf"In the backward of the backward ${printer.bar}{{v}}$ denotes the derivative of "
            rf"{inner} by $v$, where the first of each pair is given."
        )
    return remarks


def _remarks(program: Program, printer: TexPrinter) -> list[str]:
    every = list(expressions(program))
    used: set[type] = set()
    for e in every:
        used.update(type(node) for node in sympy.preorder_traversal(e))
    outputs = ", ".join(f"${_name(n, printer)}$" for n in program.cotangents)
    given = "is" if len(program.cotangents) == 1 else "are"
    remarks = [
        r"$\mathrm{d}v$ denotes the cotangent of $v$, the derivative $\partial L / \partial v$ of a scalar $L$ that "
        rf"depends on the outputs; {outputs} {given} given."
    ]
    remarks += _further_remarks(program, printer)
    ranges = [i for i in index_ranges(program) if i != BATCH]
    if ranges:
        remarks.append("Indices: " + "; ".join(f"${printer.index_range(i)}$" for i in ranges) + ".")
    for size in program.layer.derived:
        remarks.append(f"${printer.box(size.size).text} = {printer.box(size.expr).text}$.")
    if any(BATCH in free_indices(e) or BATCH in e.free_symbols for e in every):
        remarks.append(r"The index $\ldots$ stands for any number of leading batch axes, together one index.")
    for name, fill in printer.notation.fills:
        first = next(f for n, f in printer.notation.fills if n == name)
        mark = printer.name(name, (), printer.accent, None if fill == first else printer.box(fill)).text
        starts = next((s for s in _statements(program) if s.name == name and s.carry is not None), None)
        start = "" if starts is None else rf" (${printer.box(starts.start).text}$ is inside)"
        inside = rf"${_name(name, printer)}$ inside its axes{start}"
        remarks.append(rf"${mark}$ is {inside} and ${printer.box(fill).text}$ outside.")
    for e in every:
        printer.box(e)
    for divisor in printer.divisors:
        sign = printer.divides(printer.box(divisor), Box("m", 8.0)).text
        nonzero = "" if divisor.is_nonzero else r", which is not 0,"
        remarks.append(rf"${sign}$ says that ${printer.box(divisor).text}${nonzero} divides $m$.")
    if Delta in used and r"\delta_" in "".join(printer.box(e).text for e in every if e.has(Delta)):
        remarks.append(r"$\delta_{i,j}$ is 1 where $i = j$ and 0 elsewhere.")
    if used & set(TRUTH):
        remarks.append(r"$\mathbf{1}[\cdot]$ is 1 where the condition holds and 0 elsewhere.")
    if Norm in used:
        remarks.append(r"$\lVert v_i \rVert_{i}$ is the Euclidean norm over $i$.")
    if Sigmoid in used:
        word = printer.head(Sigmoid(sympy.Symbol("x")))
        assert word is not None
        remarks.append(rf"${word.text}(x) = 1 / (1 + e^{{-x}})$.")
    if Heaviside in used:
        remarks.append(rf"${BY_CLASS[Heaviside].latex}(x)$ is 0 for $x < 0$, 1 for $x > 0$ and $\frac{{1}}{{2}}$ at 0.")
    if StopGradient in used:
        remarks.append(rf"${BY_CLASS[StopGradient].latex}(x) = x$, but no gradient passes through it.")
    return remarks
