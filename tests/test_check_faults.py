"""Seeded faults in windows and recurrences: each must be caught, in the formulas and in the code."""

from __future__ import annotations

import pytest
import sympy
from checked_loops import LSTM_DC, N, T, g, i, j, k, linear_recurrence, lstm, n, recurrence, rnn, t
from checked_programs import Checked, at, equation, program_of
from checked_windows import (
    PLACE,
    POOL_PLACE,
    conv1d,
    conv1d_dx,
    dilation,
    maxpool1d,
    maxpool1d_dx,
    p,
    pad,
    r,
    stride,
    window,
)
from checked_windows import c as channel
from checked_windows import f as filters
from checked_windows import n as sample_of
from sympy import Expr

from derive.algebra.functions import Eq, FloorDiv, Sigmoid, Where
from derive.algebra.nodes import Delta, Index, Padded, Sum
from derive.check import check
from derive.check.report import Row
from derive.language.layer import Carry, Statement

xi = Index("i", conv1d.layer.parameters[0].axes[2])


def read(place: Expr, fill: Expr | int = 0) -> Padded:
    """The input of the convolution, read at another place."""
    return Padded(at("x", sample_of, channel, place), fill)


def dw(padded: Expr) -> Expr:
    """The gradient of the filters from what is read."""
    return Sum(at("dy", sample_of, filters, p) * padded, sample_of, p)


# A floor where the division must be exact: every remainder lands
_rounded = Sum(
    at("dy", sample_of, filters, p) * at("w", filters, channel, r)
    * Delta(p, FloorDiv(xi + pad - r * dilation, stride)),
    filters, p, r,
)  # fmt: skip
_gate = Sigmoid(at("a", t, n, 1, j))

