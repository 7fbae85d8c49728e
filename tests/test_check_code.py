"""Right modules pass, and every wrong one is caught: numbers, dtypes, shapes, side effects."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from checked_programs import (
    ALL,
    BATCH,
    C,
    Checked,
    N,
    at,
    attention,
    batchnorm,
    c,
    cross_entropy,
    embedding,
    equation,
    layer_of,
    module,
    n,
    program_of,
    softmax,
    square,
)
from rich.console import Console

from derive.algebra.functions import Round, StopGradient
from derive.algebra.nodes import BATCH_SIZE, ArgMax, Delta, Kind, Max
from derive.check import Report, check, table
from derive.language import parse
from derive.pipeline import build

# (module, what is replaced, by what, text that the failure must contain)
WRONG: dict[str, tuple[Checked, str, str, str]] = {
    "a gradient by a factor": (batchnorm, "rstd / N * (N", "rstd / D * (N", "D"),
    "a sign": (batchnorm, "- dbeta -", "+ dbeta -", "dx["),
    "a sum over the wrong axis": (softmax, "(dy * y).sum(axis=-1", "(dy * y).sum(axis=0", "dz["),
    "a sum over every axis": (softmax, "(dy * y).sum(axis=-1, keepdims=True)", "(dy * y).sum()", "dz["),
    "a forward that differs": (softmax, "y /= y.sum(axis=-1, keepdims=True)", "y /= y.sum()", "y["),
    "an assignment for a sum": (embedding, "np.add.at(dw, tokens, dy)", "dw[tokens] = dy", "dw["),
    "a transposed square matrix": (square, "g @ w.T", "g @ w", "dx["),
    "the scale forgotten": (attention, ".sum(axis=-1, keepdims=True)) * scale", ".sum(axis=-1, keepdims=True))", "dq["),
    "one shape only": (attention, "np.swapaxes(ds, -1, -2)", "np.einsum('abts->abst', ds)", "ValueError"),
    "a wrong shape": (batchnorm, "dbeta = dy.sum(axis=0)", "dbeta = dy.sum(axis=0, keepdims=True)", "shape (1, 4)"),
    "float64 in float32": (batchnorm, "np.sqrt(", "np.sqrt(np.float64(1) * ", "dtype float64, expected float32"),
    "a gradient in float64": (embedding, "dy.dtype", "np.float64", "dtype float64, expected float32"),
    "float32 in float64": (softmax, "np.exp(z - ", "np.exp(z.astype(np.float32) - ", "y["),
    "half precision on the way": (square, "g @ w.T", "(g.astype(np.float16) @ w.T).astype(g.dtype)", "dx["),
    "an input modified": (square, "y = np.maximum(x @ w, 0)", "y = np.maximum(x @ w, 0); x /= 3", "inputs"),
    "the cotangent modified": (square, "g = dy * (y > 0)", "g = dy; g *= y > 0", "not modified"),
    "the cache modified": (cross_entropy, "dz = np.exp(logp)", "dz = np.exp(logp, out=logp)", "cache"),
    "contiguous inputs only": (
        square, "y = np.maximum(x @ w, 0)", "y = np.maximum(x @ w, 0) if x.flags.c_contiguous else 0 * (x @ w)",
        "non-contiguous",
    ),
    "gradients in another order": (square, "dx: Any\n    dw: Any", "dw: Any\n    dx: Any", "d"),
    "two batch axes only": (attention, "scale = cache", "scale = cache; q[0, 0, 0, 0]", "Error"),
    "one batch axis by number": (
        softmax, "return Gradients(y * (dy - ", "y = y + 0.1 * (y.ndim > 3)\n    return Gradients(y * (dy - ",
        "the number of batch axes does not matter",
    ),
    "an empty batch of no number": (
        softmax, "return Gradients(", "return Gradients(np.zeros((1, 3))) if not dy.size else Gradients(",
        "an empty batch is handled or refused",
    ),
    "an exception": (square, "return y, (x, w, y)", "raise RuntimeError('no')", "the code raised RuntimeError: no"),
    "no module": (square, "import numpy as np", "import no_such_module", "ModuleNotFoundError"),
    "no syntax": (square, "def forward(x, w):", "def forward(x, w)", "SyntaxError"),
    "not a number": (square, "return Gradients(g @ w.T", "return Gradients(g @ w.T * np.nan", "nan against"),
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("checked", ALL, ids=lambda c: c.layer.name)
def test_right_code_passes(checked: Checked, seed: int) -> None:
    report = check(checked.layer, checked.program, checked.text, seed=seed)
    assert report.passed, report.failure()


@pytest.mark.parametrize("case", WRONG, ids=lambda name: name.replace(" ", "-"))
def test_wrong_code_is_caught(case: str) -> None:
    checked, old, new, shows = WRONG[case]
    report = check(checked.layer, checked.program, checked.edited(old, new))
    assert not report.passed
    assert shows in report.failure()
    assert all(row.subject == "code" for row in report.failures)


def methods(report: Report) -> dict[str, list[bool]]:
    """Whether the rows of each method were run."""
    result: dict[str, list[bool]] = {}
    for row in report.rows:
        result.setdefault(row.method, []).append(row.ran)
    return result


def test_both_precisions_and_both_differences_are_reported() -> None:
    report = check(batchnorm.layer, batchnorm.program, batchnorm.text)
    ran = methods(report)
    assert ran["the formula in 50 digits"] == [True] * 8  # 4 names, 2 precisions
    assert ran["central differences of the code, step 1e-5"] == [True] * 3
    assert ran["complex step of the code, 1e-30"] == [True] * 3
    assert [r.compared for r in report.rows if r.name == "dx" and r.precision == "float32"] == [3 * 4 + 6 * 5]
    assert {row.precision for row in report.rows} == {"50 digits", "float64", "float32", "float64, float32"}


def test_the_complex_step_takes_scalars() -> None:
    made = parse("def scaled(x: Real[N], a: Real):\n    y[n] = a*x[n]**2\n    return y\n")
    assert methods(build(made)[1])["complex step of the code, 1e-30"] == [True] * 2


def test_float32_is_as_good_as_float32_can_be() -> None:
    rows = check(softmax.layer, softmax.program, softmax.text).rows
    single = [row for row in rows if row.precision == "float32"]
    assert all(0 < row.absolute < row.tolerance < 2e-5 for row in single)


def test_the_complex_step_is_left_out_where_a_function_is_not_analytic() -> None:
    rows = [r for r in check(square.layer, square.program, square.text).rows if "complex" in r.method]
    assert [row.note for row in rows] == ["not run: relu is not analytic"] * 2


def test_the_complex_step_is_left_out_where_the_code_refuses_complex_numbers() -> None:
    text = softmax.edited("    _expect(z)\n", "    if z.dtype.kind != 'f': raise ValueError('z: real numbers only')\n")
    rows = [r for r in check(softmax.layer, softmax.program, text).rows if "complex" in r.method]
    assert [row.note for row in rows] == [
        "not run: the code does not take complex numbers (ValueError: z: real numbers only)"
    ]


@pytest.mark.parametrize(
    ("returned", "call"), [("tensors[0]", "z = _expect(z)"), ("[*tensors]", "z, = _expect(z)"), ("3", "_expect(z)")]
)
def test_the_complex_step_takes_validation_that_returns_the_arrays(returned: str, call: str) -> None:
    text = softmax.edited("    _expect(z)\n", f"    {call}\n")
    text = text.replace(
        '            raise ValueError("complex")\n', f'            raise ValueError("complex")\n    return {returned}\n'
    )
    rows = [r for r in check(softmax.layer, softmax.program, text).rows if "complex" in r.method]
    assert [(row.name, row.ran, row.passed) for row in rows] == [("dz", True, True)]


def test_the_complex_step_does_not_take_validation_that_makes_other_arrays() -> None:
    text = softmax.edited("    _expect(z)\n", "    z = _expect(z)\n")
    text = text.replace(
        '            raise ValueError("complex")\n', '            raise ValueError("complex")\n    return x + 0\n'
    )
    rows = [r for r in check(softmax.layer, softmax.program, text).rows if "complex" in r.method]
    assert [row.note for row in rows] == [
        "not run: the code does not take complex numbers (TypeError: its validation makes other arrays)"
    ]


def test_the_validation_of_the_module_is_in_place_after_the_complex_step() -> None:
    """Only the complex step gets past it: everything else calls the module as it is."""
    text = batchnorm.edited('x.dtype.kind == "c"', 'x.dtype.kind != "f" or x.shape[-1] > 99')
    assert check(batchnorm.layer, batchnorm.program, text).passed


def test_two_outputs_come_as_a_tuple() -> None:
    layer = layer_of(
        "pair",
        {"x": (Kind.REAL, (BATCH_SIZE,)), "mask": (Kind.BOOL, (BATCH_SIZE,))},
        (
            equation("y", BATCH, at("x", BATCH) ** 2),
            equation("z", BATCH, at("x", BATCH) * at("mask", BATCH, kind=Kind.BOOL)),
        ),
        ("y", "z"),
    )
    dx = 2 * at("x", BATCH) * at("dy", BATCH) + at("mask", BATCH, kind=Kind.BOOL) * at("dz", BATCH)
    body = """
