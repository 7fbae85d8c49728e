"""One experiment: sizes, inputs and cotangents, and every value of the derivation there.

    run = Experiment(derivation, sample)
    run.gradients["x"]        # what is right
    run.moved(form, k, change)  # what becomes of the gradients where line k of a form changes

An adjoint is linear in the cotangents, so a change of one line goes through
the later ones as it is: only what reads it is evaluated again, with every
other adjoint 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from sympy import Expr

from derive.algebra.nodes import BATCH_SIZE, Index, Kind
from derive.algebra.terms import Term, term_names
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.module import inputs_of
from derive.check.samples import Sample
from derive.diagnosis.dense import Dense, Named, Values
from derive.diagnosis.forms import Derivation, Form, Line
from derive.stages import staged_program

__all__ = ["Experiment"]


class Experiment:
    """Values of a derivation at a sample; all arrays have their batch axes in one.

    Args:
        derived: the derivation.
        sample: sizes, inputs, cotangents.
        ones: whether a scalar output's cotangent is 1.

    Attributes:
        inputs: of every parameter.
        cotangents: by the name that backward is handed them.
        forward: the values of all forward names.
        gradients: the right gradient of every parameter.
        stages: the right adjoint of every forward name, by its symbol (``dxhat``).
    """

    def __init__(self, derived: Derivation, sample: Sample, *, ones: bool = False) -> None:
        self.derived = derived
        self.ones = ones
        self.sample = sample
        self.instance = sample.instance
        layer = derived.layer
        inputs, cotangents = inputs_of(layer, sample, np.float64)
        self.inputs = {p.name: self.flat(inputs[p.name], p.axes) for p in layer.parameters}
        self.cotangents = {}
        for name in layer.returns:
            value = self.flat(cotangents[f"d{name}"], layer.axes(name))
            self.cotangents[derived.cotangents[name]] = np.ones_like(value) if ones and value.ndim == 0 else value
        if derived.recurrent:
            self._element_by_element()
        else:
            self._dense()

    def flat(self, array: Values, axes: tuple[Expr, ...]) -> Values:
        """Return the array with the axes of the batch in one."""
        return np.asarray(array).reshape(tuple(map(self.instance.extent, axes)))

    def shaped(self, array: Values, axes: tuple[Expr, ...]) -> Values:
        """Return the array with the axes of the batch spread again."""
        return array.reshape(self.instance.shape(axes))

    def _dense(self) -> None:
        derived = self.derived
        dense = Dense(self.instance, {**self.inputs, **self.cotangents})
        self.forward: dict[str, Values] = {}
        for s in derived.forward:
            dense.arrays[s.name] = self.forward[s.name] = dense.at(s.expr, s.indices)
        for s in derived.program.backward:
            dense.arrays[s.name] = dense.at(s.expr, s.indices)
        self.gradients = {p: dense.arrays[symbol] for p, symbol in derived.program.gradients}
        self.stages: dict[str, Values] = {}
        staged, written = ([line.symbol for line in form.lines] for form in derived.forms[:2])
        known = {**self.arrays(derived.forms[1]), **self.arrays(derived.forms[0])}
        own = {symbol for p, symbol in derived.symbols.items() if derived.layer.parameter(p) is not None}
        for symbol in _merged(staged, written):
            if symbol not in own and symbol not in self.cotangents:
                self.stages[symbol] = known[symbol]

    def _element_by_element(self) -> None:
        derived, layer = self.derived, self.derived.layer
        keyed: dict[str, dict[tuple[object, ...], float]] = {
            **self.sample.inputs,  # type: ignore[dict-item]  # mappings that nobody changes
            **{derived.cotangents[n]: dict(self.sample.cotangents[f"d{n}"]) for n in layer.returns},
        }
        for name, value in self.cotangents.items():
            if value.ndim == 0:
                keyed[name] = {(): float(value)}
        program = staged_program(layer)
        known = {s.name for s in derived.forward}
        more = [s for s in program.forward if s.name not in known]
        statements = (*derived.forward, *more, *program.backward)
        found = Evaluator(statements, self.instance, floats()).run(keyed)
        arrays: dict[str, Values] = {}
        for s in statements:
            shape = tuple(map(self.instance.extent, s.axes))
            arrays[s.name] = np.array([float(v) for v in found[s.name].values()]).reshape(shape)
        self.forward = {s.name: arrays[s.name] for s in derived.forward}
        self.gradients = {p: arrays[symbol] for p, symbol in program.gradients}
        self.stages = {symbol: arrays[symbol] for _, symbol in program.stages}

    def scaled(self, by: float) -> Experiment | None:
        """Return the experiment with all real inputs that much larger; None where a value there is not finite."""
        layer = self.derived.layer
        wide = {p.name for p in layer.parameters if p.kind is Kind.REAL}
        inputs = {
            name: {key: by * value for key, value in array.items()} if name in wide else array
            for name, array in self.sample.inputs.items()
        }
        with np.errstate(all="ignore"):
            found = Experiment(self.derived, replace(self.sample, inputs=inputs), ones=self.ones)
        values = (*found.forward.values(), *found.stages.values(), *found.gradients.values())
        return found if all(np.isfinite(v).all() for v in values) else None

    @cached_property
    def _quiet(self) -> dict[str, Values]:
        return {**self.inputs, **self.forward}

    @cached_property
    def _factors(self) -> dict[tuple[Expr, Expr], Named]:
        return {}

    @cached_property
    def _adjoints(self) -> frozenset[str]:
        symbols = {line.symbol for form in self.derived.forms for line in form.lines}
        return frozenset(symbols) | frozenset(self.cotangents)

    def _term(self, dense: Dense, term: Term) -> Named:
        return dense.term(term, self._factors, self._adjoints)

    # The lines of a form

    @cached_property
    def _known(self) -> dict[int, dict[str, Values]]:
        return {}

    def arrays(self, form: Form) -> dict[str, Values]:
        """Return all values that the form's lines read, and theirs."""
        key = id(form)
        if key not in self._known:
            dense = Dense(self.instance, {**self.inputs, **self.forward, **self.cotangents})
            for line in form.lines:
                total = np.zeros(tuple(map(dense.length, line.indices)))
                for piece in line.pieces:
                    total += self._term(dense, piece.term).along(line.indices)
                dense.arrays[line.symbol] = total
            self._known[key] = dense.arrays
        return self._known[key]

    def value(self, form: Form, line: Line, term: Term) -> Values:
        """Return the values of a term of a line, of the line's shape."""
        named = self._term(Dense(self.instance, self.arrays(form)), term)
        return np.broadcast_to(named.along(line.indices), self.arrays(form)[line.symbol].shape)

    def moved(
        self,
        form: Form,
        place: int,
        change: Values,
        odd: tuple[int | Index, ...] | None = None,
        wanted: str | None = None,
    ) -> dict[str, Values]:
        """Return how much every adjoint changes where that of line ``place`` changes by ``change``.

        Args:
            form: whose lines they are.
            place: of the line.
            change: of the line's shape, or with the axes ``odd`` says: those of
                the line by number, others by an index. Such an axis is spread as NumPy's broadcasting
                does it: over the index of that size that a reading line has; where it
                has none, that line gets the axis too.
            wanted: a symbol whose change alone is asked for; None for all.

        Returns:
            The changes by symbol; one that has an odd axis has another shape than its line.
        """
        changed: dict[str, Values] = {form.lines[place].symbol: change}
        oddly: dict[str, tuple[int | Index, ...]] = {} if odd is None else {form.lines[place].symbol: odd}
        quiet = self._quiet
        sources = None if wanted is None else form.sources.get(wanted, frozenset())
        for line in form.lines[place + 1 :]:
            if not line.reads & changed.keys() or (sources is not None and line.symbol not in sources):
                continue
            dense = Dense(self.instance, quiet)
            for name in line.reads - quiet.keys():
                if name in changed:
                    dense.arrays[name] = changed[name]
                else:
                    known = self.cotangents[name] if name in self.cotangents else self.arrays(form)[name]
                    dense.arrays[name] = np.broadcast_to(0.0, known.shape)
            more: list[Index] = []
            for name, axes in oddly.items():
                if name in line.reads:
                    dense.odd[name], left = _spread(axes, line)
                    more += [i for i in left if i not in more]
            order = (*line.indices, *more)
            total = np.zeros(tuple(map(dense.length, order)))
            for piece in line.pieces:
                if term_names(piece.term) & changed.keys():
                    total = total + self._term(dense, piece.term).along(order)
            changed[line.symbol] = total
            if more:
                oddly[line.symbol] = (*range(len(line.indices)), *more)
        return changed

    def magnitude(self, symbol: str) -> float:
        """Return the largest sum of the sizes of the terms that an adjoint is a sum of."""
        found = 0.0
        for form in self.derived.forms:
            dense = None
            for line in form.lines:
                if line.symbol != symbol:
                    continue
                dense = dense or Dense(self.instance, self.arrays(form))
                total = np.asarray(0.0)
                for piece in line.pieces:
                    parts = [dense.value(a**e) for a, e in piece.term.factors]
                    sizes = [Named(np.abs(np.asarray(p.array, float)), p.axes) for p in parts]
                    named = dense.product(sizes, piece.term.bound)
                    total = total + abs(float(piece.term.coefficient)) * named.along(line.indices)
                found = max(found, float(total.max(initial=0.0)))
        return found

    def axes_of(self, name: str) -> tuple[Expr, ...]:
        """Return the sizes of a parameter's, a forward value's or an adjoint's axes."""
        layer = self.derived.layer
        parameter = layer.parameter(name)
        if parameter is not None:
            return parameter.axes
        for s in self.derived.forward:
            if s.name == name:
                return s.axes
        for own, symbol in self.derived.symbols.items():
            if symbol == name:
                return self.axes_of(own)
        for output, cotangent in self.derived.cotangents.items():
            if cotangent == name:
                return self.axes_of(output)
        raise AssertionError(f"diagnose: nothing is called {name}")

    @property
    def batched(self) -> bool:
        """Whether the layer has batch axes."""
        return any(BATCH_SIZE in p.axes for p in self.derived.layer.parameters)

    def known(self) -> dict[str, Values]:
        """Return every input, forward value and cotangent by name."""
        return {**self.forward, **self.inputs, **self.cotangents}

    def right(self) -> Mapping[str, Values]:
        """Return every right gradient and adjoint by the name of its symbol."""
        own = {self.derived.symbols.get(p, f"d{p}"): value for p, value in self.gradients.items()}
        return {**self.stages, **own}


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the names of both, each name that the second lacks before the one it comes before in the first."""
    found: list[str] = []
    waiting = [name for name in first if name not in second]
    for name in second:
        if name in first:
            before = first[: first.index(name)]
            found += [w for w in waiting if w in before]
            waiting = [w for w in waiting if w not in before]
        found.append(name)
    return [*found, *waiting]


def _spread(axes: tuple[int | Index, ...], line: Line) -> tuple[tuple[int | Index, ...], list[Index]]:
    """Return the axes with the line's own index of the same size in place of every odd one, and those left over."""
    found: list[int | Index] = []
    left: list[Index] = []
    for axis in axes:
        own = [] if isinstance(axis, int) else [i for i in line.indices if i.size == axis.size and i not in found]
        if isinstance(axis, int) or not own:
            found.append(axis)
            if not isinstance(axis, int):
                left.append(axis)
        else:
            found.append(own[-1])
    return tuple(found), left
