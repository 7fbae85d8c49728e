"""Arrays whose elements are computed when they are first read.

A recurrence reads its own earlier elements: ``h[t, n] = tanh(… h[t-1, k] …)``.
Its array starts empty; whoever reads ``h[2, n]`` makes it compute ``h[1, k]``
first, and so on down to the start. So nothing has to be known about which
statements belong together and in which order they are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from derive.check.instance import Key

__all__ = ["CircularError", "OnDemand"]


class CircularError(LookupError):
    """An element that is needed to compute itself."""


class OnDemand(dict[Key, Any]):
    """The elements of one tensor computed so far; reading another one computes it.

    Args:
        name: of the tensor.
        positions: of its elements.
        compute: gives the element at a position.
        starts: of a recurrence: the positions before its first step.
        start: gives the value at one of these.

    Raises:
        CircularError: an element that is read depends on itself.
        KeyError: there is no element at the position.
    """

    def __init__(
        self,
        name: str,
        positions: frozenset[Key],
        compute: Callable[[Key], Any],
        starts: frozenset[Key] = frozenset(),
        start: Callable[[Key], Any] | None = None,
    ) -> None:
        super().__init__()
        self._positions = positions
        self._name = name
        self._compute = compute
        self._starts = starts
        self._start = start
        self._before: dict[Key, Any] = {}
        self._open: set[Key] = set()

    def has(self, key: Key) -> bool:
        """Return whether there is an element at the position, or a start."""
        return key in self._positions or key in self._starts

    def __missing__(self, key: Key) -> Any:
        """Return the element, computed now."""
        if key in self._positions:
            self[key] = value = self._computed(key, self._compute)
            return value
        if key in self._starts and self._start is not None:
            if key not in self._before:
                self._before[key] = self._computed(key, self._start)
            return self._before[key]
        raise KeyError(key)

    def _computed(self, key: Key, compute: Callable[[Key], Any]) -> Any:
        if key in self._open:
            raise CircularError(f"{self._name}[{', '.join(map(str, key))}] depends on itself")
        self._open.add(key)
        try:
            return compute(key)
        finally:
            self._open.discard(key)
