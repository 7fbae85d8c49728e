"""Choose how a backward is written: by what each way costs, as the measured constants have it.

The ways are every combination of

    form     closed, or staged where that is another one (:mod:`derive.simplify`)
    saving   what forward saves: as derived, what forward computes anyway, or also what moves to forward
    code     expressions to read, whole arrays written over, rows in blocks

and the choice depends on what the code is for:

    speed    the fastest
    memory   the fewest elements saved and held, then the fastest
    reading  expressions to read, with what forward computes anyway saved where that takes 5 % off
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from sympy import Expr

from derive.lower.arrays import ArrayProgram, Blocks, Instruction, Purpose, values
from derive.tune.cost import Cost, cost, nominal
from derive.tune.factors import by_factors
from derive.tune.saving import with_saved
from derive.tune.tape import names_in, written
from derive.tune.tune import tuned

__all__ = ["Candidate", "Code", "Saving", "candidates", "choose", "readable"]

_WORTH = 0.95
"""What another way must take of the time of the one to read to be taken instead."""
_MARGIN = 0.98
"""What a way must take of the time of a simpler one: less is within the error of the model."""


class Saving(Enum):
    """What forward saves."""

    DERIVED = "as derived"
    SHARED = "what forward computes"
    MOVED = "moved to forward"


class Code(Enum):
    """How the code is written."""

    READING = "expressions"
    WHOLE = "whole arrays"
    BLOCKS = "row blocks"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to write a backward.

    Attributes:
        form: ``closed`` or ``staged``.
        saving, code: see there.
        arrays: the program.
        cost: what it costs.
    """

    form: str
    saving: Saving
    code: Code
    arrays: ArrayProgram
    cost: Cost


def candidates(forms: Mapping[str, ArrayProgram], sizes: Mapping[Expr, int] | None = None) -> tuple[Candidate, ...]:
    """Return every way that is different from the ones before, the simplest first.

    Args:
        forms: the array programs of the forms, by name; the one that reads best first.
        sizes: at which the costs are counted; by default those of large arrays.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    for form, arrays in forms.items():
        at = {**nominal(arrays), **(sizes or {})}
        for saving in Saving:
            saved = arrays if saving is Saving.DERIVED else with_saved(arrays, moved=saving is Saving.MOVED)
            for code in Code:
                program = _written(saved, code)
                if program is None or str(program) in seen:
                    continue
                seen.add(str(program))
                found.append(Candidate(form, saving, code, program, cost(program, at)))
    return tuple(found)


def _written(arrays: ArrayProgram, code: Code) -> ArrayProgram | None:
    if code is Code.READING:
        return arrays
    program = tuned(by_factors(arrays), lambda rows: code is Code.BLOCKS and _reads_again(rows))
    if program is None or (code is Code.BLOCKS and not any(isinstance(i, Blocks) for i in program.backward)):
        return None
    return program


def _reads_again(rows: Sequence[Instruction]) -> bool:
    """Return whether a go over the rows reads something twice, or what it has written: in blocks it is in the cache."""
    reads = [name for i in rows for value in values(i) for name in names_in(value)]
    again = len(reads) - len(set(reads)) + len(set(reads) & {name for i in rows for name in written(i)})
    return again > 0


def choose(ways: Sequence[Candidate], purpose: Purpose) -> tuple[Candidate, str]:
    """Return the way for a purpose, marked as such, and the reason in a few words."""
    plain = ways[0]
    if purpose is Purpose.READING:
        best = plain
        for way in ways:
            readable_ = way.form == plain.form and way.code is Code.READING and way.saving is not Saving.MOVED
            if readable_ and way.cost.seconds < _WORTH * best.cost.seconds:
                best = way
        why = "reads best" if best is plain else "reads as well, and what forward computes is not computed again"
    elif purpose is Purpose.SPEED:
        written = [way for way in ways if way.code is not Code.READING] or ways
        best = _least(written, lambda way: way.cost.seconds)
        why = "takes the least time"
    else:
        kept = [way for way in ways if way.saving is Saving.DERIVED]
        held = min(way.cost.saved + way.cost.extra for way in kept)
        best = _least(
            [way for way in kept if way.cost.saved + way.cost.extra <= 1.05 * held], lambda way: way.cost.seconds
        )
        why = "saves and holds the least"
    return replace(best, arrays=replace(best.arrays, purpose=purpose)), why


def _least(ways: Sequence[Candidate], of: Callable[[Candidate], float]) -> Candidate:
    """Return the way with the least of something; of those as good as equal, the first."""
    best = ways[0]
    for way in ways[1:]:
        if of(way) < _MARGIN * of(best):
            best = way
    return best


def readable(arrays: ArrayProgram) -> ArrayProgram:
    """Return the program as it is written to be read."""
    saved = with_saved(arrays, moved=False)
    if saved is arrays:
        return arrays
    at = nominal(arrays)
    return saved if cost(saved, at).seconds < _WORTH * cost(arrays, at).seconds else arrays
