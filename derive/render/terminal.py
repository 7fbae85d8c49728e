"""Show a program's formulas in a terminal, aligned, wrapped and optionally in colour.

    Forward
      mu[d]      = meanₙ(x[n,d])
      xhat[n,d]  = (x[n,d] − mu[d])/√(var[d] + eps)

A formula that is too long is broken where it is nested least. Text of the
user's is shown without control characters, which a terminal would obey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

from rich.console import Console
from rich.text import Text
from sympy import Expr, S

from derive.algebra.indices import free_indices, is_binder
from derive.algebra.letters import readable
from derive.algebra.nodes import BATCH, Index, KeepingReduction, Reduction
from derive.calculus.program import Equation, Program, Step
from derive.language.layer import Statement
from derive.language.loops import Loop, loops
from derive.language.text import signature
from derive.render.formula import Notation, Piece, break_lines
from derive.render.legend import FUNCTIONS, expressions, grouped, symbols
from derive.render.terminal_printer import SUBSCRIPTS, TerminalPrinter

__all__ = ["show"]

_INDENT = 2
_TIE = "\N{NO-BREAK SPACE}"
_STEP = 2  # columns by which a continued line is indented for each level of nesting


def show(program: Program, *, steps: bool = False, width: int = 80, color: bool = False, ascii: bool = False) -> str:
    """Return the forward and backward formulas, readable in a terminal.

    Args:
        program: from ``derive_program``.
        steps: the derivation too, numbered, each step with its reason.
        width: columns to use.
        color: whether to write ANSI colours.
        ascii: whether to use ASCII only, for a terminal without Unicode.
    """
    page = _Page(program, max(width, 30), ascii)
    page.title()
    page.section("Forward")
    page.statements(program.forward)
    if steps and program.steps:
        page.derivation()
    page.section("Backward")
    page.statements(program.backward)
    for function in program.passes:
        page.section(FUNCTIONS[function.name])
        page.statements(function.statements)
    page.section("Symbols")
    page.symbols()
    if not color:
        return "\n".join(line.plain.rstrip() for line in page.lines) + "\n"
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=100_000, highlight=False)
    for line in page.lines:
        line.rstrip()
        console.print(line, soft_wrap=True)
    return out.getvalue()


class _Page:
    """Lines of styled text that are appended to."""

    def __init__(self, program: Program, width: int, ascii: bool) -> None:
        self.program = program
        self.width = width
        self.ascii = ascii
        bound = {i.name for e in expressions(program) for i in _bound(e)}
        small = all(c in SUBSCRIPTS for name in bound for c in ("…" if name == BATCH.name else name))
        self.printer = TerminalPrinter(Notation.of(program), ascii=ascii, small=small)
        self.lines: list[Text] = []

    def add(self, *parts: str | tuple[str, str]) -> None:
        """Append a line of plain and ``(text, style)`` parts."""
        self.lines.append(Text.assemble(*parts))

    def plain(self, text: str) -> str:
        """Return the user's text as this terminal can show it."""
        text = "".join(c for c in text if c.isprintable() or c == " ")
        return text.encode("ascii", "backslashreplace").decode() if self.ascii else text

    def title(self) -> None:
        layer = self.program.layer
        lines = wrap(self.plain(signature(layer)), self.width, subsequent_indent="    ")
        self.add((lines[0], "bold"))
        for line in lines[1:]:
            self.add((line, "bold"))
        for paragraph in re.split(r"\n\s*\n", layer.doc)[:1]:
            for line in wrap(self.plain(" ".join(paragraph.split())), self.width):
                self.add((line, "italic"))

    def section(self, name: str) -> None:
        self.add("")
        self.add((name, "bold cyan"))

    def statements(self, statements: Sequence[Statement]) -> None:
        """Append statements, those of a loop under its range, their starts before it."""
        plain: list[tuple[Expr, Expr]] = []
        for piece in loops(statements):
            members = piece.statements if isinstance(piece, Loop) else (piece,)
            plain += [(s.start, s.carry.start) for s in members if s.start is not None and s.carry is not None]
            if not isinstance(piece, Loop):
                plain.append((piece.target, piece.expr))
                continue
            self.equations(plain)
            plain = []
            first, last = (self.printer.box(e).text for e in (S.Zero, piece.index.size - 1))
            ends = (first, last) if piece.step == 1 else (last, first)
            dots = "..." if self.ascii else "…"
            letter = self.printer.symbol(piece.index).text
            self.add(" " * _INDENT, (f"for {letter} = {ends[0]}, {dots}, {ends[1]}:", "bold"))
            self.equations([(s.target, s.expr) for s in members], 2 * _INDENT)
        self.equations(plain)

    def equations(self, equations: Sequence[tuple[Expr, Expr]], indent: int = _INDENT) -> None:
        """Append equations, aligned at their equals signs."""
        lefts = [self.printer.box(lhs).text for lhs, _ in equations]
        margin = max((len(left) for left in lefts if len(left) <= self.width // 3), default=4)
        for left, (lhs, rhs) in zip(lefts, equations, strict=True):
            rhs = readable(rhs, free_indices(lhs))
            self.formula(left, margin, self.cut(rhs, self.room(margin, indent)), indent=indent)

    def room(self, margin: int, indent: int = _INDENT) -> int:
        """Return the columns that are left for a right side."""
        return max(self.width - indent - margin - 3, 20)

    def cut(self, expr: Expr, room: int) -> list[Piece]:
        """Return the expression as one piece where it fits, else in pieces."""
        box = self.printer.box(expr)
        return [Piece(box.text, box.width)] if box.width <= room else self.printer.pieces(expr)

    def formula(
        self, left: str, margin: int, pieces: Sequence[Piece], *, indent: int = _INDENT, note: str = ""
    ) -> None:
        """Append one equation; ``note`` follows it where there is room, else on a line of its own."""
        if len(left) > margin:  # too long to be aligned: it gets a line of its own
            self.add(" " * indent, (left, "green"))
            left = " " * margin
        room = self.room(margin, indent)
        pad = " " * (indent + margin + 3)
        for i, (depth, text) in enumerate(break_lines(pieces, room, room, _STEP)):
            text = text.strip() if i else text.rstrip()
            if i:
                self.add(pad + " " * (_STEP * depth) + text)
            elif left:
                self.add(" " * indent, (left.ljust(margin), "green"), " = ", text)
            else:
                self.add(pad + text)
        if note:
            if len(self.lines[-1].plain) + len(note) + 3 <= self.width:
                self.lines[-1].append(f"   {note}", "dim")
            else:
                self.add((pad + "  " + note, "dim"))

    def derivation(self) -> None:
        """Append the numbered steps, grouped by their stage."""
        number = 0
        for stage, groups in grouped(self.program):
            self.section(f"Derivation: {stage.value}")
            for steps in groups:
                number += 1
                self.step(number, steps)

    def step(self, number: int, steps: Sequence[Step]) -> None:
        """Append steps of one reason: the reason, then the equations, one line a path."""
        step = steps[0]
        head = f"{number:>3}. "
        indent = len(head)
        lines = wrap(self.reason(step), self.width - indent) or [""]
        self.add((head, "bold"), lines[0].replace(_TIE, " "))
        for line in lines[1:]:
            self.add(" " * indent + line.replace(_TIE, " "))
        if len(step.terms) < 2:
            self.equations([(s.lhs, s.rhs) for s in steps], indent)
            return
        left = self.printer.box(step.lhs).text
        room = self.room(len(left), indent)
        for i, (path, term) in enumerate(step.terms):
            pieces = self.cut(readable(term, free_indices(step.lhs)), room)
            if i and not pieces[0].text.startswith(self.printer.negative):
                pieces = [Piece("+ " + pieces[0].text, pieces[0].width + 2), *pieces[1:]]
            note = f"(through {self.plain(path)})"
            self.formula("" if i else left, len(left), pieces, indent=indent, note=note)

    def reason(self, step: Step) -> str:
        """Return the reason with its formulas in place."""
        parts = re.split(r"\{(\d+)\}", step.reason)
        out = []
        for i, part in enumerate(parts):
            if i % 2 == 0:
                out.append(self.plain(part))
            elif int(part) < len(step.formulas):
                text = self.quoted(step.formulas[int(part)])
                out.append(text.replace(" ", _TIE) if len(text) <= self.width // 2 else text)
            else:
                out.append(f"{{{part}}}")
        return "".join(out)

    def quoted(self, formula: Expr | Equation) -> str:
        """Return a formula inside a sentence."""
        if not isinstance(formula, Equation):
            return self.printer.box(readable(formula)).text
        rhs = readable(formula.rhs, free_indices(formula.lhs))
        return f"{self.printer.box(formula.lhs).text} = {self.printer.box(rhs).text}"

    def symbols(self) -> None:
        """Append the table of symbols: name, shape, meaning."""
        rows = []
        for row in symbols(self.program):
            axes = ", ".join("..." if a == BATCH.size else self.printer.box(a).text for a in row.axes)
            meaning = f"{row.meaning} {row.of}" if row.of else row.meaning
            rows.append((self.plain(row.symbol.name), f"[{axes}]" if row.axes else "scalar", self.plain(meaning)))
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        margin = sum(widths) + 6
        for name, shape, meaning in rows:
            first, *more = wrap(meaning, max(self.width - margin, 20)) or [""]
            self.add("  ", (name.ljust(widths[0]), "green"), f"  {shape.ljust(widths[1])}  {first}")
            for line in more:
                self.add(" " * margin + line)
        for size in self.program.layer.derived:
            self.add(f"  {self.printer.box(size.size).text} = {self.printer.box(size.expr).text}")
        for name, fill in self.printer.notation.fills:
            padding = "" if fill == 0 else f", {self.printer.box(fill).text}"
            said = f"padded({self.plain(name)}{padding}) is {self.printer.box(fill).text} outside {self.plain(name)}"
            self.add((f"  {said}", "dim"))
        for divisor in self.printer.divisors:
            self.add((f"  {self.printer.box(divisor).text} | m where it divides m", "dim"))
        every = list(expressions(self.program))
        if any(BATCH in e.free_symbols for e in every):
            self.add(("  ... stands for any number of leading batch axes", "dim"))


def _bound(expr: Expr) -> Iterable[Index]:
    if is_binder(expr):
        assert isinstance(expr, (Reduction, KeepingReduction))
        yield from expr.indices
    for arg in expr.args:
        yield from _bound(arg)
