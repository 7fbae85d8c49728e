"""Read the names that a program chose: ``dh_next`` is ``dh``, carried; ``dh`` is the cotangent of ``h``.

    dx        cotangent of x                 x_dot     tangent of x
    ddx       cotangent of dx                dx_dot    tangent of dx
    d2x       cotangent of x, second pass    pre_h     pre-activation of h
    dh_next   share of dh carried on         h_in      input part of h

The names of the layer itself are never taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from derive.algebra.indices import names
from derive.calculus.program import Program

__all__ = ["Reading", "readings"]

_SUFFIXES = ("next", "total", "in", "inner", "factor", "out")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a name is read.

    Attributes:
        base: the name that it comes from.
        order: how many "d" stand before it.
        second: whether it is a cotangent of the second backward pass.
        dot: whether it is a tangent.
        marks: words that are written beside it, such as "next".
        of: the name that its outermost part belongs to.
        word: that part: "d", "d2", "dot", one of the marks, or "".
    """

    base: str
    order: int = 0
    second: bool = False
    dot: bool = False
    marks: tuple[str, ...] = ()
    of: str = ""
    word: str = ""

    @property
    def cotangent(self) -> bool:
        """Whether a derivative of the loss is meant."""
        return self.order > 0 or self.second


def readings(program: Program, further: Iterable[str] = ()) -> Mapping[str, Reading]:
    """Return the reading of every name of a program that can be taken apart; ``further`` are names in its steps."""
    layer = program.layer
    own = {p.name for p in layer.parameters} | {s.name for s in layer.statements}
    passes = [s for function in program.passes for s in function.statements]
    given = [name for function in program.passes for name, _ in function.given]
    statements = (*program.forward, *program.backward, *passes)
    chosen = dict.fromkeys([*(s.name for s in statements), *program.cotangents, *given, *further])
    parts = {
        name
        for s in statements
        for name in names(s.expr)
        if re.fullmatch(rf"{re.escape(s.name)}_(in|inner|factor)\d*", name)
    }
    reader = _Reader(own, own | {s.name for s in program.forward}, own | chosen.keys(), parts)
    found = {name: reader.read(name) for name in chosen if name not in own}
    return {name: reading for name, reading in found.items() if reading is not None and reading.word}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes names apart.

    Attributes:
        own: names of the layer itself.
        known: those and the other forward names.
        named: every name there is.
        parts: names of parts of the statement that they are called after.
    """

    own: set[str]
    known: set[str]
    named: set[str]
    parts: set[str]

    def read(self, name: str) -> Reading | None:
        """Return how a name is read, or None where it says nothing."""
        if name in self.own:
            return Reading(name)
        whole = None if name in self.parts else self._derivative(name, self.named)
        return whole or self._suffixed(name) or self._derivative(name) or self._prefixed(name)

    def _derivative(self, name: str, named: Container[str] | None = None) -> Reading | None:
        """Read ``d2x`` and ``dx``; with ``named``, only where the rest is one of these names."""
        for sign in ("d2", "d"):
            rest = name.removeprefix(sign)
            if rest == name or (named is not None and rest not in named):
                continue
            inner = self.read(rest)
            if inner is None or inner.second or inner.dot:
                continue
            if sign == "d":
                return replace(inner, order=inner.order + 1, of=rest, word=sign)
            if not inner.order:
                return replace(inner, second=True, of=rest, word=sign)
        return None

    def _suffixed(self, name: str) -> Reading | None:
        stem, _, suffix = name.rpartition("_")
        suffix = suffix.rstrip("0123456789")
        inner = self.read(stem) if stem and suffix in ("dot", *_SUFFIXES) else None
        if inner is not None and suffix == "dot":
            return replace(inner, dot=True, of=stem, word=suffix)
        if inner is not None:
            return replace(inner, marks=(*inner.marks, suffix), of=stem, word=suffix)
        return self.read(name.rstrip("_")) if name.endswith("_") and name.strip("_") else None

    def _prefixed(self, name: str) -> Reading | None:
        word, _, rest = name.partition("_")
        if rest and word.isalpha() and len(word) > 1:
            inner = self.read(rest)
            if inner is not None and not inner.cotangent and not inner.dot:
                return replace(inner, marks=(word, *inner.marks), of=rest, word=word)
        return Reading(name) if name in self.known else None
