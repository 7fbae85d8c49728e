"""Random layers agree with PyTorch's autograd; so do the catalogue's, by the same interpreter of their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz import Tally, fuzz, same, try_layer
from torch_interpreter import run

from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.check.instance import Array, Instance
from derive.check.samples import sample
from derive.check.sizes import choose_sizes
from derive.language import catalogue, load
from derive.language.layer import Parameter
from tests.conftest import ROOT

CATALOGUE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "derive" / "layers").glob("*.layer")))


def dense(parameter: Parameter, values: Array, instance: Instance) -> np.ndarray[Any, Any]:
    shape: list[int] = []
    for axis in parameter.axes:
        shape += instance.batch if axis == BATCH_SIZE else [instance.extent(axis)]
    array = np.zeros(shape, dtype={Kind.INT: np.int64, Kind.BOOL: np.bool_}.get(parameter.kind, np.float64))
    for key, value in values.items():
        array[tuple(n for part in key for n in (part if isinstance(part, tuple) else (part,)))] = value
    return array


@pytest.mark.parametrize("name", catalogue())
def test_catalogue_layers_agree_with_their_text_run_by_pytorch(name: str) -> None:
    layer = load(name)
    instance = choose_sizes(layer)
    inputs = sample(layer, instance, 1).inputs
    arrays = {p.name: dense(p, inputs[p.name], instance) for p in layer.parameters}
    tensors = {n: torch.tensor(a, requires_grad=a.dtype == np.float64) for n, a in arrays.items()}
    for parameter in layer.parameters:
        if parameter.kind is Kind.INT:
            tensors[parameter.name] = tensors[parameter.name].double()
    theirs = run(CATALOGUE, name, tensors)
    generator = np.random.default_rng(1)
    cotangents = [generator.standard_normal(tuple(y.shape)) for y in theirs]
    wanted = [tensors[n] for n in layer.differentiable]
    expected = torch.autograd.grad(list(theirs), wanted, [torch.tensor(dy) for dy in cotangents])
    space: dict[str, Any] = {}
    path = Path(ROOT / "generated" / f"{name}.py")
    exec(compile(path.read_text(encoding="utf-8"), name, "exec"), space)
    outputs, cache = space["forward"](*arrays.values())
    for result, y, reference in zip(
        layer.returns, outputs if isinstance(outputs, tuple) else (outputs,), theirs, strict=True
    ):
        same(result, y, reference.detach().numpy())
    gradients = space["backward"](*cotangents, cache)
    for parameter_name, g, reference in zip(layer.differentiable, gradients, expected, strict=True):
        if bool(reference.isfinite().all()):
            same(f"d{parameter_name}", g, reference.numpy())
        else:  # PyTorch's own log(sum(exp)) of a row of -inf
            assert "-inf" in CATALOGUE.split(f"def {name}(")[1].split("\ndef ")[0]
            assert np.isfinite(g).all()


def test_random_layers_agree_with_pytorch() -> None:
    tally = fuzz(300, start=20)
    assert tally.outcomes["agree"] >= 200, tally


def test_second_derivatives_of_random_layers_agree_with_pytorch() -> None:
    tally = fuzz(60, start=21, second=True)
    assert tally.outcomes["agree"] >= 40, tally


FOUND: Mapping[str, str] = {
    "a diagonal of three axes": "x: Real[N, N, N]): y = x[N - 1, N - 1, N - 1] + var[n](x[n, n, n])",
    "a place outside": "x: Real[C]): y = x[0] - padded(x)[3*0 - 1]",
    "a label and a batch": "x: Real[..., T], lab: Int): y[...] = x[..., lab]",
    "a diagonal of axes apart in a batch": "y: Real[..., C], w: Real[..., T, C, T]): "
    "h[..., t] = max[k](y[..., k]*w[..., t, k, t])",
    "a window's adjoint over a batch": "x: Real[..., D], z: Real[C, D]): "
    "h[..., d] = sum[c](z[c, d]*padded(x)[..., c + d - 1])*z[0, d]",
    "a product of a constant": "y: Real[T, T, D], x: Real[N]): "
    "h[n] = prod[t](1.2 + sin(padded(y)[t, t, -2]))*x[n] + y[0, 0, 0]",
    "a mask that would be divided by": "x: Real[C], y: Real[T], w: Real[T, D, T]): "
    "h[d, t] = sigmoid(w[t, d, t]*y[t])*where(0 != t, sin(w[t, d, t]), atan(x[C - 1])) + 0.5*w[t, d, t] + 0.5*y[t]",
    "a function of a constant": "x: Real[C]): y[c] = lgamma(2 + sigmoid(2))*x[c]",
    "a mask beyond its axis": "x: Real[N], m: Bool[N]): y[n] = where(padded(m)[n + 1], x[n], x[n]*x[0])",
}  # fmt: skip
"""Layers that failed once, by what was wrong with them."""


def test_a_result_that_is_constant_along_an_axis_is_padded_along_it() -> None:
    tally = Tally()
    text = (
        "def f(x: Real[..., D], z: Real[C, N]):\n"
        "    a: Real[..., D]\n"
        "    a[..., d] = tanh(x[..., 0])\n"
        "    y: Real[..., N, D, C]\n"
        "    y[..., n, d, c] = padded(a)[..., c + d - 1]*z[c, n]\n"
        "    return y\n"
    )
    try_layer(text, tally)
    assert tally.outcomes == {"agree": 1}, tally


def test_a_padded_array_has_no_units() -> None:
    tally = Tally()
    text = (
        "def f(x: Real[..., D, D], y: Real[T], w: Real[..., D]):\n"
        "    a[..., t] = padded(w)[..., t - 1] + 0.5*y[t]\n"
        "    z[..., d, t] = x[..., d, d] + 0.5*a[..., t]\n"
        "    return z\n"
    )
    try_layer(text, tally)
    assert tally.outcomes == {"agree": 1}, tally


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND)
def test_what_failed_once_agrees(text: str) -> None:
    signature, equation = text.split("): ")
    tally = Tally()
    name = re.split(r"[\[ ]", equation)[0]
    try_layer(f"def f({signature}):\n    {equation}\n    return {name}\n", tally)
    assert tally.outcomes == {"agree": 1}, tally
