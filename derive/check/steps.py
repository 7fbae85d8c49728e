"""Every step of a derivation compared with what stood before it, on random inputs.

A derivation is a list of equations (``Program.steps``). Each is evaluated, with
80 digits, among the values of what it was derived from:

    forward, made stable        with the values of the layer as it was written
    names for intermediates     each defines a value that later steps read
    chain rule                  with central differences of the stable forward
    facts, simplification,      with the values of the staged backward
        result
    program                     every name again, as it is computed in the end: those of the forward with the
                                values of the layer as it was written
    code                        with the program's values, in float64

The first step that differs is where a derivation goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from math import isfinite
from random import Random
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, S

from derive.algebra.indices import elements, free_indices, names
from derive.algebra.nodes import Element, Index, Tensor
from derive.algebra.text import show
from derive.calculus.differentiate import Staged, differentiate
from derive.calculus.program import Equation, Program, Stage, Step
from derive.check.evaluate import Evaluator, numbers
from derive.check.expected import expected_at
from derive.check.instance import Array, Instance
from derive.check.module import GeneratedModule, dense, inputs_of
from derive.check.probes import pairing
from derive.check.samples import Sample, sample
from derive.check.sizes import choose_instance
from derive.language.layer import Carry, Layer, Statement
from derive.language.loops import Loop, loops
from derive.simplify import simplify, without_saturation
from derive.simplify.lines import Line, expanded
from derive.stability import stabilize

__all__ = ["CheckedStep", "check_steps"]

_DIGITS = 80
_STEP = "1e-28"
_TOLERANCE = "1e-25"
# Differences lose 1e-52 of what is moved, 1e-56 of its third derivative, and at a kink 1e-28 of its second.
_CODE = 1e-10  # share of the largest number, in float64


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """One step and how far it is from what stood before.

    Attributes:
        number: its place in the derivation, from 1.
        stage: the part of the derivation it belongs to.
        equation: the left side, in words of the layer language.
        reason: why it holds, as the derivation says.
        against: what it was compared with.
        error: the largest error, relative to the largest value; None where it defines a name.
        passed: whether it holds.
    """

    number: int
    stage: str
    equation: str
    reason: str
    against: str
    error: float | None
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``; an infinite error becomes a string."""
        error = self.error
        return asdict(self) | {"error": str(error) if error is not None and not isfinite(error) else error}

    def __str__(self) -> str:
        error = "" if self.error is None else f", off by {self.error:.3g}"
        return f"step {self.number} ({self.stage}): {self.equation}{error} against {self.against}"


def check_steps(
    layer: Layer, wrt: Sequence[str] | None = None, *, seed: int = 0, instance: Instance | None = None
) -> Iterator[CheckedStep]:
    """Derive a layer and yield every step with its error, then the program and the code.

    Args:
        layer: from ``parse`` or ``load``.
        wrt: parameters whose gradients are derived; None for all that have one.
        seed: of the inputs.
        instance: the sizes; None for the check's own.

    Raises:
        CheckError: no inputs can be found at which the layer's results are finite.
    """
    from derive.lower import lower
    from derive.render.numpy import render

    at = sample(layer, choose_instance(layer) if instance is None else instance, seed)
    stable, rewrites = stabilize(layer)
    staged = differentiate(layer, stable, rewrites, wrt)
    program = without_saturation(staged, simplify(staged))
    values = _Values(layer, staged, program, at)
    slopes = _Slopes(staged, at, values, seed)
    number = 0
    for number, step in enumerate(program.steps, 1):
        yield _checked(number, step, values, slopes)
    for statement in (*program.forward, *program.backward):
        number += 1
        yield values.again(number, statement)
    yield from _code(layer, program, render(lower(program)), at, values, number + 1, seed)


@lru_cache(maxsize=1)
def _context() -> Any:
    context = mpmath.ctx_mp.MPContext()
    context.dps = _DIGITS
    return context


