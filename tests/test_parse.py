"""Text to layers: literals, operators, docstrings, where layers are found, and printing them back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sympy
from hypothesis import given, settings
from sympy import Rational

import derive.language.library
from derive.algebra.functions import And, Ge, Le, Lt, Maximum, Or, Where
from derive.algebra.nodes import Element, Hyper, Index, Kind, Size, Tensor
from derive.errors import DeriveError, LayerSyntaxError
from derive.language import catalogue, layer, load, load_all, parse, parse_all
from derive.language.layer import Layer
from derive.language.verify import verify
from tests.layer_texts import layers, recurrent, windowed

N = Size("N")
n = Index("n", N)
x = Element(Tensor("x"), n)
a = Element(Tensor("a"))


def formula(text: str, extra: str = "") -> sympy.Expr:
    """Return the formula of y[n] as SymPy has it."""
    return (
        parse(f"def f(x: Real[N], a: Real{extra}):\n    y[n] = {text}\n    z[n] = x[n] + a\n    return y, z\n")
        .statements[0]
        .expr
    )


# Formulas


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x[n] + 0.1", x + Rational(1, 10)),
        ("x[n] + 0.044715", x + Rational(44715, 1000000)),
        ("x[n] + 1e-5", x + Rational(1, 100000)),
        ("x[n] + 1_000", x + 1000),
        ("x[n] + 1_0.5_0", x + Rational(21, 2)),
        ("x[n] + .5", x + Rational(1, 2)),
        ("x[n] + 1E3", x + 1000),
        ("x[n] + 0x10", x + 16),
        ("x[n]*(1/3)", x / 3),
    ],
)
def test_literals_are_exact(text: str, value: sympy.Expr) -> None:
    assert formula(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-x[n]**2", -(x**2)),
        ("(-x[n])**3", -(x**3)),
        ("x[n]**-2", x**-2),
        ("x[n]**0.5", sympy.sqrt(x)),
        ("2**-x[n]", 2 ** (-x)),
        ("x[n]**2**3", x**8),
        ("x[n] - a - 1", x - a - 1),
        ("x[n] - (a - 1)", x - a + 1),
        ("x[n] / a / 2", x / (2 * a)),
        ("+x[n]", x),
        ("sqrt(x[n])", sympy.sqrt(x)),
        ("rsqrt(x[n])", 1 / sympy.sqrt(x)),
        ("square(x[n])", x**2),
        ("exp(1) * x[n]", sympy.E * x),
        ("e * x[n]", sympy.E * x),
        ("pi * x[n]", sympy.pi * x),
        ("maximum(x[n], a)", Maximum(x, a)),
        ("a < x[n]", Lt(a, x)),
        ("a < x[n] <= 1", And(Lt(a, x), Le(x, 1))),
        ("0 < a < x[n] < 1", And(And(Lt(0, a), Lt(a, x)), Lt(x, 1))),
        ("a < 1 and x[n] < 2 or a >= 3", Or(And(Lt(a, 1), Lt(x, 2)), Ge(a, 3))),
        ("where(x[n] > a, x[n], -inf)", Where(derive.algebra.functions.Gt(x, a), x, -sympy.oo)),
        ("where(n < 3, x[n], a)", Where(Lt(n, 3), x, a)),
        ("x[n] * n / N", x * n / N),
    ],
)
def test_operators_have_the_meaning_of_python(text: str, value: sympy.Expr) -> None:
    source = (
        f"def f(x: Real[N], a: Real):\n    y[n] = {text}\n    z[n] = x[n] + a + where(y[n] > 0, 1, 0)\n    return z\n"
    )
    assert parse(source).statements[0].expr == value


def test_a_hyper_parameter_stays_a_symbol() -> None:
    assert formula("x[n] + eps", ", *, eps: Real = 1e-5") == x + Hyper("eps")


def test_a_name_may_hide_the_constant_e() -> None:
    layer = parse("def f(v: Real[S, E]):\n    y[e] = sum[s](v[s, e] * e)\n    return y\n")
    letters = {i.name for i in layer.statements[0].expr.atoms(Index)}
    assert letters == {"s", "e"}
    assert not layer.statements[0].expr.has(sympy.E)
    assert parse(str(layer)) == layer


def test_an_exponential_is_not_mistaken_for_an_index_when_read_back() -> None:
    layer = parse("def f(v: Real[E]):\n    y[e] = v[e] * exp(1) * e\n    return y\n")
    assert "exp(1)" in str(layer)
    assert parse(str(layer)) == layer


# Signatures and docstrings


def test_a_signature_gives_kinds_sizes_and_defaults() -> None:
    layer = parse(
        "def f(x: Real[..., N, 3], p: Positive[N], u: Unit, t: Int[N], m: Bool[N],"
        " *, eps: Real = 1e-5, k: Int = -2, s: Bool = True, r: Real = 1):\n"
        "    y[..., n, c] = x[..., n, c]*p[n]*u*t[n]*m[n]*eps*k*s*r\n    return y\n"
    )
    assert [(p.name, p.kind) for p in layer.parameters] == [
        ("x", Kind.REAL), ("p", Kind.POSITIVE), ("u", Kind.UNIT), ("t", Kind.INT), ("m", Kind.BOOL),
    ]  # fmt: skip
    assert [str(s) for s in layer.parameters[0].axes] == ["...", "N", "3"]
    assert [(h.name, h.kind, h.default) for h in layer.hypers] == [
        ("eps", Kind.REAL, 1e-5), ("k", Kind.INT, -2), ("s", Kind.BOOL, True), ("r", Kind.REAL, 1),
    ]  # fmt: skip
    assert layer.sizes == (N,)
    assert layer.differentiable == ("x", "p", "u")
    assert parse(str(layer)) == layer


DOCSTRINGS = [
    "Plain.",
    "Two lines,\nthe second one.",
    "Indented:\n\n    y = x\n\nend.",
    'Quotes """ and \' and " here',
    'ends with a quote"',
    "back\\slash \\n \\alpha \\",
    "{{ template }} {% block %} $\\frac{1}{2}$ %s {x}",
    "Größe, 数, 🙂",
    "control \x07 and \x1b[31m and \u2028 and \r and more",
    "# not a comment",
]


