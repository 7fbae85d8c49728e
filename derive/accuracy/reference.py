"""Exact results, and limits where an input is infinite.

The layer's forward and its derived backward are evaluated element by element
(:mod:`derive.check.evaluate`) with so many digits that whatever is left when
terms of size 1 cancel is exact as long as it is a normal number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from derive.calculus.program import Program
from derive.check.evaluate import Evaluator
from derive.check.instance import Array, Instance
from derive.language.layer import Layer, Statement

__all__ = ["Exact", "context", "keyed", "limit"]

_FAR = (100, 400, 1600)  # decimal exponents of the places that stand for infinity
_FAR_DIGITS = 1700
_NEAR = "1e-20"


_HUGE = 1e20  # exp of it is beyond every format, and a factor of 2 is nothing beside its logarithm


@lru_cache(maxsize=8)
def context(digits: int) -> Any:
    """Return an mpmath context of its own with that many digits.

    Exponentials beyond every format, which take long, are given within a
    factor of 2: as powers of 2.
    """
    found = mpmath.ctx_mp.MPContext()
    found.dps = digits
    log2e, exp, sinh, cosh = 1 / found.log(2), found.exp, found.sinh, found.cosh

    def near_exp(x: Any) -> Any:
        if abs(x) > _HUGE and found.isfinite(x):
            return found.ldexp(1, int(found.floor(x * log2e)))
        return exp(x)

    found.exp = near_exp
    found.sinh = lambda x: found.sign(x) * near_exp(abs(x)) / 2 if abs(x) > _HUGE else sinh(x)
    found.cosh = lambda x: near_exp(abs(x)) / 2 if abs(x) > _HUGE else cosh(x)
    return found


class Exact:
    """A layer and its gradients, evaluated with a number of digits.

    The outputs are those of the layer as it was written, the gradients those
    of its program.
    """

    def __init__(self, layer: Layer, program: Program, instance: Instance, digits: int) -> None:
        self._layer, self.context = layer, context(digits)
        self._far = partial(Exact, layer, program, instance, _FAR_DIGITS)
        self._outputs = Evaluator(layer.statements, instance, self.context)
        self._program = Evaluator(statements(program), instance, self.context)
        self._gradients = {f"d{parameter}": name for parameter, name in program.gradients}

    def __call__(self, inputs: Mapping[str, Array], cotangents: Mapping[str, Array]) -> dict[str, Array]:
        """Return outputs and gradients by the code's names for them."""
        outputs = self._outputs.run(inputs)
        values = self._program.run({**inputs, **cotangents})
        found = {name: outputs[name] for name in self._layer.returns}
        found |= {field: values[name] for field, name in self._gradients.items()}
        number = self.context.convert  # a flag, 0 or 1, is an integer of Python
        return {name: {key: number(v) for key, v in array.items()} for name, array in found.items()}

    def at_infinity(self, inputs: Mapping[str, Array], cotangents: Mapping[str, Array]) -> dict[str, Array]:
        """Return the limits of outputs and gradients where inputs are infinite; nan where there is none."""
        exact = self._far()
        runs = []
        for exponent in _FAR:
            far = exact.context.mpf(10) ** exponent
            runs.append(exact({name: _replaced(array, far) for name, array in inputs.items()}, cotangents))
        return {
            name: {key: limit([run[name][key] for run in runs], exact.context) for key in array}
            for name, array in runs[0].items()
        }


def statements(program: Program) -> Sequence[Statement]:
    """Return the statements of forward and backward."""
    return (*program.forward, *program.backward)


def _replaced(array: Array, far: Any) -> Array:
    return {key: far * (1 if v > 0 else -1) if v in (np.inf, -np.inf) else v for key, v in array.items()}


def limit(values: Sequence[Any], mp: Any) -> Any:
    """Return what values ever further out tend to: a number, an infinity, or nan where neither is seen."""
    first, second, last = (mp.mpf(v) for v in values)
    if any(mp.isnan(v) for v in (first, second, last)):
        return mp.nan
    if abs(last - second) <= mp.mpf(_NEAR) * abs(last):
        return last
    if abs(first) > abs(second) > abs(last) and abs(last) < 1e-3:
        return mp.mpf(0)
    if abs(first) < abs(second) < abs(last) and abs(last) > 1e3 and mp.sign(first) == mp.sign(last):
        return mp.inf * mp.sign(last)
    return mp.nan


def keyed(values: NDArray[Any]) -> Array:
    """Return a flat array as one over a batch of one axis, a scalar as one without subscripts."""
    if values.ndim == 0:
        return {(): values.item()}
    return {((k,),): v for k, v in enumerate(values.tolist())}
