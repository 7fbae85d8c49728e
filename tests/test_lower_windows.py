"""Windows in NumPy: what is written for reads and for adjoints, and the values and the memory of it."""

from __future__ import annotations

import ast
import tracemalloc
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from conftest import Golden
from random_windows import random_window_layer
from sympy import Expr, Integer

from derive.algebra.functions import FloorDiv
from derive.algebra.nodes import Hyper, Index, Kind, Size
from derive.language import parse
from derive.language.layer import Condition, DerivedSize
from derive.lower import lower
from derive.lower.affine import Affine, Ranges, affine
from derive.lower.arrays import Span
from derive.pipeline import build_module, derive_program, inspect

CONV2D = """
def conv2d(x: Real[N, C, H, W], w: Real[F, C, R, S], b: Real[F], *, stride: Int = 1, pad: Int = 0, dil: Int = 1):
    P = (H + 2*pad - dil*(R - 1) - 1) // stride + 1
    Q = (W + 2*pad - dil*(S - 1) - 1) // stride + 1
    y: Real[N, F, P, Q]
    y[n, f, p, q] = b[f] + sum[c, r, s](
        padded(x)[n, c, p*stride + r*dil - pad, q*stride + s*dil - pad] * w[f, c, r, s])
    return y
"""
CONV_TRANSPOSE1D = """
def conv_transpose1d(x: Real[N, C, P], w: Real[C, F, R], *, stride: Int = 2, pad: Int = 1):
    L = (P - 1)*stride + R - 2*pad
    y: Real[N, F, L]
    y[n, f, i] = sum[c, p, r](where(i == p*stride + r - pad, x[n, c, p]*w[c, f, r], 0))
    return y
"""
MAX_POOL2D = """
def max_pool2d(x: Real[N, C, H, W], *, k: Int = 3, stride: Int = 2, pad: Int = 1):
    P = (H + 2*pad - k) // stride + 1
    Q = (W + 2*pad - k) // stride + 1
    y: Real[N, C, P, Q]
    y[n, c, p, q] = max[r: k, s: k](padded(x, -inf)[n, c, p*stride + r - pad, q*stride + s - pad])
    return y
"""


def layer(signature: str, *lines: str) -> str:
    """A layer's text."""
    return "\n    ".join([f"def f({signature}):", *lines, "return y"]) + "\n"


def namespace(text: str) -> dict[str, Any]:
    """The names of a layer's module."""
    space: dict[str, Any] = {}
    exec(compile(build_module(parse(text)), "module", "exec"), space)
    return space


def lines_of(text: str, function: str) -> list[str]:
    """The lines of a generated function, without those that every function has."""
    module = build_module(parse(text))
    found = next(n for n in ast.parse(module).body if isinstance(n, ast.FunctionDef) and n.name == function)
    body = found.body[1:]  # after the docstring
    source = module.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    left_out = ("return ", "dtype", "_at_least_one(", "_expect(", "_cotangent(", ".shape", "= cache", "//")
    kept = [line.removeprefix("    ") for line in source if not any(word in line for word in left_out)]
    return [line for line in kept if not line.startswith(("P = ", "Q = ", "K = ", "L = "))]


