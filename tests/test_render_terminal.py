"""Terminal output: readable formulas, ASCII where asked, nothing wider than the terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sympy
from render_samples import BATCH, SAMPLES, c, d, derived, element, k, n
from sympy import Expr, Rational, exp, oo, sqrt
from test_render_latex import FORMULAS

from derive.algebra.functions import FUNCTIONS, Le, Sigmoid, Where
from derive.algebra.nodes import Hyper, Kind, Max, Mean, Size, Softmax, Sum
from derive.language import catalogue
from derive.render.terminal import show
from derive.render.terminal_printer import TerminalPrinter

N = Size("N")
x, mu, var, z = element("x", n, d), element("mu", d), element("var", d), element("z", n, c)
t = element("t", n, kind=Kind.INT)
eps = Hyper("eps")


@pytest.mark.parametrize(
    ("expr", "unicode", "plain"),
    [
        (Mean(x, n), "meanₙ(x[n,d])", "mean[n](x[n,d])"),
        (Sum(x**2, n), "Σₙ x[n,d]²", "sum[n](x[n,d]**2)"),
        (Max(x, n), "maxₙ x[n,d]", "max[n](x[n,d])"),
        ((x - mu) / sqrt(var + eps), "(x[n,d] − mu[d])/√(var[d] + eps)", "(x[n,d] - mu[d])/sqrt(var[d] + eps)"),
        (1 / sqrt(N), "1/√N", "1/sqrt(N)"),
        (Sum(x, n) * mu / N, "mu[d]/N·Σₙ x[n,d]", "mu[d]/N*sum[n](x[n,d])"),
        (Sum(x, n) / Sum(x**2, n), "(Σₙ x[n,d])/(Σₙ x[n,d]²)", "sum[n](x[n,d])/sum[n](x[n,d]**2)"),
        (Where(Le(n, d), x, -oo), "(x[n,d] if n ≤ d else −∞)", "where(n <= d, x[n,d], -inf)"),
        (x * Le(n, d), "x[n,d]·[n ≤ d]", "x[n,d]*(n <= d)"),
        (Softmax(element("z", n, k), (k,), (t,)), "softmax_k(z[n,k])[k=t[n]]", "softmax[k](z[n,k])[k=t[n]]"),
        (x ** Rational(3, 2), "x[n,d]^(3/2)", "x[n,d]**(3/2)"),
        (exp(-x) * Sigmoid(x), "sigmoid(x[n,d])·exp(−x[n,d])", "sigmoid(x[n,d])*exp(-x[n,d])"),
        (sympy.Abs(x), "|x[n,d]|", "abs(x[n,d])"),
        (Sum(element("x", BATCH), BATCH), "Σ… x[…]", "sum[...](x[...])"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_formulas_read_well(expr: Expr, unicode: str, plain: str) -> None:
    small = not any(i.name in "kcd" for i in getattr(expr, "indices", ()))
    assert TerminalPrinter(small=small).box(expr).text == unicode
    assert TerminalPrinter(ascii=True).box(expr).text == plain


@pytest.mark.parametrize("expr", [e for e, _ in FORMULAS], ids=lambda e: str(e)[:40])
def test_ascii_is_ascii_and_parentheses_match(expr: Expr) -> None:
    for printer in (TerminalPrinter(ascii=True), TerminalPrinter(small=False)):
        text = printer.box(expr).text
        assert text.count("(") == text.count(")") and text.count("[") == text.count("]")
    assert TerminalPrinter(ascii=True).box(expr).text.isascii()


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda r: r.name)
def test_every_function_of_the_table_is_shown(row: object) -> None:
    arguments = [sum((x * j for j in range(i + 1)), mu / 3) for i in range(row.arity)]  # type: ignore[attr-defined]
    text = TerminalPrinter(ascii=True).box(row.cls(*arguments)).text  # type: ignore[attr-defined]
    assert row.name in text  # type: ignore[attr-defined]


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["linear", "batchnorm", "log_softmax", "long_one"])
def test_no_line_is_wider_than_the_terminal(name: str, width: int, ascii: bool) -> None:
    text = show(SAMPLES[name](), steps=True, width=width, ascii=ascii)
    assert all(len(line) <= width for line in text.splitlines()), max(text.splitlines(), key=len)
    if ascii:
        assert text.isascii()


@pytest.mark.parametrize("name", catalogue())
def test_every_catalogue_layer_fits_a_terminal(name: str) -> None:
    program = derived(name)
    for ascii in (False, True):
        text = show(program, steps=True, width=80, ascii=ascii)
        assert all(len(line) <= 80 for line in text.splitlines()), max(text.splitlines(), key=len)
        assert text.isascii() or not ascii
        assert all(f"d{p.name}" in text for p in program.layer.parameters if p.kind.differentiable)


def test_the_whole_of_batchnorm() -> None:
    assert (
        show(SAMPLES["batchnorm"](), width=80)
        == """\
batchnorm(x: Real[N, D], gamma: Real[D], beta: Real[D], *, eps: Real = 1e-05)
Batch normalization with batch statistics (Ioffe & Szegedy, 2015).

Forward
  mu[d]     = meanₙ(x[n,d])
  xc[n,d]   = x[n,d] − mu[d]
  var[d]    = meanₙ(xc[n,d]²)
  rstd[d]   = 1/√(var[d] + eps)
  xhat[n,d] = rstd[d]·xc[n,d]
  y[n,d]    = gamma[d]·xhat[n,d] + beta[d]

Backward
  dgamma[d] = Σₙ dy[n,d]·xhat[n,d]
  dbeta[d]  = Σₙ dy[n,d]
  dx[n,d]   = gamma[d]·rstd[d]/N·(N·dy[n,d] − dgamma[d]·xhat[n,d] − dbeta[d])

Symbols
  x       [N, D]  input
  gamma   [D]     input
  beta    [D]     input
  eps     scalar  constant, default 1e-5
  mu      [D]     intermediate result
  xc      [N, D]  intermediate result
  var     [D]     intermediate result
  rstd    [D]     intermediate result
  xhat    [N, D]  intermediate result
  y       [N, D]  output
  dy      [N, D]  given: cotangent of y
  dgamma  [D]     gradient of gamma
  dbeta   [D]     gradient of beta
  dx      [N, D]  gradient of x
"""
    )


def test_steps_are_numbered_and_end_in_the_closed_form() -> None:
    text = show(SAMPLES["batchnorm"](), steps=True)
    assert [int(m) for m in re.findall(r"^ +(\d+)\. ", text, re.M)] == [1, 2, 3, 4, 5, 6]
    assert text.index("Derivation: chain rule") < text.index("Derivation: result") < text.index("\nBackward")
    assert "5. the second term vanishes because Σₙ xc[n,d] = 0" in text
    assert "+ 2·dvar[d]·xc[n,d]/N   (through var)" in text


def test_colour_changes_no_letter() -> None:
    program = SAMPLES["log_softmax"]()
    coloured = show(program, steps=True, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == show(program, steps=True)


def test_markup_and_control_characters_of_a_user_do_nothing() -> None:
    program = SAMPLES["linear"]()
    layer = replace(program.layer, doc="[red]title[/red] \x1b[2J\x07 back\x08")
    text = show(replace(program, layer=layer))
    assert "[red]title[/red] [2J back" in text
    assert "\x1b" not in text and "\x07" not in text and "\x08" not in text
