"""Solved deltas against the sum over every window and offset, by brute force."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import product

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from sympy import Expr, Integer, S

from derive.algebra.functions import FloorDiv, Mod
from derive.algebra.nodes import Delta, Element, Hyper, Index, Kind, Padded, Size, Sum, Tensor
from derive.algebra.windows import Condition, Quotient, SolvedSum, solve, solved
from derive.render.bounds import certain

H, P, R, Q = (Size(name) for name in "HPRQ")
stride, pad, dilation, kernel = (Hyper(name, Kind.INT) for name in ("stride", "pad", "dilation", "kernel"))
i, j, p, r, q, s = (Index(name, size) for name, size in zip("ijprqs", (H, H, P, R, P, R), strict=True))


def read(name: str, *subscripts: Expr) -> Element:
    return Element(Tensor(name), *subscripts)


def number(expr: Expr, values: Mapping[Expr, int]) -> int:
    """Evaluate an integer expression; a quotient has to come out even."""
    if expr in values:
        return values[expr]
    if expr.is_Integer:
        return int(expr)
    parts = [number(a, values) for a in expr.args]
    if isinstance(expr, Quotient):
        assert parts[0] % parts[1] == 0
        return parts[0] // parts[1]
    if isinstance(expr, FloorDiv):
        return parts[0] // parts[1]
    if isinstance(expr, Mod):
        return parts[0] % parts[1]
    if isinstance(expr, Delta):
        return int(parts[0] == parts[1])
    if isinstance(expr, sympy.Add):
        return sum(parts)
    assert isinstance(expr, sympy.Mul), expr
    out = 1
    for part in parts:
        out *= part
    return out


AXES = {"dy": (P,), "w": (R,), "dy2": (P, P), "w2": (R, R), "x": (H,)}


def value(expr: Expr, values: Mapping[Expr, int]) -> int:
    """Evaluate a product of deltas and elements; an element that is read lies inside its axes."""
    out = 1
    for factor in sympy.Mul.make_args(expr):
        if isinstance(factor, Element):
            places = [number(f, values) for f in factor.subscripts]
            sizes = [values[a] for a in AXES[factor.name]]
            assert all(0 <= at < size for at, size in zip(places, sizes, strict=True)), (factor, places)
            out *= 1 + sum((at + 1) * 37**k for k, at in enumerate(places)) + len(factor.name)
        else:
            out *= number(factor, values)
    return out


def ranges(indices: tuple[Index, ...], values: Mapping[Expr, int]) -> list[dict[Expr, int]]:
    sizes = [range(number(index.size, values)) for index in indices]
    return [dict(zip(indices, places, strict=True)) for places in product(*sizes)]


def brute(expr: Sum, values: Mapping[Expr, int]) -> int:
    total = 0
    for places in ranges(expr.indices, values):
        here = {**values, **places}
        deltas = [f for f in sympy.Mul.make_args(expr.body) if isinstance(f, Delta)]
        if all(number(d, here) for d in deltas):  # elsewhere an element may lie outside
            total += value(expr.body, here)
    return total


def holds(condition: Condition, values: Mapping[Expr, int]) -> bool:
    quotient = Fraction(number(condition.numerator, values), number(condition.divisor, values))
    return quotient.denominator == 1 and (condition.size is None or 0 <= quotient < number(condition.size, values))


def through(form: SolvedSum, values: Mapping[Expr, int]) -> int:
    total = 0
    for places in ranges(form.indices, values):
        here = {**values, **places}
        if all(holds(c, here) for c in form.conditions):
            total += value(form.body, here)
    return total


small = st.integers(1, 5)


@given(st.integers(-4, 4), st.integers(-3, 3), st.integers(-4, 4), st.integers(-2, 2), small, small, st.integers(1, 9))
def test_a_letter_solved_for_is_where_the_delta_is_one(
    a: int, b: int, constant: int, c: int, windows: int, offsets: int, length: int
) -> None:
    delta = Delta(c * i, a * p + b * r + constant)
    assume(isinstance(delta, Delta))
    solution = solve(delta, p)
    assert (solution is None) == (a == 0)
    if solution is None:
        return
    assert solution.condition.divides == (abs(a) != 1)
    sizes: dict[Expr, int] = {P: windows, R: offsets, H: length}
    for places in ranges((i, r), sizes):
        values = {**sizes, **places}
        ones = [at for at in range(windows) if number(delta, {**values, p: at})]
        assert ones == ([number(solution.value, values)] if holds(solution.condition, values) else [])


@given(
    st.integers(-3, 4).filter(bool), st.integers(-2, 3).filter(bool), st.integers(-3, 3),
    small, small, st.integers(1, 12), st.booleans(),
)  # fmt: skip
def test_a_solved_window_sum_is_the_sum_over_all_windows(
    step: int, spread: int, border: int, windows: int, offsets: int, length: int, symbolic: bool
) -> None:
    place = p * stride + r * dilation - pad if symbolic else p * step + r * spread - border
    expr = Sum(read("dy", p) * read("w", r) * read("x", place) * Delta(i, place), p, r)
    form = solved(expr)
    assert form is not None and not form.body.has(Delta)
    sizes: dict[Expr, int] = {P: windows, R: offsets, H: length, stride: step, dilation: spread, pad: border}
    for at in range(length):
        assert through(form, {**sizes, i: at}) == brute(expr, {**sizes, i: at})


@given(
    st.integers(-3, 3).filter(bool), st.integers(-2, 2), st.integers(-3, 3).filter(bool), st.integers(-2, 2),
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.booleans(),
)  # fmt: skip
def test_several_deltas_of_one_product_are_solved_together(
    step: int, border: int, other: int, far: int, windows: int, offsets: int, length: int, shared: bool
) -> None:
    first, second = p * step + r - border, (r if shared else s) * other + q - far
    expr = Sum(read("dy2", p, q) * read("w2", r, s) * Delta(i, first) * Delta(j, second), p, q, r, s)
    form = solved(expr)
    assert form is not None and not form.body.has(Delta)
    sizes: dict[Expr, int] = {P: windows, R: offsets, H: length}
    for places in ranges((i, j), sizes):
        assert through(form, {**sizes, **places}) == brute(expr, {**sizes, **places})


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 12), st.integers(-3, 3))
def test_windows_side_by_side_hold_each_place_once(width: int, windows: int, length: int, border: int) -> None:
    offset = Index("r", kernel)
    place = p * kernel + offset - pad
    expr = Sum(read("dy", p) * read("x", place) * Delta(i, place), p, offset)
    form = solved(expr)
    assert form is not None and form.indices == ()
    assert form.body == read("dy", FloorDiv(i + pad, kernel)) * read("x", i)
    sizes: dict[Expr, int] = {P: windows, H: length, kernel: width, pad: border}
    for at in range(length):
        assert through(form, {**sizes, i: at}) == brute(expr, {**sizes, i: at})


@pytest.mark.parametrize(
    ("delta", "letter", "numerator", "divisor"),
    [
        (Delta(i, p + r - pad), p, i - r + pad, 1),
        (Delta(i, p * stride + r - pad), r, i + pad - p * stride, 1),
        (Delta(i, p * stride + r - pad), p, i + pad - r, stride),
        (Delta(i, r - 2 * p), p, r - i, 2),
        (Delta(i, p * H + r), p, i - r, H),
        (Delta(i, H - 1 - p), p, H - 1 - i, 1),
        (Delta(p * stride + r, 2 * p), p, -r, stride - 2),
    ],
    ids=str,
)
def test_solutions_are_exact(delta: Delta, letter: Index, numerator: Expr, divisor: Expr) -> None:
    solution = solve(delta, letter)
    assert solution is not None
    assert sympy.expand(solution.condition.numerator / solution.condition.divisor - numerator / divisor) == 0
    assert solution.condition.divides == (divisor != 1)


@pytest.mark.parametrize(
    "delta",
    [
        Delta(i, Element(Tensor("t", Kind.INT), p)),
        Delta(i, FloorDiv(p, 2)),
        Delta(i, p * r),
        Delta(i, p**2),
        Delta(i, p * Element(Tensor("t", Kind.INT), r)),
        Delta(i, p * Hyper("scale") + r),
        Delta(i, r),
    ],
    ids=str,
)
def test_what_is_not_affine_in_a_letter_is_not_solved(delta: Delta) -> None:
    assert solve(delta, p) is None


def test_a_delta_no_letter_is_solved_for_stays() -> None:
    labels = Element(Tensor("t", Kind.INT), p)
    assert solved(Sum(read("dy", p) * Delta(i, labels), p)) is None
    form = solved(Sum(read("dy", p) * read("w", r) * Delta(i, labels) * Delta(j, p + r), p, r))
    assert form is not None
    assert form.body.has(Delta) and form.indices == (r,)


def test_sums_inside_the_product_are_merged_and_their_letters_kept_apart() -> None:
    inner = Sum(read("w", r) * Delta(i, p + r), r)
    expr = Sum(read("dy", p) * inner * Sum(read("w", r), r), p)
    form = solved(expr)
    assert form is not None
    sizes: dict[Expr, int] = {P: 3, R: 2, H: 4}
    flat = Sum(read("dy", p) * read("w", r) * Delta(i, p + r) * read("w", s), p, r, s)
    for at in range(4):
        want = brute(flat, {**sizes, i: at})
        whole = Sum(form.body, *form.indices)
        got = 0
        for places in ranges(form.indices, sizes):
            here = {**sizes, **places, i: at}
            if all(holds(c, here) for c in form.conditions):
                got += _nested(whole.body, here)
        assert got == want


def _nested(expr: Expr, values: Mapping[Expr, int]) -> int:
    out = 1
    for factor in sympy.Mul.make_args(expr):
        if isinstance(factor, Sum):
            out *= sum(_nested(factor.body, {**values, **places}) for places in ranges(factor.indices, values))
        else:
            out *= value(factor, values)
    return out


def test_a_padded_read_at_the_place_itself_needs_no_padding() -> None:
    place = p + r - pad
    form = solved(Sum(read("dy", p) * read("w", r) * Padded(read("x", place), Integer(0)) * Delta(i, place), p, r))
    assert form is not None
    assert form.body == read("dy", i + pad - r) * read("w", r) * read("x", i)
    assert form.conditions == (Condition(i + pad - r, S.One, P),)


def test_what_is_read_at_the_place_of_the_delta_is_read_at_its_letter() -> None:
    place = p * stride + r * dilation - pad
    form = solved(Sum(read("dy", p) * read("x", place) * Delta(i, place), p, r))
    assert form is not None
    assert form.body == read("dy", Quotient(i + pad - r * dilation, stride)) * read("x", i)


def test_the_letter_that_comes_first_by_the_order_is_solved_for() -> None:
    expr = Sum(read("dy", p) * read("w", r) * Delta(i, p + r), p, r)
    for letter, left in ((p, r), (r, p)):
        form = solved(expr, order=lambda index, letter=letter: index != letter)  # type: ignore[misc]
        assert form is not None and form.indices == (left,)


@given(
    st.integers(-3, 3), st.integers(-2, 2), st.integers(-3, 3), st.integers(-1, 2), st.integers(-2, 2), small, small,
)  # fmt: skip
def test_a_bound_that_is_left_out_holds(
    a: int, b: int, constant: int, times: int, more: int, windows: int, offsets: int
) -> None:
    # An axis of times*P + more elements, as a derived size would have.
    sizes: dict[Expr, int] = {P: windows, R: offsets}
    size = times * P + more
    below, above = certain(a * p + b * r + constant, H, {H: size})
    assume(times * windows + more > 0)
    sizes[H] = times * windows + more
    for places in ranges((p, r), sizes):
        value = a * places[p] + b * places[r] + constant
        assert value >= 0 or not below
        assert value < sizes[H] or not above


def test_bounds_that_hold_are_found() -> None:
    assert certain(2 * p + r, H, {H: 2 * P + R}) == (True, True)
    assert certain(i - 1, P, {P: H - 1}) == (False, True)
    assert certain(p + 1, H, {P: H - 1}) == (True, True)
    assert certain(i, P, {}) == (True, False)
    assert certain(i - p * stride, P, {}) == (False, False)