# Rows: the layer, the lines of forward, those of backward.
ROWS: dict[str, tuple[str, list[str], list[str] | None]] = {
    "a shift is a slice, and its adjoint is added there": (
        layer("x: Real[T, D]", "P = T - 1", "y: Real[P, D]", "y[t, d] = x[t + 1, d] - x[t, d]"),
        ["y = x[1:] - x[:-1]"],
        ["dx = _pad(-dy, (0, T - P), (0, 0))", "dx[1:] += dy"],
    ),
    "an axis is read backwards": (
        layer("x: Real[T, D]", "y: Real[T, D]", "y[t, d] = exp(x[T - 1 - t, d])"),
        ["y = np.exp(x[::-1])"],
        None,
    ),
    "an output that is only turned is an array of its own": (
        layer("x: Real[T]", "y: Real[T]", "y[t] = x[T - 1 - t]"),
        ["y = x[::-1].copy()"],
        ["dx = dy[::-1].copy()"],
    ),
    "every second element": (
        layer("x: Real[N, L]", "P = L // 2", "y: Real[N, P]", "y[n, p] = x[n, 2*p + 1]**2"),
        ["y = np.square(x[:, 1::2])"],
        None,
    ),
    "windows are a view, and contracted as columns": (
        layer("x: Real[N, C, L], w: Real[F, C, R]", "P = L - R + 1", "y: Real[N, F, P]",
              "y[n, f, p] = sum[c, r](x[n, c, p + r]*w[f, c, r])"),
        [
            "x_windows = sliding_window_view(x, R, axis=2)",
            "x_columns = np.swapaxes(x_windows, 2, -1).reshape(N, C * R, P)",
            "y = w.reshape(F, C * R) @ x_columns",
            "del x_columns",
        ],
        [
            "dx_columns = (np.swapaxes(w, 1, -1).reshape(F, C * R).T @ dy).reshape(N, R, C, P)",
            "for r in range(R):",
            "    dx[:, :, r : r + P] += dx_columns[:, r]",
            "del dx_columns",
            "x_windows = sliding_window_view(x, R, axis=2)",
            "x_columns = x_windows.transpose(1, 3, 0, 2).reshape(C * R, N * P)",
            "dw = (np.swapaxes(dy, 0, 1).reshape(F, N * P) @ x_columns.T).reshape(F, C, R)",
            "del x_columns",
        ],
    ),
    "groups of channels are an axis": (
        layer("x: Real[N, C, L], w: Real[G, F, D]", "y: Real[N, G, F, L]",
              "y[n, g, f, i] = sum[d](padded(x)[n, g*D + d, i]*w[g, f, d])"),
        [
            "x_padded = _pad(x, (0, G * D - C), (0, 0))",
            "y = w @ x_padded.reshape(N, G, D, L)",
        ],
        None,
    ),
    "a channel's own window is a loop over its offsets": (
        layer("x: Real[N, C, L], w: Real[C, R]", "P = L - R + 1", "y: Real[N, C, P]",
              "y[n, c, p] = sum[r](x[n, c, p + r]*w[c, r])"),
        ["for r in range(R):", "    y += w[:, r, None] * x[:, :, r : r + P]"],
        [
            "for r in range(R):",
            "    dx[:, :, r : r + P] += w[:, r, None] * dy",
            "for r in range(R):",
            "    dw[:, r] = (dy * x[:, :, r : r + P]).sum(axis=(0, 2))",
        ],
    ),
    "a largest element is one of whole arrays": (
        layer("x: Real[N, L]", "P = L - 2", "y: Real[N, P]", "y[n, p] = max[r: 3](x[n, p + r])"),
        ["for r in range(3):", "    np.maximum(y, x[:, r : r + P], out=y)"],
        None,
    ),
    "windows side by side are written once": (
        layer("x: Real[N, L]", "P = L // 2", "y: Real[N, P]", "y[n, p] = mean[r: 2](x[n, 2*p + r])"),
        ["for r in range(2):", "    y += x[:, r : r + 2 * P : 2]", "y /= 2"],
        ["term = 0.5 * dy", "for r in range(2):", "    dx[:, r : r + 2 * P : 2] = term"],
    ),
    "two tensors side by side": (
        layer("a: Real[N, A], b: Real[N, B]", "K = A + B", "y: Real[N, K]",
              "y[n, k] = padded(a)[n, k] + padded(b)[n, k - A]"),
        ["a_padded = _pad(a, (0, B))", "b_padded = _pad(b, (A, 0))", "y = a_padded + b_padded"],
        ["da = dy[:, :A].copy()", "db = dy[:, A:].copy()"],
    ),
    "places that are no slices are addressed one by one": (
        layer("x: Real[M, M], w: Real[M]", "y: Real[M]", "y[i] = sum[j](padded(x)[i + j, i - j]*w[j])"),
        [
            "x_padded = _pad(x, (0, M - 1), (M - 1, 0))",
            "y = x_padded[np.arange(M)[:, None] + np.arange(M), "
            "(np.arange(M) + (M - 1))[:, None] - np.arange(M)] @ w",
        ],
        None,
    ),
    "what surely stays inside is not padded": (
        layer("x: Real[N, L]", "y: Real[N, L]", "y[n, i] = padded(x)[n, i]*2"),
        ["y = 2 * x"],
        None,
    ),
    "another fill": (
        layer("x: Real[N, L], w: Real[R]", "y: Real[N, L]", "y[n, i] = sum[r](padded(x, 2.5)[n, i + r - 1]*w[r])"),
        ["x_padded = _pad(x, (1, R - 2), fill=2.5)", "for r in range(R):", "    y += w[r] * x_padded[:, r : r + L]"],
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.replace(" ", "-"))
def test_windows_become_what_one_writes_by_hand(row: str) -> None:
    text, forward, backward = ROWS[row]
    assert lines_of(text, "forward") == forward
    if backward is not None:
        assert lines_of(text, "backward") == backward


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.replace(" ", "-"))
def test_windows_pass_their_check(row: str) -> None:
    _, report = inspect(parse(ROWS[row][0]))
    assert report.passed, report.failure()


