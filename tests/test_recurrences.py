"""Recurrences in NumPy: loops as an expert writes them, and the right values for any loop at all."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_loops import PARAMETERS, random_loop
from sympy import Expr, S

from derive.algebra.functions import LogAddExp, Maximum, Minimum
from derive.algebra.nodes import Element, Index, Kind, Size, Tensor
from derive.calculus.program import Program
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.language import load, parse
from derive.language.layer import Carry, Layer, Parameter, Statement
from derive.lower import lower
from derive.pipeline import build_module, inspect
from derive.render.numpy import render

SIZES = {"T": 4, "N": 2, "D": 3}
LAYERS = Path(__file__).parent / "recurrences.layer"
NAMES = re.findall(r"^def (\w+)", LAYERS.read_text(encoding="utf-8"), re.MULTILINE)

T, N = Size("T"), Size("N")
t, n = Index("t", T), Index("n", N)


def lines(text: str, function: str) -> list[str]:
    """What a function of a module does between its checks and its end."""
    body = text.partition(f"def {function}(")[2].partition("\ndef ")[0].split('"""')[2]
    skipped = ("_expect", "_cotangent", "dtypes", "return", "cache", ".shape[")
    found = []
    for line in body.splitlines():
        if line.startswith("#") or (line and not line.startswith(" ")):
            break
        if line.strip() and not any(s in line for s in skipped) and not line.endswith(".shape"):
            found.append(line.removeprefix("    "))
    return found


def module(text: str) -> dict[str, Any]:
    """The names of a module."""
    space: dict[str, Any] = {}
    exec(compile(text, "module", "exec"), space)
    return space


# Rows: the equations; what forward does; what backward does.
WRITTEN: dict[str, tuple[str, list[str], list[str]]] = {
    "a recurrent network": (
        """
def f(x: Real[T, N, I], h0: Real[N, H], wx: Real[I, H], wh: Real[H, H], b: Real[H]):
    h[-1, n, j] = h0[n, j]
    h[t, n, j]  = tanh(sum[i](x[t, n, i]*wx[i, j]) + sum[k](h[t-1, n, k]*wh[k, j]) + b[j])
    return h
""",
        [
            "h_in = (x.reshape(T * N, I) @ wx).reshape(T, N, H) + b",
            "h = np.empty((T + 1, N, H), dtype=dtype)",
            "h[0] = h0",
            "for t in range(T):",
            "    h[t + 1] = np.tanh(h_in[t] + h[t] @ wh)",
        ],
        [
            "dpre_h_factor = 1 - np.square(h[1:])",
            "dpre_h = np.empty((T, N, H), dtype=dh.dtype)",
            "dh_next = np.zeros((N, H), dtype=dh.dtype)",
            "for t in reversed(range(T)):",
            "    dpre_h[t] = dpre_h_factor[t] * (dh[t] + dh_next)",
            "    dh_next = dpre_h[t] @ wh.T",
            "dx = (dpre_h.reshape(T * N, H) @ wx.T).reshape(T, N, I)",
            "dh0 = dh_next",
            "dwx = x.reshape(T * N, I).T @ dpre_h.reshape(T * N, H)",
            "dwh = h[:-1].reshape(T * N, H).T @ dpre_h.reshape(T * N, H)",
            "db = dpre_h.sum(axis=(0, 1))",
        ],
    ),
    "a forward algorithm, of which the last step is wanted": (
        """
def f(e: Real[T, K], trans: Real[K, K]):
    alpha[-1, j] = 0
    alpha[t, j]  = e[t, j] + logsumexp[i](alpha[t-1, i] + trans[i, j])
    z = logsumexp[j](alpha[T-1, j])
    return z
""",
        [
            "pre_alpha = np.empty((T, K, K), dtype=dtype)",
            "alpha = np.zeros((K,), dtype=dtype)",
            "for t in range(T):",
            "    pre_alpha[t] = trans.T + alpha",
            "    alpha = e[t] + _logsumexp(pre_alpha[t], axis=-1)",
            "z = _logsumexp(alpha)",
        ],
        [],
    ),
    "time at the last place, a decay that is a parameter": (
        """
def f(x: Real[..., T], g: Unit):
    y[..., -1] = 0
    y[..., t]  = g*y[..., t-1] + x[..., t]
    return y
""",
        [
            "y = np.empty((*batch, T + 1), dtype=dtype)",
            "y[..., 0] = 0",
            "for t in range(T):",
            "    y[..., t + 1] = x[..., t] + g * y[..., t]",
        ],
        [
            "dx = np.empty((*batch, T), dtype=dy.dtype)",
            "dx_t = np.zeros(batch, dtype=dy.dtype)",
            "for t in reversed(range(T)):",
            "    dx_t = dy[..., t] + g * dx_t",
            "    dx[..., t] = dx_t",
            "dg = (y[..., :-1] * dx).sum()",
        ],
    ),
    "a running sum": (
        """
def f(x: Real[N, T]):
    y[n, -1] = 0
    y[n, t]  = y[n, t-1] + x[n, t]
    return y
""",
        ["y = np.cumsum(x, axis=-1)"],
        ["dx = np.cumsum(dy[:, ::-1], axis=-1)[:, ::-1]"],
    ),
    "a running sum of the steps before": (
        """
def f(x: Real[T, N], c: Real[N]):
    s[-1, n] = c[n]
    s[t, n]  = s[t-1, n] + x[t, n]
    y[t, n]  = x[t, n]*s[t-1, n]
    return y
""",
        [
            "s = np.empty((T + 1, N), dtype=dtype)",
            "s[0] = c",
            "s[1:] = np.cumsum(x, axis=0) + c",
            "y = x * s[:-1]",
        ],
        [],
    ),
    "a running product": (
        """
def f(x: Real[T, N], c: Real[N]):
    y[-1, n] = c[n]
    y[t, n]  = y[t-1, n]*x[t, n]
    return y
""",
        ["y = np.empty((T + 1, N), dtype=dtype)", "y[0] = c", "y[1:] = c * np.cumprod(x, axis=0)"],
        [],
    ),
    "a running logarithm of a sum": (
        """
def f(x: Real[T, N]):
    y[-1, n] = -inf
    y[t, n]  = log(exp(y[t-1, n]) + exp(x[t, n]))
    return y
""",
        [
            "y = np.empty((T + 1, N), dtype=x.dtype)",
            "y[0] = -np.inf",
            "y[1:] = np.logaddexp.accumulate(x, axis=0)",
        ],
        [],
    ),
    "a mask, and a reset at the first step": (
        """
def f(x: Real[T, N], m: Bool[T, N], a: Real):
    y[-1, n] = 0
    y[t, n]  = where(t == 0, x[t, n], where(m[t, n], a*y[t-1, n], y[t-1, n]))
    return y
""",
        [
            "y = np.empty((T + 1, N), dtype=dtype)",
            "y[0] = 0",
            "for t in range(T):",
            "    y[t + 1] = x[t] if t == 0 else np.where(m[t], a * y[t], y[t])",
        ],
        [],
    ),
}


