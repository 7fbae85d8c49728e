"""The comparison of a user's results with the derivation's, and the whole of a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from derive.algebra.nodes import BATCH_SIZE
from derive.check.samples import Sample, sample
from derive.check.sizes import choose_sizes, other_hypers
from derive.diagnosis.causes import Cause, Explanation
from derive.diagnosis.code import Answer, Crash, UserCode
from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.factors import recognized
from derive.diagnosis.forms import Derivation
from derive.diagnosis.given import GivenArrays
from derive.diagnosis.report import Diagnosis, Result
from derive.diagnosis.search import PATIENCE, Trial, distance, explain, fitted
from derive.diagnosis.shapes import misshapen
from derive.diagnosis.site import factor_text
from derive.diagnosis.wholes import axis_names, place
from derive.errors import DeriveError
from derive.language.layer import Layer

__all__ = ["TOLERANCE", "examine", "examine_arrays", "experiments"]

TOLERANCE = {"float64": 1e-7, "float32": 2e-4}
"""The relative error that results may have, of the size of the terms that they are sums of."""

_SEEDS = 3
_LARGE = 1e3
_SINGLE = 4e-6
"""The relative error below which a result that nothing explains has been through float32."""


def experiments(
    derived: Derivation, hypers: frozenset[str], fixed: Mapping[str, float], ones: bool, seed: int, batch: int
) -> list[Experiment]:
    """Return experiments of pairwise different sizes.

    Args:
        derived: the derivation.
        hypers: the hyper-parameters that the user's code is given; the others keep their defaults.
        fixed: values of hyper-parameters that are the same in all.
        ones: whether scalar cotangents are 1.
        seed: of the inputs.
        batch: the number of batch axes.
    """
    layer = derived.layer
    found: list[Experiment] = []
    batches = [(2, 3, 4)[:batch], (3, 2, 2)[:batch], (4, 2, 3)[:batch]]
    first = None
    for k in range(_SEEDS):
        others = other_hypers(layer) if k < _SEEDS - 1 else {}
        values = {h.name: others.get(h.name, h.default) if h.name in hypers else h.default for h in layer.hypers}
        values |= fixed
        instance = choose_sizes(
            layer, batch=batches[k], start=3 + (k == 2), first=first if k == 1 else None, hypers=values
        )
        first = first or instance
        found.append(Experiment(derived, _sample(layer, instance, seed + 100 * k), ones=ones))
    return found


def _sample(layer: Layer, instance: object, seed: int) -> Sample:
    return sample(layer, instance, seed)  # type: ignore[arg-type]


def examine_arrays(derived: Derivation, arrays: GivenArrays, experiment: Experiment) -> Diagnosis:
    """Compare gradients that are given as arrays with the derivation at the same inputs."""
    runs = [arrays.run(experiment, calls=2)]
    return _Examination(derived, arrays, [experiment], runs).diagnosis((str(experiment.instance),))


def examine(derived: Derivation, code: UserCode, *, seed: int = 0, batch: int | None = None) -> Diagnosis:
    """Compare a user's backward with the derivation and explain what is wrong."""
    runs, crash, inputs = _answers(derived, code, seed, batch)
    shown = tuple(str(e.instance) for e in inputs)
    if crash is not None:
        explanation = Explanation(Cause.CRASH, str(crash), "", "", (), 0.0, 0.0, 0)
        return Diagnosis(derived.layer.name, code.title, (), (explanation,), experiments=shown)
    return _Examination(derived, code, inputs, runs).diagnosis(shown)


def _answers(
    derived: Derivation, code: UserCode, seed: int, batch: int | None
) -> tuple[list[list[Answer]], Crash | None, list[Experiment]]:
    """Run the user's code at all experiments, with as many batch axes as it takes."""
    layer = derived.layer
    batched = any(BATCH_SIZE in p.axes for p in layer.parameters)
    ranks = (0,) if not batched else ((batch,) if batch is not None else (1, 0, 2))
    unseen = code.unseen_cotangents
    scalar = {c for o, c in derived.cotangents.items() if not layer.axes(o)}
    if not set(unseen) <= scalar:
        names = ", ".join(c for c in unseen if c not in scalar)
        raise DeriveError(
            f"{code.title} is not given the cotangent {names}",
            hint=f"name it in --args, e.g. --args {','.join([*derived.cotangents.values(), 'cache'])}",
        )
    crashes: list[tuple[Crash, list[Experiment]]] = []
    for rank in ranks:
        inputs = experiments(derived, code.hypers, code.fixed, bool(unseen), seed, rank)
        runs: list[list[Answer]] = []
        try:
            for e in inputs:
                runs.append(code.run(e, calls=2))
                if _differ(*runs[0]):  # what the first calls left is in the way of further ones
                    break
            return runs, None, inputs[: len(runs)]
        except Crash as crash:
            crashes.append((crash, inputs))
    first, inputs = crashes[0]
    return [], first, inputs