@pytest.mark.parametrize("seed", range(40))
def test_any_window_passes_its_check(seed: int) -> None:
    text = random_window_layer(seed)
    _, report = inspect(parse(text))
    assert report.passed, f"{text}{report.failure()}"


def test_a_whole_convolution(golden: Golden) -> None:
    golden("numpy/conv2d.py.txt", build_module(parse(CONV2D)))


# Values, beside PyTorch's


def contiguous_or_not(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, contiguous: bool) -> np.ndarray:
    """A random array; one whose axes lie in the opposite order in memory."""
    array = rng.standard_normal(shape).astype(dtype)
    return array if contiguous else np.asfortranarray(array)


CONVOLUTIONS = [
    # image, window, stride, pad, dilation
    ((7, 8), (3, 2), 1, 0, 1),
    ((7, 8), (3, 2), 2, 1, 1),
    ((9, 8), (2, 3), 3, 2, 2),  # some elements belong to no window
    ((4, 5), (1, 1), 1, 0, 1),
    ((5, 5), (1, 1), 2, 0, 1),
    ((3, 2), (5, 4), 1, 2, 1),  # windows larger than the image
    ((2, 2), (1, 1), 2, 3, 1),  # windows that lie outside
    ((5, 6), (2, 2), 4, 0, 3),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("contiguous", [True, False], ids=["contiguous", "fortran"])
@pytest.mark.parametrize("batch", [3, 0])
@pytest.mark.parametrize("row", CONVOLUTIONS, ids=str)
def test_convolution_is_pytorchs(row: Any, batch: int, contiguous: bool, dtype: str) -> None:
    image, window, stride, pad, dilation = row
    rng = np.random.default_rng(0)
    module = CONVOLUTION
    x = contiguous_or_not(rng, (batch, 2, *image), dtype, contiguous)
    w = contiguous_or_not(rng, (4, 2, *window), dtype, contiguous)
    b = rng.standard_normal(4).astype(dtype)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    if batch:
        x_, w_, b_ = leaves
        expected = torch.nn.functional.conv2d(x_, w_, b_, stride=stride, padding=pad, dilation=dilation)
    y, cache = module["forward"](x, w, b, stride=stride, pad=pad, dil=dilation)
    assert y.dtype == dtype
    dy = contiguous_or_not(rng, y.shape, dtype, contiguous)
    before = [a.copy() for a in (x, w, b, dy)]
    gradients = module["backward"](dy, cache)
    for array, old in zip((x, w, b, dy), before, strict=True):
        assert np.array_equal(array, old)
    assert [g.shape for g in gradients] == [x.shape, w.shape, b.shape]
    assert {g.dtype for g in gradients} == {np.dtype(dtype)}
    if not batch:
        assert not gradients.dw.any() and not gradients.db.any()
        return
    tolerance = {"float64": 1e-12, "float32": 2e-5}[dtype]
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    wanted = torch.autograd.grad(expected, leaves, torch.tensor(dy))
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=tolerance, atol=10 * tolerance)


CONVOLUTION = namespace(CONV2D)


