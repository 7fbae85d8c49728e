"""The names on a command line: layers, parameters, the catalogue."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from derive.errors import DeriveError, UnknownNameError

if TYPE_CHECKING:
    from derive.language.layer import Layer

__all__ = ["Row", "catalogue_names", "catalogue_rows", "differentiated", "parts"]

Row = tuple[str, str, str, str]
"""A catalogue layer's name, its parameters in parentheses, what it is, its source."""


def catalogue_names() -> list[str]:
    """Return the catalogue's names, in order, without parsing it: completion has no time for that."""
    names: list[str] = []
    for path in files("derive").joinpath("layers").iterdir():
        if path.name.endswith(".layer"):
            names += re.findall(r"^def (\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(names)


def catalogue_rows() -> list[Row]:
    """Return a row a catalogue layer, in the catalogue's order."""
    from derive.language import catalogue, load
    from derive.language.text import signature

    rows = []
    for word in catalogue():
        layer = load(word)
        name, parameters = signature(layer).split("(", 1)
        what, source = parts(layer.doc)
        rows.append((name, f"({parameters}", what, source))
    return rows


def parts(doc: str) -> tuple[str, str]:
    """Return a docstring's first sentence or paragraph, and what follows ``Source:``, each on one line."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", doc.strip())]
    what = paragraphs[0] if not paragraphs[0].startswith("Source:") else ""
    source = next((p.removeprefix("Source:").strip() for p in paragraphs if p.startswith("Source:")), "")
    return what.removesuffix("."), source.removesuffix(".")


def differentiated(wrt: str | None, layers: Sequence[Layer]) -> tuple[str, ...] | None:
    """Return the names of ``--wrt x,gamma``, or None where it is not given.

    Raises:
        UnknownNameError: a layer has no such parameter; the nearest one is named.
        DeriveError: the parameter is an integer, a truth value or a constant, or the list is empty.
    """
    if wrt is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in wrt.split(",") if name.strip()))
    if not names:
        raise DeriveError("--wrt names no parameter", hint="write e.g. --wrt x,gamma")
    for layer in layers:
        known = layer.differentiable
        for name in names:
            if name not in known:
                raise _not_differentiable(name, layer)
    return names


def _not_differentiable(name: str, layer: Layer) -> DeriveError:
    listed = ", ".join(layer.differentiable) or "none"
    hint = f"{layer.name} can be differentiated by: {listed}"
    parameter = layer.parameter(name)
    if parameter is not None:
        kind = parameter.kind.value
        return DeriveError(f"--wrt: '{name}' of {layer.name} is {kind}, which has no gradient", hint=hint)
    if any(hyper.name == name for hyper in layer.hypers):
        return DeriveError(f"--wrt: '{name}' of {layer.name} is a constant (after the *)", hint=hint)
    near = difflib.get_close_matches(name, layer.differentiable, 1)
    if near:
        hint = f"did you mean '{near[0]}'? {hint}"
    return UnknownNameError(f"--wrt: {layer.name} has no parameter '{name}'", hint=hint)
