"""How accurate generated code is, measured against multiprecision.

    accuracy = measure(layer)
    accuracy.passed, accuracy.failures, accuracy.to_json(), table(accuracy)

Elementwise layers are measured in units in the last place over the whole
range of float32 and float64 (:mod:`derive.accuracy.elementwise`), others
relative to the largest element of each result, on well-scaled data and where
formulas lose digits (:mod:`derive.accuracy.tensors`).
"""

from __future__ import annotations

from collections.abc import Sequence

from derive.accuracy.elementwise import measure_elementwise
from derive.accuracy.result import Accuracy, Measure, Row, Trace
from derive.accuracy.table import table
from derive.accuracy.tensors import measure_tensors
from derive.algebra.nodes import BATCH_SIZE
from derive.language.layer import Layer
from derive.pipeline import derive_program
from derive.stability.saturation import is_elementwise

__all__ = ["Accuracy", "Measure", "Row", "Trace", "measure", "table"]

COUNT = 1200
"""How many points an elementwise layer is measured at, in each precision."""


def measure(layer: Layer, wrt: Sequence[str] | None = None, *, seed: int = 0, count: int = COUNT) -> Accuracy:
    """Measure the accuracy of a layer's generated NumPy code.

    Args:
        layer: from ``parse`` or ``load``.
        wrt: parameters whose gradients are measured; None for all that have one.
        seed: of the inputs.
        count: of points for an elementwise layer.

    Raises:
        CheckError: no inputs can be found at which the layer's results are finite.
    """
    from derive.lower import lower
    from derive.render.numpy import render

    program = derive_program(layer, wrt)
    text = render(lower(program))
    axes = {layer.axes(name) for name in (*layer.returns, *(p.name for p in layer.parameters))} - {()}
    elementwise = axes == {(BATCH_SIZE,)} and is_elementwise(layer)
    if elementwise:
        rows = measure_elementwise(layer, program, text, count=count, seed=seed)
    else:
        rows = measure_tensors(layer, program, text, seed=seed)
    return Accuracy(layer.name, elementwise, seed, tuple(rows))
