"""Recurrences: starts, loops, letters and ranges of what is computed step by step."""

from __future__ import annotations

from sympy import Integer, S, oo, tanh

from derive.algebra.nodes import BATCH, Element, Index, Kind, Padded, Size, Sum, Tensor
from derive.language import parse
from derive.language.layer import Carry, Layer
from derive.language.loops import Loop, flat, loops
from derive.language.verify import verify

T, N, D, H = Size("T"), Size("N"), Size("D"), Size("H")
t, n, d, j = Index("t", T), Index("n", N), Index("d", D), Index("j", H)
h, x = Tensor("h"), Tensor("x")


def resolved(*lines: str, signature: str = "x: Real[T, D]", before: str = "") -> Layer:
    """Return the layer f of these lines, which is also printed and read back."""
    text = before + f"def f({signature}):\n" + "".join(f"    {line}\n" for line in lines)
    layer = verify(parse(text, "f"))
    assert parse(str(layer)) == layer
    return layer


def shape(layer: Layer) -> list[object]:
    """Return the names of the pieces, those of a loop as a tuple."""
    return [
        tuple(s.name for s in piece.statements) if isinstance(piece, Loop) else piece.name
        for piece in loops(layer.statements)
    ]


def test_a_recurrence_is_one_statement_with_its_start() -> None:
    layer = resolved(
        "h[-1, n, j] = h0[n, j]",
        "h[t, n, j] = tanh(a[t, n, j] + sum[k](h[t - 1, n, k]*w[k, j]))",
        "return h",
        signature="a: Real[T, N, H], h0: Real[N, H], w: Real[H, H]",
    )
    (statement,) = layer.statements
    k = Index("k", H)
    assert statement.indices == (t, n, j)
    assert statement.carry == Carry(t, 1, Element(Tensor("h0"), n, j))
    earlier = Sum(Element(h, t - 1, n, k) * Element(Tensor("w"), k, j), k)
    assert statement.expr == tanh(Element(Tensor("a"), t, n, j) + earlier)
    assert statement.start == Element(h, Integer(-1), n, j)
    assert shape(layer) == [("h",)]


def test_the_start_may_have_letters_of_its_own_and_no_shape() -> None:
    layer = resolved("h[-1, m] = 2*c[m]", "h[s, e] = h[s - 1, e] + x[s, e]", "return h",
                     signature="x: Real[T, D], c: Real[D]")  # fmt: skip
    (statement,) = layer.statements
    e = Index("e", D)
    assert statement.carry == Carry(Index("s", T), 1, 2 * Element(Tensor("c"), e))
    layer = resolved("h[-1, m] = 0", "h[t, d] = h[t - 1, d] + x[t, d]", "return h")
    assert layer.statements[0].carry == Carry(t, 1, S.Zero)
    assert layer.axes("h") == (T, D)


def test_the_steps_may_be_any_axis() -> None:
    layer = resolved("s[n, -1, d] = 0", "s[n, t, d] = s[n, t - 1, d] + x[n, t, d]", "return s",
                     signature="x: Real[N, T, D]")  # fmt: skip
    assert layer.statements[0].carry == Carry(t, 1, S.Zero)
    layer = resolved("s[..., -1] = 1", "s[..., t] = s[..., t - 1]*x[..., t]", "return s", signature="x: Real[..., T]")
    assert layer.statements[0].indices == (BATCH, t)


LSTM = (
    "h[-1, n, j] = h0[n, j]",
    "c[-1, n, j] = 0",
    "a[t, n, g, j] = sum[i](x[t, n, i]*w[i, g, j]) + sum[k](h[t-1, n, k]*u[k, g, j])",
    "c[t, n, j] = sigmoid(a[t, n, 1, j])*c[t-1, n, j] + sigmoid(a[t, n, 0, j])*tanh(a[t, n, 2, j])",
    "h[t, n, j] = sigmoid(a[t, n, 3, j])*tanh(c[t, n, j])",
)
LSTM_SIGNATURE = "x: Real[T, N, D], h0: Real[N, H], w: Real[D, 4, H], u: Real[H, 4, H]"


def test_several_recurrences_and_the_statements_between_are_one_loop() -> None:
    layer = resolved(*LSTM, "y[n, j] = mean[t](h[t, n, j])", "return y", signature=LSTM_SIGNATURE)
    assert shape(layer) == [("a", "c", "h"), "y"]
    assert [s.carry is not None for s in layer.statements] == [False, True, True, False]


def test_statements_of_a_loop_get_one_letter_for_the_steps() -> None:
    other = list(LSTM)
    other[3] = "c[s, m, t] = sigmoid(a[s, m, 1, t])*c[s-1, m, t] + sigmoid(a[s, m, 0, t])*tanh(a[s, m, 2, t])"
    layer = resolved(*other, "return h", signature=LSTM_SIGNATURE)
    assert {s.indices[0] for s in layer.statements} == {t}
    c = layer.statement("c")
    assert c is not None
    assert c.carry is not None
    assert c.carry.index == t
    assert len({i.name for i in c.indices}) == 3


def test_a_statement_may_read_a_recurrence_before_its_start_is_written() -> None:
    lines = ("g[t, d] = sigmoid(h[t - 1, d] + x[t, d])", "h[-1, d] = 0", "h[t, d] = g[t, d]*h[t - 1, d] + x[t, d]")
    first = resolved(*lines, "return h")
    second = resolved(lines[1], lines[0], lines[2], "return h")
    assert first == second