def _differ(first: Answer, second: Answer) -> bool:
    """Return whether two calls on the same numbers gave others."""
    return any(
        not np.array_equal(first.results[s], second.results.get(s, np.nan), equal_nan=True) for s in first.results
    )


def _from_the_end(place: str) -> str:
    """Return "last" for -1, "last but 1" for -2."""
    return "last" if place == "-1" else f"last but {-int(place) - 1}"


class _Examination:
    """One user's code at all experiments."""

    def __init__(
        self,
        derived: Derivation,
        code: UserCode | GivenArrays,
        inputs: Sequence[Experiment],
        runs: Sequence[Sequence[Answer]],
    ) -> None:
        self.derived, self.code, self.inputs, self.runs = derived, code, inputs, runs
        self.searched = True
        self.order = [s for s in self._derivation_order() if s in runs[0][0].results]
        self.single = all(
            a.results[s].dtype == np.float32
            for a in (runs[0][0],)
            for s in self.order
            if a.results[s].dtype.kind == "f"
        ) and bool(self.order)
        self.tolerance = TOLERANCE["float32" if self.single else "float64"]

    def _derivation_order(self) -> list[str]:
        right = self.inputs[0].right()
        own = {self.derived.symbols.get(p): None for p, _ in self.derived.program.gradients}
        stages = [s for s in right if s not in own]
        return [*stages, *(s for s in right if s in own)]

    # One result

    def own(self, symbol: str, answer: Answer, experiment: Experiment) -> Values | None:
        """Return a result in the derivation's axes, or None where its shape is not the right one."""
        value = answer.results[symbol]
        layout = self.code.layout(symbol)
        axes = experiment.axes_of(symbol)
        expected = experiment.instance.shape(axes) if layout is None else layout.shape(experiment.instance)
        if value.shape != expected:
            return None
        value = value.astype(float)
        return experiment.flat(value, axes) if layout is None else layout.taken(value, experiment.instance)

    def expected_shape(self, symbol: str) -> tuple[int, ...]:
        layout, first = self.code.layout(symbol), self.inputs[0]
        return first.instance.shape(first.axes_of(symbol)) if layout is None else layout.shape(first.instance)

    def size(self, symbol: str, experiment: Experiment) -> float:
        """Return how large the terms are whose sum a result is: what its rounding is relative to."""
        return max(experiment.magnitude(symbol), float(np.abs(experiment.right()[symbol]).max(initial=0.0)))

    def compared(self, symbol: str, call: int) -> Result:
        """Return how a result compares at all experiments."""
        worst, right = 0.0, True
        where = None
        for k, (experiment, answers) in enumerate(zip(self.inputs, self.runs, strict=True)):
            value = self.own(symbol, answers[call], experiment)
            expected = experiment.right()[symbol]
            if value is None:
                return Result(
                    symbol, False, float("inf"), answers[call].results[symbol].shape, self.expected_shape(symbol)
                )
            size = self.size(symbol, experiment)
            with np.errstate(all="ignore"):
                off = np.abs(value - expected)
                off = np.where(np.isfinite(off), off, np.inf)
            error = float(off.max(initial=0.0)) / size if size else float(off.max(initial=0.0))
            if not error <= self.tolerance:
                right = False
            if error >= worst:
                worst = error
            if k == 0 and off.size:
                at = np.unravel_index(int(off.argmax()), off.shape)
                where = tuple(map(int, at)), float(expected[at]), float(value[at])
        shape = self.runs[0][call].results[symbol].shape
        return Result(symbol, right, worst, shape, self.expected_shape(symbol), where)

    # All of them

    def diagnosis(self, shown: tuple[str, ...]) -> Diagnosis:
        results = [self.compared(s, 0) for s in self.order]
        explanations = [*self._misshapen(results), *self._explained(results)]
        explanations += self._calls(results)
        explanations += self._extremes(results)
        claimed = {s for e in explanations for s in e.explains}
        for r in results:
            if not r.right and r.symbol not in claimed and (part := self._part(r)) is not None:
                explanations.append(part)
                claimed.add(r.symbol)
        left = tuple(r.symbol for r in results if not r.right and r.symbol not in claimed)
        slight = {r.symbol: r.error for r in results if r.symbol in left and r.error < _SINGLE}
        if slight and len(slight) == len(left):
            worst = max(slight.values())
            text = f"right to {worst:.0e} only, as if something in between were in float32"
            explanations.append(Explanation(Cause.PRECISION, text, "", "", tuple(slight), worst, worst, 0))
            left = ()
        if left:
            text = "nothing that was tried explains it"
            before = max(r.error for r in results if r.symbol in left)
            explanations.append(Explanation(Cause.UNEXPLAINED, text, "", "", left, before, before, 0))
        place = {s: k for k, s in enumerate(self.order)}
        explanations.sort(key=lambda e: min((place[s] for s in e.explains), default=-1))
        gradients = [self.derived.symbols.get(p, f"d{p}") for p, _ in self.derived.program.gradients]
        return Diagnosis(
            self.derived.layer.name,
            self.code.title,
            tuple(results),
            tuple(explanations),
            tuple(self._notes(results)),
            tuple(g for g in gradients if g not in self.order),
            shown,
        )

    def _misshapen(self, results: Sequence[Result]) -> list[Explanation]:
        found = []
        for r in results:
            if r.error == float("inf") and r.shape != r.expected:
                explanation = self._shape(r)
                if explanation is not None:
                    found.append(explanation)
        return found

    def _shape(self, r: Result) -> Explanation | None:
        """Return the explanation of a result of a wrong shape that holds at every experiment."""
        common: list[tuple[Cause, str]] | None = None
        factors: dict[str, list[float]] = {}
        after: dict[str, float] = {}
        for experiment, answers in zip(self.inputs, self.runs, strict=True):
            got = answers[0].results[r.symbol].astype(float)
            here: dict[str, Cause] = {}
            others = {s: self._given(s, experiment) for s in experiment.right()}
            right, names = others[r.symbol]
            little = 1e-9 * float(np.abs(right).max(initial=0.0))
            for cause, text, value in misshapen(
                self.derived, r.symbol, got, experiment, {s: v for s, (v, _) in others.items()}, names
            ):
                error, factor = fitted(got, np.zeros_like(got), value)
                if max(np.abs(got).max(initial=0.0), np.abs(value).max(initial=0.0)) <= little:
                    error, factor = 0.0, 1.0  # both vanish
                if error <= self.tolerance and text not in here:
                    here[text] = cause
                    factors.setdefault(text, []).append(factor)
                    after[text] = max(after.get(text, 0.0), error)
            common = [(c, t) for t, c in here.items()] if common is None else [p for p in common if p[1] in here]
        judged = [(recognized(factors[text], self.inputs, 1e-6), cause, text) for cause, text in common or ()]
        for name, cause, text in sorted(judged, key=lambda j: j[0] != "1"):
            if name is None:
                continue
            said = text if name == "1" else factor_text(f"{text}, and it", name)
            return Explanation(
                cause, said, *place(self.derived, r.symbol), (r.symbol,), np.inf, after[text], len(self.inputs) - 1
            )
        return None

    def _given(self, symbol: str, experiment: Experiment) -> tuple[Values, list[str]]:
        """Return the right result in the user's shape, and what its axes are called."""
        layout, right = self.code.layout(symbol), experiment.right()[symbol]
        if layout is None:
            return right, axis_names(self.derived, experiment, symbol)
        given = layout.given(right, experiment.instance)
        return given, [word.strip() for word in layout.text.split(",")][: given.ndim]

    def _explained(self, results: Sequence[Result]) -> list[Explanation]:
        got = []
        for experiment, answers in zip(self.inputs, self.runs, strict=True):
            here: dict[str, Values] = {}
            for s in self.order:
                value = self.own(s, answers[0], experiment)
                if value is not None:
                    here[s] = value
            got.append(here)
        wrong = tuple(r.symbol for r in results if not r.right and all(r.symbol in g for g in got))
        first = self.inputs[0]
        right = tuple(
            r.symbol
            for r in results
            if r.right and np.abs(first.right()[r.symbol]).max(initial=0.0) > 1e-9 * self.size(r.symbol, first)
        )
        if not wrong:
            return []
        tolerance = self.tolerance if self.single else 1e-8
        found, self.searched = explain(self.derived, Trial(self.inputs, got, wrong, right, tolerance))
        return found

    def _part(self, r: Result) -> Explanation | None:
        """Say where a result is wrong, if that is at the same places of one axis at every experiment."""
        common: set[tuple[int, str]] | None = None
        zero, before, after = True, 0.0, 0.0
        for experiment, answers in zip(self.inputs, self.runs, strict=True):
            value, right = self.own(r.symbol, answers[0], experiment), experiment.right()[r.symbol]
            if value is None:
                return None
            with np.errstate(all="ignore"):
                off = ~(np.abs(value - right) <= self.tolerance * self.size(r.symbol, experiment))
            if not off.any():
                continue
            here = set()
            for axis, length in enumerate(off.shape):
                bad = np.flatnonzero(off.any(axis=tuple(k for k in range(off.ndim) if k != axis)))
                if len(bad) == 1 and length > 1:
                    here |= {(axis, str(bad[0])), (axis, str(bad[0] - length))}
            common = here if common is None else common & here
            zero = zero and not value[off].any()
            before = max(before, distance(value, right))
            after = max(after, float(np.abs(np.where(off, 0.0, value - right)).max(initial=0.0)))
        names = axis_names(self.derived, self.inputs[0], r.symbol)
        for axis, at in sorted(common or ()):
            place_text = (
                f"{names[axis]} = {at}" if not at.startswith("-") else f"{names[axis]} is the {_from_the_end(at)}"
            )
            text = f"{r.symbol} is {'zero' if zero else 'wrong'} where {place_text}, and right elsewhere"
            return Explanation(
                Cause.PLACE, text, *place(self.derived, r.symbol), (r.symbol,), before, after, len(self.inputs) - 1
            )
        return None

    def _calls(self, results: Sequence[Result]) -> list[Explanation]:
        """What changes from call to call: state that is kept, arguments that are written to."""
        found = []
        again = {r.symbol: r for r in (self.compared(s, 1) for s in self.order)}
        changed = [r for r in results if r.right and not again[r.symbol].right]
        doubled: list[Result] = []
        other: list[Result] = []
        for r in changed:
            first, second = (self.own(r.symbol, a, self.inputs[0]) for a in self.runs[0][:2])
            twice = first is not None and second is not None and distance(second, 2 * first) <= self.tolerance
            (doubled if twice else other).append(r)
        for group, text in (
            (doubled, "is added to what the call before gave: the second call on the same numbers gives twice as much"),
            (other, "is another in the second call on the same numbers"),
        ):
            if group:
                symbols = tuple(r.symbol for r in group)
                before = max(again[s].error for s in symbols)
                found.append(Explanation(Cause.ACCUMULATED, f"{symbols[0]} {text}" if len(symbols) == 1 else text,
                                         "", "", symbols, before, 0.0, len(self.inputs) - 1))  # fmt: skip
        return found

    def _extremes(self, results: Sequence[Result]) -> list[Explanation]:
        """What is finite for large inputs, and is not in the user's code."""
        if not results or not all(r.right for r in results) or not isinstance(self.code, UserCode):
            return []
        large = self.inputs[0].scaled(_LARGE)
        if large is None:
            return []
        try:
            (answer,) = self.code.run(large)
        except Crash:
            return []
        right = large.right()
        broken = []
        for r in results:
            value = self.own(r.symbol, answer, large)
            expected = right[r.symbol]
            if value is not None and np.isfinite(expected).all() and not np.isfinite(value).all():
                broken.append(r.symbol)
        if not broken:
            return []
        text = f"not finite where the inputs are {_LARGE:g} times as large, and should be: an overflow"
        return [Explanation(Cause.UNSTABLE, text, *place(self.derived, broken[0]), tuple(broken), np.inf, 0.0, 0)]

    def _promoted(self) -> list[str]:
        """Return the results that are float64 where all numbers are float32."""
        if self.single or not isinstance(self.code, UserCode):
            return []
        try:
            (answer,) = self.code.run(self.inputs[0], np.float32)
        except (Crash, DeriveError):
            return []
        return [s for s in self.order if s in answer.results and answer.results[s].dtype == np.float64]

    def _notes(self, results: Sequence[Result]) -> list[str]:
        notes = []
        written = sorted({name for answers in self.runs for a in answers for name in a.written})
        if written:
            notes.append(f"{self.code.title} writes to its argument {', '.join(written)}")
        if not self.searched:
            notes.append(f"the search for explanations was stopped after {PATIENCE:.0f} seconds")
        lost = self._promoted()
        if lost:
            notes.append(f"float32 is lost: given float32, {', '.join(lost)} comes as float64")
        if self.single:
            notes.append("given float64, it returns float32: compared to single precision only")
        return notes
