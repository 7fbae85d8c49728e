"""Modules of layers in C, and the NumPy modules they stand for: each made once a run."""

from __future__ import annotations

import functools
from types import SimpleNamespace

from case import Array
from cases import CASES

from derive.check.module import GeneratedModule
from derive.language import load
from derive.language.layer import Layer
from derive.pipeline import build_compiled, build_module

FIRST = {case.layer: case for case in reversed(CASES)}
"""A case of each layer."""


@functools.cache
def layer(name: str) -> Layer:
    return load(name)


@functools.cache
def files(name: str) -> dict[str, str]:
    """The texts of a layer in C, by name of file."""
    return build_compiled(layer(name))


@functools.cache
def compiled(name: str) -> SimpleNamespace:
    """The module of a layer in C, whose C is compiled when it is first called."""
    return SimpleNamespace(**GeneratedModule(layer(name), files(name)).names)


@functools.cache
def numpy(name: str) -> SimpleNamespace:
    """The NumPy module of a layer."""
    return SimpleNamespace(**GeneratedModule(layer(name), build_module(layer(name))).names)


def inputs(name: str, dtype: str = "float32") -> list[Array]:
    """Arrays for a layer's parameters: those of its first case."""
    return list(FIRST[name].inputs(layer(name), dtype).values())


def hypers(name: str) -> dict[str, float]:
    return dict(FIRST[name].hypers)
