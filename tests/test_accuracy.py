"""Accuracy in ulps, measured: the measure itself, the catalogue's bounds, the command."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from derive.accuracy import Accuracy, Row, measure
from derive.accuracy.elementwise import measure_elementwise
from derive.accuracy.magnitudes import magnitudes
from derive.accuracy.points import points
from derive.accuracy.reference import context, limit
from derive.accuracy.tensors import families, measure_tensors
from derive.accuracy.ulps import FORMATS
from derive.algebra.nodes import BATCH_SIZE
from derive.check.samples import sample
from derive.check.sizes import choose_instance
from derive.commands import main
from derive.language import catalogue, load, parse
from derive.pipeline import build_module, derive_program
from derive.stability.saturation import is_elementwise

SINGLE, DOUBLE = FORMATS["float32"], FORMATS["float64"]

# What is beyond a bound, with the reason in benchmarks/accuracy.py
BEYOND = {"gelu", "geglu", "gelu_tanh", "tanhshrink"}
ELEMENTWISE = [
    name
    for name in catalogue()
    if is_elementwise(load(name)) and all(load(name).axes(y) == (BATCH_SIZE,) for y in load(name).returns)
]
REDUCING = [
    "softmax", "log_softmax", "logsumexp", "cross_entropy", "bce_with_logits", "layernorm", "batchnorm", "rmsnorm",
    "weight_standardization", "l2_normalize", "cosine_similarity", "mse_loss", "kl_div",
    "attention", "gaussian_nll",
]  # fmt: skip


# The measure


def test_an_ulp_is_the_distance_to_the_next_number() -> None:
    for form in (SINGLE, DOUBLE):
        kind = np.dtype(form.name).type
        for value in (1.0, 1.5, 1023.9, 3e-30, form.tiny, form.tiny / 8, form.smallest, 0.0):
            at = kind(value)
            following = np.nextafter(at, kind(np.inf))
            assert float(form.ulp(mpmath.mpf(float(at)))) == float(following) - float(at)
        assert (form.epsilon, form.tiny) == (float(np.finfo(kind).eps), float(np.finfo(kind).tiny))
        assert (form.most, form.smallest) == (float(np.finfo(kind).max), float(np.finfo(kind).smallest_subnormal))


def test_the_error_of_the_nearest_number_is_at_most_half_an_ulp() -> None:
    third = mpmath.mpf(1) / 3
    with mpmath.workdps(50):
        third = mpmath.mpf(1) / 3
        assert 0 < SINGLE.error(float(np.float32(1 / 3)), third) <= 0.5
        assert 0.5 < SINGLE.error(float(np.nextafter(np.float32(1 / 3), np.float32(0))), third) <= 1.5
    assert SINGLE.error(math.nan, third) == SINGLE.error(math.inf, third) == math.inf


def test_what_overflows_is_what_rounds_to_infinity() -> None:
    with mpmath.workdps(50):
        assert not SINGLE.overflows(mpmath.mpf(SINGLE.most))
        assert not SINGLE.overflows(mpmath.mpf(2) ** 128 - mpmath.mpf(2) ** 103 - 1)
        assert SINGLE.overflows(-(mpmath.mpf(2) ** 128))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda mp, x: 1 / (1 + mp.exp(-x)), "1"),
        (lambda mp, x: mp.exp(-x), "0"),
        (lambda mp, x: mp.log(x), "+inf"),
        (lambda mp, x: -x * x, "-inf"),
        (lambda mp, x: 1 / mp.log(x), "0"),
        (lambda mp, x: mp.sin(x), "nan"),
        (lambda mp, x: x - (x - 3), "3"),
    ],
)
def test_a_limit_is_seen_from_ever_further_out(function: Any, expected: str) -> None:
    mp = context(1700)
    found = limit([function(mp, mp.mpf(10) ** k) for k in (100, 400, 1600)], mp)
    assert found == mp.mpf(expected) or (expected == "nan" and mp.isnan(found))


@pytest.mark.parametrize("form", [SINGLE, DOUBLE], ids=lambda form: form.name)
def test_points_are_exact_and_of_every_size(form: Any) -> None:
    product = "y[...] = x[...]*p[...]*u[...]*m[...]"
    layer = parse(f"def f(x: Real[...], p: Positive[...], u: Unit[...], m: Bool[...]):\n    {product}\n    return y\n")
    found = points(layer, form, 400, 0)
    assert {v.dtype.name for n, v in found.items() if n != "m"} == {form.name}
    sizes = np.abs(found["x"].astype(np.float64))
    assert sizes.min() < form.tiny and sizes.max() > form.most / 1e6 and (found["x"] < 0).mean() > 0.4
    assert (found["p"] > 0).all() and ((found["u"] > 0) & (found["u"] < 1)).all() and set(found["m"]) == {True, False}
    near = np.abs(found["p"].astype(np.float64) - sizes) <= 8 * form.epsilon * sizes
    assert near.sum() > 20


# Elementwise layers


def _rows(name: str, old: str = "", new: str = "", count: int = 160) -> list[Row]:
    """The measurements of a layer's module, its text changed."""
    layer = load(name)
    text = build_module(layer)
    assert old in text
    return list(measure_elementwise(layer, derive_program(layer), text.replace(old, new), count=count, seed=0))


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n not in BEYOND])
def test_an_elementwise_layer_keeps_its_bounds_in_ulps(name: str) -> None:
    accuracy = measure(load(name), count=160)
    assert accuracy.elementwise
    assert accuracy.passed, "\n".join(map(str, accuracy.failures))
    assert {(r.name in load(name).returns, r.measure.bound) for r in accuracy.rows if r.inputs == "domain"} == {
        (True, 4.0), (False, 8.0)
    }  # fmt: skip
    assert all(r.compared > 20 for r in accuracy.rows if r.inputs == "domain" and r.name in load(name).returns)


