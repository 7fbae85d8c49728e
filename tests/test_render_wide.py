"""Windows, recurrences and further derivatives as LaTeX and in a terminal: wide.layer has every kind once."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from sympy import S
from test_render_latex import assert_parses

from derive.algebra.functions import Eq, FloorDiv, Where
from derive.algebra.nodes import Delta, Element, Hyper, Index, Kind, Max, Mean, Padded, Size, Sum, Tensor
from derive.algebra.text import show as text
from derive.calculus.program import Pass, Program
from derive.language import load
from derive.pipeline import derive_program
from derive.render.formula import Notation
from derive.render.latex import latex, tex
from derive.render.latex_equations import blocks
from derive.render.latex_printer import TexPrinter
from derive.render.legend import symbols
from derive.render.names import Reading, readings
from derive.render.numpy_docs import formulas, memory
from derive.render.terminal import show
from derive.render.terminal_printer import TerminalPrinter

FILE = Path(__file__).with_name("wide.layer")
NAMES = re.findall(r"^def (\w+)", FILE.read_text(encoding="utf-8"), re.M)


@cache
def wide(name: str) -> Program:
    """Return the program of a layer, with its tangents and second derivatives."""
    return derive_program(load(f"{FILE}:{name}"), jvp=True, second=True)


def backward(name: str) -> dict[str, str]:
    """Return the lines of a backward pass in LaTeX, by what stands left of the equals sign."""
    program = wide(name)
    printer = TexPrinter(Notation.of(program))
    lines = [line for block in blocks(program.backward, printer) for line in block.lines]
    return {left.strip(): right.strip() for left, right in (line.split("&=", 1) for line in lines if "&=" in line)}


H, P, Q, R = (Size(name) for name in "HPQR")
stride, pad, k = (Hyper(name, Kind.INT) for name in ("s", "pad", "k"))
i, p, r, b = Index("i", H), Index("p", P), Index("r", R), Index("b", k)
n, c = Index("n", Size("N")), Index("c", Size("C"))


def at(name: str, *subscripts: object) -> Element:
    return Element(Tensor(name), *subscripts)


ZERO = Notation(first=0)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (at("x", n, 2 * p + r - 1), r"x_{n,\,2 p + r - 1}"),
        (at("h", p - 1, n), "h_{p - 1,n}"),
        (at("x", p * stride + r - pad), r"x_{p s + r - \mathrm{pad}}"),
        (Padded(at("x", n, p + r - pad)), r"\tilde{x}_{n,\,p + r - \mathrm{pad}}"),
        (Padded(at("image", p + r)), r"\widetilde{\mathrm{image}}_{p + r}"),
        (Max(at("x", p * k + b), b), r"\max_{0 \le b < k} x_{p k + b}"),
        (Sum(at("x", p * k + b), b), r"\sum_{b=0}^{k - 1} x_{p k + b}"),
        (Mean(at("x", p * k + b), b), r"\frac{1}{k} \sum_{b=0}^{k - 1} x_{p k + b}"),
        (Sum(at("x", n, c, p * k + b), n, c, p, b), r"\sum_{n,c,p} \sum_{b=0}^{k - 1} x_{n,\,c,\,p k + b}"),
        (
            Sum(at("y", p) * at("w", r) * Delta(i, p + r - pad), p, r),
            r"\sum_{\substack{r \\ 0 \le i + \mathrm{pad} - r < P}} w_{r}\,y_{i + \mathrm{pad} - r}",
        ),
        (
            Sum(at("y", p) * Delta(i, 2 * p), p),
            r"\mathbf{1}[2 \mid i \wedge i < 2 P]\,y_{i/2}",
        ),
        (
            Sum(at("y", p) * Delta(i, k * p + b), p, b),
            r"\mathbf{1}[i < P k]\,y_{\lfloor i / k\rfloor}",
        ),
        (
            Sum(at("y", p) * at("w", r) * Delta(i, p * stride + r * k - pad), p, r),
            r"\sum_{\substack{r \\ s \mid i + \mathrm{pad} - r k \\ 0 \le (i + \mathrm{pad} - r k)/s < P}} "
            r"w_{r}\,y_{(i + \mathrm{pad} - r k)/s}",
        ),
    ],
    ids=str,
)
def test_windows_are_written_as_in_a_paper(expr: object, expected: str) -> None:
    assert tex(expr, ZERO) == expected
    assert_parses(f"${expected}$")


@pytest.mark.parametrize(
    ("expr", "unicode", "plain"),
    [
        (at("x", n, 2 * p + r - 1), "x[n, 2·p + r − 1]", "x[n, 2*p + r - 1]"),
        (at("h", p - 1, n), "h[p−1,n]", "h[p-1,n]"),
        (Padded(at("x", p + r), -S.Infinity), "padded(x, −∞)[p + r]", "padded(x, -inf)[p + r]"),
        (Max(at("x", p * k + b), b), "max_(b < k) x[p·k + b]", "max[b: k](x[p*k + b])"),
        (
            Sum(at("y", p) * at("w", r) * Delta(i, p + r - pad), p, r),
            "Σ_(r: 0 ≤ i + pad − r < P) w[r]·y[i + pad − r]",
            "sum[p, r](w[r]*y[p]*delta(i, p + r - pad))",
        ),
        (H + 2 * pad - R, "H + 2·pad − R", "H + 2*pad - R"),
        (FloorDiv(H - R, stride) + 1, "(H − R) // s + 1", "(H - R) // s + 1"),
    ],
    ids=str,
)
def test_windows_in_a_terminal(expr: object, unicode: str, plain: str) -> None:
    assert TerminalPrinter().box(expr).text == unicode
    assert TerminalPrinter(ascii=True).box(expr).text == plain


@pytest.mark.parametrize("name", NAMES)
def test_the_output_parses_strictly(name: str) -> None:
    program = wide(name)
    assert_parses(latex(program))
    assert_parses(latex(program, steps=True, standalone=True))


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wider_than_the_terminal(name: str, width: int, ascii: bool) -> None:
    text = show(wide(name), steps=True, width=width, ascii=ascii)
    assert all(len(line) <= width for line in text.splitlines()), max(text.splitlines(), key=len)
    assert text.isascii() or not ascii


def test_the_gradient_of_a_convolution_is_shown_solved() -> None:
    lines = backward("conv2d")
    assert lines[r"\mathrm{d}x_{n,c,i,j}"].startswith(
        r"\sum_{\substack{f,p,q \\ 0 \le i + \mathrm{pad} - p\,\mathrm{stride} < R \\ "
        r"0 \le j + \mathrm{pad} - q\,\mathrm{stride} < S}} \mathrm{d}y_{n,f,p,q}\,"
    )
    text = latex(wide("conv2d"))
    assert r"$\tilde{x}$ is $x$ inside its axes and $0$ outside." in text
    assert r"\delta_" not in text


def test_a_strided_and_dilated_window_says_what_has_to_divide() -> None:
    text = latex(wide("dilated"))
    assert r"\mathrm{stride} \mid i + \mathrm{pad} - r\,\mathrm{dilation}" in text
    assert r"$\mathrm{stride} \mid m$ says that $\mathrm{stride}$, which is not 0, divides $m$." in text


def test_windows_side_by_side_are_whole_quotients() -> None:
    assert backward("max_pool2d")[r"\mathrm{d}x_{n,c,i,j}"].startswith(r"\mathbf{1}[i < P k \wedge j < Q k]")
    assert "y[n,c,p,q] = x[n, c, p // k, q // k]" in show(wide("upsample"))


def test_a_bound_that_holds_in_any_case_is_not_shown() -> None:
    shifted = Sum(at("y", p) * Delta(i, p + 1), p)
    assert TerminalPrinter(Notation(sizes={P: H - 1})).box(shifted).text == "[i ≥ 1]·y[i−1]"
    assert TerminalPrinter(Notation()).box(shifted).text == "[0 ≤ i − 1 < P]·y[i−1]"
    assert (
        TerminalPrinter(Notation(sizes={H: P * k})).box(Sum(at("y", p) * Delta(i, k * p + b), p, b)).text == "y[i // k]"
    )


def test_a_mask_is_a_factor() -> None:
    mask = Element(Tensor("m", Kind.BOOL), i)
    assert TerminalPrinter().box(at("x", i) * Where(mask, 1, 0)).text == "x[i]·m[i]"
    assert TerminalPrinter().box(at("x", i) * Where(mask, 0, 1)).text == "x[i]·[not m[i]]"
    assert TerminalPrinter().box(at("x", i) * Where(Eq(i, p), 0, at("y", p))).text == "x[i]·y[p]·[i ≠ p]"


def test_a_fill_is_said() -> None:
    assert r"$\tilde{x}$ is $x$ inside its axes and $-\infty$ outside." in latex(wide("max_pool1d_pad"))
    assert "padded(x, −∞)[n, c, p·stride + r − pad]" in show(wide("max_pool1d_pad"))


def test_a_second_fill_of_a_tensor_says_itself() -> None:
    notation = Notation(fills=(("x", S.Zero), ("x", S.NegativeInfinity)))
    assert tex(Padded(at("x", p + r)), notation) == r"\tilde{x}_{p + r}"
    assert tex(Padded(at("x", p + r), -S.Infinity), notation) == r"\tilde{x}^{[-\infty]}_{p + r}"


def test_a_padded_tensor_is_told_from_one_called_tilde() -> None:
    assert tex(Padded(at("x", p + r)), Notation(order=("xtilde",))) == r"\mathring{x}_{p + r}"


def test_what_stands_for_padding_and_division_is_said_in_a_terminal() -> None:
    assert "  padded(x) is 0 outside x\n  padded(x_dot) is 0" in show(wide("dilated"))
    assert "  stride | m where it divides m\n" in show(wide("dilated"))
    assert "  padded(x, −∞) is −∞ outside x\n" in show(wide("max_pool1d_pad"))


def test_the_start_of_a_recurrence_is_inside_it() -> None:
    text = latex(wide("band"))
    assert r"$\tilde{u}$ is $u$ inside its axes ($u_{-1,s}$ is inside) and $0$ outside." in text
    assert r"u_{t,s} &= x_{t,s} + u^{\mathrm{tanh}}_{t,s}" in text


def test_loops_are_grouped_and_their_starts_come_first() -> None:
    text = show(wide("rnn"))
    forward = text[text.index("Forward") : text.index("\nBackward")]
    assert "  h[−1,n,j]   = h0[n,j]\n  for t = 0, …, T − 1:\n    h[t,n,j] = tanh(" in forward
    after = text[text.index("\nBackward") :]
    assert "  dh_next[T,n,j]       = 0\n  for t = T − 1, …, 0:\n    dpre_h[t,n,j]  = " in after
    assert "\n  dwh[k,j]  = Σₜₙ dpre_h[t,n,j]·h[t−1,n,k]\n" in after


def test_a_loop_stands_in_a_brace_under_its_range() -> None:
    text = latex(wide("rnn"))
    loop = text[text.index(r"For $t = T - 1, \ldots, 0$:") :]
    assert loop.index(r"\left\{") < loop.index(r"\mathrm{d}h^{\mathrm{pre}}_{t,n,j} &= ") < loop.index(r"\right.")
    assert r"\mathrm{d}h^{\mathrm{next}}_{T,n,j} &= 0" in text[: text.index(r"For $t = T - 1")]
    assert r"h_{-1,n,j} &= h^{(0)}_{n,j}" in text


def test_a_loop_too_long_for_a_brace_may_go_on_over_pages() -> None:
    printer = TexPrinter(Notation.of(wide("lstm")))
    statements = wide("rnn").backward
    loop = next(block for block in blocks(statements, printer) if block.heading)
    assert loop.braced and len(loop.lines) == 2
    for function in wide("gru").passes:
        for block in blocks(function.statements, printer):
            assert block.braced == (bool(block.heading) and len(block.lines) <= 20)


@pytest.mark.parametrize(
    ("layer", "name", "reading"),
    [
        ("rnn", "dh", Reading("h", order=1, of="h", word="d")),
        ("rnn", "dh_next", Reading("h", order=1, marks=("next",), of="dh", word="next")),
        ("rnn", "h_in", Reading("h", marks=("in",), of="h", word="in")),
        ("rnn", "dpre_h", Reading("h", order=1, marks=("pre",), of="pre_h", word="d")),
        ("rnn", "h_dot", Reading("h", dot=True, of="h", word="dot")),
        ("rnn", "d2h", Reading("h", second=True, of="h", word="d2")),
        ("lstm", "d2h_in", Reading("h", second=True, marks=("in",), of="d2h", word="in")),
    ],
)
def test_names_are_read(layer: str, name: str, reading: Reading) -> None:
    assert readings(wide(layer))[name] == reading


def test_a_name_that_could_be_read_twice_is_read_by_the_names_there_are() -> None:
    program = wide("rnn")
    carried = next(s for s in program.backward if s.name == "dh_next")
    further = Pass("double_backward", (replace(carried, name="ddh_next"),), (), ())
    found = readings(replace(program, passes=(further,)))
    assert found["ddh_next"] == Reading("h", order=2, marks=("next",), of="dh_next", word="d")
    found = readings(replace(program, backward=(), passes=(further,)))
    assert found["ddh_next"] == Reading("h", order=2, marks=("next",), of="ddh", word="next")


def test_the_layers_own_names_are_never_taken_apart() -> None:
    program = wide("rnn")
    assert not {p.name for p in program.layer.parameters} & readings(program).keys()
    assert "h" not in readings(program)


def test_the_table_says_what_is_given_and_what_is_carried() -> None:
    rows = {row.symbol.name: (row.meaning, row.of) for row in symbols(wide("rnn"))}
    assert rows["dh_next"] == ("carried share of", "dh")
    assert rows["dpre_h"] == ("cotangent of", "pre_h")
    assert rows["x_dot"] == ("given: tangent of", "x")
    assert rows["ddx"] == ("given: cotangent of", "dx")
    assert rows["d2x"] == ("second cotangent of", "x")
    assert len(rows) == len(symbols(wide("rnn")))


def test_tangents_have_dots_and_second_cotangents_bars() -> None:
    text = latex(wide("conv1d"), standalone=True)
    assert r"\dot{y}_{n,f,p} &= " in text and r"\tilde{\dot{x}}_" in text
    assert r"\bar{x}_{n,c,i} &= " in text and r"\overline{\mathrm{d}w}_{f,c,r}" in text
    assert r"$\dot{v}$ denotes the tangent of $v$" in text
    assert r"$\langle \overline{\mathrm{d}x}, \mathrm{d}x \rangle$ $+$ " in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX engine")
@pytest.mark.parametrize("name", NAMES)
def test_a_document_compiles_without_a_warning(name: str, tmp_path: Path) -> None:
    (tmp_path / "page.tex").write_text(latex(wide(name), steps=True, standalone=True), encoding="ascii")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert not re.findall(r".*(?:Overfull|Warning).*", done.stdout)


def test_a_formula_is_broken_outside_subscripts_and_before_a_quotient() -> None:
    ties = "(padded(x, -inf)[n, c, p*stride + r - pad, q*stride + s - pad] == y[n, c, p, q])"
    equation = (
        f"dx[n, c, i, j] = sum[p, q](delta(i, p*stride + r - pad)*dy[n, c, p, q]*{ties}/sum[l: k, t: k](y[n, c, p, q]))"
    )
    room = " " * len("    dx[n, c, i, j] = ")
    assert formulas([equation]) == [
        "    dx[n, c, i, j] = sum[p, q](delta(i, p*stride + r - pad)*dy[n, c, p, q]*",
        f"{room}{ties}",
        f"{room}/sum[l: k, t: k](y[n, c, p, q]))",
    ]


def test_a_recurrence_is_broken_behind_its_start() -> None:
    step = "where(t % period[g] == 0, tanh_a[t, n, g, k], h[t - 1, n, g, k])"
    assert formulas([f"h[-1, n, g, k] = h0[n, g, k]; h[t, n, g, k] = {step}"]) == [
        "    h[-1, n, g, k] = h0[n, g, k];",
        f"                     h[t, n, g, k] = {step}",
    ]


def test_the_memory_of_many_alternatives_is_one_number_that_none_exceeds() -> None:
    n, d, k = (Size(letter) for letter in "NDK")
    assert memory((n * d, 2 * n, n * k, n * d + 3 * n), (S.Zero,), text) == (
        "Memory beside arguments, results and cache: forward holds up to about D*N + K*N + 3*N elements, "
        "backward nothing."
    )
    assert memory((), (n,), text).endswith("forward holds nothing, backward up to about N elements.")
