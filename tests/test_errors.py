"""What a user sees when a layer is wrong: one error, its place, and what to do."""

from __future__ import annotations

import re
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from derive.errors import (
    CheckError,
    DerivationError,
    DeriveError,
    LayerSyntaxError,
    ShapeError,
    Source,
    Span,
    UnknownNameError,
)
from derive.language import load, load_all, parse, parse_all
from tests.bad_layers import BAD, Bad
from tests.layer_texts import damaged

CATALOGUE = tuple(
    path.read_text() for path in sorted((Path(__file__).parent.parent / "derive" / "layers").glob("*.layer"))
)
SHORT = tuple(bad.text for bad in BAD if isinstance(bad.text, str) and len(bad.text) < 2000)


def error(text: str) -> DeriveError:
    """Return the error of a layer file."""
    with pytest.raises(DeriveError) as caught:
        parse_all(text, "mylayer.layer")
    return caught.value


# The table


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_a_bad_layer_file_is_one_error_with_its_place(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = bad.text
    Path("bad.layer").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    start = time.monotonic()
    with pytest.raises(DeriveError) as caught:
        load_all("bad.layer")
    picture = str(caught.value)
    assert bad.contains in picture
    assert re.match(r"bad\.layer:\d+:\d+: error: ", picture)
    assert picture.count(" error: ") == 1
    assert len(picture) < 1500
    assert sorted(path.name for path in Path().iterdir()) == ["bad.layer"]
    assert time.monotonic() - start < 5


def test_the_table_is_long_and_its_rows_differ() -> None:
    assert len(BAD) >= 80
    assert len({bad.id for bad in BAD}) == len(BAD)
    assert len({bad.text for bad in BAD}) == len(BAD)


@pytest.mark.parametrize("bad", [bad for bad in BAD if isinstance(bad.text, str)], ids=lambda bad: bad.id)
def test_the_place_of_an_error_lies_in_the_text(bad: Bad) -> None:
    with pytest.raises(DeriveError) as caught:
        parse_all(bad.text if isinstance(bad.text, str) else "")
    span = caught.value.span
    assert span is not None
    line = span.source.line(span.line)
    assert 1 <= span.column <= len(line) + 1
    assert span.length >= 1


# The whole output, one for each kind


def test_an_index_over_two_sizes_is_a_shape_error() -> None:
    found = error(
        "def f(x: Real[N, D]):\n"
        "    # mean over the columns\n"
        "    mu[n] = mean[d](x[n, d])\n"
        "    y[n, d] = x[n, d] - mu[d]\n"
        "    return y\n"
    )
    assert type(found) is ShapeError
    assert str(found) == (
        "mylayer.layer:4:25: error: index 'd' runs over D (x, axis 1) and over N (mu, axis 0)\n"
        "    y[n, d] = x[n, d] - mu[d]\n"
        "                        ^~~~~\n"
        "hint: mu was defined as mu[n] on line 3"
    )


def test_what_is_not_in_the_language_is_a_syntax_error() -> None:
    found = error("def f(x: Real[N]):\n    y[n] = x[n] if x[n] > 0 else 0\n    return y\n")
    assert type(found) is LayerSyntaxError
    assert str(found) == (
        "mylayer.layer:2:12: error: a conditional expression is not part of the layer language\n"
        "    y[n] = x[n] if x[n] > 0 else 0\n"
        "           ^~~~~~~~~~~~~~~~~~~~~~~\n"
        "hint: write where(condition, a, b)"
    )


def test_an_unknown_name_comes_with_the_nearest_known_one() -> None:
    found = error("def f(x: Real[N], gamma: Real):\n    y[n] = gama * x[n]\n    return y\n")
    assert type(found) is UnknownNameError
    assert str(found) == (
        "mylayer.layer:2:12: error: unknown name 'gama'\n"
        "    y[n] = gama * x[n]\n"
        "           ^~~~\n"
        "hint: did you mean 'gamma'?"
    )


def test_a_form_without_a_derivation_is_a_derivation_error() -> None:
    found = error("def f(x: Real[T]):\n    h[t] = x[t] + h[t - 1]\n    return h\n")
    assert type(found) is DerivationError
    assert str(found) == (
        "mylayer.layer:2:19: error: 'h' reads its earlier elements and has no start\n"
        "    h[t] = x[t] + h[t - 1]\n"
        "                  ^~~~~~~~\n"
        "hint: write h[-1] = … before it"
    )


def test_a_read_outside_its_axis_says_where() -> None:
    found = error("def f(x: Real[T]):\n    y[t] = x[t] - x[t - 1]\n    return y\n")
    assert type(found) is ShapeError
    assert str(found) == (
        "mylayer.layer:2:21: error: 't - 1' reaches -1 at t = 0, and x, axis 0 has elements from 0 on\n"
        "    y[t] = x[t] - x[t - 1]\n"
        "                    ^~~~~\n"
        "hint: read it padded, padded(x)[…], zero outside, or declare a shorter range: y: Real[P], P = …"
    )


def test_python_s_own_syntax_errors_look_the_same() -> None:
    assert str(error("def f(x: Real[N]):\n    y[n] = (x[n]\n    return y\n")) == (
        "mylayer.layer:2:12: error: '(' was never closed\n"
        "    y[n] = (x[n]\n"
        "           ^"
    )  # fmt: skip


def test_an_error_at_a_call_names_both_sizes() -> None:
    assert str(error("def f(x: Real[N, D], w: Real[E, O], b: Real[O]):\n    y = linear(x, w, b)\n    return y\n")) == (
        "mylayer.layer:2:19: error: size 'I' of linear is D (x, axis 1) and E (w, axis 0)\n"
        "    y = linear(x, w, b)\n"
        "                  ^\n"
        "hint: linear(x: Real[..., I], w: Real[I, O], b: Real[O])"
    )


def test_an_error_without_a_place_or_hint_is_one_line() -> None:
    assert str(CheckError("gradient of 'x' differs")) == "error: gradient of 'x' differs"


# Columns and pictures


def test_columns_count_characters_and_not_bytes() -> None:
    found = error('def f(x: Real[N]):\n    """Größe 🙂."""\n    y[n] = x[n] * z  # ∂\n    return y\n')
    assert found.span is not None
    assert (found.span.line, found.span.column, found.span.length) == (3, 19, 1)
    found = error("def f(x: Real[N]):\n    y[n] = x[n] * 'é🙂é' * z\n    return y\n")
    assert str(found).splitlines()[1:3] == ["    y[n] = x[n] * 'é🙂é' * z", "                  ^~~~~"]


def test_tabs_stay_in_the_padding() -> None:
    found = error("def f(x: Real[N]):\n\ty[n] =\tx[n] *\tz\n\treturn y\n")
    assert str(found) == (
        "mylayer.layer:2:16: error: index 'z' is on the right only\n"
        "    y[n] =\tx[n] *\tz\n"
        "          \t      \t^\n"
        "hint: put it on the left, or reduce over it: sum[z](…)"
    )


def test_an_expression_of_several_lines_is_marked_on_its_first() -> None:
    found = error("def f(x: Real[N]):\n    y[n] = x[n] + (x[n] @\n        x[n])\n    return y\n")
    assert str(found).splitlines()[1:3] == ["    y[n] = x[n] + (x[n] @", "                   ^~~~~~"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_with_every_line_end(end: str) -> None:
    found = error(f"def f(x: Real[N]):{end}    # \x0c \u2028 \x85{end}    y[n] = z[n] + x[n]{end}    return y{end}")
    assert found.span is not None
    assert (found.span.line, found.span.column) == (3, 12)


def test_a_long_line_is_shown_in_part() -> None:
    text = "def f(x: Real[N]):\n    y[n] = " + "x[n] + " * 60 + "zeta + " + "x[n] + " * 30 + "1\n    return y\n"
    lines = str(error(text)).splitlines()
    assert max(map(len, lines)) < 180
    assert lines[1].startswith("    …")
    assert lines[1].endswith("…")
    start = lines[2].index("^")
    assert lines[1][start : start + 4] == "zeta"


def test_the_picture_never_steers_a_terminal() -> None:
    source = Source("a\x1b[2J.layer", "def \x1b[31mf\u009b \ud800\n")
    picture = str(DeriveError("bad \x1b[0m", Span(source, 1, 5, 3), "hint \x07"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", picture)
    assert picture.encode()


def test_a_lone_surrogate_is_an_error_with_its_place() -> None:
    found = error("def f(x: Real[N]):\n    # \ud800\n    y[n] = x[n]\n    return y\n")
    assert (found.message, found.span and found.span.line) == ("character U+D800 is half of a character", 2)
    found = error('def f(x: Real[N]):\n    """\\ud800"""\n    y[n] = x[n]\n    return y\n')
    assert found.message == "half of a character in the docstring"


def test_the_first_of_several_errors_is_the_one_shown() -> None:
    found = error("def f(x: Real[N]):\n    y[n] = a[n]\n    z[n] = b[n]\n    return q\n\ndef g():\n    return q\n")
    assert found.message == "unknown tensor 'a'"


# References


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("batchnrom", "error: no layer 'batchnrom' in the catalogue\nhint: did you mean 'batchnorm'?"),
        (
            "qqqq",
            "error: no layer 'qqqq' in the catalogue\n"
            "hint: 'derive list' shows the catalogue; a file is given as mine.layer",
        ),
        ("none.layer", "error: no file 'none.layer'\nhint: give a catalogue name, mine.layer or mine.layer:name"),
        ("none.layer:f", "error: no file 'none.layer'\nhint: give a catalogue name, mine.layer or mine.layer:name"),
        ("", "error: '' is a folder\nhint: give a layer file: mine.layer, or mine.layer:name"),
        (".", "error: '.' is a folder\nhint: give a layer file: mine.layer, or mine.layer:name"),
        ("a\0b.layer", "error: 'a\ufffdb.layer' can't be read: embedded null byte"),
        ("two.layer:thrid", "error: no layer 'thrid' in two.layer\nhint: did you mean 'third'?"),
        ("two.layer:zzz", "error: no layer 'zzz' in two.layer\nhint: it holds first, third"),
    ],
)
def test_a_reference_to_nothing_says_so(
    reference: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = "(x: Real[N]):\n    y[n] = x[n]\n    return y\n\n"
    Path("two.layer").write_text(f"def first{body}def third{body}")
    with pytest.raises(DeriveError) as caught:
        load(reference)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "reference", ["x" * 5000, "a/" * 3000, "\ud800", "\n", ":", "::", ":x", "a:b:c", "../..", "~", "*"]
)
def test_a_strange_reference_is_an_error(reference: str) -> None:
    with pytest.raises(DeriveError) as caught:
        load(reference)
    assert str(caught.value).encode()


def test_parse_of_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="no layer 'h' in mine"):
        parse("def f(x: Real[N]):\n    y[n] = x[n]\n    return y\n", "h", "mine")


# Nothing is executed, nothing crashes


def test_no_warning_of_python_s_parser_escapes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse('def f(x: Real[N]):\n    """\\d \\alpha"""\n    y[n] = x[n]\n    return y\n')
        error("def f(x: Real[N]):\n    y[n] = 1if x[n] else 0x1for\n    return y\n")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(CATALOGUE + SHORT))
def test_a_damaged_layer_file_is_a_layer_or_one_error(text: str) -> None:
    try:
        found = parse_all(text)
    except DeriveError as wrong:
        assert str(wrong).encode()
        assert wrong.span is not None
    else:
        assert all(layer.statements for layer in found)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
def test_random_bytes_are_one_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "random.layer"
    path.write_bytes(data)
    with pytest.raises(DeriveError) as caught:
        load_all(str(path))
    assert str(caught.value).encode()