def forward(x, mask):
    return (x * x, x * mask), (x, mask)

def backward(dy, dz, cache):
    x, mask = cache
    return Gradients(2 * x * dy + mask * dz)
"""
    program = program_of(layer, (equation("dx", BATCH, dx),))
    report = check(layer, program, module("dx", layer, body))
    assert report.passed, report.failure()
    swapped = module("dx", layer, body.replace("backward(dy, dz", "backward(dz, dy"))
    assert not check(layer, program, swapped).passed


@pytest.mark.parametrize("passing", [True, False])
def test_the_report_is_plain_json(passing: bool) -> None:
    text = square.text if passing else square.edited("g @ w.T", "g @ w.T * np.nan")
    report = check(square.layer, square.program, text)
    read = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert read["passed"] is passing
    assert (read["layer"], read["seed"], read["sizes"]) == ("square", 0, {"N": 3, "D": 4})
    assert len(read["rows"]) == len(report.rows)
    assert set(read["rows"][0]) == {
        "name", "subject", "method", "precision", "compared", "where", "value", "reference", "absolute", "relative",
        "tolerance", "passed", "note", "ran",
    }  # fmt: skip


def shown(report: Report) -> str:
    console = Console(width=110, file=StringIO())
    console.print(table(report))
    return console.file.getvalue()


def test_the_table_has_a_row_a_gradient_and_names_what_fails() -> None:
    good = shown(check(softmax.layer, softmax.program, softmax.text))
    assert "softmax: passed" in good
    assert "seed 0, C = 4, ... = (2, 3)" in good
    assert [line.split()[1] for line in good.splitlines() if line.startswith("│")] == ["y", "dz"]
    assert "holds: inputs and cotangents are not modified" in good
    bad = shown(check(square.layer, square.program, square.edited("g @ w.T", "g @ w")))
    assert "square: FAILED" in bad
    assert [line.split()[1] for line in bad.splitlines() if "FAILED" in line and "│" in line] == ["dx"]


def test_the_report_is_the_same_every_time() -> None:
    first, second = (check(embedding.layer, embedding.program, embedding.text) for _ in range(2))
    assert first == second


def test_an_output_that_is_no_real_has_its_own_dtype() -> None:
    """The argmax of float32 rows is an integer; what comes with it is float32."""
    layer = layer_of(
        "best",
        {"x": (Kind.REAL, (BATCH_SIZE, C))},
        (
            replace(equation("i", BATCH, ArgMax(at("x", BATCH, c), c)), kind=Kind.INT),
            equation("y", BATCH, Max(at("x", BATCH, c), c)),
        ),
        ("i", "y"),
    )
    body = """
