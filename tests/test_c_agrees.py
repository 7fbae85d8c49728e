"""The generated C computes what the NumPy target computes: every catalogue layer, both precisions, extreme inputs."""

from __future__ import annotations

import functools
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_calls import CLayer, Values, compiled, has_compiler
from test_stability_layers import CASES as STABILITY
from test_stability_layers import _arrays as arrays_of
from test_stability_layers import _instance as instance_of
from test_stability_layers import _parsed as parsed

from derive.algebra.functions import FUNCTIONS, Guard, Not, StopGradient, Where
from derive.check.module import GeneratedModule, inputs_of
from derive.check.samples import Sample, other_sample, sample, short_samples
from derive.check.sizes import choose_instance
from derive.errors import CheckError
from derive.language import catalogue, load, parse
from derive.lower import lower
from derive.render.c_functions import SPELLINGS, TRUTHS
from derive.render.numpy import render

pytestmark = pytest.mark.skipif(not has_compiler(), reason="no C compiler")


@functools.cache
def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="derive-c-")


@functools.cache
def made(name: str) -> tuple[CLayer, GeneratedModule]:
    layer = load(name)
    c = compiled(layer, Path(folder().name))
    return c, GeneratedModule(layer, render(lower(c.program)))


def samples(c: CLayer) -> list[Sample]:
    """Return samples of two sets of sizes, and with recurrences of one step and of none."""
    first = sample(c.layer, choose_instance(c.layer), 0)
    found = [first]
    with suppress(CheckError):
        found.append(other_sample(c.layer, first, 1))
    return [*found, *short_samples(c.layer, first, 2)]


def doubled(arrays: dict[str, Values]) -> dict[str, Values]:
    return {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}


def assert_near(what: str, got: Any, expected: Any, allowed: Any) -> None:
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, what
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(got - expected))
    assert (error <= allowed).all(), f"{what}: off by {error.max()}, allowed {np.max(allowed)}"


def largest(values: Any) -> float:
    values = np.asarray(values, np.float64)
    return float(max(1.0, np.abs(values[np.isfinite(values)]).max(initial=0)))


@pytest.mark.parametrize("name", catalogue())
def test_forward_and_backward_agree_with_numpy(name: str) -> None:
    """To 1e-12 in double; in float to 1e-5 of the largest element, or twice what NumPy's float result is off."""
    c, module = made(name)
    for number, drawn in enumerate(samples(c)):
        for dtype in ("float64", "float32"):
            inputs, cotangents = inputs_of(c.layer, drawn, dtype)
            try:
                exact = module.run(doubled(inputs), doubled(cotangents), drawn.instance)
                near = module.run(inputs, cotangents, drawn.instance)
            except ValueError:  # an empty axis where NumPy's windows need one
                assert number > 1
                continue
            outputs = c.forward(inputs, drawn.instance, dtype)
            gradients = c.backward({**inputs, **outputs}, cotangents, drawn.instance, dtype)
            tolerance = 1e-12 if dtype == "float64" else 1e-5
            pairs = [(n, outputs[n], exact.outputs[n], near.outputs[n]) for n in c.program.outputs]
            pairs += [(f"d{p}", g, exact.gradients[f"d{p}"], near.gradients[f"d{p}"]) for p, g in gradients.items()]
            for what, got, expected, other in pairs:
                with np.errstate(invalid="ignore"):
                    off = np.nan_to_num(np.abs(np.asarray(other, np.float64) - expected)).max(initial=0)
                allowed = max(tolerance * largest(expected), 2 * off if dtype == "float32" else 0)
                assert_near(f"{what}, sample {number}, {dtype}", got, expected, allowed)


@pytest.mark.parametrize("name", STABILITY)
def test_extreme_inputs_give_what_numpy_gives(name: str, tmp_path: Path) -> None:
    case = STABILITY[name]
    layer = parsed("extreme", case.signature, case.statements)
    inputs = arrays_of(layer, case.inputs)
    instance = instance_of(layer, inputs)
    c = compiled(layer, tmp_path)
    module = GeneratedModule(layer, render(lower(c.program)))
    expected, cache = module.forward(inputs, instance)
    rng = np.random.default_rng(0)
    cotangents = {f"d{n}": np.asarray(rng.uniform(0.5, 1.5, np.shape(y))) for n, y in expected.items()}
    slopes = module.backward(cotangents, cache)
    outputs = c.forward(inputs, instance, "float64")
    gradients = c.backward({**inputs, **outputs}, cotangents, instance, "float64")
    for output, value in expected.items():
        assert_near(output, outputs[output], value, 1e-10 * np.abs(value) + case.absolute)
    for parameter, gradient in gradients.items():
        value = slopes[f"d{parameter}"]
        assert_near(f"d{parameter}", gradient, value, 1e-10 * np.abs(value) + case.absolute)


