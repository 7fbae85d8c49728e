"""Names, index ranges, shapes, sizes and calls: what a layer means once it is resolved."""

from __future__ import annotations

import pytest
from sympy import Rational

from derive.algebra.functions import FloorDiv, Gt, Sigmoid, Where
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    ArgMax,
    Element,
    Hyper,
    Index,
    Kind,
    LogSoftmax,
    Mean,
    Size,
    Softmax,
    Sum,
    Tensor,
)
from derive.errors import DeriveError, ShapeError
from derive.language import load, parse
from derive.language.layer import Layer
from derive.language.verify import verify

N, D = Size("N"), Size("D")
n, d = Index("n", N), Index("d", D)
x = Element(Tensor("x"), n, d)


def resolved(*lines: str, signature: str = "x: Real[N, D]", before: str = "") -> Layer:
    """Return the layer f of these lines, which is also printed and read back."""
    text = before + f"def f({signature}):\n" + "".join(f"    {line}\n" for line in lines)
    layer = verify(parse(text, "f"))
    assert parse(str(layer)) == layer
    return layer


def shown(layer: Layer) -> list[str]:
    """Return the equations as text."""
    return [str(statement) for statement in layer.statements]


# Index ranges


def test_an_index_ranges_over_the_axis_where_it_stands_alone() -> None:
    layer = resolved("y[d, n] = x[n, d]", "return y")
    assert layer.statements[0].indices == (d, n)
    assert layer.axes("y") == (D, N)
    assert layer.sizes == (N, D)


def test_another_statement_may_use_a_letter_for_another_axis() -> None:
    layer = resolved("a[i] = sum[j](x[i, j])", "b[i] = sum[j](x[j, i])", "return a, b")
    assert layer.axes("a") == (N,)
    assert layer.axes("b") == (D,)


def test_a_reduction_hides_the_letter_of_the_statement() -> None:
    layer = resolved("y[n] = x[n, 0] + sum[n](x[0, n])", "return y")
    assert layer.statements[0].expr == Element(Tensor("x"), n, 0) + Sum(
        Element(Tensor("x"), 0, Index("n2", D)), Index("n2", D)
    )


def test_a_softmax_shares_its_letter_with_what_is_around_it() -> None:
    layer = resolved("y[n, d] = softmax[d](x[n, d])", "z[n, d] = log_softmax[n, d](x[n, d])", "return y, z")
    assert layer.statements[0].expr == Softmax(x, (d,), (d,))
    assert layer.statements[1].expr == LogSoftmax(x, (n, d), (n, d))


def test_a_softmax_inside_a_sum_uses_the_letter_of_the_sum() -> None:
    layer = resolved("y[n] = sum[d](softmax[d](x[n, d]) * x[n, d])", "return y")
    assert layer.statements[0].expr == Sum(Softmax(x, (d,), (d,)) * x, d)


def test_an_index_may_be_used_as_a_number() -> None:
    layer = resolved("y[h, t, s] = q[t, s] + m[h] * (t - s) / T", "return y", signature="q: Real[T, S], m: Real[H]")
    t, s, h = Index("t", Size("T")), Index("s", Size("S")), Index("h", Size("H"))
    assert layer.statements[0].expr == Element(Tensor("q"), t, s) + Element(Tensor("m"), h) * (t - s) / Size("T")


def test_a_declaration_gives_the_range_of_an_index_that_is_only_compared() -> None:
    layer = resolved("y: Real[N, D, N]", "y[i, j, k] = where(i == k, x[i, j], 0)", "return y")
    assert layer.axes("y") == (N, D, N)


def test_a_declaration_may_use_a_computed_size() -> None:
    layer = resolved("P = 2*N - 1", "y: Real[P, D]", "y[p, d] = where(p < 3, x[0, d], 0)", "return y")
    assert layer.axes("y") == (Size("P"), D)


def test_sizes_that_are_equal_by_definition_fit() -> None:
    layer = resolved(
        "P = N + 1",
        "Q = 1 + N",
        "a: Real[P, D]",
        "a[p, d] = x[0, d] + p",
        "b: Real[Q, D]",
        "b[q, d] = a[q, d]",
        "return b",
    )
    assert layer.axes("b") == (Size("P"), D)
    assert [derived.size for derived in layer.derived] == [Size("P")]
    layer = resolved("M = N", "K = 3", "y: Real[M, K]", "y[n, k] = x[n, k]", "return y", signature="x: Real[N, 3]")
    assert layer.axes("y") == (N, 3)