def test_a_gradient_that_cancels_where_tanh_saturates_is_seen() -> None:
    rows = _rows("sigmoid", "dy * y * expit(-x)", "dy * y * (1 - y)")
    wrong = {(r.name, r.precision): r.error for r in rows if not r.passed}
    assert wrong.keys() == {("dx", "float32"), ("dx", "float64")} and min(wrong.values()) > 1e6


def test_a_constant_that_is_off_in_its_last_digits_is_seen() -> None:
    rows = _rows("tanh", "y = np.tanh(x)", "y = np.tanh(x) * (1 + 2e-6)")
    assert {r.name for r in rows if not r.passed} == {"y"}


def test_overflow_on_the_way_is_seen() -> None:
    rows = _rows("softplus", "np.logaddexp(0, beta * x)", "np.log1p(np.exp(beta * x))")
    worst = next(r for r in rows if r.name == "y" and r.precision == "float32" and r.inputs == "domain")
    assert worst.error == math.inf and worst.got == math.inf


def test_beside_a_zero_the_error_is_an_exception_with_its_place() -> None:
    rows = [r for r in measure(load("silu")).rows if r.inputs == "exceptions" and r.name == "dx"]
    assert rows and all(r.measure.bound is None for r in rows)
    assert any("crosses 0, near x = -1.3" in r.note for r in rows)


def test_beside_a_jump_the_error_is_an_exception() -> None:
    rows = [r for r in measure(load("hardswish"), count=400).rows if r.inputs == "exceptions" and r.name == "dx"]
    assert any("other side of a jump" in r.note for r in rows)


def test_special_values_are_those_of_mathematics() -> None:
    rows = [r for r in _rows("sigmoid") if r.inputs == "special values"]
    assert [r.error for r in rows] == [0, 0, 0, 0]
    wrong = [r for r in _rows("sigmoid", "y = expit(x)", "y = np.nan_to_num(expit(x), nan=0.5)") if not r.passed]
    assert {(r.inputs, r.got) for r in wrong} == {("special values", 0.5)}


def test_nan_of_an_undetermined_product_is_noted_with_the_limit() -> None:
    rows = [r for r in measure(load("silu"), count=60).rows if r.inputs == "special values"]
    assert all(r.passed for r in rows)
    assert any("x = -inf (limit 0)" in r.note for r in rows)


# Layers that reduce


@pytest.mark.parametrize("name", REDUCING)
def test_a_normalization_softmax_or_loss_keeps_its_bounds(name: str) -> None:
    accuracy = measure(load(name))
    assert not accuracy.elementwise
    assert accuracy.passed, "\n".join(map(str, accuracy.failures))
    assert any(r.measure.bound is not None for r in accuracy.rows)