def test_what_does_not_depend_on_the_steps_stands_outside_the_loop() -> None:
    layer = resolved(
        "h[-1, d] = 0",
        "a[t, d] = tanh(x[t, d])",
        "h[t, d] = 0.5*h[t - 1, d] + a[t, d]",
        "y[d] = h[T - 1, d]",
        "z[t, d] = h[t, d] - h[t - 1, d]",
        "return y, z",
    )
    assert shape(layer) == ["a", ("h",), "y", "z"]
    assert layer.statements[3].expr == Element(h, t, d) - Element(h, t - 1, d)


def test_a_range_may_come_from_a_later_statement() -> None:
    layer = resolved(
        "h[-1, n] = 0",
        "g[t, n] = 2*h[t - 1, n]",
        "h[t, n] = g[t, n] + x[t, n]",
        "return h",
    )
    assert layer.axes("g") == (T, D)


def test_the_steps_may_be_declared() -> None:
    layer = resolved(
        "K = steps", "u: Real[K, D]", "u[-1, i] = v[i]", "u[t, i] = cos(u[t - 1, i])", "y[i] = u[K - 1, i]", "return y",
        signature="v: Real[D], *, steps: Int = 5",
    )  # fmt: skip
    assert layer.axes("u") == (Size("K"), D)


def test_a_padded_read_of_an_earlier_element_has_the_start_before_the_first_step() -> None:
    layer = resolved(
        "a[-1, s] = where(s == 0, 0, -inf)",
        "a[t, s] = maximum(a[t-1, s], padded(a, -inf)[t-1, s-1]) + p[t, s]",
        "return a",
        signature="p: Real[T, S]",
    )
    (statement,) = layer.statements
    s = Index("s", Size("S"))
    assert statement.expr.has(Padded(Element(Tensor("a"), t - 1, s - 1), -oo))


def test_a_recurrence_of_integers_is_declared() -> None:
    layer = resolved(
        "c: Int[T]", "c[-1] = 0", "c[t] = c[t - 1] + where(m[t], one, 0)", "y[t] = x[t, 0]*c[t]", "return y",
        signature="x: Real[T, D], m: Bool[T], one: Int",
    )  # fmt: skip
    assert layer.statements[0].kind is Kind.INT


def test_one_recurrence_may_start_where_another_ends() -> None:
    layer = resolved(
        "h[-1, d] = 0",
        "h[t, d] = 0.5*h[t - 1, d] + x[t, d]",
        "g[-1, d] = h[T - 1, d]",
        "g[s, d] = 0.5*g[s - 1, d] + z[s, d]",
        "return g",
        signature="x: Real[T, D], z: Real[S, D]",
    )
    assert shape(layer) == [("h",), ("g",)]


def test_a_sum_and_a_copy_carry_longer_memory() -> None:
    layer = resolved(
        "a[-1] = 0", "b[-1] = 0", "a[t] = a[t - 1] + 0.5*b[t - 1] + x[t]", "b[t] = a[t - 1]", "return a",
        signature="x: Real[T]",
    )  # fmt: skip
    assert shape(layer) == [("a", "b")]


# Calls


RNN = """
def rnn(x: Real[T, I], h0: Real[H], w: Real[I, H]):
    h[-1, j] = h0[j]
    h[t, j] = tanh(sum[i](x[t, i]*w[i, j]) + h[t - 1, j])
    return h

"""
SCAN = "def scan(x: Real[..., T]):\n    s[..., -1] = 0\n    s[..., t] = s[..., t - 1] + x[..., t]\n    return s\n\n"
GATE = "def gate(a: Real[...], b: Real):\n    y[...] = b*sigmoid(a[...])\n    return y\n\n"


def test_a_call_writes_a_recurrence_out_in_the_callers_names() -> None:
    layer = resolved(
        "a = rnn(x, c, v)", "y = rnn(a, c, u)", "return y",
        signature="x: Real[T, D], c: Real[H], v: Real[D, H], u: Real[H, H]", before=RNN,
    )  # fmt: skip
    assert shape(layer) == [("a",), ("y",)]
    second = layer.statements[1]
    assert second.carry == Carry(t, 1, Element(Tensor("c"), j))
    assert second.expr.has(Element(Tensor("y"), t - 1, j))


def test_the_batch_of_a_recurrence_is_the_callers() -> None:
    layer = resolved("y = scan(x)", "return y", signature="x: Real[N, D, T]", before=SCAN)
    assert layer.axes("y") == (N, D, T)
    layer = resolved("y = scan(x)", "return y", signature="x: Real[T]", before=SCAN)
    assert layer.statements[0].indices == (t,)


def test_calls_may_stand_inside_a_loop() -> None:
    layer = resolved(
        "h[-1, d] = 0",
        "g[t, d] = x[t, d] + gate(h[t - 1, d], b)",
        "z = gate(g, b)",
        "h[t, d] = z[t, d]*h[t - 1, d] + x[t, d]",
        "return h",
        signature="x: Real[T, D], b: Real",
        before=GATE,
    )
    assert shape(layer) == [("g", "z", "h")]


def test_statements_come_in_an_order_of_computation() -> None:
    layer = resolved(
        "h[-1, d] = 0",
        "g[-1, d] = 0",
        "h[t, d] = h[t - 1, d] + x[t, d]",
        "m[d] = mean[t](x[t, d])",
        "g[t, d] = g[t - 1, d] + h[t, d]*m[d]",
        "return g",
    )
    assert flat(loops(layer.statements)) == layer.statements
    assert shape(layer) == [("h",), "m", ("g",)]
