"""The value of index equations, element by element, as the textbook means them.

This is what formulas and code are compared with. It reads the ``Layer`` as the
user wrote it, and shares nothing with the derivation, the simplifier and the
lowering (the closures are made in :mod:`derive.check.compile`).

    arrays = evaluate_layer(layer, instance, {"x": {(0, 0): 1.0, (0, 1): 2.0}, ...})
    arrays["y"][0, 1]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from derive.algebra.indices import names
from derive.calculus.program import Program
from derive.check.compile import Closure, Compiler
from derive.check.contexts import multiprecision, rounded
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
class _Compiled:
    """One statement, ready to run."""

    name: str
    slots: tuple[int, ...]
    keys: Sequence[Key]
    value: Closure
    reads: frozenset[str]


class Evaluator:
    """Statements compiled once, to be run with many inputs.

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
        self._statements = tuple(
            _Compiled(
                s.name,
                tuple(self._compiler.slot(i) for i in s.indices),
                instance.keys(s.axes),
                self._compiler.closure(s.expr),
                names(s.expr),
            )
            for s in statements
        )

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
        for statement in self._statements:
            self._fill(statement)
        return dict(compiler.arrays)

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
        for statement in statements:
            self._fill(statement)
        result = dict(compiler.arrays)
        compiler.arrays.update(before)
        compiler.forget(changed)
        return result

    def _plan(self, name: str) -> tuple[tuple[_Compiled, ...], frozenset[str]]:
        """Return the statements that depend on ``name``, and every name that changes with it."""
        if name not in self._plans:
            changed = {name}
            affected = []
            for statement in self._statements:
                if statement.reads & changed:
                    changed.add(statement.name)
                    affected.append(statement)
            self._plans[name] = tuple(affected), frozenset(changed)
        return self._plans[name]

    def _fill(self, statement: _Compiled) -> None:
        env, value = self._compiler.env, statement.value
        array: dict[Key, Any] = {}
        for key in statement.keys:
            for slot, subscript in zip(statement.slots, key, strict=True):
                env[slot] = subscript
            array[key] = value()
        self._compiler.arrays[statement.name] = array


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
