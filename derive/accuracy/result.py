"""What a measurement found: one row an output or gradient, precision and set of inputs, with its worst case."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Accuracy", "Measure", "Row", "Trace"]


@dataclass(frozen=True, slots=True)
class Measure:
    """How an error is measured, and how large it may be.

    Attributes:
        unit: ``ulp`` (of the exact result), ``relative`` (largest error of the tensor over its largest element),
            or ``special`` (how many of the results are others than mathematics has).
        bound: the largest error allowed; None where none is promised.
    """

    unit: str
    bound: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Errors against inputs, for a picture.

    Attributes:
        label: what is on the horizontal axis: a parameter, or what is scaled.
        at: where.
        errors: there.
    """

    label: str
    at: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One output or gradient, in one precision, on one set of inputs.

    Attributes:
        name: ``y``, ``dx``.
        precision: ``float32`` or ``float64``.
        inputs: the set of inputs, in words.
        measure: unit and bound.
        compared: how many numbers were compared.
        error: the largest, in the unit.
        where: the inputs at the worst place, in words.
        got, exact: what the code gave there, and the exact result.
        note: what else there is to say.
        trace: errors against inputs.
    """

    name: str
    precision: str
    inputs: str
    measure: Measure
    compared: int
    error: float
    where: str = ""
    got: float | None = None
    exact: float | None = None
    note: str = ""
    trace: Trace | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound."""
        return self.measure.bound is None or self.error <= self.measure.bound

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the trace; what is no finite number becomes a string."""
        data = {key: value for key, value in asdict(self).items() if key not in ("trace", "measure")}
        data |= {"unit": self.measure.unit, "bound": self.measure.bound, "passed": self.passed}
        return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in data.items()}

    def __str__(self) -> str:
        allowed = "" if self.measure.bound is None else f", allowed {self.measure.bound:g}"
        at = f" at {self.where}: {self.got!r} against {self.exact!r}" if self.where else ""
        error = f"{self.error:.3g} {self.measure.unit}".replace(" special", " wrong special values")
        return f"{self.name} ({self.precision}, {self.inputs}): {error}{allowed}{at}"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of one layer's generated code.

    Attributes:
        layer: its name.
        elementwise: whether it was measured in ulps.
        seed: of the inputs.
        rows: the measurements.
    """

    layer: str
    elementwise: bool
    seed: int
    rows: tuple[Row, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows beyond their bounds."""
        return tuple(row for row in self.rows if not row.passed)

    @property
    def passed(self) -> bool:
        """Whether every error is within its bound."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``."""
        return {
            "layer": self.layer,
            "passed": self.passed,
            "elementwise": self.elementwise,
            "seed": self.seed,
            "rows": [row.to_json() for row in self.rows],
        }
