"""What a function computes twice is computed once, and only where that is the same."""

from __future__ import annotations

import pytest

import derive
from derive.pipeline import build_module
from tests.repeated import repeated

GATE = """\
def gate(x: Real[N, D], z: Real[N, D]):
    a[n, d] = exp(x[n, d]) * (1 - z[n, d])
    b[m, e] = x[m, e] * (1 - z[m, e]) + a[m, e]
    return b
"""


def test_a_part_that_occurs_twice_gets_a_name_whatever_its_letters_are() -> None:
    text = build_module(derive.parse(GATE))
    assert "    one_minus_z = 1 - z\n    a = exp_x * one_minus_z\n    b = a + x * one_minus_z\n" in text
    assert "    dx = db * (1 - z) * (1 + exp_x)\n" in text  # once in backward


def test_an_array_that_is_written_to_in_between_is_not_shared() -> None:
    """softmax goes on in the array of its exponentials: ``p`` before and after are two things."""
    layer = derive.parse(
        "def twice(x: Real[N, C]):\n    p[n, c] = softmax[c](x[n, c])\n    q[n, c] = exp(p[n, c]) * p[n, c]\n"
        "    y[n, c] = q[n, c] + softmax[c](q[n, c])\n    return y\n"
    )
    _, report = derive.build(layer)
    assert report.passed


def test_two_gradients_of_one_formula_are_two_arrays() -> None:
    layer = derive.parse("def both(x: Real[N], z: Real[N]):\n    y[n] = exp(x[n] + z[n])\n    return y\n")
    text, _ = derive.build(layer)
    assert "dx = dy * y" in text
    assert "dz = dx.copy()" in text


@pytest.mark.parametrize("name", ["gru_cell", "focal_loss", "prelu", "geglu", "hardswish", "dice_loss"])
def test_the_catalogue_computes_nothing_twice(name: str) -> None:
    assert repeated(build_module(derive.load(name))) == []
