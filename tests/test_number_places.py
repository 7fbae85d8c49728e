"""Reads at places that are numbers: inside, outside or only for some sizes inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from derive.language import parse
from derive.pipeline import build

OUTSIDE = "def f(x: Real[C]):\n    y = padded(x)[-1]\n    return y\n"
PERHAPS = """
def f(x: Real[C], y: Real[N, C]):
    z[n] = padded(x)[2]*padded(y)[n, 1] + padded(y)[n, C]
    return z
"""
CONDITION = "def f(x: Real[C]):\n    y = where(C > 2, x[0], 0)\n    return y\n"
BATCH = "def f(x: Real[..., T], lab: Int):\n    y[...] = x[..., lab]\n    return y\n"
HALF = "def f(x: Real[N, T]):\n    P = T // 2\n    y[n] = x[n, P] + x[n, T - 1] - x[n, 0]\n    return y\n"


def module(text: str) -> tuple[str, dict[str, Callable[..., object]]]:
    source, _ = build(parse(text))
    space: dict[str, Callable[..., object]] = {}
    exec(compile(source, "module", "exec"), space)
    return source, space


@pytest.mark.parametrize("text", [OUTSIDE, PERHAPS, CONDITION, BATCH, HALF])
def test_the_module_passes_its_check(text: str) -> None:
    module(text)


def test_a_place_that_is_proved_inside_is_an_address() -> None:
    source, _ = module(HALF)
    assert "dx[:, P] += dy" in source


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_place_that_only_long_axes_have_reads_the_fill_on_short_ones(length: int) -> None:
    _, space = module(PERHAPS)
    x, y, dz = np.arange(1.0, length + 1), np.full((2, length), 2.0), np.array([1.0, 10.0])
    z, cache = space["forward"](x, y)  # type: ignore[misc]
    dx, dy = space["backward"](dz, cache)  # type: ignore[misc]
    value = 3.0 if length > 2 else 0.0
    one = 2.0 if length > 1 else 0.0
    np.testing.assert_array_equal(z, [value * one] * 2)
    np.testing.assert_array_equal(dx, [one * 11.0 if c == 2 else 0.0 for c in range(length)])
    np.testing.assert_array_equal(dy, [[g * value if c == 1 else 0.0 for c in range(length)] for g in dz])


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_in_place_of_an_element_has_the_type_of_the_tensors(length: int, dtype: type) -> None:
    _, space = module(CONDITION)
    y, _ = space["forward"](np.ones(length, dtype=dtype))  # type: ignore[misc]
    assert y.dtype == dtype
    assert y == float(length > 2)
