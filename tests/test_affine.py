"""Subscripts are written in a person's order."""

from __future__ import annotations

import pytest
from sympy import Expr

from derive.algebra.affine import affine_factors, affine_terms, is_affine
from derive.algebra.functions import FloorDiv, Gt
from derive.algebra.letters import readable
from derive.algebra.nodes import Element, Hyper, Index, Kind, Max, Padded, Size, Sum, Tensor
from derive.algebra.text import show

H, P, R, T = (Size(name) for name in "HPRT")
stride, pad, k = (Hyper(name, Kind.INT) for name in ("stride", "pad", "k"))
i, j, p, r, t, a = (Index(name, size) for name, size in zip("ijprta", (H, H, P, R, T, k), strict=True))
x = Element(Tensor("x"), i)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (p * stride + r - pad, "p*stride + r - pad"),
        (j + 2 * t - 1, "2*t + j - 1"),
        (r + 2 * p - 1, "2*p + r - 1"),
        (i + pad - p * stride - 1, "i + pad - p*stride - 1"),
        (1 - r + i, "i - r + 1"),
        (T - 1 - t, "T - 1 - t"),
        (pad - r, "pad - r"),
        (a + p, "p + a"),
        (r * k + p * stride - pad, "p*stride + r*k - pad"),
        (-t - 1, "-t - 1"),
        (k * FloorDiv(i, k) + r, "k*(i // k) + r"),
        (2 * p * stride, "2*p*stride"),
        (-p * H, "-p*H"),
    ],
    ids=str,
)
def test_a_subscript_is_written_in_a_persons_order(expr: Expr, text: str) -> None:
    assert show(expr) == text
    assert show(Padded(Element(Tensor("x"), expr), 0)) == f"padded(x)[{text}]"


def test_a_sum_of_tensors_is_no_subscript() -> None:
    assert not is_affine(x + i)
    assert not is_affine(stride + pad)
    assert is_affine(Element(Tensor("t", Kind.INT), i) + i)
    assert affine_factors(2 * i * x) is None and affine_factors(3 * i) is None


def test_letters_come_in_the_order_that_is_asked_for() -> None:
    terms = affine_terms(i + 2 * r - 1, order=lambda index: index.name)
    assert terms == [(False, i), (False, 2 * r), (True, 1)]


def test_a_reduction_gives_the_range_of_a_letter_that_stands_at_no_axis_alone() -> None:
    assert show(Max(Element(Tensor("x"), p * k + a), a)) == "max[a: k](x[p*k + a])"
    assert show(Sum(Gt(i, j) * x, i, j)) == "sum[i, j: H](x[i]*(i > j))"


def test_a_bound_letter_is_no_tensors_and_no_hyper_parameters_name() -> None:
    numbered = Index("k'1", k)
    assert show(readable(Max(Element(Tensor("x"), p * k + numbered), numbered), (p,))) == "max[j: k](x[p*k + j])"
    other = Index("x'2", H)
    assert "sum[k]" in show(readable(Sum(Element(Tensor("x"), other), other)))
