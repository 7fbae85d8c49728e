"""The parts of a NumPy module as finished text, for its template."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FieldView", "FunctionView", "InputView", "RecordView"]


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field of a NamedTuple."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class RecordView:
    """A NamedTuple."""

    name: str
    doc: str
    fields: tuple[FieldView, ...]


@dataclass(frozen=True, slots=True)
class InputView:
    """An input in the table that ``_expect`` reads."""

    name: str
    kind: str
    axes: str


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function: signature, docstring and body as finished lines."""

    signature: tuple[str, ...]
    doc: str
    body: tuple[str, ...]
