"""A formula is read by a name only where its index lies in its range."""

from __future__ import annotations

import pytest
from sympy import Integer

from derive.algebra.nodes import Element, Index, Kind, Size, Tensor
from derive.algebra.places import all_inside
from derive.language import parse
from derive.pipeline import derive_program, inspect

# Each reads its own formula once more at a place that is no place of it.
OUTSIDE = {
    "beyond the last step": (
        """
def power_iteration(a: Real[N, N], v0: Real[N], *, steps: Int = 3):
    K = steps
    v: Real[K, N]
    v[-1, i] = v0[i]
    u[k, i] = sum[j](a[i, j]*v[k-1, j])
    v[k, i] = u[k, i]/norm[j](u[k, j])
    lam = sum[i, j](v[K-1, i]*a[i, j]*v[K-1, j])
    return lam
""",
        "u[K,",
    ),
    "the last element of a longer axis": (
        """
def last(x: Real[H, K], w: Real[K], q: Real[L], v: Real):
    P = H - 1
    g: Real[P]
    g[p] = sum[k](x[p, k]*w[k])
    y = sum[k, l](v*q[l]*x[H - 1, k]*w[k]) + sum[p](g[p]**2)
    return y
""",
        "g[H - 1]",
    ),
    "a gather from a longer axis": (
        """
def gathered(x: Real[H, K], w: Real[K], q: Real[L], t: Int[N], v: Real[N]):
    P = H - 1
    g: Real[P]
    g[p] = sum[k](x[p, k]*w[k])
    y[n] = sum[k, l](v[n]*q[l]*x[t[n], k]*w[k]) + sum[p](g[p]**2)
    return y
""",
        "g[t[n]]",
    ),
    "before the first window": (
        """
def window(x: Real[H, K], w: Real[K], q: Real[L], v: Real):
    P = H - 1
    g: Real[P]
    g[p] = sum[k](x[p, k]*w[k])
    y = sum[k, l](v*q[l]*x[0, k]*w[k]) + sum[p](g[p]**2)
    return y
""",
        "g[0]",  # P may be 0
    ),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_definition_is_folded_back_in_its_range_only(case):
    text, outside = OUTSIDE[case]
    layer = parse(text)
    assert outside not in str(derive_program(layer))
    report = inspect(layer)[1]
    assert report.passed, report.failure()


def test_a_definition_is_folded_back_at_every_place_of_a_whole_axis():
    text = """
def whole(x: Real[H, K], w: Real[K], q: Real[L], t: Int[N], v: Real[N]):
    g[p] = sum[k](x[p, k]*w[k])
    y[n] = sum[k, l](v[n]*q[l]*x[t[n], k]*w[k]) + sum[p](g[p]**2)
    return y
"""
    program = derive_program(parse(text))
    assert str(program.definition("dq").expr) == "sum[n](dy[n]*g[t[n]]*v[n])"


H, P = Size("H"), Size("P")
i, p, r = Index("i", H), Index("p", P), Index("r", Integer(3))
x = Tensor("x")
gathered = Element(Tensor("t", Kind.INT), Index("n", Size("N")))


@pytest.mark.parametrize(
    ("formula", "index", "value", "inside"),
    [
        (Element(x, i), i, H - 1, True),  # the axis of x
        (Element(x, i), i, gathered, True),
        (Element(x, i), i, H, False),
        (Element(x, i), i, Integer(-1), False),
        (Element(x, p), p, H - 1, False),  # a range shorter than the axis
        (Element(x, p), p, gathered, False),
        (Element(x, i + 1), i, Integer(0), False),  # there may be no element at all
        (Element(x, r + 1), r, Integer(2), True),
        (Element(x, r + 1), r, Integer(3), False),
        (Element(x, p), p, Index("q", P), True),
    ],
)
def test_where_a_place_lies(formula, index, value, inside):
    assert all_inside({index: value}, [formula], {"x": (H,)}) is inside


CHOSEN = {
    "chosen(x: Real[N, 2], w: Real[N])": ("y[n] = sum[k](x[n, k]*(k == 0))*w[n]", "dw", "dy[n]*x[n, 0]"),
    "other(f: Real[N], b: Real[N])": ("y: Real[N, 2]\n    y[n, d] = where(d == 0, f[n], b[n])", "db", "dy[n, 1]"),
    "turned(c: Real[N], s: Real[N], x: Real[N, 2])": (
        "y: Real[N, 2]\n    y[n, d] = where(d == 0, c[n]*x[n, 0] - s[n]*x[n, 1], s[n]*x[n, 0] + c[n]*x[n, 1])",
        "dc",
        "dy[n, 0]*x[n, 0] + dy[n, 1]*x[n, 1]",
    ),
}


@pytest.mark.parametrize("signature", CHOSEN)
def test_a_sum_over_what_is_chosen_by_a_constant_reads_it_there(signature):
    body, name, expected = CHOSEN[signature]
    layer = parse(f"def {signature}:\n    {body}\n    return y\n")
    assert str(derive_program(layer).definition(name).expr) == expected
    report = inspect(layer, second=True, jvp=True)[1]
    assert report.passed, report.failure()


def test_a_place_that_may_not_be_there_is_not_read():
    layer = parse("def first(x: Real[N, K], w: Real[N]):\n    y[n] = sum[k](x[n, k]*(k == 0))*w[n]\n    return y\n")
    assert "x[n, 0]" not in str(derive_program(layer).definition("dw"))  # K may be 0
    assert inspect(layer)[1].passed