def test_deviations_that_keep_the_rounding_of_the_mean_are_seen() -> None:
    layer = load("layernorm")
    text = build_module(layer)
    line = "    xc -= xc.mean(axis=-1, keepdims=True)\n"
    assert line in text
    rows = measure_tensors(layer, derive_program(layer), text.replace(line, ""), seed=0)
    wrong = [r for r in rows if not r.passed]
    assert {r.inputs for r in wrong} == {"mean 1e4, deviation 1"} and max(r.error for r in wrong) > 1e-4


def test_a_softmax_without_its_maximum_is_seen() -> None:
    layer = load("softmax")
    text = build_module(layer)
    assert " - z.max(axis=-1, keepdims=True)" in text
    text = text.replace(" - z.max(axis=-1, keepdims=True)", "")
    wrong = {r.inputs for r in measure_tensors(layer, derive_program(layer), text, seed=0) if not r.passed}
    assert wrong == {"logits ±1e4", "mean 1e4, deviation 1"} or wrong == {"logits ±1e4"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layernorm", {"normalization"}),
        ("rmsnorm", {"normalization"}),
        ("l2_normalize", {"normalization"}),
        ("softmax", {"softmax"}),
        ("cross_entropy", {"softmax", "loss"}),
        ("mse_loss", {"loss"}),
        ("linear", set()),
    ],
)
def test_a_family_is_seen_in_the_formulas(name: str, expected: set[str]) -> None:
    layer = load(name)
    assert families(layer, derive_program(layer)) == expected


def test_the_terms_of_a_gradient_that_vanishes_are_known() -> None:
    """The gradient of a sum of a softmax is 0, of terms as large as the probabilities."""
    body = "p[n] = softmax[n](z[n])\n    y = sum[n](p[n]) + sum[n](z[n])"
    layer = parse(f"def f(z: Real[N]):\n    {body}\n    return y\n")
    at = sample(layer, choose_instance(layer), 0)
    (dy,) = at.cotangents["dy"].values()
    assert magnitudes(derive_program(layer), at)["dz"] >= abs(dy)


# The results, and the command


def test_an_accuracy_says_where_it_is_worst() -> None:
    accuracy = measure(load("tanhshrink"), count=160)
    assert not accuracy.passed
    data = accuracy.to_json()
    first = next(row for row in data["rows"] if not row["passed"])
    assert (first["name"], first["unit"], first["bound"]) == ("y", "ulp", 4.0)
    assert first["where"].startswith("x = ") and first["error"] > 1e4
    assert "allowed 4 at x = " in str(accuracy.failures[0])
    json.dumps(data)


def test_the_command_prints_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("svg",):
        picture = tmp_path / f"relu.{suffix}"
        assert main(["check", "--accuracy", "relu", "mse_loss", "--plot", str(picture)]) == 0
        shown = capsys.readouterr().out
        assert "relu: passed" in shown and "special values" in shown and "well-scaled" in shown
        assert f"relu.{suffix}: drawn" in shown.replace("\n", "")
        assert picture.stat().st_size > 5000


def test_the_command_gives_json_and_fails_beyond_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--accuracy", "tanhshrink", "--json"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["passed"] is False and result["layers"][0]["layer"] == "tanhshrink"
    assert "error: tanhshrink: 2 of" in captured.err and "ulp, allowed 4 at x = " in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plot", "a.png"], "--plot draws what --accuracy measures"),
        (["--accuracy", "--plot", "a.txt"], "the suffix of a picture is one of .png, .svg, .pdf"),
        (["--accuracy", "--plot", "nowhere/a.png"], "there is no folder nowhere"),
        (["--accuracy", "--jvp"], "--accuracy looks at forward and backward alone"),
        (["--accuracy", "--target", "c"], "--accuracy looks at the target numpy"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "relu", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_a_picture_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["check", "relu", "--accuracy", "--plot", str(tmp_path / "a.png")]) == 2
    captured = capsys.readouterr()
    assert "matplotlib" in captured.err and "hint" in captured.err and captured.out == ""


def test_the_same_seed_measures_the_same() -> None:
    first, second = (measure(load("mish"), seed=3, count=60) for _ in range(2))
    assert isinstance(first, Accuracy) and first == second
