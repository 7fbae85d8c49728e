"""Networks whose calls stay calls: their modules against those with the calls written out, and against PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest

import derive
from derive.calculus.calls import callees, opened, woven
from derive.check.module import GeneratedModule
from derive.language.layer import Layer
from derive.pipeline import build_module, build_network, derive_program, inspect
from tests.case import Array, Case, labels, positive, sizes
from tests.conftest import ROOT

FILE = ROOT / "tests" / "networks" / "calls.layer"

STEPS = sizes(T=3, N=2, I=4, H=5)
CASES = (
    Case("block", sizes(N=6, D=3)),
    Case("two_steps", STEPS),
    Case("both_states", STEPS),
    Case("classifier", sizes(N=5, I=3, C=4), draw={"t": labels("C")}),
    Case("nested", sizes(N=2, T=3, D=4, F=5)),
    Case("hypers", sizes(N=3, D=4)),
    Case("hypers", sizes(N=3, D=4), hypers={"eps": 0.1, "slope": 0.5}, id="given"),
    Case("twice", sizes(N=4, D=3)),
    Case("equal_calls", sizes(N=4, D=3, E=5)),
    Case("mixing", sizes(N=2, T=3, C=4)),
    Case("summed", sizes(N=2, D=3, E=4)),
    Case("masked", sizes(T=2, S=5, D=3, E=4), draw={"length": lambda rng, shape, case: np.asarray(3)}),
    Case("counted", sizes(N=3, D=4, E=2), draw={"t": lambda rng, shape, case: rng.integers(-3, 4, shape)}),
    Case("shadowing", sizes(N=3, D=4)),
    Case("np", batch=(2, 3)),
    Case("forward", batch=(2, 3)),
    Case("names", sizes(N=3, D=4)),
    Case("recurrent", sizes(T=4, N=2, I=3, H=5, O=2)),
    Case("scaled", sizes(N=3, D=4, E=5), draw={"s": positive}),
    Case("stopped", sizes(N=3, D=4)),
    Case("windows", sizes(N=2, L=15, K=3)),
    Case("many_times", sizes(N=3, D=4), draw={"s": positive}),
)


@cache
def network(name: str) -> Layer:
    return derive.load(f"{FILE}:{name}")


@cache
def flattened(name: str) -> GeneratedModule:
    layer = network(name)
    return GeneratedModule(layer, build_module(layer))


@cache
def texts(name: str) -> Mapping[str, str]:
    """The modules of a network, with its calls, and of what it calls."""
    layer = network(name)
    return {each.name: (build_network if each.calls else build_module)(each) for each in (*callees(layer), layer)}


@cache
def with_calls(name: str) -> GeneratedModule:
    return GeneratedModule(network(name), texts(name)[name], texts(name))


def cotangents(layer: Layer, outputs: Mapping[str, Array]) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {f"d{name}": rng.normal(size=np.shape(y)).astype(np.asarray(y).dtype) for name, y in outputs.items()}


def ran(module: GeneratedModule, case: Case, dtype: str = "float64") -> dict[str, Array]:
    """Outputs and gradients by name."""
    layer = network(case.layer)
    inputs = case.inputs(layer, dtype)
    result, cache = module.names["forward"](*inputs.values(), **case.hypers)
    outputs = dict(zip(layer.returns, result if len(layer.returns) > 1 else (result,), strict=True))
    return {**outputs, **module.backward(cotangents(layer, outputs), cache)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_calls_give_what_the_written_out_formulas_give(case: Case) -> None:
    expected, got = ran(flattened(case.layer), case), ran(with_calls(case.layer), case)
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert np.shape(got[name]) == np.shape(value), name
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_gradient_alone_is_what_it_is_among_all(case: Case) -> None:
    layer = network(case.layer)
    everything = ran(with_calls(case.layer), case)
    for parameter in layer.differentiable:
        alone = ran(GeneratedModule(layer, build_network(layer, (parameter,)), texts(case.layer)), case)
        assert [name for name in alone if name not in layer.returns] == [f"d{parameter}"]
        np.testing.assert_array_equal(alone[f"d{parameter}"], everything[f"d{parameter}"])


def test_a_call_that_no_wanted_gradient_needs_keeps_no_cache() -> None:
    text = build_network(network("nested"), ("gamma",))
    assert "f, _ = feed_forward.forward(x, w1, b1, w2, b2)" in text
    assert "feed_forward.backward" not in text
    assert "feed_forward.Cache" not in text


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_stays_float32_through_calls(case: Case) -> None:
    for name, value in ran(with_calls(case.layer), case, "float32").items():
        assert np.asarray(value).dtype == np.float32, name


def test_the_calls_stand_between_the_equations() -> None:
    layer = network("block")
    inside = opened(layer, layer.differentiable)
    found = woven(inside, derive_program(inside.layer, inside.wanted))
    assert str(found) == (
        "forward:\n"
        "    h = linear.forward(x, w, b)\n"
        "    g = batchnorm.forward(h, gamma, beta)\n"
        "    y[n, d] = relu(g[n, d]) + x[n, d]\n"
        "backward:\n"
        "    dg[n, d] = (g[n, d] > 0)*dy[n, d]\n"
        "    dh, dgamma, dbeta = batchnorm.backward(dg)\n"
        "    dx_h, dw, db = linear.backward(dh)\n"
        "    dx[n, d] = dx_h[n, d] + dy[n, d]\n"
    )


def test_the_check_runs_what_is_called_with_it() -> None:
    """Also with complex numbers, which every module's own validation refuses."""
    layer = network("summed")
    _, report = inspect(layer, modules=texts("summed"))
    assert report.passed
    steps = [row for row in report.rows if "complex step" in row.method]
    assert steps
    assert all(row.ran for row in steps)
    _, missing = inspect(layer, modules={})
    assert not missing.passed
    assert "ImportError: there is no module 'linear' beside this one" in missing.failure()