@pytest.mark.parametrize(("stride", "pad", "window"), [(1, 0, 3), (2, 1, 3), (3, 2, 4), (4, 0, 2)])
def test_transposed_convolution_is_pytorchs(stride: int, pad: int, window: int) -> None:
    module = namespace(CONV_TRANSPOSE1D)
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 3, 5)), rng.standard_normal((3, 4, window))
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    expected = torch.nn.functional.conv_transpose1d(leaves[0], leaves[1], stride=stride, padding=pad)
    y, cache = module["forward"](x, w, stride=stride, pad=pad)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    wanted = torch.autograd.grad(expected, leaves, torch.tensor(dy))
    for got, want in zip(module["backward"](dy, cache), wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k", "stride", "pad"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (1, 3, 0), (4, 3, 2)])
def test_pooling_is_pytorchs(k: int, stride: int, pad: int) -> None:
    module = namespace(MAX_POOL2D)
    rng = np.random.default_rng(2)
    x = rng.permutation(2 * 3 * 7 * 9).reshape(2, 3, 7, 9).astype(float)  # no ties
    leaf = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.max_pool2d(leaf, k, stride, pad)
    y, cache = module["forward"](x, k=k, stride=stride, pad=pad)
    np.testing.assert_array_equal(y, expected.detach().numpy())
    dy = rng.standard_normal(y.shape)
    (dx,) = module["backward"](dy, cache)
    np.testing.assert_allclose(dx, torch.autograd.grad(expected, leaf, torch.tensor(dy))[0].numpy(), rtol=1e-12)


def test_ties_share_the_gradient_of_a_window() -> None:
    module = namespace(MAX_POOL2D)
    _, cache = module["forward"](np.ones((1, 1, 2, 2)), k=2, stride=2, pad=0)
    (dx,) = module["backward"](np.full((1, 1, 1, 1), 4.0), cache)
    np.testing.assert_array_equal(dx, np.ones((1, 1, 2, 2)))


def test_a_negative_padding_cuts_off() -> None:
    module = CONVOLUTION
    rng = np.random.default_rng(3)
    x, w, b = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((2, 3, 2, 2)), rng.standard_normal(2)
    y, cache = module["forward"](x, w, b, pad=-1)
    inner, inner_cache = module["forward"](x[:, :, 1:-1, 1:-1], w, b)
    np.testing.assert_allclose(y, inner, rtol=1e-14)
    dx = module["backward"](y, cache).dx
    np.testing.assert_allclose(dx[:, :, 1:-1, 1:-1], module["backward"](y, inner_cache).dx, rtol=1e-13)
    dx[:, :, 1:-1, 1:-1] = 0
    assert not dx.any()


def test_a_gradient_shares_no_memory_with_the_cotangent() -> None:
    module = namespace(ROWS["two tensors side by side"][0])
    a, b = np.ones((2, 3)), np.ones((2, 4))
    y, cache = module["forward"](a, b)
    dy = np.ones_like(y)
    for gradient in module["backward"](dy, cache):
        assert not np.shares_memory(gradient, dy)


@pytest.mark.parametrize(
    ("before", "after"), [(0, 0), (2, 1), (-1, 2), (2, -1), (-1, -2), (5, -4), (-4, 5), (6, -9), (0, -3)]
)
def test_padding_and_cutting_reach_any_part(before: int, after: int) -> None:
    pad = CONVOLUTION["_pad"]
    x = np.arange(1, 7).reshape(2, 3)
    found = pad(x, (before, after), fill=-1)
    places = range(-before, 3 + after)
    expected = [[x[row, k] if 0 <= k < 3 else -1 for k in places] for row in range(2)]
    np.testing.assert_array_equal(found, np.array(expected).reshape(2, len(places)))


# What sizes and hyper-parameters have to be


@pytest.mark.parametrize(
    ("hypers", "shape", "named"),
    [
        ({"stride": 0}, (5, 5), "stride"),
        ({"stride": -1}, (5, 5), "stride"),
        ({}, (1, 5), "P"),
        ({}, (5, 1), "Q"),
        ({"pad": -2}, (5, 5), "P"),
    ],
)
def test_a_number_that_leaves_nothing_is_named(hypers: dict[str, int], shape: tuple[int, int], named: str) -> None:
    x, w, b = np.ones((2, 3, *shape)), np.ones((2, 3, 2, 2)), np.ones(2)
    with pytest.raises(ValueError, match=rf"^{named}: expected at least 1, got -?\d+$"):
        CONVOLUTION["forward"](x, w, b, **hypers)


# Memory


@pytest.mark.parametrize("text", [CONV2D, MAX_POOL2D], ids=["conv2d", "max_pool2d"])
def test_no_more_memory_is_held_than_the_docstring_says(text: str) -> None:
    """Measured: what Python and NumPy allocate while backward runs, less the gradients; most of it is really taken."""
    found = parse(text)
    arrays = lower(derive_program(found))
    assert arrays.memory is not None
    sizes = {"N": 4, "C": 6, "H": 30, "W": 28, "F": 8, "R": 3, "S": 3, "P": 30, "Q": 28}
    hypers = {"stride": 1, "pad": 1, "k": 3, "dil": 1}
    numbers = {Size(n): v for n, v in sizes.items()} | {Hyper(n, Kind.INT): v for n, v in hypers.items()}
    said = max(int(e.xreplace(numbers)) for e in arrays.memory[1])
    module = namespace(text)
    rng = np.random.default_rng(0)
    shapes = [tuple(sizes[str(axis)] for axis in p.axes) for p in found.parameters]
    inputs = [rng.standard_normal(shape) for shape in shapes]
    y, cache = module["forward"](*inputs, **{h.name: hypers[h.name] for h in found.hypers})
    dy = np.ones_like(y)
    tracemalloc.start()
    gradients = module["backward"](dy, cache)
    held = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    results = sum(g.size for g in gradients)
    assert held <= (said + results) * 1.02 + 1000
    assert held >= 0.5 * said


# Affine subscripts

H, P, N, D = (Size(name) for name in "HPND")
stride, pad = Hyper("stride", Kind.INT), Hyper("pad", Kind.INT)
p, r, n, d = Index("p", P), Index("r", Integer(3)), Index("n", N), Index("d", D)
RANGES = Ranges(
    [DerivedSize(P, FloorDiv(H + 2 * pad - 3, stride) + 1)], (H, N, D), [Condition(stride - 1, "stride is at least 1")]
)


def test_an_affine_subscript_is_taken_apart() -> None:
    assert affine(p * stride + r - pad) == Affine(-pad, ((p, stride), (r, Integer(1))))
    assert affine(2 * (p - r) + 1) == Affine(Integer(1), ((p, Integer(2)), (r, Integer(-2))))


@pytest.mark.parametrize("expr", [p * r, FloorDiv(p, 2), (pad - stride) * p, sympy.Integer(3), pad], ids=str)
def test_what_is_no_affine_subscript_is_none(expr: Expr) -> None:
    assert affine(expr) is None


def test_the_end_of_a_window_is_bounded_through_the_quotient() -> None:
    form = affine(p * stride + r - pad)
    assert form is not None
    assert RANGES.upper(form.largest - (H - 1)) == pad
    assert form.least == -pad


@pytest.mark.parametrize(
    ("start", "step", "count", "length", "expected"),
    [
        (0, 1, N, N, Span()),
        (1, 1, N, N + 1, Span(Integer(1))),
        (0, 1, N, N + 2, Span(None, Integer(-2))),
        (0, 1, N, D, Span(None, N)),
        (0, 2, N, 2 * N, Span(None, None, Integer(2))),
        (0, 2, N, 2 * N + 1, Span(None, 2 * N, Integer(2))),
        (0, stride, P, H + 2 * pad - 2, Span(None, None, stride)),
        (0, stride, P, H + 2 * pad, Span(None, P * stride, stride)),
        (0, stride, N, (N - 1) * stride + 1, Span(None, None, stride)),
    ],
    ids=str,
)
def test_slices_end_where_the_axis_does(start: Any, step: Any, count: Any, length: Any, expected: Span) -> None:
    found = RANGES.span(*map(sympy.sympify, (start, step, count, length)))
    assert found == expected


def test_digits_number_an_axis_without_gaps() -> None:
    a, b, c = Index("a", N), Index("b", D), Index("c", Integer(2))
    assert RANGES.tight([(c, Integer(1)), (b, Integer(2)), (a, 2 * D)]) == (a, b, c)
    assert RANGES.tight([(c, Integer(1)), (b, Integer(3))]) is None


def test_the_letter_along_which_the_axis_is_long_is_the_position() -> None:
    k = Index("k", Hyper("k", Kind.INT))
    assert RANGES.offsets([(k, Integer(1)), (p, Integer(1))], H)[0][0] == p
    assert RANGES.offsets([(d, Integer(1)), (n, stride)], N)[0][0] == n
