"""Right formulas pass, and every wrong one is caught and placed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sympy
from checked_programs import (
    ALL,
    ATTENTION_DQ,
    ATTENTION_DS,
    BATCH,
    BATCHNORM_DX,
    CROSS_ENTROPY_DZ,
    SOFTMAX_DZ,
    C,
    Checked,
    D,
    E,
    N,
    T,
    V,
    at,
    attention,
    batchnorm,
    c,
    cross_entropy,
    d,
    embedding,
    equation,
    k,
    layer_of,
    m,
    n,
    program_of,
    s,
    softmax,
    square,
    t,
)
from sympy import Expr, Rational

from derive.algebra.functions import And, Clip, Ge, Relu, Round, StopGradient
from derive.algebra.nodes import Delta, Hyper, Index, Kind, LogSoftmax, Mean, Sum
from derive.check import check
from derive.check.samples import piecewise_sample, sample
from derive.check.sizes import choose_instance
from derive.errors import CheckError
from derive.language import load
from derive.language.layer import HyperParameter
from derive.pipeline import derive_program

i, j = Index("i", D), Index("j", D)
label = at("t", n, kind=Kind.INT)
dp, p = at("dp", BATCH, t, s), at("p", BATCH, t, s)

# (what is right, the statement that is not, its wrong right side, the gradient that must show it)
WRONG: dict[str, tuple[Checked, str, Expr, str]] = {
    "a missing sum": (batchnorm, "dbeta", at("dy", 0, d), "dbeta"),
    "a missing term": (batchnorm, "dx", at("gamma", d) * at("rstd", d) * at("dy", n, d), "dx"),
    "a factor": (batchnorm, "dx", BATCHNORM_DX * 2, "dx"),
    "a factor of one in 1e12": (batchnorm, "dx", BATCHNORM_DX * (1 + Rational(1, 10**12)), "dx"),
    "a sign": (batchnorm, "dgamma", -Sum(at("dy", n, d) * at("xhat", n, d), n), "dgamma"),
    "a mean for a sum": (batchnorm, "dbeta", Mean(at("dy", n, d), n), "dbeta"),
    "eps left out": (
        batchnorm, "dx", BATCHNORM_DX * at("rstd", d) * sympy.sqrt(at("var", d) + Hyper("eps") / 2), "dx",
    ),
    "the wrong statistic": (batchnorm, "dx", BATCHNORM_DX / at("rstd", d) * at("var", d), "dx"),
    "N of another axis": (batchnorm, "dx", BATCHNORM_DX * N / D, "dx"),
    "the sum over the wrong axis": (batchnorm, "dbeta", Sum(at("dy", n, j), n, j), "dbeta"),
    "a wrong axis, out of range": (batchnorm, "dgamma", Sum(at("dy", d, n) * at("xhat", n, d), n), "batchnorm"),
    "a transposed square matrix": (square, "dx", Sum(at("g", n, j) * at("w", j, i), j), "dx"),
    "a transposed square gradient": (square, "dw", Sum(at("x", n, j) * at("g", n, i), n), "dw"),
    "no mask": (square, "g", at("dy", n, j), "dx"),
    "the mask of the other sign": (square, "g", at("dy", n, j) * Ge(0, at("y", n, j)), "dx"),
    "no label": (cross_entropy, "dz", CROSS_ENTROPY_DZ + Delta(c, label) * at("dloss") / N, "dz"),
    "a label of another sample": (
        cross_entropy, "dz", CROSS_ENTROPY_DZ + (Delta(c, label) - Delta(c, at("t", 0, kind=Kind.INT))) * at("dloss"),
        "dz",
    ),
    "divided by the classes": (cross_entropy, "dz", CROSS_ENTROPY_DZ * N / C, "dz"),
    "the cotangent forgotten": (cross_entropy, "dz", CROSS_ENTROPY_DZ / at("dloss"), "dz"),
    "the diagonal only": (softmax, "dz", at("y", BATCH, c) * at("dy", BATCH, c) * (1 - at("y", BATCH, c)), "dz"),
    "the sum over a batch axis too": (
        softmax, "dz", SOFTMAX_DZ - Sum(at("dy", BATCH, k) * at("y", BATCH, k), BATCH, k), "dz",
    ),
    "the scale forgotten": (attention, "dq", ATTENTION_DQ * sympy.sqrt(D), "dq"),
    "the scale of another axis": (attention, "dq", ATTENTION_DQ * sympy.sqrt(D) / sympy.sqrt(E), "dq"),
    "the row sum over queries": (attention, "ds", p * (dp - Sum(p * dp, t)), "dq"),
    "the row sum of another product": (attention, "ds", ATTENTION_DS + p * Sum(dp, s) / 100, "dq"),
    "queries that see the future": (attention, "dv", Sum(at("dy", BATCH, t, Index("e", E)), t), "dv"),
    "an assignment for a sum": (
        embedding, "dw", Delta(Index("r", V), at("tokens", 0, kind=Kind.INT)) * at("dy", 0, d), "dw",
    ),
    "a forward that is another function": (softmax, "y", SOFTMAX_DZ * 0 + 1 / C, "y"),
    "a forward off in the twentieth digit": (
        batchnorm, "y", at("gamma", d) * at("xhat", n, d) + at("beta", d) + Rational(1, 10**20), "y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("checked", ALL, ids=lambda c: c.layer.name)
def test_right_formulas_pass(checked: Checked, seed: int) -> None:
    report = check(checked.layer, checked.program, None, seed=seed)
    assert report.passed, report.failure()
    assert [row.name for row in report.rows] == [*checked.program.outputs, *(g for _, g in checked.program.gradients)]
    assert all(row.absolute < 1e-28 for row in report.rows)


@pytest.mark.parametrize("case", WRONG, ids=lambda name: name.replace(" ", "-"))
def test_a_wrong_formula_is_caught_where_it_is_wrong(case: str) -> None:
    checked, statement, expr, shows = WRONG[case]
    report = check(checked.layer, checked.wrong(statement, expr), None)
    assert shows in [row.name for row in report.failures], report.rows


@pytest.mark.parametrize("checked", ALL, ids=lambda c: c.layer.name)
def test_every_single_gradient_is_looked_at(checked: Checked) -> None:
    for _, name in checked.program.gradients:
        found = checked.program.definition(name)
        report = check(checked.layer, checked.wrong(name, found.expr * (1 + Rational(1, 10**9))), None)
        assert name in [row.name for row in report.failures]


def test_one_wrong_element_of_many_is_found_and_placed() -> None:
    """With more elements than are tried one by one, the random direction tells, and the search finds the place."""
    found = attention.program.definition("dv")
    spike = Delta(s, 2) * Delta(Index("e", E), 3) / 10**6
    report = check(attention.layer, attention.wrong("dv", found.expr * (1 + spike)), None)
    (row,) = report.failures
    assert row.name == "dv"
    assert row.where.startswith("dv[")
    assert row.where.endswith(", 2, 3]")
    assert row.relative == pytest.approx(1e-6, rel=1e-4)


def test_the_failure_says_place_values_errors_tolerance_and_seed() -> None:
    report = check(cross_entropy.layer, cross_entropy.wrong("dz", CROSS_ENTROPY_DZ * 2), None, seed=5)
    (row,) = report.failures
    assert row.value == pytest.approx(2 * row.reference)
    text = report.failure()
    assert text == (
        f"{row.where}: formula (50 digits) against central differences, step 1e-18: "
        f"{row.value!r} against {row.reference!r}, absolute error {row.absolute:.3g}, "
        f"relative error 1, tolerance {row.tolerance:.3g}\n"
        "seed 5, N = 3, C = 4"
    )


def test_a_gradient_with_the_axes_of_another_tensor_is_refused() -> None:
    swapped = equation("dw", Index("i", D), n, at("x", n, i))
    program = replace(square.program, backward=(*square.program.backward[:2], swapped))
    (row,) = check(square.layer, program, None).failures
    assert row.note == "shape (4, 3), expected (4, 4), that of w"


def test_a_gradient_that_is_not_defined_is_refused() -> None:
    program = replace(square.program, backward=square.program.backward[:2])
    (row,) = check(square.layer, program, None).failures
    assert (row.name, row.note) == ("dw", "the program does not define it")


def test_a_gradient_that_is_no_number_fails() -> None:
    program = square.wrong("dx", Sum(at("g", n, j) * at("w", i, j), j) + sympy.log(-sympy.exp(at("x", n, i))))
    (row,) = check(square.layer, program, None).failures
    assert row.name == "dx"
    assert row.value != row.value


def test_a_gradient_that_is_zero_by_cancellation_passes() -> None:
    """The bias before a softmax over the samples' mean has no influence: 0 against 1e-33."""
    layer = layer_of(
        "shift",
        {"z": (Kind.REAL, (N, C)), "b": (Kind.REAL, (N,))},
        (equation("y", n, c, LogSoftmax(at("z", n, c) + at("b", n), (c,), (c,))),),
    )
    row_sum = Sum(at("dy", n, k), k)
    right = (
        equation("dz", n, c, at("dy", n, c) - sympy.exp(at("y", n, c)) * row_sum),
        equation("db", n, Sum(at("dz", n, c), c)),
    )
    report = check(layer, program_of(layer, right), None)
    assert report.passed, report.failure()