@pytest.mark.parametrize("doc", DOCSTRINGS)
def test_a_docstring_survives_printing(doc: str) -> None:
    text = f"def f(x: Real[N]):\n    {doc!r}\n    y[n] = x[n]\n    return y\n"
    layer = parse(text)
    assert layer.doc == doc
    assert parse(str(layer)) == layer
    assert parse(str(layer)).doc == doc


# Which layer


TWO = "def one(x: Real[N]):\n    y[n] = x[n]\n    return y\n\n\ndef two(x: Real[N]):\n    y[n] = 2*x[n]\n    return y\n"


def test_parse_gives_the_named_layer_or_the_last() -> None:
    assert parse(TWO).name == "two"
    assert parse(TWO, "one").name == "one"
    assert [layer.name for layer in parse_all(TWO)] == ["one", "two"]


def test_a_byte_order_mark_and_other_line_ends_are_read() -> None:
    assert parse("\ufeff" + TWO) == parse(TWO)
    assert parse(TWO.replace("\n", "\r\n")) == parse(TWO)


def test_load_reads_files_and_one_layer_of_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.layer"
    path.write_bytes(b"\xef\xbb\xbf" + TWO.encode())
    assert load(str(path)) == parse(TWO)
    assert load(f"{path}:one") == parse(TWO, "one")
    assert [layer.name for layer in load_all(str(path))] == ["one", "two"]
    assert [layer.name for layer in load_all(f"{path}:one")] == ["one"]


def test_a_wrong_layer_does_not_keep_another_one_from_being_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.layer"
    path.write_text(TWO + "\n\ndef three(x: Real[N]):\n    y[n] = q[n]\n    return y\n")
    assert load(f"{path}:one").name == "one"
    with pytest.raises(DeriveError):
        load_all(str(path))


