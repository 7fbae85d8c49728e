r"""Set equations: aligned at their equals signs, loops in a brace, nothing wider than the text.

h_{-1,n} &= h0_{n}                          a block of align*
for t = 0, \ldots, T - 1:                   the heading of a loop
{ h_{t,n} &= \tanh(\ldots)                  its equations, in a brace
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sympy import Expr

from derive.algebra.indices import free_indices
from derive.algebra.letters import readable
from derive.language.layer import Statement
from derive.language.loops import Loop, loops
from derive.render.formula import Piece, break_lines
from derive.render.latex_printer import TexPrinter

__all__ = ["RELATION", "WIDTH", "QUAD", "Block", "aligned", "blocks", "clear", "cut"]

WIDTH = 440.0  # points that a line may take: A4 with margins of 25 mm leaves 455
RELATION = 14.0
QUAD = 10.0
_BRACE = 20.0
_TALLEST = 20  # lines in a brace, which no page break can part


@dataclass(frozen=True, slots=True)
class Block:
    """Equations that stand together.

    Attributes:
        lines: of ``align*``, without the ``\\\\``.
        heading: for the equations of a loop its range, such as ``$t = 0, \\ldots, T - 1$``.
        braced: whether the equations of a loop are few enough for a brace.
    """

    lines: tuple[str, ...]
    heading: str = ""
    braced: bool = False


def blocks(statements: Sequence[Statement], printer: TexPrinter) -> tuple[Block, ...]:
    """Return statements as blocks, those of a loop in one of their own, their starts before it."""
    found: list[Block] = []
    plain: list[tuple[Expr, Expr]] = []

    def flush() -> None:
        if plain:
            found.append(Block(aligned(plain, printer)))
            plain.clear()

    for piece in loops(statements):
        members = piece.statements if isinstance(piece, Loop) else (piece,)
        plain += [(s.start, s.carry.start) for s in members if s.start is not None and s.carry is not None]
        if isinstance(piece, Loop):
            flush()
            lines = aligned([(s.target, s.expr) for s in members], printer, WIDTH - _BRACE)
            found.append(Block(lines, f"${printer.index_range(piece.index, piece.step)}$", len(lines) <= _TALLEST))
        else:
            plain.append((piece.target, piece.expr))
    flush()
    return tuple(found)


def aligned(equations: Iterable[tuple[Expr, Expr]], printer: TexPrinter, width: float = WIDTH) -> tuple[str, ...]:
    r"""Return the lines of ``align*``, aligned at the equals signs, without the ``\\``."""
    rows = [(printer.box(lhs), lhs, rhs) for lhs, rhs in equations]
    margin = max((left.width for left, _, _ in rows if left.width <= width / 2), default=0.0)
    lines: list[str] = []
    for left, lhs, rhs in rows:
        if left.width > width / 2:  # too long to be aligned: it gets a line of its own
            lines.append(f"&{left.text}")
        before = f"{left.text} &= " if left.width <= width / 2 else r"&\quad {}= "
        lines += _equation(before, printer, clear(rhs, lhs), width - margin - RELATION)
    return tuple(lines)


def clear(rhs: Expr, lhs: Expr) -> Expr:
    """Return a right side with letters that people read, those of the left side kept."""
    return readable(rhs, free_indices(lhs))


def _equation(before: str, printer: TexPrinter, rhs: Expr, room: float) -> list[str]:
    whole = printer.box(rhs)
    if whole.width <= room:
        return [before + whole.text]
    return cut(before, printer.pieces(rhs), room, room)


def cut(left: str, pieces: Sequence[Piece], first: float, rest: float) -> list[str]:
    """Return the lines of an equation; ``left`` is what stands before the first, "" for a further term."""
    lines: list[str] = []
    for indent, line in break_lines(pieces, first, rest, QUAD):
        if left and not lines:
            lines.append(left + line)
        else:
            lines.append("&" + r"\quad" * max(indent, 1) + f" {{}}{line}")
    return lines