def test_two_outputs_and_a_scalar_parameter() -> None:
    layer = layer_of(
        "pair",
        {"x": (Kind.REAL, (N,)), "a": (Kind.REAL, ())},
        (equation("y", n, at("a") * at("x", n)), equation("z", Sum(at("y", n) ** 2, n) * at("a"))),
        ("y", "z"),
    )
    g = equation("g", n, at("dy", n) + 2 * at("dz") * at("a") * at("y", n))
    dx = equation("dx", n, at("a") * at("g", n))
    da = equation("da", Sum(at("g", n) * at("x", n), n) + at("dz") * Sum(at("y", m) ** 2, m))
    program = program_of(layer, (g, dx, da))
    assert check(layer, program, None).passed
    lost = replace(program, backward=(g, dx, equation("da", Sum(at("g", n) * at("x", n), n))))
    assert [row.name for row in check(layer, lost, None).failures] == ["da"]


def test_the_kink_of_relu_does_not_fail_a_right_formula() -> None:
    """Whatever the seed: inputs are drawn away from it."""
    layer = layer_of("r", {"x": (Kind.REAL, (N, D))}, (equation("y", n, d, Relu(at("x", n, d))),))
    program = program_of(layer, (equation("dx", n, d, at("dy", n, d) * Ge(at("x", n, d), 0)),))
    assert all(check(layer, program, None, seed=seed).passed for seed in range(8))