class _Values:
    """The value of every name that a derivation speaks of, from the layer as written and its staged derivation."""

    def __init__(self, layer: Layer, staged: Staged, program: Program, at: Sample) -> None:
        self.instance, self.mp = at.instance, _context()
        cotangents = {c: at.cotangents[f"d{name}"] for name, c in zip(program.outputs, program.cotangents, strict=True)}
        given = {**at.inputs, **cotangents}
        written = Evaluator(layer.statements, at.instance, self.mp).run(given)
        adjoints = [expanded(Line(a.target, a.terms, a.carry)) for a in staged.adjoints]
        known = {s.name for s in (*staged.forward, *adjoints)} | set(written)
        new = dict.fromkeys(n for n in map(_defined, program.steps) if n is not None and n.name not in known)
        defined: dict[str, Statement] = {}
        for step in program.steps:
            target = _defined(step)
            if target in new and target is not None and target.name not in defined:
                defined[target.name] = Statement(target.name, _letters(target), step.rhs)
        self.named = frozenset(defined)
        statements = _ordered((*staged.forward, *adjoints, *defined.values()), set(given))
        starts = [s for s in (*program.forward, *program.backward, *statements) if s.carry is not None]
        starts += [s for step in program.steps for s in _recurrence(step)]
        self._starts = {s.name: s for s in reversed(starts)}
        self.staged = Evaluator(statements, at.instance, self.mp).run(given)
        self.written = written
        self.values: dict[str, Array] = {**self.staged, **written}
        program_run = Evaluator((*program.forward, *program.backward), at.instance, self.mp).run(given)
        self.program: dict[str, Array] = program_run

    def both(self, lhs: Expr, rhs: Expr, *, real: bool = False) -> float:
        """Return the largest difference of two expressions over their free indices, relative to the largest value.

        ``real`` leaves out where a side is nan: rules speak of real numbers, and ``a + softplus(b - a)`` is
        ``log(exp(a) + exp(b))`` of all but infinite ones. What comes of these is seen in the program.
        """
        indices = tuple(sorted(free_indices(lhs) | free_indices(rhs), key=str))
        pair = [Statement(" lhs", indices, lhs), Statement(" rhs", indices, rhs)]
        read = frozenset().union(*(s.reads for s in pair))
        stepped = [self._with_start(s) for name, s in self._starts.items() if name in read]
        carried = {s.name for s in stepped}
        read = read.union(*(names(s.carry.start) for s in stepped if s.carry is not None))
        given = {f"{n} " if n in carried else n: self.values[n] for n in read if n in self.values}
        run = Evaluator([*stepped, *pair], self.instance, self.mp).run(given)
        left, right = run[" lhs"], run[" rhs"]
        if real:
            left = {key: v for key, v in left.items() if v == v and right[key] == right[key]}
            right = {key: right[key] for key in left}
        return self.distance(left, right)

    @staticmethod
    def _with_start(statement: Statement) -> Statement:
        """A recurrence whose elements are read from the array ``name `` (with a space), and before that its start."""
        return replace(statement, expr=Element(Tensor(f"{statement.name} "), *statement.indices))

    def distance(self, a: Array, b: Array) -> float:
        """Return the largest difference relative to the largest finite value; nan and infinity equal themselves."""
        scale = max((abs(v) for v in b.values() if self.mp.isfinite(v)), default=0) + self.mp.mpf("1e-15")
        worst = self.mp.mpf(0)
        for key, v in b.items():
            if a[key] == v or (a[key] != a[key] and v != v):
                continue
            error = abs(a[key] - v) / scale
            worst = max(worst, error) if error == error else self.mp.inf
        return float(worst)

    def again(self, number: int, statement: Statement) -> CheckedStep:
        """Return how far a statement's value in the program is from its value in the staged derivation."""
        name = statement.name
        against = self.written if name in self.written else self.staged
        if name not in against:
            return CheckedStep(number, "program", str(statement.target), "", "", None, True)
        error = self.distance(self.program[name], against[name])
        what = "the layer as written" if against is self.written else "the staged derivation"
        return CheckedStep(number, "program", show(statement.target), "", what, error, error <= float(_TOLERANCE))


class _Slopes:
    """Central differences of the stable forward with respect to any of its names, along random directions."""

    def __init__(self, staged: Staged, at: Sample, values: _Values, seed: int) -> None:
        self._staged, self._at, self._values = staged, at, values
        self._names = {a.symbol: a.name for a in staged.adjoints if a.carry is None}
        self._stepped = {s.name for piece in loops(staged.forward) if isinstance(piece, Loop) for s in piece.statements}
        self._rng = Random(f"steps {seed}")

    def error(self, target: Element) -> float | None:
        """Return how far an adjoint is from differences along a direction; None where a loop computes the name.

        What a loop carries from step to step cannot be moved without the loop moving it too.
        """
        name = self._names.get(target.name)
        if name is None or name in self._stepped:
            return None
        mp, values = self._values.mp, self._values.values
        array, gradient = values[name], values[target.name]
        direction = {key: self._rng.gauss(0.0, 1.0) for key in array}
        forward = [s for s in self._staged.forward if s.name != name]
        given = {**self._at.inputs, name: array}
        evaluator = Evaluator(forward, self._at.instance, mp)
        evaluator.run(given)
        step = mp.mpf(_STEP)
        outputs = self._staged.layer.returns
        cotangents = numbers(self._at.cotangents, mp)

        def paired(sign: int) -> Any:
            moved = {key: v + sign * step * direction[key] for key, v in array.items()}
            arrays = evaluator.perturbed(name, moved)
            return pairing(cotangents, arrays, outputs, mp)

        slope = (paired(1) - paired(-1)) / (2 * step)
        claimed = mp.fsum([gradient[key] * v for key, v in direction.items()])
        size = mp.fsum([abs(gradient[key] * v) for key, v in direction.items()]) + 1
        return float(abs(slope - claimed) / size)


