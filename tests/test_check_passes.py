"""Further derivatives in the checks: every statement of theirs is looked at, at other hyper-parameters too."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
from sympy import Rational

from derive.calculus.program import Pass, Program
from derive.check import check
from derive.check.demand import CircularError
from derive.check.evaluate import Evaluator
from derive.check.passes import check_pass_formulas
from derive.check.samples import sample
from derive.check.sizes import choose_instance
from derive.language import parse
from derive.language.layer import Statement
from derive.pipeline import derive_program, inspect

LAYERS = {
    "conv1d": """
def conv1d(x: Real[N, C, L], w: Real[F, C, R], *, stride: Int = 1, pad: Int = 0):
    P = (L + 2*pad - R) // stride + 1
    y: Real[N, F, P]
    y[n, f, p] = tanh(sum[c, r](padded(x)[n, c, p*stride + r - pad]*w[f, c, r]))
    return y
""",
    "rnn": """
def rnn(x: Real[T, N, I], h0: Real[N, H], wx: Real[I, H], wh: Real[H, H]):
    h[-1, n, j] = h0[n, j]
    h[t, n, j] = tanh(sum[i](x[t, n, i]*wx[i, j]) + sum[k](h[t-1, n, k]*wh[k, j]))
    return h
""",
    "squared": """
def squared(x: Real[N, D], w: Real[D]):
    loss = mean[n](exp(sum[d](x[n, d]*w[d]))**2)
    return loss
""",
}


@lru_cache(maxsize=8)
def derived(name: str) -> Program:
    """The program of a layer, with all its further derivatives."""
    return derive_program(parse(LAYERS[name]), jvp=True, second=True)


def with_statements(program: Program, function: Pass, statements: tuple[Statement, ...]) -> Program:
    """The program with other statements in one of its further functions."""
    other = replace(function, statements=statements)
    return replace(program, passes=tuple(other if f is function else f for f in program.passes))


@pytest.mark.parametrize("name", LAYERS)
def test_a_thousandth_of_a_millionth_off_is_caught_in_any_statement(name: str) -> None:
    program = derived(name)
    at = sample(program.layer, choose_instance(program.layer), 0)
    assert all(row.passed for row in check_pass_formulas(program.layer, program, at, 0))
    for function in program.passes:
        for place, statement in enumerate(function.statements):
            off = replace(statement, expr=statement.expr * (1 + Rational(1, 10**9)))
            statements = (*function.statements[:place], off, *function.statements[place + 1 :])
            rows = check_pass_formulas(program.layer, with_statements(program, function, statements), at, 0)
            assert not all(row.passed for row in rows), f"{function.name}: {statement}"


def test_a_fault_that_shows_at_other_hyper_parameters_alone_is_caught() -> None:
    program = derived("conv1d")
    layer = program.layer
    (jvp,) = (f for f in program.passes if f.name == "jvp")
    stride = next(h.symbol for h in layer.hypers if h.name == "stride")
    off = tuple(replace(s, expr=s.expr * stride) for s in jvp.statements)
    at = sample(layer, choose_instance(layer), 0)
    wrong = with_statements(program, jvp, off)
    assert all(row.passed for row in check_pass_formulas(layer, wrong, at, 0))
    report = check(layer, wrong, None)
    assert {row.name for row in report.failures} == {"y_dot"}
    assert all("P = " in row.note for row in report.failures)


def test_a_statement_that_needs_itself_is_a_row_and_no_crash() -> None:
    program = derived("rnn")
    (jvp,) = (f for f in program.passes if f.name == "jvp")
    stuck = tuple(replace(s, expr=s.expr + s.target) for s in jvp.statements)
    at = sample(program.layer, choose_instance(program.layer), 0)
    with pytest.raises(CircularError):
        Evaluator((*program.forward, *stuck), at.instance).run(
            {**at.inputs, **{name: at.inputs[like] for name, like in jvp.given}}
        )
    (row,) = check_pass_formulas(program.layer, replace(with_statements(program, jvp, stuck), passes=(
        replace(jvp, statements=stuck),
    )), at, 0)  # fmt: skip
    assert not row.passed
    assert "depends on itself" in row.note


@pytest.mark.parametrize("name", LAYERS)
def test_code_of_further_derivatives_is_compared_in_both_precisions(name: str) -> None:
    _, report = inspect(parse(LAYERS[name]), jvp=True, second=True)
    assert report.passed, report.failure()
    results = {result for function in derived(name).passes for _, result in function.results}
    seen = {(row.name, row.precision) for row in report.rows if row.name in results}
    assert seen == {(result, precision) for result in results for precision in ("50 digits", "float64", "float32")}