# (what is right, the statement that is not, its wrong right side, the gradient that must show it)
FORMULAS: dict[str, tuple[Checked, str, Expr, str]] = {
    "dx one place too far": (conv1d, "dx", conv1d_dx(PLACE + 1), "dx"),
    "dx one place too near": (conv1d, "dx", conv1d_dx(PLACE - 1), "dx"),
    "dx without the padding": (conv1d, "dx", conv1d_dx(PLACE + pad), "dx"),
    "dx without the dilation": (conv1d, "dx", conv1d_dx(p * stride + r - pad), "dx"),
    "dx without the stride": (conv1d, "dx", conv1d_dx(p + r * dilation - pad), "dx"),
    "dx with the wrong phase": (conv1d, "dx", conv1d_dx(p * stride + r * dilation - pad * stride), "dx"),
    "dx with the filter reversed": (conv1d, "dx", conv1d_dx(p * stride - r * dilation + pad), "dx"),
    "dx without divisibility": (conv1d, "dx", _rounded, "dx"),
    "dw without the padding": (conv1d, "dw", dw(read(PLACE + pad)), "dw"),
    "dw without the stride": (conv1d, "dw", dw(read(p + r * dilation - pad)), "dw"),
    "dw with another fill": (conv1d, "dw", dw(read(PLACE, 1)), "dw"),
    "db without a sum": (conv1d, "db", Sum(at("dy", sample_of, filters, 0), sample_of), "db"),
    "a pool one place too far": (maxpool1d, "dx", maxpool1d_dx(POOL_PLACE + 1, at("ties", sample_of, p)), "dx"),
    "a pool without the padding": (maxpool1d, "dx", maxpool1d_dx(POOL_PLACE + pad, at("ties", sample_of, p)), "dx"),
    "a pool in the wrong phase": (maxpool1d, "dx", maxpool1d_dx(p + window - pad, at("ties", sample_of, p)), "dx"),
    "a carry forgotten": (linear_recurrence, "dx", at("dh", t, n), "dx"),
    "a carry of the same step": (linear_recurrence, "da", at("dx", t, n) * at("h", t, n), "da"),
    "the factor of the wrong step": (linear_recurrence, "dh_next", at("dx", t, n) * at("h", t, n), "dx"),
    "the start of the wrong step": (linear_recurrence, "dh0", at("dh_next", 1, n), "dh0"),
    "the start's factor missing": (linear_recurrence, "dh0", at("dx", 0, n), "dh0"),
    "the network's carry forgotten": (rnn, "dh_total", at("dh", t, n, j), "dx"),
    "the state instead of the earlier one": (rnn, "dwh", Sum(at("da", t, n, j) * at("h", t, n, k), t, n), "dwh"),
    "the start missing in a sum": (
        rnn, "dwh", Sum(at("da", t, n, j) * Where(Eq(t, 0), 0, at("h", t - 1, n, k)), t, n), "dwh",
    ),
    "a matrix transposed": (rnn, "dh_next", Sum(at("da", t, n, j) * at("wh", j, k), j), "dh0"),
    "the last step left out": (rnn, "db", Sum(Padded(at("da", t + 1, n, j), 0), t, n), "db"),
    "the cell's carry forgotten": (lstm, "dc_total", LSTM_DC - at("dc_next", t + 1, n, j), "dc0"),
    "the output's path to the cell forgotten": (
        lstm, "dc_total", at("dc", t, n, j) + at("dc_next", t + 1, n, j), "dc0",
    ),
    "the cell's start passed twice": (lstm, "dc_next", 2 * at("dc_total", t, n, j) * _gate, "dc0"),
    "a gate left out": (lstm, "dx", Sum(at("da", t, n, 0, j) * at("wx", i, 0, j), j), "dx"),
    "the wrong gate's state": (
        lstm, "dwh", Sum(at("da", t, n, g, j) * at("c", t - 1, n, k), t, n), "dwh",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMULAS)
def test_a_wrong_formula_is_caught(case: str) -> None:
    checked, name, expr, gradient = FORMULAS[case]
    report = check(checked.layer, checked.wrong(name, expr), None)
    assert gradient in {row.name for row in report.failures}, report.failure()


def _with_carry(checked: Checked, name: str, carry: Carry | None) -> list[Row]:
    """The rows that fail where a statement of the backward has another carry."""
    from dataclasses import replace

    statements = [replace(s, carry=carry) if s.name == name else s for s in checked.program.backward]
    report = check(checked.layer, replace(checked.program, backward=tuple(statements)), None)
    return list(report.failures)


def test_a_start_that_is_not_zero_is_caught() -> None:
    assert {row.name for row in _with_carry(rnn, "dh_next", Carry(t, -1, sympy.Integer(1)))} >= {"dx", "dh0"}


def test_a_statement_that_is_no_recurrence_but_reads_itself_is_caught() -> None:
    (row,) = _with_carry(rnn, "dh_next", None)
    assert "outside dh_next" in row.note


def test_a_recurrence_in_the_wrong_direction_is_caught() -> None:
    (row,) = _with_carry(rnn, "dh_next", Carry(t, 1, sympy.Integer(0)))
    assert "outside dh_next" in row.note


def test_a_gradient_that_needs_itself_is_caught() -> None:
    wrong = rnn.wrong("dh_total", at("dh", t, n, j) + at("dh_next", t, n, j))
    (row,) = check(rnn.layer, wrong, None).failures
    assert "depends on itself" in row.note


def test_a_gradient_of_a_stop_between_steps_needs_no_carry() -> None:
    """Truncated to one step: differences do not pass through ``stop_gradient``, in a recurrence either."""
    from derive.algebra.functions import StopGradient

    stopped: tuple[Statement, ...] = (
        recurrence(at("h0", n), 1, "h", t, n, at("a", t, n) * StopGradient(at("h", t - 1, n)) + at("x", t, n)),
    )
    from dataclasses import replace

    layer = replace(linear_recurrence.layer, statements=stopped)
    backward = (
        equation("dx", t, n, at("dh", t, n)),
        equation("da", t, n, at("dh", t, n) * at("h", t - 1, n)),
        equation("dh0", n, 0 * at("h0", n)),
    )
    assert T in layer.sizes and N in layer.sizes
    report = check(layer, program_of(layer, backward), None)
    assert report.passed, report.failure()


# (the module, what is written, what is written instead)
CODE: dict[str, tuple[Checked, str, str]] = {
    "a window of the output one place too far": (conv1d, "pad : pad + L], dw", "pad + 1 : pad + 1 + L], dw"),
    "no padding cut off": (conv1d, "dpadded[:, :, pad : pad + L]", "dpadded[:, :, :L]"),
    "another default": (conv1d, "stride=1, dilation=1, pad=0):", "stride=1, dilation=1, pad=1):"),
    "gradients overwritten": (conv1d, "] += dcolumns[:, :, r]", "] = dcolumns[:, :, r]"),
    "the stride forgotten": (
        conv1d, "dpadded[:, :, r*dilation : r*dilation + stride*(P - 1) + 1 : stride]",
        "dpadded[:, :, r*dilation : r*dilation + P]",
    ),
    "the dilation forgotten": (
        conv1d, "dpadded[:, :, r*dilation : r*dilation + stride*(P - 1) + 1 : stride]",
        "dpadded[:, :, r : r + stride*(P - 1) + 1 : stride]",
    ),
    "the rest of a stride forgotten": (
        conv1d, "np.zeros((N, C, L + 2*pad), dcolumns.dtype)",
        "np.zeros((N, C, min(L + 2*pad, stride*(P - 1) + dilation*(R - 1) + 1)), dcolumns.dtype)",
    ),
    "a size that is not looked at": (conv1d, "if sizes.setdefault(axis,", "if 0*sizes.setdefault(axis,"),
    "a cotangent that is not looked at": (lstm, "!= shapes:", "== []:"),
    "a step too many": (rnn, "for t in range(T):", "for t in range(max(T, 1)):"),
    "no single step": (rnn, "    h[0] = h0\n", "    h[0] = h0 if T > 1 else 0\n"),
    "padding that may be the largest": (maxpool1d, "constant_values=-np.inf", "constant_values=0"),
    "the start forgotten": (rnn, "    h[0] = h0\n", "    h[0] = 0\n"),
    "time forwards": (rnn, "for t in reversed(range(len(dh))):", "for t in range(len(dh)):"),
    "no carry": (rnn, "        dh_next = da[t] @ wh.T\n", ""),
    "the later state": (rnn, '"tnk,tnj->kj", h[:-1]', '"tnk,tnj->kj", h[1:]'),
    "a cache that is written to": (linear_recurrence, "dx = np.empty_like(dh)", "dx = h[1:]"),
    "a cell that is not carried": (lstm, "        dc_next = dct*f[t]\n", ""),
    "the cell's start forgotten": (lstm, "Gradients(dx, dh_next, dc_next, ", "Gradients(dx, dh_next, 0*dc_next, "),
}  # fmt: skip


@pytest.mark.parametrize("case", CODE)
def test_wrong_code_is_caught(case: str) -> None:
    checked, old, new = CODE[case]
    report = check(checked.layer, checked.program, checked.edited(old, new))
    assert not report.passed
    assert all(row.subject == "code" for row in report.failures)
