"""The value of index equations, element by element, as the textbook means them.

This is what formulas and code are compared with. It reads the ``Layer`` as the
user wrote it, and shares nothing with the derivation, the simplifier and the
lowering (the closures are made in :mod:`derive.check.compile`).

    arrays = evaluate_layer(layer, instance, {"x": {(0, 0): 1.0, (0, 1): 2.0}, ...})
    arrays["y"][0, 1]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from derive.algebra.indices import names
from derive.calculus.program import Program
from derive.check.compile import Closure, Compiler
from derive.check.contexts import multiprecision, rounded
from derive.check.demand import OnDemand
from derive.check.instance import Array, Instance, Key
from derive.language.layer import Layer, Statement

__all__ = ["Evaluator", "evaluate_layer", "evaluate_program", "numbers"]


def numbers(arrays: Mapping[str, Array], context: Any) -> dict[str, Array]:
    """Return the arrays with every float as a number of the context; integers stay."""
    mpf = context.mpf
    return {
        name: {key: mpf(value) if isinstance(value, float) else value for key, value in array.items()}
        for name, array in arrays.items()
    }


@dataclass(frozen=True, slots=True)
class _Start:
    """What a recurrence has before its first step."""

    slots: tuple[int, ...]
    value: Closure
    keys: frozenset[Key]
    place: int
    step: int


@dataclass(frozen=True, slots=True)
class _Compiled:
    """One statement, ready to run."""

    name: str
    slots: tuple[int, ...]
    keys: Sequence[Key]
    value: Closure
    reads: frozenset[str]
    start: _Start | None


class Evaluator:
    """Statements compiled once, to be run with many inputs.

    Where a statement is a recurrence, all are evaluated on demand
    (:mod:`derive.check.demand`), and their order does not matter.

    ``watch`` makes it note how near the arguments come to kinks and to the
    edges of domains, and on how many pieces of functions (``kink``, ``edge``,
    ``sides``). ``noise`` rounds every input and every operation's result as
    float32 would, up or down at random.
    """

    def __init__(
        self,
        statements: Iterable[Statement],
        instance: Instance,
        context: Any = None,
        *,
        watch: bool = False,
        noise: Random | None = None,
    ) -> None:
        self.instance = instance
        self.context = multiprecision() if context is None else context
        self._compiler = Compiler(instance, self.context, watch=watch, noise=noise)
        self._plans: dict[str, tuple[tuple[_Compiled, ...], frozenset[str]]] = {}
        self._statements = tuple(map(self._compiled, statements))
        self._on_demand = any(s.start is not None for s in self._statements)
        self._order = _turns(self._statements) if self._on_demand else {}

    def _compiled(self, statement: Statement) -> _Compiled:
        compiler, carry = self._compiler, statement.carry
        slots = tuple(compiler.slot(i) for i in statement.indices)
        reads, start = names(statement.expr), None
        if carry is not None:
            place = statement.indices.index(carry.index)
            axes = [self.instance.values(i) for i in statement.indices]
            axes[place] = [-1 if carry.step == 1 else len(axes[place])]
            others = tuple(slot for slot in slots if slot != slots[place])
            start = _Start(others, compiler.closure(carry.start), frozenset(product(*axes)), place, carry.step)
            reads |= names(carry.start)
        keys = self.instance.keys(statement.axes)
        return _Compiled(statement.name, slots, keys, compiler.closure(statement.expr), reads, start)

    @property
    def arrays(self) -> Mapping[str, Array]:
        """The inputs and every statement's values of the last run."""
        return self._compiler.arrays

    @property
    def kink(self) -> float:
        """The smallest distance of an argument from a corner or jump in the last run."""
        return self._compiler.kink

    @property
    def edge(self) -> float:
        """The smallest distance of an argument from the edge of a domain in the last run."""
        return self._compiler.edge

    @property
    def sides(self) -> int:
        """How many pieces of piecewise functions were met in the last run."""
        return len(self._compiler.sides)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every array: the inputs and the values of all statements.

        Raises:
            IndexError: a subscript lies outside the tensor it reads.
            CircularError: an element depends on itself.
        """
        compiler = self._compiler
        compiler.forget()
        compiler.kink = compiler.edge = float("inf")
        compiler.sides.clear()
        compiler.arrays.clear()
        compiler.arrays.update(numbers(inputs, self.context))
        if compiler.noise is not None:
            for name, array in compiler.arrays.items():
                compiler.arrays[name] = {
                    key: rounded(v, compiler.noise) if isinstance(v, float) else v for key, v in array.items()
                }
        self._fill(self._statements)
        return self._results()

    def perturbed(self, name: str, array: Array) -> dict[str, Array]:
        """Return what :meth:`run` would with ``array`` for the input ``name``; leave the last run's values.

        Arguments of ``stop_gradient`` keep the values of the last run, so that
        differences pass through it no more than gradients do.
        """
        compiler = self._compiler
        statements, changed = self._plan(name)
        before = {n: compiler.arrays[n] for n in changed}
        compiler.forget(changed)
        compiler.arrays[name] = array
        self._fill(statements)
        result = self._results()
        compiler.arrays.update(before)
        compiler.forget(changed)
        return result

    def _plan(self, name: str) -> tuple[tuple[_Compiled, ...], frozenset[str]]:
        """Return the statements that depend on ``name``, and every name that changes with it."""
        if name not in self._plans:
            changed = {name}
            while more := {s.name for s in self._statements if s.reads & changed} - changed:
                changed |= more
            affected = tuple(s for s in self._statements if s.name in changed)
            self._plans[name] = affected, frozenset(changed)
        return self._plans[name]

    def _fill(self, statements: Sequence[_Compiled]) -> None:
        """Compute every element of the statements."""
        if self._on_demand:
            self._demand(statements)
            return
        env = self._compiler.env
        for statement in statements:
            value = statement.value
            array: dict[Key, Any] = {}
            for key in statement.keys:
                for slot, subscript in zip(statement.slots, key, strict=True):
                    env[slot] = subscript
                array[key] = value()
            self._compiler.arrays[statement.name] = array

    def _demand(self, statements: Sequence[_Compiled]) -> None:
        """Compute every element, whatever it needs first.

        Of statements that need one another the recurrences come first, their
        elements in the order of their steps, so that what an element needs is
        mostly there and no chain of calls is as long as time.
        """
        for statement in statements:
            self._compiler.arrays[statement.name] = self._array(statement)
        for statement in sorted(statements, key=lambda s: self._order[s.name]):
            array, start = self._compiler.arrays[statement.name], statement.start
            keys = statement.keys
            if start is not None:
                keys = sorted(keys, key=lambda key: start.step * key[start.place])
            for key in keys:
                array[key]

    def _array(self, statement: _Compiled) -> OnDemand:
        start = statement.start
        compute = self._with_indices(statement.slots, statement.value)
        if start is None:
            return OnDemand(statement.name, frozenset(statement.keys), compute)
        first = self._with_indices(start.slots, start.value)
        place = start.place
        return OnDemand(
            statement.name,
            frozenset(statement.keys),
            compute,
            start.keys,
            lambda key: first((*key[:place], *key[place + 1 :])),
        )

    def _with_indices(self, slots: Sequence[int], value: Closure) -> Callable[[Key], Any]:
        """Return a function that gives the value where the indices have given values, and puts theirs back."""
        env = self._compiler.env

        def at(key: Key) -> Any:
            outer = [env[slot] for slot in slots]
            for slot, subscript in zip(slots, key, strict=True):
                env[slot] = subscript
            try:
                return value()
            finally:
                for slot, subscript in zip(slots, outer, strict=True):
                    env[slot] = subscript

        return at

    def _results(self) -> dict[str, Array]:
        """Return every array, the elements of each in C order."""
        arrays = dict(self._compiler.arrays)
        if self._on_demand:
            for statement in self._statements:
                array = arrays[statement.name]
                arrays[statement.name] = {key: array[key] for key in statement.keys}
        return arrays


def _turns(statements: Sequence[_Compiled]) -> dict[str, tuple[int, bool]]:
    """Return a key to sort each statement by: the place of the first that it needs and that needs it, others later."""
    reads = {s.name: s.reads for s in statements}
    needs: dict[str, set[str]] = {}
    for name in reads:
        needs[name], work = set(), [name]
        while work:
            for other in reads[work.pop()] & reads.keys() - needs[name]:
                needs[name].add(other)
                work.append(other)
    place = {s.name: k for k, s in enumerate(statements)}
    return {
        s.name: (min([place[s.name], *(place[o] for o in needs[s.name] if s.name in needs[o])]), s.start is None)
        for s in statements
    }


def evaluate_layer(
    layer: Layer, instance: Instance, inputs: Mapping[str, Array], context: Any = None
) -> dict[str, Array]:
    """Return the values of every tensor of the layer, inputs included, by name."""
    return Evaluator(layer.statements, instance, context).run(inputs)


def evaluate_program(
    program: Program,
    instance: Instance,
    inputs: Mapping[str, Array],
    cotangents: Mapping[str, Array],
    context: Any = None,
) -> dict[str, Array]:
    """Return the values of every name of the program, forward and backward."""
    evaluator = Evaluator((*program.forward, *program.backward), instance, context)
    return evaluator.run({**inputs, **cotangents})
