"""The element-by-element evaluation, against sums and functions taken by hand."""

from __future__ import annotations

import math

import pytest
import sympy
from checked_programs import C, D, N, V, at, attention, c, d, equation, k, layer_of, n, softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr, Rational

from derive.algebra.functions import (
    And,
    FloorDiv,
    Gt,
    Le,
    Lgamma,
    Log1p,
    Lt,
    Maximum,
    Mod,
    Or,
    Relu,
    Round,
    Where,
    XLogY,
)
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    ArgMax,
    Delta,
    Hyper,
    Index,
    Kind,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Prod,
    Softmax,
    Std,
    Sum,
    Var,
)
from derive.check.contexts import floats, multiprecision
from derive.check.evaluate import Evaluator, evaluate_layer
from derive.check.instance import Instance
from derive.language.layer import Statement

SIZES = Instance({"N": 2, "D": 3, "C": 4, "V": 5}, (2, 3), {"eps": 0.5, "p": 3, "flag": True})
X = {(i, j): float(3 * i + j - 2) for i in range(2) for j in range(3)}  # rows -2 -1 0 and 1 2 3


def value(expr: Expr, *indices: Index, context: object = None, **arrays: object) -> object:
    """The value of a statement with this right side: a number, or a dictionary where it has indices."""
    given = {"x": X, **arrays}
    result = Evaluator((Statement("out", indices, expr),), SIZES, context).run(given)["out"]
    return result if indices else result[()]


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        (Sum, [-3, 6]), (Mean, [-1, 2]), (Prod, [0, 6]), (Max, [0, 3]), (Min, [-2, 1]), (ArgMax, [2, 2]),
        (Var, [2 / 3, 2 / 3]), (Std, [math.sqrt(2 / 3)] * 2), (Norm, [math.sqrt(5), math.sqrt(14)]),
        (LogSumExp, [math.log(sum(map(math.exp, row))) for row in ((-2, -1, 0), (1, 2, 3))]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("context", [floats(), multiprecision()], ids=["floats", "multiprecision"])
def test_a_reduction_takes_the_rows(reduction: type, expected: list[float], context: object) -> None:
    rows = value(reduction(at("x", n, d), d), n, context=context)
    assert [float(rows[i,]) for i in range(2)] == pytest.approx(expected, rel=1e-14)


def test_a_reduction_over_two_indices_takes_all_their_values() -> None:
    assert value(Sum(at("x", n, d) ** 2, n, d)) == 19


def test_softmax_is_read_where_it_is_asked_for() -> None:
    expected = [math.exp(v) / sum(map(math.exp, (-2, -1, 0))) for v in (-2, -1, 0)]
    rows = value(Softmax(at("x", n, d), (d,), (d,)), n, d)
    assert [float(rows[0, j]) for j in range(3)] == pytest.approx(expected, rel=1e-14)
    logs = value(LogSoftmax(at("x", n, d), (d,), (sympy.Integer(2),)), n)
    assert float(logs[0,]) == pytest.approx(math.log(expected[2]), rel=1e-14)


def test_a_masked_score_has_no_weight() -> None:
    e = Index("e", D)
    rows = value(Softmax(Where(Le(d, n), at("x", n, d), -sympy.oo), (d,), (e,)), n, e)
    assert rows[0, 0] == 1
    assert rows[0, 1] == 0


def test_a_bound_letter_shadows_the_one_outside() -> None:
    """sum[n](x[n, d]) inside a statement over n, and again inside another sum over n."""
    column = Sum(at("x", n, d), n)
    rows = value(at("x", n, d) + column + Sum(at("x", n, d) * column, n), n, d)
    assert rows[1, 2] == 3 + 3 + 3 * 3


def test_only_the_selected_branch_is_evaluated() -> None:
    label = at("t", n, kind=Kind.INT)
    rows = value(Where(Lt(label, D), at("x", n, label), 7), n, t={(0,): 1, (1,): 99})
    assert [rows[0,], rows[1,]] == [-1, 7]


def test_and_or_stop_at_what_decides_them() -> None:
    label = at("t", n, kind=Kind.INT)
    outside = Gt(at("x", n, label), 0)
    rows = value(And(Lt(label, D), outside) + 10 * Or(Lt(3, label), outside), n, t={(0,): 1, (1,): 99})
    assert [rows[0,], rows[1,]] == [0, 10]


def test_a_gather_reads_the_labelled_element() -> None:
    rows = value(at("x", n, at("t", n, kind=Kind.INT)), n, t={(0,): 2, (1,): 0})
    assert [rows[0,], rows[1,]] == [0, 1]


def test_a_read_outside_is_an_error_that_names_it() -> None:
    with pytest.raises(IndexError, match=r"x\[n, t\[n\]\] is read at \(1, 3\), outside x"):
        value(at("x", n, at("t", n, kind=Kind.INT)), n, t={(0,): 2, (1,): 3})


def test_a_delta_of_zero_hides_what_it_multiplies() -> None:
    label = at("t", n, kind=Kind.INT)
    expr = Sum(Delta(d, label) * sympy.log(at("x", n, d)), d)
    rows = value(expr, n, t={(0,): 2, (1,): 0}, x={**X, (0, 2): 1.0})
    assert [rows[0,], rows[1,]] == [0, 0]


def test_the_batch_is_one_index_over_any_number_of_axes() -> None:
    total = Sum(at("z", BATCH, d), BATCH)
    keys = [((i, j), m) for i in range(2) for j in range(3) for m in range(3)]
    column = value(total, d, z={key: float(number) for number, key in enumerate(keys)})
    assert [column[j,] for j in range(3)] == [45, 51, 57]
    assert value(BATCH_SIZE * at("z"), z={(): 1.0}) == 6
    assert SIZES.position(((1, 2), 0)) == (1, 2, 0)
    assert SIZES.shape((BATCH_SIZE, D)) == (2, 3, 3)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (N / D, 2 / 3), (at("s") ** -1, 0.25), (at("s") ** -2, 1 / 16), (at("s") ** Rational(-1, 2), 0.5),
        (sympy.sqrt(at("s")), 2), (at("s") ** Rational(1, 3), 4 ** (1 / 3)), (at("s") ** Hyper("p", Kind.INT), 64),
        (at("s") * Hyper("eps"), 2), (Hyper("flag", Kind.BOOL) + at("s"), 5), (sympy.exp(at("s")), math.exp(4)),
        (sympy.pi + sympy.E, math.pi + math.e), (Rational(1, 3) + 0 * at("s"), 1 / 3), (FloorDiv(C * D, V), 2),
        (Mod(C * D, V), 2), (Maximum(at("s"), 9), 9), (Log1p(at("s")), math.log(5)), (Round(at("s") / 8), 0),
        (XLogY(0 * N, at("s") - 9), 0), (Relu(-at("s")), 0), (Lgamma(at("s")), math.log(6)),
        (sympy.Abs(-at("s")), 4), (at("s") ** at("s"), 256), (sympy.polygamma(1, at("s")), math.pi**2 / 6 - 49 / 36),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("context", [floats(), multiprecision()], ids=["floats", "multiprecision"])
def test_arithmetic_and_functions(expr: Expr, expected: float, context: object) -> None:
    assert float(value(expr, s={(): 4.0}, context=context)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    "expr",
    [
        sympy.log(at("s")), sympy.sqrt(at("s")), at("s") ** Rational(1, 3), 1 / (at("s") + 4), Log1p(at("s")),
        sympy.asin(at("s")), XLogY(at("s"), at("s")), sympy.digamma(at("s")), sympy.acos(at("s") / 2),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("context", [floats(), multiprecision()], ids=["floats", "multiprecision"])
def test_outside_its_domain_a_function_is_no_number(expr: Expr, context: object) -> None:
    result = value(expr, s={(): -4.0}, context=context)
    assert result != result


def test_the_forms_are_evaluated_as_written() -> None:
    """log(1 + exp(x)) of -200 needs more than 50 digits: the textbook form gives 0, the stable one does not."""
    x = at("s")
    assert value(sympy.log(1 + sympy.exp(x)), s={(): -200.0}) == 0
    assert value(Log1p(sympy.exp(x)), s={(): -200.0}) > 0


def test_fifty_digits_are_right() -> None:
    digits = "1.6487212707001281468486507878141635716537761007101"
    assert multiprecision().nstr(value(sympy.exp(at("s")), s={(): 0.5}), 50) == digits


def test_mpmaths_own_precision_is_left_alone() -> None:
    import mpmath

    multiprecision()
    assert mpmath.mp.dps == 15


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["q", "k", "v"]), st.integers(0, 3), st.floats(-2, 2))
def test_a_perturbed_run_equals_a_fresh_one(name: str, place: int, step: float) -> None:
    """Only what depends on the input is computed again; tables that read it are emptied, before and after."""
    layer = attention.layer
    instance = Instance({"T": 2, "D": 2, "S": 3, "E": 2}, (2,), {})
    keys = {p.name: instance.keys(p.axes) for p in layer.parameters}
    inputs = {p: {key: math.sin(7 * i + len(p)) for i, key in enumerate(ks)} for p, ks in keys.items()}
    evaluator = Evaluator(layer.statements, instance, floats())
    plain = evaluator.run(inputs)
    moved = {**inputs[name], keys[name][place]: step}
    assert evaluator.perturbed(name, moved) == evaluate_layer(layer, instance, {**inputs, name: moved}, floats())
    assert evaluator.perturbed(name, inputs[name]) == plain


def test_the_distance_from_kinks_and_poles_is_noted() -> None:
    statements = (
        equation("a", n, d, Relu(at("x", n, d) - Rational(9, 4))),
        equation("b", n, Max(at("x", n, d), d)),
        equation("e", n, d, sympy.log(at("x", n, d) + 2 + Rational(1, 8))),
    )
    evaluator = Evaluator(statements, SIZES, floats(), watch=True)
    evaluator.run({"x": X})
    assert (evaluator.kink, evaluator.edge) == (0.25, 0.125)


def test_comparisons_of_indices_and_structural_ties_are_no_kinks() -> None:
    m = Index("m", N)
    statements = (
        equation("a", n, m, Where(Le(n, m), at("x", n, 0), 0)),
        equation("b", n, m, sympy.Abs(at("x", n, 0) - at("x", m, 0))),
    )
    evaluator = Evaluator(statements, SIZES, floats(), watch=True)
    evaluator.run({"x": X})
    assert evaluator.kink == 3


def test_a_whole_layer_gives_every_name() -> None:
    instance = Instance({"C": 3}, (2, 2), {})
    arrays = evaluate_layer(
        softmax.layer, instance, {"z": dict.fromkeys(instance.keys((BATCH_SIZE, C)), 2.0)}, floats()
    )
    assert set(arrays) == {"z", "y"}
    assert all(v == pytest.approx(1 / 3) for v in arrays["y"].values())


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(AssertionError, match="no evaluation"):
        value(sympy.besselj(0, at("s")), s={(): 1.0})


def test_a_name_read_before_it_is_defined_is_refused() -> None:
    layer = layer_of("late", {"x": (Kind.REAL, (N,))}, (equation("y", n, at("later", n) + at("x", n)),))
    with pytest.raises(AssertionError, match="later is read before it is defined"):
        evaluate_layer(layer, Instance({"N": 2}, (), {}), {"x": {(0,): 1.0, (1,): 2.0}})


def test_reductions_are_computed_once_for_the_indices_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """mean over n of x[n, d] inside a loop over n and d: one mean a d."""
    calls = 0
    context = multiprecision()
    original = context.fsum

    def counted(values: list[object]) -> object:
        nonlocal calls
        calls += 1
        return original(values)

    monkeypatch.setattr(context, "fsum", counted)
    value(at("x", n, d) - Mean(at("x", n, d), n), n, d)
    assert calls == 3


def test_unused_letters_do_not_matter() -> None:
    assert value(Sum(at("x", n, 0) + 0 * k, n, c)) == -4