def test_a_literal_size_is_an_axis() -> None:
    layer = resolved("y[n] = x[n, 0] + x[n, 2] + sum[c](x[n, c])", "return y", signature="x: Real[N, 3]")
    assert layer.parameters[0].axes == (N, 3)
    with pytest.raises(ShapeError, match="may lie outside"):
        resolved("y[n] = x[n, 3]", "return y", signature="x: Real[N, 3]")


def test_a_diagonal_is_a_read_with_one_index_twice() -> None:
    layer = resolved("y[i] = w[i, i]", "return y", signature="w: Real[N, N]")
    i = Index("i", N)
    assert layer.statements[0].expr == Element(Tensor("w"), i, i)


# Subscripts


@pytest.mark.parametrize("subscript", ["0", "N - 1", "N + 2 - 3", "2*N - N - 1", "(N - 1)"])
def test_a_constant_subscript_that_is_certainly_inside_is_read(subscript: str) -> None:
    resolved(f"y[d] = x[{subscript}, d]", "return y")


@pytest.mark.parametrize("subscript", ["1", "N", "N - 2", "N // 2", "2*N - 1", "N % 2", "D - 1"])
def test_a_constant_subscript_that_may_be_outside_is_refused(subscript: str) -> None:
    with pytest.raises(ShapeError, match="may lie outside x, axis 0"):
        resolved(f"y[d] = x[{subscript}, d]", "return y")


def test_a_constant_subscript_of_a_computed_axis_uses_its_definition() -> None:
    lines = "P = N + 2", "g: Real[P, D]", "g[p, d] = x[0, d] * p"
    resolved(*lines, "y[d] = g[2, d]", "return y")
    with pytest.raises(ShapeError, match="may lie outside"):
        resolved(*lines, "y[d] = g[3, d]", "return y")


def test_a_gather_is_an_element_as_a_subscript() -> None:
    layer = resolved("y[n] = x[n, t[n]]", "return y", signature="x: Real[N, D], t: Int[N]")
    assert layer.statements[0].expr == Element(Tensor("x"), n, Element(Tensor("t", Kind.INT), n))


def test_a_gather_may_be_by_a_scalar_an_intermediate_or_a_gather() -> None:
    layer = resolved(
        "i[n] = argmax[d](x[n, d])",
        "j[n] = s[i[n]]",
        "y[n] = x[n, i[n]] + x[n, j[n]] + x[n, s[s[i[n]]]] + x[n, k]",
        "return y",
        signature="x: Real[N, D], s: Int[D], k: Int",
    )
    assert [statement.kind for statement in layer.statements] == [Kind.INT, Kind.INT, Kind.REAL]
    assert layer.statements[0].expr == ArgMax(x, d)


def test_a_batch_gather_reads_by_labels_of_every_batch_element() -> None:
    layer = resolved("y[..., e] = w[t[...], e]", "return y", signature="t: Int[...], w: Real[V, E]")
    assert layer.statements[0].expr == Element(
        Tensor("w"), Element(Tensor("t", Kind.INT), BATCH), Index("e", Size("E"))
    )


# Batch axes


def test_batch_axes_are_one_index() -> None:
    layer = resolved(
        "mu = mean[..., d](x[..., d])", "y[..., d] = x[..., d] - mu", "return y", signature="x: Real[..., D]"
    )
    e = Element(Tensor("x"), BATCH, d)
    assert layer.parameters[0].axes == (BATCH_SIZE, D)
    assert layer.sizes == (D,)
    assert layer.statements[0].expr == Mean(e, BATCH, d)
    assert layer.axes("y") == (BATCH_SIZE, D)


def test_a_sum_over_the_batch_of_one_counts_it() -> None:
    layer = resolved("y = sum[...](x[...]) / sum[...](1)", "return y", signature="x: Real[...]")
    assert layer.statements[0].expr == Sum(Element(Tensor("x"), BATCH), BATCH) / BATCH_SIZE


# Sizes


def test_a_computed_size_is_an_expression_of_sizes_and_integers() -> None:
    layer = resolved(
        "P = (N + 2*pad - D) // stride + 1", "R = pad", "y: Real[P, R]", "y[p, r] = x[0, 0] * p * r", "return y",
        signature="x: Real[N, D], *, pad: Int = 1, stride: Int = 2",
    )  # fmt: skip
    pad, stride = Hyper("pad", Kind.INT), Hyper("stride", Kind.INT)
    assert [derived.expr for derived in layer.derived] == [FloorDiv(N + 2 * pad - D, stride) + 1, pad]
    assert layer.sizes == (N, D)