def forward(x):
    i = x.argmax(axis=-1)
    return (i, np.take_along_axis(x, i[..., None], axis=-1)[..., 0]), (i, x)

def backward(di, dy, cache):
    i, x = cache
    dx = np.zeros_like(x)
    np.put_along_axis(dx, i[..., None], dy[..., None], axis=-1)
    return Gradients(dx)
"""
    dx = Delta(c, at("i", BATCH, kind=Kind.INT)) * at("dy", BATCH)
    report = check(layer, program_of(layer, (equation("dx", BATCH, c, dx),)), module("dx", layer, body))
    assert report.passed, report.failure()


def test_differences_of_code_with_stop_gradient_are_not_taken() -> None:
    x = at("x", n)
    layer = layer_of("ste", {"x": (Kind.REAL, (N,))}, (equation("y", n, x + StopGradient(Round(x) - x)),))
    body = """
def forward(x):
    return x + (np.round(x) - x), ()

def backward(dy, cache):
    return Gradients(dy.copy())
"""
    report = check(layer, program_of(layer, (equation("dx", n, at("dy", n)),)), module("dx", layer, body))
    assert report.passed, report.failure()
    (row,) = [row for row in report.rows if "central differences of the code" in row.method]
    assert row.note == "not run: differences pass through stop_gradient"