def test_a_layer_without_finite_values_cannot_be_checked() -> None:
    layer = layer_of("no", {"x": (Kind.REAL, (T,))}, (equation("y", t, sympy.log(-sympy.exp(at("x", t)))),))
    with pytest.raises(CheckError):
        check(layer, program_of(layer, (equation("dx", t, at("dy", t)),)), None)


def test_a_piece_that_normal_inputs_never_reach_is_tried() -> None:
    """clip(x, 0, 6): the gradient above 6 is 0, and wrong if only the lower bound is looked at."""
    layer = layer_of("relu6", {"x": (Kind.REAL, (N,))}, (equation("y", n, Clip(at("x", n), 0, 6)),))
    right = at("dy", n) * And(Ge(at("x", n), 0), Ge(6, at("x", n)))
    assert check(layer, program_of(layer, (equation("dx", n, right),)), None).passed
    report = check(layer, program_of(layer, (equation("dx", n, at("dy", n) * Ge(at("x", n), 0)),)), None)
    (row,) = report.failures
    assert (row.name, row.reference) == ("dx", 0)


def test_a_default_of_one_hides_no_factor() -> None:
    alpha = Hyper("alpha")
    layer = layer_of(
        "scaled",
        {"x": (Kind.REAL, (N,))},
        (equation("y", n, sympy.tanh(at("x", n) / alpha)),),
        hypers=(HyperParameter("alpha", Kind.REAL, 1.0),),
    )
    dx = at("dy", n) * (1 - at("y", n) ** 2)
    assert check(layer, program_of(layer, (equation("dx", n, dx / alpha),)), None).passed
    (row,) = check(layer, program_of(layer, (equation("dx", n, dx),)), None).failures
    assert row.name == "dx"


def test_a_hyper_parameter_that_must_keep_its_default_keeps_it() -> None:
    """sqrt(a - 1) exists for the default alone: smaller values leave no finite results."""
    layer = layer_of(
        "edge",
        {"x": (Kind.REAL, (N,))},
        (equation("y", n, at("x", n) * sympy.sqrt(Hyper("a") - 1)),),
        hypers=(HyperParameter("a", Kind.REAL, 1.2),),
    )
    program = program_of(layer, (equation("dx", n, at("dy", n) * sympy.sqrt(Hyper("a") - 1)),))
    assert check(layer, program, None).passed


def test_differences_do_not_pass_through_stop_gradient() -> None:
    """The straight-through estimator: x + stop_gradient(round(x) - x) is round(x), with derivative 1."""
    x = at("x", n)
    layer = layer_of("ste", {"x": (Kind.REAL, (N,))}, (equation("y", n, x + StopGradient(Round(x) - x)),))
    assert check(layer, program_of(layer, (equation("dx", n, at("dy", n)),)), None).passed
    assert not check(layer, program_of(layer, (equation("dx", n, 0 * at("dy", n)),)), None).passed


def test_wide_inputs_need_no_second_choice_where_nothing_is_in_pieces() -> None:
    assert piecewise_sample(softmax.layer, sample(softmax.layer, choose_instance(softmax.layer), 0), 0) is None


@pytest.mark.parametrize("name", ["linear", "layernorm", "cross_entropy_smoothed", "huber_loss", "tiny_mlp", "celu"])
def test_a_thousandth_of_a_millionth_off_is_caught_in_any_statement_of_a_derived_backward(name: str) -> None:
    layer = load(name)
    program = derive_program(layer)
    assert check(layer, program, None).passed
    for number, found in enumerate(program.backward):
        wrong = replace(found, expr=found.expr * (1 + Rational(1, 10**9)))
        backward = (*program.backward[:number], wrong, *program.backward[number + 1 :])
        assert not check(layer, replace(program, backward=backward), None).passed, str(found)
