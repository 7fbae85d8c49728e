"""Windows in the checks: affine subscripts, padded reads, deltas that are solved for; wrong ones are caught."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest
import sympy
from checked_programs import Checked, at, equation
from checked_windows import (
    PLACE,
    WINDOWS,
    C,
    F,
    L,
    N,
    P,
    R,
    c,
    conv1d,
    conv1d_dx,
    dilation,
    f,
    i,
    n,
    p,
    pad,
    r,
    stride,
    whole,
    windowed,
)
from sympy import Expr

from derive.algebra.functions import And, Eq, FloorDiv, Where
from derive.algebra.nodes import Delta, Hyper, Index, Kind, Max, Padded, Size, Sum
from derive.check import check
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.check.ranges import solved
from derive.check.samples import other_sample, sample
from derive.check.sizes import allowed, choose_instance, choose_other_instance, fits, other_hypers
from derive.check.work import WORK, work
from derive.errors import CheckError
from derive.language import parse
from derive.language.layer import Condition, Layer, Statement
from derive.pipeline import build

A = Size("A")
a, b = Index("a", 9), Index("b", 4)
t = at("t", b, kind=Kind.INT)
step = Hyper("step", Kind.INT)
INSTANCE = Instance({"A": 5}, (), {"step": 2})
X = {(place,): float(place + 1) for place in range(5)}


def values(expr: Expr, *indices: Index) -> list[float]:
    """The elements of a statement with this right side."""
    labels = {(0,): 3, (1,): 0, (2,): 3, (3,): 4}
    result = Evaluator((Statement("out", indices, expr),), INSTANCE).run({"x": X, "t": labels})
    return [float(v) for v in result["out"].values()]


def test_a_subscript_may_be_affine() -> None:
    u = Index("u", 2)
    assert values(at("x", step * u + 1), u) == [2, 4]
    assert values(at("x", A - 1 - u), u) == [5, 4]
    assert values(at("x", FloorDiv(u + 3, 2)), u) == [2, 3]


def test_a_subscript_outside_is_no_wraparound() -> None:
    with pytest.raises(IndexError, match=r"x\[b - 1\] is read at \(-1,\), outside x"):
        values(at("x", b - 1), b)


def test_outside_its_axis_a_padded_read_is_the_fill() -> None:
    u = Index("u", 8)
    assert values(Padded(at("x", u - 1), 0), u) == [0, 1, 2, 3, 4, 5, 0, 0]
    assert values(Max(Padded(at("x", u - 2), -sympy.oo), Index("v", 1)), u)[:3] == [-sympy.oo, -sympy.oo, 1]


DELTAS: dict[str, tuple[Expr, tuple[Index, ...]]] = {
    "a shift": (Delta(i, p - 1), (p,)),
    "a stride": (Delta(i, 2 * p), (p,)),
    "a stride and an offset": (Delta(i, step * p + r - 1), (p, r)),
    "the other way": (Delta(i, 7 - 2 * p), (p,)),
    "a dilation": (Delta(i, p * step + 3 * r), (p, r)),
    "two deltas": (Delta(i, p + r) * Delta(p, 2 * r), (p, r)),
    "one for two axes": (Delta(i, a) * Delta(a, 2 * r + p), (p, r, a)),
    "a gather": (Delta(i, t), (b,)),
    "a gathered target": (Delta(t, a - 1), (a, b)),
    "a factor that counts": (Delta(i, 2 * p) * at("x", p), (p,)),
    "a diagonal": (Delta(p, r), (p, r)),
    "nothing that is summed": (Delta(i, 2) * at("x", p), (p,)),
    "a condition": (Where(Eq(i, 2 * p + r), at("x", r), 0), (p, r)),
    "two conditions": (Where(And(Eq(i, 2 * p + r), Eq(p, r)), at("x", r), 0), (p, r)),
    "a sum of windows": (Delta(i, p + r) * at("x", p) + Delta(i, 2 * p) + at("x", i) / 7, (p, r)),
    "no whole coefficient": (Delta(i, p * r), (p, r)),
    "a coefficient of another index": (Delta(i, FloorDiv(p, 2)), (p,)),
}
LENGTHS = {"i": 5, "p": 3, "r": 4, "a": 9, "b": 4}


@pytest.mark.parametrize("case", DELTAS)
def test_solving_a_delta_gives_what_running_over_everything_does(case: str) -> None:
    """The sum over all values of its indices, one evaluation each, is the reference."""
    body, bound = DELTAS[case]
    letters = {x: Index(x.name, LENGTHS[x.name]) for x in (i, p, r, a, b)}
    body = body.xreplace(letters)
    indices = tuple(letters[x] for x in bound)
    outer = letters[i]
    got = values(Sum(body, *indices), outer)
    every = values(body, outer, *indices)
    inner = len(list(product(*(range(LENGTHS[x.name]) for x in bound))))
    assert got == pytest.approx([sum(every[k * inner : (k + 1) * inner]) for k in range(LENGTHS["i"])])
    assert any(got)


def test_only_what_can_be_solved_for_is() -> None:
    assert solved(conv1d_dx(PLACE)) in ({p}, {r})
    assert solved(Sum(Delta(i, p * r), p, r)) == frozenset()
    assert solved(Sum(Delta(i, p) + at("x", p), p)) == frozenset()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("checked", WINDOWS, ids=lambda c: str(c.layer.name))
def test_right_windows_pass(checked: Checked, seed: int) -> None:
    report = check(checked.layer, checked.program, checked.text, seed=seed)
    assert report.passed, report.failure()


# Sizes


def convolution(axes: int) -> Layer:
    """A convolution over some axes."""
    letters = [tuple(Size(f"{name}{axis}") for name in "LRP") for axis in range(axes)]
    along = [tuple(Index(size.name.lower(), size) for size in row) for row in letters]
    places = [q * stride + o * dilation - pad for _, o, q in along]
    windows, outs = [o for _, o, _ in along], [q for _, _, q in along]
    read = Padded(at("x", n, c, *places), 0)
    body = at("b", f) + Sum(read * at("w", f, c, *windows), c, *windows)
    derived = {out: FloorDiv(length + 2 * pad - dilation * (r - 1) - 1, stride) + 1 for length, r, out in letters}
    shapes = {"x": (N, C, *(row[0] for row in letters)), "w": (F, C, *(row[1] for row in letters)), "b": (F,)}
    return windowed(f"conv{axes}d", shapes, derived, (equation("y", n, f, *outs, body),), conv1d.layer.hypers)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_sizes_of_windows_are_small_and_differ_within_a_tensor(axes: int) -> None:
    layer = convolution(axes)
    first = choose_instance(layer)
    second = choose_other_instance(layer, first, other_hypers(layer), exact=False)
    for instance in (first, second):
        assert work(layer, instance) <= WORK
        assert min(instance.sizes.values()) >= (2 if axes < 3 else 1)
    equal = [{(a, b) for a, b in combinations(s.sizes, 2) if s.sizes[a] == s.sizes[b]} for s in (first, second)]
    beside = {
        pair for axes in (("N", "C"), ("F", "C"), ("N", "F"), ("L0", "L1"), ("R0", "R1"), ("P0", "P1"))
        for pair in (axes, axes[::-1])
    }  # fmt: skip
    assert not equal[0] & equal[1] & beside


def test_the_second_sizes_leave_more_over_than_the_padding_covers() -> None:
    layer = conv1d.layer
    found = other_sample(layer, sample(layer, choose_instance(layer), 0), 1).instance
    assert found.hypers == {"stride": 3, "dilation": 2, "pad": 1}
    assert (found.sizes["L"] + 2 - 2 * (found.sizes["R"] - 1) - 1) % 3 == 2


def test_hyper_parameters_that_leave_no_window_keep_their_defaults() -> None:
    """With a step of 2 it would read outside."""
    q = Index("q", P)
    layer = windowed("f", {"x": (L,)}, {P: L - step}, (equation("y", q, at("x", q + 1)),), (whole("step", 1),))
    found = other_sample(layer, sample(layer, choose_instance(layer), 0), 1).instance
    assert found.hypers == {"step": 2}
    narrow = windowed("f", {"x": (L,)}, {P: L - 1}, (equation("y", q, at("x", q + step)),), (whole("step", 1),))
    found = other_sample(narrow, sample(narrow, choose_instance(narrow), 0), 1).instance
    assert found.hypers == {"step": 1}


# Conditions


def conditioned(*conditions: Condition) -> Layer:
    """The convolution with conditions of its own."""
    return replace(conv1d.layer, conditions=conditions)


AT_LEAST = (Condition(stride - 1, "stride is at least 1"), Condition(P - 1, "P is at least 1"))


def test_sizes_fulfil_the_conditions() -> None:
    layer = conditioned(*AT_LEAST, Condition(N - 9, "N is at least 9"), Condition(2 * C - L, "L is at most 2*C"))
    first = choose_instance(layer)
    assert allowed(layer, first)
    assert first.sizes["N"] >= 9
    assert first.sizes["L"] <= 2 * first.sizes["C"]


def test_sizes_that_break_a_condition_do_not_fit() -> None:
    layer = conditioned(*AT_LEAST)
    instance = choose_instance(layer)
    shapes = {"x": (2, 3, 5), "w": (4, 3, 5), "b": (4,)}
    assert fits(layer, instance, shapes)
    assert not fits(layer, instance, {**shapes, "w": (4, 3, 6)})
    assert not allowed(layer, replace(instance, hypers={**instance.hypers, "stride": 0}))


def test_conditions_that_no_sizes_fulfil_are_named() -> None:
    with pytest.raises(CheckError, match="so that P is at least 1, N is at least 99"):
        choose_instance(conditioned(Condition(N - 99, "N is at least 99")))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("stride < 1", "stride < 0", "'stride': 0, 'dilation': 1, 'pad': 0}: expected a ValueError, got ZeroDivision"),
        ("P < 1", "False", "'dilation': 2, 'pad': 0}: expected a ValueError, got none"),
        (
            "P < 1",
            "P < 2",
            "L = 4, F = 5, R = 4, P = 1, {'stride': 1, 'dilation': 1, 'pad': 0}: expected a result, got V",
        ),
    ],
)
def test_code_with_other_bounds_than_the_conditions_is_caught(old: str, new: str, problem: str) -> None:
    text = conv1d.edited(
        "    P = (L + 2*pad", '    if stride < 1:\n        raise ValueError("stride")\n    P = (L + 2*pad'
    )
    layer = conditioned(*AT_LEAST)
    assert check(layer, replace(conv1d.program, layer=layer), text).passed
    report = check(layer, replace(conv1d.program, layer=layer), text.replace(old, new))
    (row,) = report.failures
    assert row.method == "sizes and hyper-parameters are refused exactly where they are out of bounds"
    assert problem in row.note


def test_every_place_of_a_window_comes_to_lie_inside() -> None:
    """With a dilation of 4 and an axis of 3, only the first place of a causal window would ever be read."""
    u = Index("u", L)
    body = Sum(Padded(at("x", u - dilation * r), 0) * at("w", r), r)
    layer = windowed("f", {"x": (L,), "w": (R,)}, {}, (equation("y", u, body),), (whole("dilation", 4),))
    layer = replace(layer, conditions=(Condition(dilation - 1, "dilation is at least 1"),))
    sizes = choose_instance(layer).sizes
    assert sizes["L"] > 4 * (sizes["R"] - 1)


def test_a_bound_at_which_the_formula_divides_by_0_is_no_failure() -> None:
    made = parse(
        "def grid(x: Real[N], *, P: Int = 4):\n"
        "    A = P\n"
        "    y: Real[N, A]\n"
        "    y[n, a] = x[n]*(2*a/(A - 1) - 1)\n"
        "    return y\n"
    )
    assert build(made)[1].passed