def test_a_capital_name_of_anything_else_is_a_tensor() -> None:
    layer = resolved("L = mean[n, d](x[n, d])", "W1[n, d] = x[n, d] * L", "return W1")
    assert layer.derived == ()
    assert [statement.name for statement in layer.statements] == ["L", "W1"]


# Kinds


@pytest.mark.parametrize(
    ("formula", "kind"),
    [
        ("t[n]", Kind.INT),
        ("2*t[n] + 1", Kind.INT),
        ("t[n] // 2", Kind.INT),
        ("n - N", Kind.INT),
        ("argmax[d](x[n, d])", Kind.INT),
        ("sum[d](x[n, d] > 0)", Kind.INT),
        ("where(m[n], t[n], 0)", Kind.INT),
        ("m[n]", Kind.BOOL),
        ("not m[n]", Kind.BOOL),
        ("x[n, 0] > 0", Kind.BOOL),
        ("(x[n, 0] > 0) * m[n]", Kind.BOOL),
        ("0 < n < 3", Kind.BOOL),
        ("m[n] + m[n]", Kind.INT),
        ("where(m[n], 1, 0)", Kind.REAL),
        ("t[n] / 2", Kind.REAL),
        ("t[n] * x[n, 0]", Kind.REAL),
        ("t[n] * 0.5", Kind.REAL),
        ("floor(x[n, 0])", Kind.REAL),
        ("N", Kind.REAL),
        ("exp(t[n])", Kind.REAL),
    ],
)
def test_the_kind_of_a_value_follows_from_its_formula(formula: str, kind: Kind) -> None:
    layer = resolved(
        "u: Real[N]", f"u[n] = {formula}", "y[n] = u[n] + x[n, 0] * t[n] * m[n]", "return y",
        signature="x: Real[N, D], t: Int[N], m: Bool[N]",
    )  # fmt: skip
    assert layer.statements[0].kind is kind


@pytest.mark.parametrize(
    "condition", ["m[n]", "x[n, 0] > 0", "m[n] and flag", "not flag", "m[n] * (n > 2)", "n < t[n] <= N"]
)
def test_conditions_are_comparisons_masks_and_what_joins_them(condition: str) -> None:
    resolved(
        f"u[n] = where({condition}, x[n, 0], 0)", "y[n] = where(m[n] or flag, u[n], t[n])", "return y",
        signature="x: Real[N, D], m: Bool[N], t: Int[N], *, flag: Bool = True",
    )  # fmt: skip


# Reductions


def test_a_reduction_over_what_has_cancelled_is_known() -> None:
    layer = resolved(
        "u: Real[N]",
        "u[n] = sum[d](x[n, d] - x[n, d] + 2) + mean[d](x[n, d]**0) + prod[d](3 + 0*x[n, d]) + var[d](0*x[n, d])",
        "y[n] = x[n, 0] * u[n]",
        "return y",
    )
    assert layer.statements[0].expr == 2 * D + 1 + 3**D


# Calls of layers


LINEAR = "def lin(x: Real[..., I], w: Real[I, O]):\n    y[..., o] = sum[i](x[..., i] * w[i, o])\n    return y\n\n"


def test_a_call_is_written_out_with_the_callers_sizes() -> None:
    layer = resolved("h = lin(x, w)", "return h", signature="x: Real[N, D], w: Real[D, E]", before=LINEAR)
    i, o = Index("i", D), Index("o", Size("E"))
    assert layer.statements[0].indices == (n, o)
    assert layer.statements[0].expr == Sum(Element(Tensor("x"), n, i) * Element(Tensor("w"), i, o), i)


def test_the_batch_of_a_call_is_the_callers_leading_axes() -> None:
    layer = resolved("h = lin(x, w)", "return h", signature="x: Real[..., T, D], w: Real[D, E]", before=LINEAR)
    assert shown(layer) == ["h[..., t, o] = sum[i](w[i, o]*x[..., t, i])"]
    layer = resolved("h = lin(v, w)", "return h", signature="v: Real[D], w: Real[D, E]", before=LINEAR)
    assert layer.axes("h") == (Size("E"),)


def test_the_letters_of_a_batch_are_not_those_of_the_callee() -> None:
    layer = resolved("h = lin(x, w)", "return h", signature="x: Real[I, O, D], w: Real[D, E]", before=LINEAR)
    letters = [index.name for index in layer.statements[0].indices]
    assert len(set(letters)) == 3
    assert layer.axes("h") == (Size("I"), Size("O"), Size("E"))
    assert "i" not in letters