@pytest.mark.parametrize("row", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_loop_is_what_an_expert_writes(row: tuple[str, list[str], list[str]]) -> None:
    equations, forward, backward = row
    text = build_module(parse(equations))
    assert lines(text, "forward")[-len(forward) :] == forward
    if backward:
        assert lines(text, "backward")[-len(backward) :] == backward


def test_the_gates_of_an_lstm_are_rows_and_their_derivatives_one_array() -> None:
    text = build_module(load(f"{LAYERS}:lstm"))
    assert lines(text, "forward")[-9:] == [
        "for t in range(T):",
        "    a = a_in[t] + (h[t] @ wh_matrix).reshape(N, 4, H)",
        "    i[t] = expit(a[:, 0])",
        "    f[t] = expit(a[:, 1])",
        "    g[t] = np.tanh(a[:, 2])",
        "    o[t] = expit(a[:, 3])",
        "    c[t + 1] = i[t] * g[t] + f[t] * c[t]",
        "    tanh_c[t] = np.tanh(c[t + 1])",
        "    h[t + 1] = o[t] * tanh_c[t]",
    ]
    backward = lines(text, "backward")
    loop = backward[backward.index("for t in reversed(range(T)):") :]
    assert "da = np.empty((T, N, 4, H), dtype=dh.dtype)" in backward
    assert [line.partition(" = ")[0].strip() for line in loop[1:11]] == [
        "dh_total", "dtanh_c", "dc", "dg", "dc_next", "da[t, :, 0]", "da[t, :, 1]", "da[t, :, 2]", "da[t, :, 3]",
        "dh_next",
    ]  # fmt: skip
    assert loop[10] == "    dh_next = da[t].reshape(N, 4 * H) @ wh_matrix.T"


@pytest.mark.parametrize("name", NAMES)
def test_formulas_and_code_agree_with_independent_evaluation(name: str) -> None:
    _, report = inspect(load(f"{LAYERS}:{name}"))
    assert report.passed, report.failure()


def test_without_a_step_the_start_is_the_result() -> None:
    space = module(build_module(load(f"{LAYERS}:coupled")))
    (f, g), cache = space["forward"](np.empty((0, 3)), 0.5, 0.25)
    assert f.shape == g.shape == (0, 3)
    gradients = space["backward"](np.empty((0, 3)), np.empty((0, 3)), cache)
    assert (gradients.dx.shape, gradients.da, gradients.db) == ((0, 3), 0, 0)
    space = module(build_module(load(f"{LAYERS}:prod_start")))
    c = np.array([1.0, 2.0])
    y, cache = space["forward"](np.empty((0, 2)), c)
    assert y.shape == (0, 2)
    assert space["backward"](np.empty((0, 2)), cache).dc.tolist() == [0, 0]


# Running values, in either direction

NEUTRAL: dict[str, tuple[Callable[[Expr, Expr], Expr], Expr, Any]] = {
    "np.cumsum": (lambda y, x: y + x, S.Zero, np.add),
    "np.cumprod": (lambda y, x: y * x, S.One, np.multiply),
    "np.maximum.accumulate": (Maximum, S.NegativeInfinity, np.maximum),
    "np.minimum.accumulate": (lambda y, x: Minimum(x, y), S.Infinity, np.minimum),
    "np.logaddexp.accumulate": (LogAddExp, S.NegativeInfinity, np.logaddexp),
}


@pytest.mark.parametrize("step", [1, -1], ids=["forwards", "backwards"])
@pytest.mark.parametrize("start", ["neutral", "given"])
@pytest.mark.parametrize("call", NEUTRAL.keys())
def test_running_values_need_no_loop(call: str, start: str, step: int) -> None:
    operation, neutral, function = NEUTRAL[call]
    first: Expr = neutral if start == "neutral" else Element(Tensor("c"), n)
    expr = operation(Element(Tensor("y"), t - step, n), Element(Tensor("x"), t, n))
    y = Statement("y", (t, n), expr, carry=Carry(t, step, first))
    parameters = (Parameter("x", Kind.REAL, (T, N)), Parameter("c", Kind.REAL, (N,)))
    layer = Layer("running", "", parameters, (), (T, N), (), (y,), ("y",))
    text = render(lower(Program(layer, (y,), (), ("y",), ("dy",), ())))
    looped = call == "np.logaddexp.accumulate" and start == "given"
    assert (call in text, "for t in" in text) == (not looped, looped)
    rng = np.random.default_rng(3)
    x, c = rng.standard_normal((5, 2)), rng.standard_normal(2)
    got, _ = module(text)["forward"](x, c)
    steps = range(5)[::step]
    running = np.full(2, float(neutral)) if start == "neutral" else c
    expected = np.empty_like(x)
    for k in steps:
        running = expected[k] = function(running, x[k])
    assert np.allclose(got, expected, rtol=1e-13)


def test_a_decay_is_a_loop() -> None:
    text = build_module(parse("def f(x: Real[T]):\n    y[-1] = 0\n    y[t] = y[t-1]/2 + x[t]\n    return y\n"))
    assert "cumsum" not in text
    assert "for t in range(T):" in text


# Any loop


def evaluated(program: Program, instance: Instance, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values of the forward statements, element by element."""
    inputs = {
        p.name: {key: arrays[p.name][instance.position(key)].item() for key in instance.keys(p.axes)}
        for p in program.layer.parameters
    }
    results = Evaluator(program.forward, instance, floats()).run(inputs)
    return {
        s.name: np.array([results[s.name][k] for k in instance.keys(s.axes)], float).reshape(instance.shape(s.axes))
        for s in program.forward
    }


@pytest.mark.parametrize("steps", [4, 1], ids=["several steps", "one step"])
@pytest.mark.parametrize("batch", [(2,), (), (2, 2)], ids=["one batch axis", "no batch axis", "two batch axes"])
def test_any_loop_has_the_values_of_its_formulas(batch: tuple[int, ...], steps: int) -> None:
    instance = Instance({**SIZES, "T": steps}, batch, {})
    for seed in range(150):
        program = random_loop(seed)
        rng = np.random.default_rng(seed)
        arrays = {}
        for name, (kind, axes) in PARAMETERS.items():
            shape = instance.shape(axes)
            drawn = rng.integers(0, SIZES["D"], shape) if kind is Kind.INT else rng.standard_normal(shape)
            arrays[name] = np.asarray(drawn > 0 if kind is Kind.BOOL else drawn)
        expected = evaluated(program, instance, arrays)
        space: dict[str, Any] = {}
        text = render(lower(program))
        exec(compile(text, f"loop {seed}", "exec"), space)
        for dtype, tolerance in (("float64", 1e-10), ("float32", 1e-4)):
            inputs = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays.values()]
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                results, _ = space["forward"](*inputs)
            results = results if len(program.outputs) > 1 else (results,)
            for name, got in zip(program.outputs, results, strict=True):
                assert got.dtype == dtype, f"seed {seed}: {name} in {got.dtype}\n{text}"
                assert np.allclose(got, expected[name], rtol=tolerance, atol=tolerance), f"seed {seed}: {name}\n{text}"
