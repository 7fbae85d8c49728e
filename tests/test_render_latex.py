"""LaTeX output: exact formulas, names, escaping, documents that parse and compile."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from pylatexenc.latexwalker import LatexWalker
from render_samples import BATCH, SAMPLES, N, c, d, derived, element, k, n
from sympy import Expr, Integer, Mul, Rational, exp, log, oo, sqrt

from derive.algebra.functions import (
    FUNCTIONS,
    And,
    Clip,
    Eq,
    FloorDiv,
    Ge,
    Gt,
    Le,
    Lt,
    Maximum,
    Mod,
    Not,
    Or,
    Relu,
    Sigmoid,
    Where,
    XLogY,
)
from derive.algebra.nodes import (
    ArgMax,
    Delta,
    Hyper,
    Kind,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Norm,
    Prod,
    Softmax,
    Std,
    Sum,
)
from derive.calculus.program import Stage, Step
from derive.language import catalogue
from derive.render.formula import Notation, Piece, break_lines, indices_count_from
from derive.render.latex import latex, tex
from derive.render.latex_printer import name_tex
from derive.render.latex_text import code, escape

x, mu, var, z = element("x", n, d), element("mu", d), element("var", d), element("z", n, c)
gamma, rstd, xhat, dy = element("gamma", d), element("rstd", d), element("xhat", n, d), element("dy", n, d)
t = element("t", n, kind=Kind.INT)
mask = element("m", n, kind=Kind.BOOL)
eps = Hyper("eps")
NOTATION = Notation(
    frozenset({"dx", "dy", "dgamma", "dbeta"}),
    ("x", "gamma", "beta", "mu", "var", "xhat", "rstd", "dy", "dgamma", "dbeta"),
)

FORMULAS: list[tuple[Expr, str]] = [
    (Mean(x, n), r"\frac{1}{N} \sum_{n=1}^{N} x_{n,d}"),
    (-Mean(element("logp", n, t), n), r"-\frac{1}{N} \sum_{n=1}^{N} \mathrm{logp}_{n,t_{n}}"),
    (Sum(x, n) + mu, r"\mu_{d} + \sum_{n=1}^{N} x_{n,d}"),
    (Sum(x + mu, n), r"\sum_{n=1}^{N} (x_{n,d} + \mu_{d})"),
    (Sum(x, BATCH, n), r"\sum_{\ldots,n} x_{n,d}"),
    (Prod(x, n), r"\prod_{n=1}^{N} x_{n,d}"),
    (Max(z, c), r"\max_{c} z_{n,c}"),
    (Sum(x, n) * (x - mu), r"(x_{n,d} - \mu_{d}) \sum_{n=1}^{N} x_{n,d}"),
    (Sum(x, n) * Sum(x, d), r"\biggl(\sum_{d=1}^{D} x_{n,d}\biggr) \sum_{n=1}^{N} x_{n,d}"),
    (Sum(x, n) / Sum(x**2, n), r"\frac{\sum_{n=1}^{N} x_{n,d}}{\sum_{n=1}^{N} x_{n,d}^{2}}"),
    ((x - mu) / sqrt(var + eps), r"\frac{x_{n,d} - \mu_{d}}{\sqrt{\mathrm{var}_{d} + \varepsilon}}"),
    (gamma * xhat + mu, r"\gamma_{d}\,\hat{x}_{n,d} + \mu_{d}"),
    (
        gamma * rstd / N * (N * dy - element("dbeta", d) - xhat * element("dgamma", d)),
        r"\frac{\gamma_{d}\,\mathrm{rstd}_{d}}{N} (N\,\mathrm{d}y_{n,d} - \mathrm{d}\gamma_{d}\,\hat{x}_{n,d} - "
        r"\mathrm{d}\beta_{d})",
    ),
    ((Softmax(element("z", n, k), (k,), (c,)) - Delta(c, t)) / N,
     r"\frac{\operatorname{softmax}_{c}(z_{n,c}) - \delta_{c,t_{n}}}{N}"),
    (Softmax(element("z", n, k), (k,), (t,)), r"\bigl[\operatorname{softmax}_{k}(z_{n,k})\bigr]_{k=t_{n}}"),
    (LogSoftmax(z, (c,), (c,)), r"\log\operatorname{softmax}_{c}(z_{n,c})"),
    (LogSumExp(z, c), r"\operatorname{logsumexp}_{c}(z_{n,c})"),
    (Norm(x, d), r"\lVert x_{n,d}\rVert_{d}"),
    (ArgMax(z, c), r"\operatorname{arg\,max}_{c}(z_{n,c})"),
    (Std(x, n), r"\operatorname{std}_{n}(x_{n,d})"),
    (Where(Le(c, k), z, -oo), r"\begin{cases} z_{n,c} & \text{if } c \le k \\ -\infty & \text{otherwise} \end{cases}"),
    (Where(mask, x, 0), r"\begin{cases} x_{n,d} & \text{if } m_{n} \\ 0 & \text{otherwise} \end{cases}"),
    (Where(Gt(x, 1), 1, Where(Lt(x, 0), 0, x)),
     r"\begin{cases} 1 & \text{if } x_{n,d} > 1 \\ 0 & \text{if } x_{n,d} < 0 \\ "
     r"x_{n,d} & \text{otherwise} \end{cases}"),
    (sympy.digamma(x), r"\psi(x_{n,d})"),
    (dy * Gt(x, 0), r"\mathrm{d}y_{n,d}\,\mathbf{1}[x_{n,d} > 0]"),
    (dy * And(Ge(x, 0), Le(x, 6)), r"\mathrm{d}y_{n,d}\,\mathbf{1}[0 \le x_{n,d} \le 6]"),
    (Not(Or(Lt(x, 1), Gt(x, 2))), r"\mathbf{1}[\neg (x_{n,d} < 1 \vee x_{n,d} > 2)]"),
    (And(Or(Lt(x, 1), Gt(x, 2)), Gt(mu, 0)),
     r"\mathbf{1}[(x_{n,d} < 1 \vee x_{n,d} > 2) \wedge \mu_{d} > 0]"),
    (Sigmoid(x) * (1 - Sigmoid(x)), r"\sigma(x_{n,d})\,(1 - \sigma(x_{n,d}))"),
    (x * (1 + sympy.erf(x / sqrt(2))) / 2,
     r"\frac{1}{2} x_{n,d} \biggl(1 + \operatorname{erf}\biggl(\frac{x_{n,d}}{\sqrt{2}}\biggr)\biggr)"),
    (sqrt(2 / sympy.pi) * x, r"\sqrt{\frac{2}{\pi}} x_{n,d}"),
    (dy * Where(Gt(x, 0), 1, 0), r"\mathrm{d}y_{n,d}\,\mathbf{1}[x_{n,d} > 0]"),
    (dy * Where(Eq(c, t), 0, 1), r"\mathrm{d}y_{n,d}\,\mathbf{1}[c \ne t_{n}]"),
    (gamma * rstd * element("dgamma", d) * xhat,
     r"\gamma_{d}\,\mathrm{rstd}_{d}\,\mathrm{d}\gamma_{d}\,\hat{x}_{n,d}"),
    (xhat * dy, r"\mathrm{d}y_{n,d}\,\hat{x}_{n,d}"),
    (exp(-x), r"e^{-x_{n,d}}"),
    (exp(-(x**2) / 2) / sqrt(2 * sympy.pi), r"\frac{1}{\sqrt{2 \pi}}\,\exp\biggl(-\frac{x_{n,d}^{2}}{2}\biggr)"),
    (1 + exp(x) - mu, r"1 + e^{x_{n,d}} - \mu_{d}"),
    (x - mu + eps - 3, r"x_{n,d} - \mu_{d} + \varepsilon - 3"),
    (1 - x**2, r"1 - x_{n,d}^{2}"),
    (N - 1 - x, r"N - x_{n,d} - 1"),
    (exp(x) - 1, r"e^{x_{n,d}} - 1"),
    (Rational(44715, 1000000) * x**3, r"0.044715 x_{n,d}^{3}"),
    (Rational(1, 100000) * x, r"10^{-5} x_{n,d}"),
    (Rational(25, 10**7), r"2.5 \times 10^{-6}"),
    (Rational(3, 7) * x, r"\frac{3}{7} x_{n,d}"),
    (x / 2 - mu / 2, r"\frac{x_{n,d} - \mu_{d}}{2}"),
    (dy * (x / 2 + Rational(1, 2)), r"\frac{1}{2}\,\mathrm{d}y_{n,d}\,(x_{n,d} + 1)"),
    (x / 3 + 2, r"\frac{x_{n,d}}{3} + 2"),
    (-x - mu, r"-x_{n,d} - \mu_{d}"),
    (mu - x, r"\mu_{d} - x_{n,d}"),
    (x ** Rational(3, 2), r"x_{n,d}^{3/2}"),
    ((x + 1) ** -2, r"\frac{1}{(x_{n,d} + 1)^{2}}"),
    (dy**2, r"(\mathrm{d}y_{n,d})^{2}"),
    (gamma * rstd**3 * xhat, r"\gamma_{d}\,\mathrm{rstd}_{d}^{3}\,\hat{x}_{n,d}"),
    (element("W1", n, d) ** 2, r"(W^{(1)}_{n,d})^{2}"),
    ((x - mu) / (N - 1), r"\frac{x_{n,d} - \mu_{d}}{N - 1}"),
    (x / N**2, r"\frac{x_{n,d}}{N^{2}}"),
    (Mean(x, n, d), r"\frac{1}{D N} \sum_{n=1}^{N} \sum_{d=1}^{D} x_{n,d}"),
    (Mean(Mean(x, n) ** 2, d), r"\frac{1}{D} \sum_{d=1}^{D} \biggl(\frac{1}{N} \sum_{n=1}^{N} x_{n,d}\biggr)^{2}"),
    (sympy.Abs(x), r"|x_{n,d}|"),
    (sympy.Abs(x / mu), r"\biggl|\frac{x_{n,d}}{\mu_{d}}\biggr|"),
    (Maximum(x, 0), r"\max(x_{n,d},\, 0)"),
    (Clip(x, -1, 1), r"\operatorname{clip}(x_{n,d},\, -1,\, 1)"),
    (Relu(x), r"\operatorname{relu}(x_{n,d})"),
    (XLogY(x, mu + eps), r"x_{n,d}\log (\mu_{d} + \varepsilon)"),
    (Mod(N + 1, 2), r"(N + 1) \bmod 2"),
    (FloorDiv(N - 1, 2), r"\lfloor (N - 1) / 2\rfloor"),
    (sympy.polygamma(1, x), r"\psi^{(1)}(x_{n,d})"),
    (log(x) ** 2, r"\log(x_{n,d})^{2}"),
    (-oo, r"-\infty"),
    (Integer(-3), "-3"),
]  # fmt: skip


@pytest.mark.parametrize(("expr", "expected"), FORMULAS, ids=lambda v: str(v)[:40])
def test_formulas_are_written_as_in_a_paper(expr: Expr, expected: str) -> None:
    assert tex(expr, NOTATION) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", "x_{n}"),
        ("gamma", r"\gamma_{n}"),
        ("eps", r"\varepsilon_{n}"),
        ("xhat", r"\hat{x}_{n}"),
        ("x_hat", r"\hat{x}_{n}"),
        ("mubar", r"\bar{\mu}_{n}"),
        ("what", r"\hat{w}_{n}"),
        ("that2", r"\hat{t}^{(2)}_{n}"),
        ("score", r"\mathrm{score}_{n}"),
        ("W1", "W^{(1)}_{n}"),
        ("y_pred", r"y^{\mathrm{pred}}_{n}"),
        ("w_ih_2", r"\mathrm{w\_ih\_2}_{n}"),
        ("sum_x1", r"\mathrm{sum\_x1}_{n}"),
        ("conv1", r"\mathrm{conv1}_{n}"),
        ("xhat2", r"\hat{x}^{(2)}_{n}"),
        ("x1_hat", r"\mathrm{x1\_hat}_{n}"),
        ("γ", r"\gamma_{n}"),
        ("Δ", r"\Delta_{n}"),
        ("é", r"\text{\'{e}}_{n}"),
        ("日本", r"\text{[U+65E5][U+672C]}_{n}"),
        ("_", r"\mathrm{\_}_{n}"),
        ("lambda_", r"\lambda_{n}"),
    ],
)
def test_names_are_the_layers_own(name: str, expected: str) -> None:
    text = tex(element(name, n))
    assert text == expected
    assert_parses(f"${text}$")


def test_trailing_digits_are_a_subscript_where_there_is_no_index() -> None:
    assert tex(element("W1")) == "W_{1}"
    assert tex(element("y_pred")) == r"y_{\mathrm{pred}}"


def test_a_name_with_d_is_a_cotangent_only_where_it_is_one() -> None:
    assert tex(element("dist", n)) == r"\mathrm{dist}_{n}"
    assert name_tex("dxhat", cotangent=True).text == r"\mathrm{d}\hat{x}"
    program = SAMPLES["batchnorm"]()
    assert Notation.of(program).cotangents >= {"dy", "dx", "dgamma", "dbeta", "dxhat"}


def test_delta_and_sigmoid_give_way_to_names_that_look_like_them() -> None:
    own = Notation(order=("delta", "sigma"))
    assert tex(Delta(c, t), own) == r"\mathbf{1}[c = t_{n}]"
    assert tex(Sigmoid(x), own) == r"\operatorname{sigmoid}(x_{n,d})"


@pytest.mark.parametrize(
    ("expr", "first"),
    [
        (Sum(x, n), 1),
        (Where(Le(n, d), x, 0), 1),
        (z * Delta(c, t), 1),
        (x * (n - d), 1),
        (element("z", n, t), 1),
        (x * (n + 1), 0),
        (element("x", n, Integer(0)), 0),
        (Le(n, N - 2), 0),
        (ArgMax(z, c), 0),
    ],
    ids=str,
)
def test_indices_count_from_zero_only_where_their_numbers_matter(expr: Expr, first: int) -> None:
    assert indices_count_from([expr]) == first


def test_a_sum_that_counts_from_zero_says_so() -> None:
    assert tex(Sum(x * (n + 1), n), Notation(first=0)) == r"\sum_{n=0}^{N - 1} x_{n,d} (n + 1)"


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda r: r.name)
def test_every_function_of_the_table_parses(row: object) -> None:
    arguments = [sum((x * j for j in range(i + 1)), mu / 3) for i in range(row.arity)]  # type: ignore[attr-defined]
    text = tex(row.cls(*arguments))  # type: ignore[attr-defined]
    assert_parses(f"${text}$")
    assert "{0}" not in text and "\0" not in text


def assert_parses(text: str) -> None:
    """Read LaTeX strictly, and match what the reader leaves alone: environments and sized delimiters."""
    nodes, _, length = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    assert nodes and length == len(text)
    open_environments: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    for body in re.findall(r"\\begin\{align\*\}(.*?)\\end\{align\*\}", text, re.S):
        assert len(re.findall(r"\\[bB]igg?l\b", body)) == len(re.findall(r"\\[bB]igg?r\b", body))
        assert "\n\n" not in body, "TeX stops at an empty line in an equation"
        inner = r"\\begin\{(cases|aligned)\}((?!\\begin).)*?\\end\{\1\}"
        while re.search(inner, body, re.S):
            body = re.sub(inner, "", body, flags=re.S)
        for line in re.split(r"\\\\\n", body):
            assert line.count("&") == 1, line
    assert text.isascii()


@pytest.mark.parametrize("standalone", [False, True], ids=["fragment", "document"])
@pytest.mark.parametrize("steps", [False, True], ids=["formulas", "steps"])
@pytest.mark.parametrize("name", SAMPLES)
def test_output_parses_strictly(name: str, steps: bool, standalone: bool) -> None:
    assert_parses(latex(SAMPLES[name](), steps=steps, standalone=standalone))


@pytest.mark.parametrize("name", catalogue())
def test_the_output_of_every_catalogue_layer_parses_strictly(name: str) -> None:
    program = derived(name)
    assert_parses(latex(program))
    assert_parses(latex(program, steps=True, standalone=True))


@pytest.mark.parametrize("name", ["linear", "batchnorm", "log_softmax"])
def test_documents_with_steps_are_as_accepted(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"latex/{name}.tex", latex(SAMPLES[name](), steps=True, standalone=True))


def test_a_fragment_is_as_accepted(golden: Callable[[str, str], None]) -> None:
    golden("latex/batchnorm_fragment.tex", latex(SAMPLES["batchnorm"]()))


def test_the_derivation_comes_before_the_closed_form() -> None:
    text = latex(SAMPLES["batchnorm"](), steps=True)
    places = [text.index(word) for word in ("Chain rule", "Facts about", "Simplification", "Result", "Backward")]
    assert places == sorted(places)
    assert r"The second term vanishes because $\sum_{n=1}^{N} \mathrm{xc}_{n,d} = 0$" in text
    assert r"(through $\hat{x}$)" in text


def test_names_in_a_reason_are_set_as_in_formulas_and_words_are_not() -> None:
    program = SAMPLES["batchnorm"]()
    step = replace(program.steps[0], reason="a sum of xhat over n, x[n] and exp(mu): write out dxhat and gamma")
    text = latex(replace(program, steps=(step, *program.steps[1:])), steps=True)
    assert (
        r"A sum of $\hat{x}$ over $n$, \texttt{x[n]} and \texttt{exp(mu)}: write out $\mathrm{d}\hat{x}$ and $\gamma$."
        in text
    )


def test_a_wide_formula_of_a_reason_is_set_apart_and_the_sentence_goes_on() -> None:
    program = SAMPLES["linear"]()
    wide = Where(Gt(x, 0), sum((element(f"name{j}", n, d) for j in range(10)), x), x)
    step = Step(Stage.REWRITE, x, mu, "{0}: both branches are computed", (wide,))
    text = latex(replace(program, steps=(step,)), steps=True)
    assert re.search(r"textbf\{1\.\} \\\[ .* \\\]\nBoth branches are computed\.\n", text)
    narrow = replace(step, formulas=(x / mu,))
    text = latex(replace(program, steps=(narrow,)), steps=True)
    assert r"$\displaystyle \frac{x_{n,d}}{\mu_{d}}$: both" in text


def test_the_table_shows_a_tensor_with_the_indices_of_its_statement() -> None:
    assert r"  $z_{\ldots,c}$ & \texttt{z}" in latex(derived("softmax"), standalone=True)


def test_a_tensor_called_a_is_told_from_the_article() -> None:
    program = SAMPLES["linear"]()
    a = element("a", n)
    step = Step(Stage.CHAIN, element("da", n), a, "a is read by a and b: a sum of a over n")
    text = latex(replace(program, steps=(step,)), steps=True)
    assert r"$a$ is read by $a$ and $b$: a sum of $a$ over $n$." in text


def test_a_result_that_was_shown_before_is_not_repeated() -> None:
    program = SAMPLES["linear"]()
    again = tuple(replace(s, stage=Stage.RESULT, terms=(), formulas=(), reason="as it is") for s in program.steps)
    text = latex(replace(program, steps=(*program.steps, *again)), steps=True)
    assert "As it is" not in text and text.count(r"\noindent") == 3


def test_neighbouring_steps_of_one_reason_share_a_number() -> None:
    program = SAMPLES["linear"]()
    steps = tuple(replace(s, reason="as before", formulas=()) for s in program.steps)
    text = latex(replace(program, steps=steps), steps=True)
    assert text.count(r"\noindent") == 1 and text.count("As before.") == 1


def test_what_a_user_wrote_is_never_a_command() -> None:
    text = latex(SAMPLES["long_one"](), standalone=True)
    assert text.count(r"\end{document}") == 1
    assert r"\input" not in text
    assert r"\textless{}\% if \%\textgreater{}" in text


def test_template_syntax_in_a_reason_stays_text() -> None:
    program = SAMPLES["linear"]()
    step = replace(program.steps[0], reason="<< 7*7 >> {9} {0} <% raw %>")
    text = latex(replace(program, steps=(step,)), steps=True)
    assert r"\textless{}\textless{} 7*7 \textgreater{}\textgreater{} \{9\} $x_{n,i}$" in text


@given(st.text())
def test_escaped_text_parses_and_is_ascii(text: str) -> None:
    for done in (escape(text), code(text)):
        assert done.isascii()
        LatexWalker(done, tolerant_parsing=False).get_latex_nodes()
        plain = re.sub(r"\\ensuremath\{.*?\}(?=\}|$|\\|[^}])", "", done)
        assert not re.search(r"(?<!\\)[#%&]", plain)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), min_size=1, max_size=30),
    st.integers(10, 80),
    st.integers(10, 80),
)
def test_broken_lines_hold_every_piece_and_fit(sizes: list[tuple[int, int]], first: int, rest: int) -> None:
    pieces = [Piece(chr(97 + i % 26) * size, size, depth if i else None) for i, (size, depth) in enumerate(sizes)]
    lines = break_lines(pieces, first, rest, 2.0)
    assert "".join(line for _, line in lines) == "".join(p.text for p in pieces)
    for i, (indent, line) in enumerate(lines):
        room = first if i == 0 else max(rest - 2 * indent, rest / 2)
        single = any(line == p.text for p in pieces)
        assert len(line) <= room or single


def test_a_line_is_broken_where_nesting_is_least() -> None:
    pieces = [Piece("aaaa", 4), Piece("bbbb", 4, 2), Piece("cccc", 4, 0), Piece("dddd", 4, 2)]
    assert break_lines(pieces, 14, 14, 0) == [(0, "aaaabbbb"), (1, "ccccdddd")]


def test_deep_nesting_is_printed_in_linear_time() -> None:
    nested = x
    for _ in range(20):
        nested = (x + mu) / (1 + Maximum(nested, 0) * dy)
    text = tex(nested, NOTATION)
    assert text.count(r"\frac") == 20


def test_a_left_side_too_long_to_be_aligned_stands_on_its_own_line() -> None:
    program = SAMPLES["linear"]()
    long = Mul(*(element(f"quite_a_long_name{j}", n, d) for j in range(5)))
    steps = (Step(Stage.FACT, long, x, "as said"), Step(Stage.FACT, x, mu, "as said"))
    text = latex(replace(program, steps=steps), steps=True)
    assert_parses(text)
    assert re.search(r"  &\S.*name4\}_\{n,d\} \\\\\n  &\\quad \{\}= x_\{n,d\} \\\\\n  x_\{n,d\} &= ", text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX engine")
@pytest.mark.parametrize("name", ["batchnorm", "long_one", "char_mlp", "multihead_attention", "unet_skip"])
def test_a_document_compiles_without_a_warning(name: str, tmp_path: Path) -> None:
    program = SAMPLES[name]() if name in SAMPLES else derived(name)
    (tmp_path / "page.tex").write_text(latex(program, steps=True, standalone=True), encoding="ascii")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert not re.findall(r".*(?:Overfull|Warning).*", done.stdout)