SHAPES: dict[str, str] = {
    "gamma functions": "def made(x: Positive[N]):\n    y[n] = lgamma(x[n]) + digamma(x[n])\n    return y\n",
    "remainders and roundings": (
        "def made(x: Real[N, 3], w: Real[3, 3]):\n"
        "    y[n, j] = sum[i](x[n, i]*w[i, j]) % 2 + floor(x[n, j]) + round(x[n, j]) + x[n, j]//2\n    return y\n"
    ),
    "a diagonal, a transpose, a product": (
        "def made(x: Real[N, N], z: Real[N, M]):\n    t = sum[i](x[i, i])\n"
        "    y[i, j] = x[j, i]*t + prod[m](z[i, m])*std[m](z[j, m])\n    return y\n"
    ),
    "a place of the largest": (
        "def made(x: Real[N, D], w: Real[D]):\n    i[n] = argmax[d](x[n, d])\n"
        "    y[n] = max[d](x[n, d])*i[n] + w[i[n]]\n    return y\n"
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_no_catalogue_layer_has_agrees_too(name: str, tmp_path: Path) -> None:
    layer = parse(SHAPES[name])
    c = compiled(layer, tmp_path)
    module = GeneratedModule(layer, render(lower(c.program)))
    for drawn in samples(c):
        inputs, cotangents = inputs_of(layer, drawn, "float64")
        expected = module.run(inputs, cotangents, drawn.instance)
        outputs = c.forward(inputs, drawn.instance, "float64")
        gradients = c.backward({**inputs, **outputs}, cotangents, drawn.instance, "float64")
        for output, value in expected.outputs.items():
            assert_near(output, outputs[output], value, 1e-12 * largest(value))
        for parameter, gradient in gradients.items():
            value = expected.gradients[f"d{parameter}"]
            assert_near(f"d{parameter}", gradient, value, 1e-12 * largest(value))


EXTREMES = [-np.inf, -1e30, -1e4, -110.0, -100.0, -90.0, -88.0, -30.0, -5.0, -1.0, -1e-3, -1e-30, 0.0, 1e-30,
            1e-3, 0.5, 1.0, 5.0, 30.0, 87.0, 88.5, 89.0, 1e4, 1e30, np.inf, np.nan]  # fmt: skip
ACTIVATIONS = ["sigmoid", "log_sigmoid", "softplus", "tanh", "silu", "mish", "elu", "celu", "selu", "softsign", "gelu"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_out_are_numpys(name: str, dtype: str) -> None:
    """Infinities and what is no number too. NumPy computes in double: in float SciPy's sigmoid is 0 from -89 on."""
    c, module = made(name)
    inputs = {"x": np.array(EXTREMES, dtype)}
    instance = sample(c.layer, choose_instance(c.layer), 0).instance
    instance = type(instance)(instance.sizes, (len(EXTREMES),), instance.hypers)
    ones = {"dy": np.ones(len(EXTREMES), dtype)}
    with np.errstate(all="ignore"):
        expected, cache = module.forward(doubled(inputs), instance)
        slopes = module.backward(doubled(ones), cache)
    outputs = c.forward(inputs, instance, dtype)
    slope = c.backward({**inputs, **outputs}, ones, instance, dtype)["x"]
    finite = np.finfo(dtype)

    def size(values: Values) -> Values:
        return np.abs(np.where(np.isfinite(values), values, 0)).astype(np.float64)

    moved = size(inputs["x"]) * size(slopes["dx"])  # an ulp of the input moves the value by this many
    allowed = 16 * finite.eps * (size(expected["y"]) + moved) + finite.tiny
    assert_near(f"y of {name}", outputs["y"], expected["y"], allowed)
    assert_near(f"dx of {name}", slope, slopes["dx"], 16 * finite.eps * (size(slopes["dx"]) + 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["softmax", "logsumexp", "log_softmax"])
def test_a_logit_of_minus_infinity_is_ruled_out(name: str, dtype: str) -> None:
    c, module = made(name)
    inputs = {"z": np.array([[0.5, -np.inf, 1.5], [-np.inf, 2.0, -np.inf], [1e4, -1e4, 1e4 - 1]], dtype)}
    shape = sample(c.layer, choose_instance(c.layer), 0).instance
    instance = type(shape)({"C": 3}, (3,), shape.hypers)
    expected, _ = module.forward(inputs, instance)
    for output, value in c.forward(inputs, instance, dtype).items():
        if output in expected:
            want = expected[output]
            near = 16 * np.finfo(dtype).eps * np.abs(np.where(np.isfinite(want), want, 0))
            assert_near(output, value, want, near + 1e-30)


def test_every_elementwise_function_has_a_spelling_in_c() -> None:
    spelled = {*SPELLINGS, *TRUTHS, Not, Where, Guard, StopGradient}
    assert [row.name for row in FUNCTIONS if row.cls not in spelled] == []


@pytest.mark.parametrize("name", ["layernorm", "conv2d", "lstm", "cross_entropy", "grouped_query_attention"])
def test_the_text_is_readable_and_compiles_without_a_warning(name: str) -> None:
    c, _ = made(name)
    assert c.warnings == ""
    assert max(map(len, c.source.splitlines())) <= 120
    assert max(map(len, c.header.splitlines())) <= 120
    assert "malloc" not in c.source
    assert f"int {name}_forward(" in c.header and f"size_t {name}_backward_workspace(" in c.header
