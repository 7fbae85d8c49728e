"""Generated modules: whole texts, names, docstrings, checks of inputs, numbers that stay what they are."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from conftest import ROOT, Golden
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import random_program

from derive.algebra.functions import Gt, Where
from derive.algebra.nodes import Element, Hyper, Index, Size, Tensor
from derive.calculus.program import Program
from derive.language import parse
from derive.language.layer import Statement
from derive.lower import lower
from derive.pipeline import build_module
from derive.render.numpy import render
from derive.render.numpy_numbers import NumberText

N = Size("N")
n = Index("n", N)


def layer(signature: str, *statements: str) -> str:
    """A layer file's text."""
    return "\n    ".join([f"def f({signature}):", *statements]) + "\n"


def module(text: str, name: str = "generated") -> dict[str, Any]:
    """Run a layer's module and return its names."""
    space: dict[str, Any] = {}
    exec(compile(build_module(parse(text)), name, "exec"), space)
    return space


SCALED = layer(
    "x: Real[N, D], t: Int[N], w: Real[V, D], m: Bool[D], a: Real, *, s: Real = 2.0",
    "y[n, d] = s*a*x[n, d]*w[t[n], d] + where(m[d], x[n, d], 0)",
    "return y",
)

WHOLE = {
    "standardize": layer(
        "x: Real[..., D], *, eps: Real = 1e-5",
        '"""Values with mean 0 and variance 1 along the last axis."""',
        "mu[...] = mean[d](x[..., d])",
        "var[...] = mean[d]((x[..., d] - mu[...])**2)",
        "y[..., d] = (x[..., d] - mu[...])/sqrt(var[...] + eps)",
        "return y",
    ),
    "pooled_labels": layer(
        "z: Real[N, C], t: Int[N], m: Bool[N], w: Real[C, 2]",
        '"""A loss, and the scores it is of.\n\n    Source: nobody, "Nothing", 2026.\n    """',
        "p[n, c] = softmax[c](where(m[n], z[n, c], 0))",
        "score[n, j] = sum[c](p[n, c]*w[c, j])",
        "loss = -mean[n](log(p[n, t[n]]))",
        "return score, loss",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_module(name: str, golden: Golden) -> None:
    golden(f"numpy/{name}.py.txt", build_module(parse(WHOLE[name])))


# Texts


@pytest.mark.parametrize("name", ["batch", "count", "dtype", "dtypes", "term", "el", "expit", "batch_axes", "rows"])
def test_no_name_of_a_layer_gets_in_the_way_of_the_code(name: str) -> None:
    """As parameter, hyper-parameter, intermediate result and output."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 3, 4)), rng.standard_normal(4)
    body = (
        "h[..., d] = sigmoid(x[..., d]*w[d]*s)",
        "c = mean[..., d](x[..., d])",
        "y[..., d] = h[..., d] + c",
        "return y",
    )
    signature = "x: Real[..., D], w: Real[D], *, s: Real = 2.0"
    plain = module(layer(signature, *body))
    y, cache = plain["forward"](x, w)
    expected = plain["backward"](y, cache)
    for own in "xwshy":
        lines = [signature, *body]
        for before, after in ((f"{own}[", f"{name}["), (f"{own}: ", f"{name}: "), (f"*{own})", f"*{name})")):
            lines = [line.replace(before, after) for line in lines]
        if own == "y":
            lines[-1] = f"return {name}"
        other = module(layer(*lines))
        value, cache = other["forward"](x, w)
        assert np.array_equal(value, y)
        for got, want in zip(other["backward"](y, cache), expected, strict=True):
            assert np.array_equal(got, want)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_a_docstring_may_say_anything(doc: str) -> None:
    """What the user wrote is read back from the module as it was."""
    found = parse(layer("x: Real[N]", "y[n] = x[n]", "return y"))
    text = render(lower(Program(replace(found, doc=doc.strip()), found.statements, (), ("y",), ("dy",), ())))
    read = ast.get_docstring(ast.parse(text), clean=False)
    assert read is not None
    lines = doc.strip().expandtabs(4).splitlines()
    if len(lines) == 1 and lines[0].isprintable():
        assert read.splitlines()[0] == lines[0].rstrip()


def test_the_hash_seed_does_not_matter() -> None:
    program = "from random_programs import *; from derive.lower import lower; from derive.render.numpy import render;"
    program += "print([render(lower(random_program(seed))) for seed in range(8)])"
    texts = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        texts.add(run.stdout)
    assert len(texts) == 1


MANY = layer(
    "x: Real[N, D], " + ", ".join(f"weight_{k}: Real[D]" for k in range(30)),
    "y[n, d] = x[n, d]*" + "*".join(f"weight_{k}[d]" for k in range(30)),
    "return y",
)


def test_formatter_and_linter_have_nothing_to_say(tmp_path: Path) -> None:
    """Long random formulas, so that every way of breaking a line is met."""
    folder = tmp_path / "generated"
    folder.mkdir()
    for seed in range(40):
        (folder / f"random_{seed}.py").write_text(render(lower(random_program(seed, depth=4))), encoding="utf-8")
    for name, text in {**WHOLE, "many": MANY}.items():
        (folder / f"{name}.py").write_text(build_module(parse(text)), encoding="utf-8")
    config = f"--config={ROOT / 'pyproject.toml'}"
    for command in (["format", "--check", config], ["check", config, "--ignore=E741"]):
        run = subprocess.run([sys.executable, "-m", "ruff", *command, str(folder)], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_a_choice_that_may_overflow_where_it_is_not_taken_is_quiet() -> None:
    """log and exp stand in a branch as they are: the program was not made stable."""
    found = parse(layer("x: Real[N]", "y[n] = where(x[n] > 0, x[n], 0)", "return y"))
    x = Element(Tensor("x"), n)
    y = Statement("y", (n,), Where(Gt(x, 0), sympy.log(x), sympy.exp(-x)))
    text = render(lower(Program(found, (y,), (), ("y",), ("dy",), ())))
    assert 'with np.errstate(divide="ignore", invalid="ignore", over="ignore"):' in text
    space: dict[str, Any] = {}
    exec(compile(text, "choice", "exec"), space)
    value, _ = space["forward"](np.array([0.0, 2.0, 1000.0, -1.0]))
    assert np.array_equal(value, [1.0, np.log(2.0), np.log(1000.0), np.e])


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (1 / sympy.sqrt(N), "1 / math.sqrt(N)"),
        (sympy.Rational(1, 3) * N, "N / 3"),
        (sympy.Rational(1, 2) * N, "0.5 * N"),
        (sympy.sqrt(2 / sympy.pi), "math.sqrt(2 / np.pi)"),
        (N**2 - 1, "N**2 - 1"),
        (-(sympy.log(N) ** 3), "-(math.log(N) ** 3)"),
        (2 * Hyper("s") / (N * Size("D")), "2 * s / (N * D)"),
        (sympy.oo, "np.inf"),
    ],
    ids=str,
)
def test_numbers_stay_pythons(expr: sympy.Expr, text: str) -> None:
    assert NumberText(lambda symbol: symbol.name, ("N", "D")).text(expr)[0] == text


# Inputs


def arguments(dtype: str = "float64") -> list[Any]:
    """Inputs of SCALED: x, t, w, m, a."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 3)).astype(dtype), rng.standard_normal((5, 3)).astype(dtype)
    return [x, np.array([0, 4, 4, 1]), w, np.array([True, False, True]), np.asarray(0.5, dtype)]


WRONG = [
    (2, np.zeros((5, 2)), ValueError, "w: expected shape (V, D) = (V, 3), D from x (4, 3), got (5, 2)"),
    (3, np.zeros(4, bool), ValueError, "m: expected shape (D,) = (3,), D from x (4, 3), got (4,)"),
    (0, np.zeros(3), ValueError, "x: expected shape (N, D), got (3,)"),
    (4, np.zeros(1), ValueError, "a: expected shape (), got (1,)"),
    (0, np.zeros((4, 3), int), ValueError, "x: expected Real elements, got int64"),
    (1, np.zeros(4), ValueError, "t: expected Int elements, got float64"),
    (3, np.zeros(3, int), ValueError, "m: expected Bool elements, got int64"),
    (0, None, ValueError, "x: expected Real elements, got object"),
    (1, np.array([0, 1, 2, 5]), IndexError, "t: expected labels from 0 to 4, got 5"),
    (1, np.array([0, -1, 2, 3]), IndexError, "t: expected labels from 0 to 4, got -1"),
]


@pytest.mark.parametrize(("place", "value", "kind", "words"), WRONG, ids=[row[3] for row in WRONG])
def test_a_wrong_input_is_named_with_what_was_expected(
    place: int, value: Any, kind: type[Exception], words: str
) -> None:
    inputs = arguments()
    inputs[place] = value
    with pytest.raises(kind) as caught:
        module(SCALED)["forward"](*inputs)
    assert str(caught.value) == words


def test_an_axis_that_must_not_be_empty() -> None:
    space = module(layer("x: Real[..., D]", "y = mean[..., d](x[..., d])", "return y"))
    with pytest.raises(ValueError, match=r"^x \(0, 3\): the axis \.\.\. is empty, which leaves mean"):
        space["forward"](np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"^x \(3, 0\): the axis D is empty, which leaves mean"):
        space["forward"](np.zeros((3, 0)))


def test_an_axis_of_a_number_has_that_length() -> None:
    space = module(layer("x: Real[N, 3]", "y[n] = sum[k](x[n, k])", "return y"))
    assert space["forward"](np.ones((2, 3)))[0].tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match=r"^x: expected shape \(N, 3\), got \(2, 4\)$"):
        space["forward"](np.ones((2, 4)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_python_numbers_take_the_dtype_of_the_arrays(dtype: str) -> None:
    space = module(SCALED)
    x, t, w, m, _ = arguments(dtype)
    for a in (0.5, 1):
        y, cache = space["forward"](x, t, w, m, a, s=3)
        assert y.dtype == dtype
        gradients = space["backward"](y.tolist(), cache)
        assert [g.dtype for g in gradients] == [dtype] * 3
        assert [g.shape for g in gradients] == [(4, 3), (5, 3), ()]


def test_numpys_own_numbers_promote_as_numpy_does() -> None:
    x, t, w, m, _ = arguments("float32")
    y, cache = module(SCALED)["forward"](x, t, w, m, np.float64(0.5))
    assert y.dtype == "float64"
    assert [g.dtype for g in module(SCALED)["backward"](y, cache)] == ["float32", "float32", "float64"]


@pytest.mark.parametrize("cotangent", [1, 1.0, np.float32(1), np.ones((), np.float32)], ids=lambda c: type(c).__name__)
def test_the_cotangent_of_a_loss_is_any_number(cotangent: Any) -> None:
    space = module(layer("x: Real[N]", "loss = sum[n](x[n]**2)", "return loss"))
    x = np.arange(3.0)
    _, cache = space["forward"](x)
    assert space["backward"](cotangent, cache).dx.tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("cotangent", "words"),
    [
        (np.ones((4, 2)), "dy: expected shape (4, 3), got (4, 2)"),
        (1.0, "dy: expected shape (4, 3), got ()"),
        (np.ones((4, 3), complex), "dy: expected Real elements, got complex128"),
    ],
    ids=["size", "number", "complex"],
)
def test_a_wrong_cotangent_is_named(cotangent: Any, words: str) -> None:
    space = module(SCALED)
    _, cache = space["forward"](*arguments())
    with pytest.raises(ValueError, match=r"dy") as caught:
        space["backward"](cotangent, cache)
    assert str(caught.value) == words


def test_outputs_and_gradients_are_arrays_of_their_own() -> None:
    space = module(layer("x: Real[N, N], z: Real[N, N]", "y[i, j] = x[i, j]", "d[i] = z[i, i]", "return y, d"))
    x, z = np.arange(4.0).reshape(2, 2), np.ones((2, 2))
    (y, d), cache = space["forward"](x, z)
    dy = np.ones((2, 2))
    gradients = space["backward"](dy, np.ones(2), cache)
    for own in (y, d, *gradients):
        assert not any(np.shares_memory(own, other) for other in (x, z, dy))
        own += 1.0
    assert x.tolist() == [[0, 1], [2, 3]]


# Numbers at the edges


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_norm_neither_over_nor_underflows(scale: float, dtype: str) -> None:
    space = module(layer("x: Real[N, D]", "y[n] = norm[d](x[n, d])", "return y"))
    x = np.array([[3 * scale, -4 * scale], [0, 0]], dtype)
    y, cache = space["forward"](x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, np.array([5 * scale, 0], dtype), rtol=4 * np.finfo(dtype).eps)
    dx = space["backward"](np.ones(2), cache).dx
    np.testing.assert_allclose(dx, np.array([[0.6, -0.8], [0, 0]], dtype), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logsumexp_of_minus_infinity_everywhere_is_minus_infinity(dtype: str) -> None:
    space = module(layer("x: Real[N, D]", "y[n] = logsumexp[d](x[n, d])", "return y"))
    x = np.array([[-np.inf, -np.inf], [1e4, 1e4], [-np.inf, 3], [np.inf, 0]], dtype)
    y, _ = space["forward"](x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, np.array([-np.inf, 1e4 + np.log(2), 3, np.inf], dtype), rtol=1e-6)