@pytest.mark.parametrize("name", catalogue())
def test_every_catalogue_layer_is_printed_and_read_back(name: str) -> None:
    layer = verify(load(name))
    assert isinstance(layer, Layer)
    assert layer.name == name
    assert load_all(name) == (layer,)
    assert parse(str(layer)) == layer


def test_finding_a_catalogue_layer_parses_one_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = derive.language.library.read

    def counting(text: str, name: str) -> object:
        read.append(name)
        return original(text, name)

    derive.language.library._catalogue_file.cache_clear()
    monkeypatch.setattr(derive.language.library, "read", counting)
    load("batchnorm")
    assert read == ["normalization.layer"]


# The decorator


def test_the_decorator_reads_the_source_and_never_calls() -> None:
    called = []

    @layer
    def scaled(x: Real[N, D], *, s: Real = 2.0):  # noqa: F821
        """Scaled by 2 γ."""
        y[n, d] = s * x[n, d]  # noqa: F821
        return y  # noqa: F821

    assert called == []
    text = 'def scaled(x: Real[N, D], *, s: Real = 2.0):\n    """Scaled by 2 γ."""\n'
    assert scaled == parse(text + "    y[n, d] = s*x[n, d]\n    return y\n")


def test_a_decorated_function_calls_layers_it_can_see() -> None:
    gate = parse("def gate(x: Real[...]):\n    y[...] = x[...]*sigmoid(x[...])\n    return y\n")

    @layer
    def twice(x: Real[N]):  # noqa: F821
        h = gate(x)
        y[n] = gate(h[n])  # noqa: F821
        return y  # noqa: F821

    assert [s.name for s in twice.statements] == ["h", "y"]


def test_an_error_in_a_decorated_function_has_the_place_in_the_python_file() -> None:
    with pytest.raises(DeriveError) as caught:

        @layer
        def wrong(x: Real[N]):  # noqa: F821
            y[n] = x[n] + z[n]  # noqa: F821
            return y  # noqa: F821

    span = caught.value.span
    assert span is not None
    assert span.source.name == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[span.line - 1]
    assert line[span.column - 1 :].startswith("z[n]  # noqa")


def test_a_function_without_source_is_an_error() -> None:
    with pytest.raises(LayerSyntaxError, match="the source of 'len' can't be found"):
        layer(len)


# Speed


def test_fifty_linear_and_tanh_layers_are_resolved_in_under_150_ms() -> None:
    count = 50
    tensors = "".join(f", w{i}: Real[D{i}, D{i + 1}], b{i}: Real[D{i + 1}]" for i in range(count))
    lines = "".join(f"    h{i} = linear(a{i}, w{i}, b{i})\n    a{i + 1} = tanh(h{i})\n" for i in range(count))
    text = f"def deep(x: Real[N, D0]{tensors}):\n    a0[n, d] = x[n, d]\n{lines}    return a{count}\n"
    parse(text)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        parse(text)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.15


# Properties


@settings(max_examples=60, deadline=None)
@given(layers())
def test_a_random_layer_is_printed_and_read_back(text: str) -> None:
    try:
        layer = parse(text)
    except DeriveError as error:  # a constant that has no value
        assert error.message in ("a constant too large", "a division by zero", "a value that is not a real number")
        return
    verify(layer)
    assert parse(str(layer)) == layer


@settings(max_examples=60, deadline=None)
@given(windowed())
def test_a_layer_with_random_windows_is_printed_and_read_back(text: str) -> None:
    layer = verify(parse(text))
    assert parse(str(layer)) == layer


@settings(max_examples=60, deadline=None)
@given(recurrent())
def test_a_random_recurrence_is_printed_and_read_back(text: str) -> None:
    layer = verify(parse(text))
    assert parse(str(layer)) == layer
    assert {s.name for s in layer.statements if s.carry is not None} == {"h", "c"}