def test_a_mean_over_the_batch_is_one_over_the_leading_axes() -> None:
    layer = resolved("loss = mse_loss(x, z)", "return loss", signature="x: Real[N, D], z: Real[N, D]")
    assert layer.statements[0].expr == Mean((x - Element(Tensor("z"), n, d)) ** 2, n, d)
    layer = resolved("loss = mse_loss(a, b)", "return loss", signature="a: Real, b: Real")
    assert layer.statements[0].expr == (Element(Tensor("a")) - Element(Tensor("b"))) ** 2


def test_hyper_parameters_become_exact_numbers_or_the_callers_expressions() -> None:
    scale = "def g(x: Real[...], *, s: Real = 1e-5, k: Int = 3):\n    y[...] = s*x[...]**k\n    return y\n\n"
    assert shown(resolved("y = g(x)", "return y", before=scale)) == ["y[n, d] = 1e-05*x[n, d]**3"]
    layer = resolved("y = g(x)", "return y", before=scale)
    assert layer.statements[0].expr == Rational(1, 100000) * x**3
    layer = resolved("y = g(x, s=r/D, k=2)", "return y", signature="x: Real[N, D], *, r: Real = 2.0", before=scale)
    assert layer.statements[0].expr == Hyper("r") / D * x**2


def test_names_of_the_callee_stay_where_they_are_free() -> None:
    layer = resolved(
        "h = batchnorm(x, gamma, beta)", "g = batchnorm(h, gamma, beta, eps=1e-3)", "return g",
        signature="x: Real[N, D], gamma: Real[D], beta: Real[D]",
    )  # fmt: skip
    names = [statement.name for statement in layer.statements]
    assert names == ["mu", "var", "xhat", "h", "g_mu", "g_var", "g_xhat", "g"]
    assert len(set(names)) == len(names)


def test_a_name_that_the_caller_assigns_later_is_not_free() -> None:
    layer = resolved(
        "h = batchnorm(x, gamma, beta)", "mu[d] = mean[n](h[n, d])", "y[n, d] = h[n, d] - mu[d]", "return y",
        signature="x: Real[N, D], gamma: Real[D], beta: Real[D]",
    )  # fmt: skip
    assert [statement.name for statement in layer.statements] == ["h_mu", "var", "xhat", "h", "mu", "y"]


def test_a_letter_of_the_callee_is_never_read_as_the_callers_scalar() -> None:
    add = "def add(x: Real[S], *, c: Real = 1):\n    y[s] = x[s] + c\n    return y\n\n"
    layer = resolved("y = add(v, c=s)", "return y", signature="v: Real[D], *, s: Real = 2.0", before=add)
    (statement,) = layer.statements
    assert Hyper("s") in statement.expr.free_symbols
    assert statement.indices[0].name != "s"


def test_computed_sizes_of_the_callee_get_their_value_in_the_caller() -> None:
    pool = "def grid(x: Real[M], *, k: Int = 2):\n    P = M // k\n"
    pool += "    y: Real[P, M]\n    y[p, m] = x[m] * p\n    return y\n\n"
    layer = resolved("y = grid(x)", "return y", signature="x: Real[N]", before=pool)
    assert [str(derived.expr) for derived in layer.derived] == [str(FloorDiv(N, 2))]
    layer = resolved("y = grid(x, k=1)", "return y", signature="x: Real[N]", before=pool)
    assert layer.derived == ()
    assert layer.axes("y") == (N, N)
    layer = resolved("y = grid(x, k=4)", "return y", signature="x: Real[8]", before=pool)
    assert layer.axes("y") == (2, 8)
    with pytest.raises(ShapeError, match="size 'P' of grid is 0"):
        resolved("y = grid(x, k=9)", "return y", signature="x: Real[8]", before=pool)
    layer = resolved(
        "P[n] = x[n]", "y = grid(x)", "z[p, n] = y[p, n] * P[n]", "return z", signature="x: Real[N]", before=pool
    )
    assert layer.derived[0].size == Size("P2")


def test_several_results_come_as_several_names() -> None:
    two = "def two(a: Real[M]):\n    u[m] = a[m]**2\n    v[m] = u[m] + 1\n    return v, u\n\n"
    layer = resolved("p, q = two(x)", "return p", signature="x: Real[N]", before=two)
    assert shown(layer) == ["q[m] = x[m]**2", "p[m] = q[m] + 1"]