def _defined(step: Step) -> Element | None:
    """The element on the left of a step, if it has letters alone as subscripts: it may be a definition."""
    lhs = step.lhs
    plain = isinstance(lhs, Element) and all(isinstance(s, Index) for s in lhs.subscripts)
    return lhs if plain else None


def _recurrence(step: Step) -> Iterator[Statement]:
    """Yield the recurrence that a step states: an adjoint read where the loop went before, 0 before that."""
    target = _defined(step)
    for element in elements(step.rhs) if target is not None else ():
        if target is None or element.name != target.name:
            continue
        moved = [(i, f - i) for i, f in zip(_letters(target), element.subscripts, strict=True) if f != i]
        if len(moved) == 1 and abs(moved[0][1]) == 1:
            index, shift = moved[0]
            yield Statement(target.name, _letters(target), step.rhs, carry=Carry(index, -int(shift), S.Zero))


def _letters(target: Element) -> tuple[Index, ...]:
    return tuple(s for s in target.subscripts if isinstance(s, Index))


def _ordered(statements: Sequence[Statement], given: set[str]) -> list[Statement]:
    """The statements, each after those that it reads where there is no recurrence."""
    left, done = list(statements), set(given)
    result: list[Statement] = []
    while left:
        ready = [s for s in left if s.reads <= done]
        if not ready:
            return [*result, *left]  # a recurrence: evaluated on demand, in any order
        result += ready
        done |= {s.name for s in ready}
        left = [s for s in left if s not in ready]
    return result


def _checked(number: int, step: Step, values: _Values, slopes: _Slopes) -> CheckedStep:
    equation = show(step.lhs)
    target = _defined(step)
    formulas = [f for f in step.formulas if isinstance(f, Equation)]
    error, against = None, "its own definition"
    if step.stage is Stage.CHAIN and target is not None:
        error, against = slopes.error(target), "central differences"
        if step.terms:
            added = sum((t for _, t in step.terms), 0 * step.rhs)
            error = max(error or 0.0, values.both(added, step.rhs))
    elif target is None or target.name not in values.named:
        against = "the layer as written" if step.stage is Stage.REWRITE else "the staged derivation"
        error = values.both(step.lhs, step.rhs, real=step.stage is Stage.REWRITE)
    if step.stage is not Stage.CHAIN:
        for formula in formulas:
            error = max(error or 0.0, values.both(formula.lhs, formula.rhs, real=step.stage is Stage.REWRITE))
    passed = error is None or error <= float(_TOLERANCE)
    return CheckedStep(number, step.stage.value, equation, step.reason, against, error, passed)


def _code(
    layer: Layer, program: Program, text: str, at: Sample, values: _Values, number: int, seed: int
) -> Iterator[CheckedStep]:
    """Yield how far the outputs and gradients of the generated code are from the program's."""
    expected = expected_at(program, at, values.program, seed)
    tolerances = expected.allowed("float64", _CODE)
    inputs, cotangents = inputs_of(layer, at, np.float64)
    with np.errstate(all="ignore"):
        call = GeneratedModule(layer, text).run(inputs, cotangents, at.instance)
    got = {**call.outputs, **call.gradients}
    for field, (like, name) in expected.fields.items():
        exact = dense(values.program[name], at.instance.shape(layer.axes(like)), np.float64)
        wrong = np.abs(np.asarray(got[field], np.float64) - exact)
        error = float(wrong.max(initial=0.0)) if np.shape(got[field]) == exact.shape else float("inf")
        passed = error <= tolerances[field]
        yield CheckedStep(number, "code", field, "", "the program, in float64", error, passed)
        number += 1