def test_tensors_may_be_given_by_name() -> None:
    layer = resolved("h = lin(w=w, x=x)", "return h", signature="x: Real[N, D], w: Real[D, E]", before=LINEAR)
    assert layer == resolved("h = lin(x, w)", "return h", signature="x: Real[N, D], w: Real[D, E]", before=LINEAR)


def test_a_layer_may_be_called_before_it_is_written() -> None:
    text = "def f(x: Real[N]):\n    y = g(x)\n    return y\n\ndef g(x: Real[N]):\n    y[n] = 2*x[n]\n    return y\n"
    assert shown(parse(text, "f")) == ["y[n] = 2*x[n]"]


def test_an_elementwise_layer_is_called_on_elements() -> None:
    gate = (
        "def gate(x: Real[...], b: Real, *, s: Real = 0.5):\n"
        "    h[...] = s*x[...] + b\n    y[...] = h[...]*sigmoid(h[...])\n    return y\n\n"
    )
    layer = resolved(
        "y[n, d] = 1 + gate(2*x[n, d], a, s=3)", "return y", signature="x: Real[N, D], a: Real", before=gate
    )
    h = 6 * x + Element(Tensor("a"))
    assert layer.statements[0].expr == 1 + h * Sigmoid(h)


def test_a_catalogue_layer_is_a_function_too() -> None:
    layer = resolved("y[n, d] = silu(x[n, d]) * 2", "return y")
    assert shown(layer) == ["y[n, d] = 2*x[n, d]/(exp(-x[n, d]) + 1)"]


def test_a_layer_of_the_file_hides_the_catalogues_and_the_functions_but_not_in_itself() -> None:
    own = "def relu(x: Real[...]):\n    y[...] = relu(x[...]) + 0.1*x[...]\n    return y\n\n"
    layer = resolved("y[n, d] = relu(x[n, d])", "return y", before=own)
    assert shown(layer) == ["y[n, d] = relu(x[n, d]) + 0.1*x[n, d]"]
    layer = resolved("y = relu(x)", "return y", before=own)
    assert shown(layer) == ["y[n, d] = relu(x[n, d]) + 0.1*x[n, d]"]
    silu = "def silu(x: Real[...]):\n    y[...] = 2*x[...]\n    return y\n\n"
    assert shown(resolved("y = silu(x)", "return y", before=silu)) == ["y[n, d] = 2*x[n, d]"]


def test_a_function_of_the_language_on_a_whole_tensor_is_the_catalogues_layer() -> None:
    layer = resolved("y = relu(x)", "return y")
    assert layer.statements[0].expr == Where(Gt(x, 0), x, 0)


def test_the_block_of_the_language_page_is_resolved() -> None:
    layer = resolved(
        "h = linear(x, w, b)", "g = batchnorm(h, gamma, beta, eps=1e-3)", "y[n, d] = x[n, d] + relu(g[n, d])",
        "return y",
        signature="x: Real[N, D], w: Real[D, D], b: Real[D], gamma: Real[D], beta: Real[D]",
    )  # fmt: skip
    assert [statement.name for statement in layer.statements] == ["h", "mu", "var", "xhat", "g", "y"]
    assert layer.hypers == ()


def test_an_error_at_a_call_stands_in_the_callers_text() -> None:
    with pytest.raises(DeriveError) as caught:
        resolved("h = linear(x, w, b)", "return h", signature="x: Real[N, D], w: Real[E, D], b: Real[D]")
    assert caught.value.span is not None
    assert (caught.value.span.line, caught.value.span.column) == (2, 19)


# Values


def test_layers_are_equal_whatever_their_layout_and_hash_alike() -> None:
    first = parse("def f(x: Real[N, D]):\n    y[n, d] = x[n, d] + 1   # one more\n    return y\n")
    second = parse("\n\ndef f(x: Real[N,D]):\n\n    y[n,d]=(1+x[n,d])\n    return (y)\n")
    assert first == second
    assert hash(first) == hash(second)


def test_a_statement_knows_where_it_was_written() -> None:
    layer = parse("def f(x: Real[N]):\n    # a comment\n    y[n] = x[n]\n    return y\n", filename="mine.layer")
    span = layer.statements[0].span
    assert span is not None
    assert (span.source.name, span.line, span.column, span.length) == ("mine.layer", 3, 5, 11)
    assert load("linear").source is not None
