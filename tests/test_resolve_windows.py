"""Affine subscripts, padded reads, ranges and declared shapes: what they mean, and what is proved of them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from sympy import Expr, Integer, oo

from derive.algebra.functions import FloorDiv, Mod
from derive.algebra.nodes import Element, Hyper, Index, Kind, Max, Padded, Size, Sum, Tensor
from derive.errors import DeriveError, ShapeError
from derive.language import parse
from derive.language.bounds import Bounds
from derive.language.layer import Layer
from derive.language.verify import verify
from derive.pipeline import build_module

T, H, R, P = Size("T"), Size("H"), Size("R"), Size("P")
x = Tensor("x")
stride, pad, k = Hyper("stride", Kind.INT), Hyper("pad", Kind.INT), Hyper("k", Kind.INT)


def resolved(*lines: str, signature: str = "x: Real[T]", before: str = "") -> Layer:
    """Return the layer f of these lines, which is also printed and read back."""
    text = before + f"def f({signature}):\n" + "".join(f"    {line}\n" for line in lines)
    layer = verify(parse(text, "f"))
    assert parse(str(layer)) == layer
    return layer


def conditions(layer: Layer) -> list[str]:
    """Return what a layer takes for granted, as text."""
    return [condition.text for condition in layer.conditions]


# Reads


def test_an_affine_subscript_is_an_expression_of_its_indices() -> None:
    layer = resolved(
        "P = (H - R) // stride + 1", "y: Real[P]", "y[p] = sum[r](x[p*stride + r]*w[r])", "return y",
        signature="x: Real[H], w: Real[R], *, stride: Int = 1",
    )  # fmt: skip
    p, r = Index("p", P), Index("r", R)
    assert layer.statements[0].expr == Sum(Element(x, p * stride + r) * Element(Tensor("w"), r), r)
    assert layer.derived[0].expr == FloorDiv(H - R, stride) + 1


def test_a_padded_read_has_its_value_outside() -> None:
    layer = resolved("y: Real[T]", "y[t] = padded(x)[t - 1] + padded(x, -inf)[t + 1] + padded(x, c/2)[-1]", "return y",
                     signature="x: Real[T], *, c: Real = 1.0")  # fmt: skip
    t = Index("t", T)
    assert layer.statements[0].expr == (
        Padded(Element(x, t - 1)) + Padded(Element(x, t + 1), -oo) + Hyper("c") / 2
    )


def test_a_padded_letter_that_stands_alone_gives_its_range() -> None:
    layer = resolved("y[i, j] = padded(u)[i, j + 1] - u[i, j]", "return y", signature="u: Real[H, T]")
    assert layer.axes("y") == (H, T)
    layer = resolved("P = H + 2", "y: Real[P]", "y[p] = padded(u)[p]", "return y", signature="u: Real[H]")
    assert layer.statements[0].expr == Padded(Element(Tensor("u"), Index("p", P)))


def test_a_declared_range_may_be_shorter_than_the_axis() -> None:
    layer = resolved("P = H - 1", "g: Real[P]", "g[i] = x[i + 1] - x[i]", "return g", signature="x: Real[H]")
    i = Index("i", P)
    assert layer.statements[0].expr == Element(x, i + 1) - Element(x, i)
    layer = resolved("P = H - 1", "y = sum[i: P](abs(x[i + 1] - x[i]))", "return y", signature="x: Real[H]")
    assert layer.statements[0].expr.indices == (i,)
    assert "sum[i: P]" in str(layer)


def test_a_reduction_may_give_its_range() -> None:
    layer = resolved("P = H // k", "y: Real[P]", "y[p] = max[r: k](x[k*p + r])", "return y",
                     signature="x: Real[H], *, k: Int = 2")  # fmt: skip
    p, r = Index("p", P), Index("r", k)
    assert layer.statements[0].expr == Max(Element(x, k * p + r), r)
    assert conditions(layer) == ["k is at least 1", "P = H // k is at least 1"]


def test_a_range_may_be_an_expression_and_is_a_known_size_where_there_is_one() -> None:
    layer = resolved("y: Real[T]", "y[t] = sum[r: 2*k + 1](padded(x)[t + r - k])", "return y",
                     signature="x: Real[T], *, k: Int = 2")  # fmt: skip
    assert layer.statements[0].expr.indices[0].size == 2 * k + 1
    layer = resolved("P = T - 1", "y = sum[i: T - 1](x[i + 1])", "z = sum[i: 3](i*x[0])", "return y, z")
    assert layer.statements[0].expr.indices == (Index("i", P),)
    assert layer.statements[1].expr.indices == (Index("i", 3),)


def test_a_size_may_come_from_hyper_parameters_alone() -> None:
    layer = resolved("R = k", "P = H - R + 1", "u: Real[P, R]", "u[p, r] = x[p + r]", "return u",
                     signature="x: Real[H], *, k: Int = 3")  # fmt: skip
    assert layer.axes("u") == (P, R)
    assert conditions(layer)[0] == "R = k is at least 1"


def test_a_label_may_be_moved_where_the_read_is_padded() -> None:
    layer = resolved("y: Real[T]", "y[t] = padded(x)[s[t] + 1]", "return y", signature="x: Real[T], s: Int[T]")
    label = Element(Tensor("s", Kind.INT), Index("t", T))
    assert layer.statements[0].expr == Padded(Element(x, label + 1))


def test_the_kind_of_a_padded_read_is_that_of_its_elements() -> None:
    layer = resolved(
        "a[t] = where(padded(m)[t - 1] and m[t], x[t], 0)", "b[t] = padded(s)[t + 1]*m[t]",
        "c[t] = b[t]*x[t] + a[t]", "return c", signature="x: Real[T], m: Bool[T], s: Int[T]",
    )  # fmt: skip
    assert [statement.kind for statement in layer.statements] == [Kind.REAL, Kind.INT, Kind.REAL]


# What is proved


INSIDE = [
    ("P = H // 2", "x[2*p] + x[2*p + 1]"),
    ("P = H // 2", "max[r: 2](x[2*p + r])"),
    ("P = H", "x[H - 1 - p]"),
    ("P = H - 1", "x[p + 1]"),
    ("P = H - 2", "x[p + 2] + x[p]"),
    ("P = H - R + 1", "sum[r](x[p + r]*w[r])"),
    ("P = (H - R) // stride + 1", "sum[r](x[p*stride + r]*w[r])"),
    ("P = (H - dil*(R - 1) - 1) // stride + 1", "sum[r](x[stride*p + dil*r]*w[r])"),
    ("P = (H - k) // stride + 1", "max[r: k](x[p*stride + r])"),
    ("P = H // k", "mean[r: k](x[p*k + r])"),
    ("P = (H + 1) // 2", "x[p]"),
    ("P = (H + 1) // 2", "x[2*p]"),
    ("P = (H + k - 1) // k", "x[k*p]"),
    ("P = H // 4", "x[4*p + 3] + x[H - 1 - 4*p]"),
    ("P = H // 2 // 2", "max[r: 4](x[4*p + r])"),
    ("P = H // stride // k", "max[r: k*stride](x[k*stride*p + r])"),
    ("P = H % 3 + 1", "x[0*p]"),
    ("P = k", "sum[r: H // k](x[(H // k)*p + r])"),
    ("P = H*R", "z[p]"),
    ("P = H + R - 1", "sum[i, r](z[i + r]*w[r]*x[i]) + z[p]"),
]  # fmt: skip
OUTSIDE = [
    ("P = H // 2", "x[2*p + 2]"),
    ("P = H // 2", "max[r: 3](x[2*p + r])"),
    ("P = (H + 1) // 2", "x[2*p + 1]"),
    ("P = H", "x[H - p]"),
    ("P = H", "x[p - 1]"),
    ("P = H - 1", "x[p + 2]"),
    ("P = H - R + 2", "sum[r](x[p + r]*w[r])"),
    ("P = (H + 2*pad - R) // stride + 1", "sum[r](x[p*stride + r]*w[r])"),
    ("P = (H + 2*pad - R) // stride + 1", "sum[r](x[p*stride + r - pad]*w[r])"),
    ("P = (H - R) // stride + 1", "sum[r](x[p*stride + 2*r]*w[r])"),
    ("P = (H - R) // stride + 2", "sum[r](x[p*stride + r]*w[r])"),
    ("P = H // k", "max[r: stride](x[k*p + r])"),
    ("P = H // k", "x[k*p + 1]"),
    ("P = H", "x[p + pad]"),
]  # fmt: skip
_SIGNATURE = "x: Real[H], w: Real[R], z: Real[Z], *, stride: Int = 1, dil: Int = 1, k: Int = 2, pad: Int = 0"


def _windowed(size: str, formula: str) -> str:
    z = "Z" if "z[" not in formula else size.partition("= ")[2]
    lines = [size] if z == "Z" else [size, "z: Real[P]", "z[p] = u[0]*p"]
    signature = _SIGNATURE.replace("z: Real[Z]", "u: Real[U]")
    use = "w[0] + u[0]*stride*dil*k*pad + x[0]"
    body = [*lines, "y: Real[P]", f"y[p] = {formula} + {use}", "return y"]
    return f"def f({signature}):\n" + "".join(f"    {line}\n" for line in body)


@pytest.mark.parametrize(("size", "formula"), INSIDE)
def test_a_read_that_stays_inside_needs_no_padding(size: str, formula: str) -> None:
    layer = verify(parse(_windowed(size, formula)))
    assert parse(str(layer)) == layer


@pytest.mark.parametrize(("size", "formula"), OUTSIDE)
def test_a_read_that_may_leave_its_axis_is_refused(size: str, formula: str) -> None:
    with pytest.raises(ShapeError, match=r"reach|sign"):
        parse(_windowed(size, formula))


@pytest.mark.parametrize(("size", "formula"), INSIDE)
def test_what_is_proved_inside_is_inside_for_small_sizes(size: str, formula: str) -> None:
    layer = parse(_windowed(size, formula))
    names = {s.name: s for s in (*layer.sizes, *(h.symbol for h in layer.hypers))}
    computed = {derived.size for derived in layer.derived}
    generator = random.Random(1)
    tried = 0
    for _ in range(60):
        env: dict[Expr, Expr] = dict.fromkeys(names.values(), Integer(1))
        for name, most in (("H", 8), ("R", 3), ("stride", 3), ("dil", 2), ("k", 3)):
            env[names[name]] = Integer(generator.randint(0 if name == "stride" else 1, most))
        if any(_number(c.expr, env) < 0 for c in layer.conditions if not c.expr.free_symbols & computed):
            continue
        for derived in layer.derived:
            env[derived.size] = Integer(_number(derived.expr, env))
        if all(_number(c.expr, env) >= 0 for c in layer.conditions):
            tried += 1
            for statement in layer.statements:
                _check_inside(statement.expr, layer, env, list(statement.indices))
    assert tried


def _number(expr: Expr, env: dict[Expr, Expr]) -> int:
    return int(expr.xreplace(env))


def _check_inside(expr: Expr, layer: Layer, env: dict[Expr, Expr], letters: list[Index]) -> None:
    if isinstance(expr, Element):
        for size, subscript in zip(layer.axes(expr.name), expr.subscripts, strict=True):
            used = [i for i in letters if subscript.has(i)]
            for place in itertools.product(*(sorted({0, _number(i.size, env) - 1}) for i in used)):
                if all(0 <= value < _number(i.size, env) for i, value in zip(used, place, strict=True)):
                    value = _number(subscript.xreplace({i: Integer(v) for i, v in zip(used, place, strict=True)}), env)
                    assert 0 <= value < _number(size, env), (str(expr), env)
        return
    inner = [*letters, *expr.indices] if isinstance(expr, (Sum, Max)) or hasattr(expr, "indices") else letters
    for arg in expr.args:
        if not isinstance(arg, (Tensor, Index)):
            _check_inside(arg, layer, env, inner)


def test_a_proof_never_claims_what_is_false() -> None:
    """Random expressions of sizes, quotients and hyper-parameters, each compared at many values."""
    random.seed(5)
    a, b = Size("A"), Size("B")
    s = Hyper("s", Kind.INT)
    quotients = [FloorDiv(a, 2), FloorDiv(a - b, s), FloorDiv(a + b - 1, s), Mod(a, 3), FloorDiv(FloorDiv(a, 2) + b, s)]
    parts = [a, b, s, *quotients, *(s * q for q in quotients[1:]), 2 * quotients[0], a * s, b * s]
    proved = 0
    for _ in range(150):
        expr = sum(random.choice((-2, -1, 1, 1, 2)) * part for part in random.sample(parts, 3)) + random.randint(-2, 2)
        bounds = Bounds()
        bounds.assume(s - 1)
        if bounds.at_least(expr):
            proved += 1
            for va, vb, vs in itertools.product(
                map(Integer, range(1, 8)), map(Integer, range(1, 5)), map(Integer, (1, 2, 3))
            ):
                assert expr.xreplace({a: va, b: vb, s: vs}) >= 0, (expr, va, vb, vs)
    assert proved > 15


def test_a_proof_may_take_several_facts_together() -> None:
    a, s = Size("A"), Hyper("s", Kind.INT)
    bounds = Bounds()
    assert not bounds.at_least(a - FloorDiv(a, s))
    bounds.assume(s - 1)
    bounds.assume(FloorDiv(a, s) - 1)
    assert bounds.at_least(a - FloorDiv(a, s))
    assert bounds.at_least(a - Mod(a, 3))
    assert not bounds.at_least(a - Mod(a, 3), 1)


# Quotients


@pytest.mark.parametrize(
    ("formula", "sums"),
    [
        ("x[i // s]", "sum[p, r: s](where(i == p*s + r, x[p], 0))"),
        ("exp(x[i // s])*i", "exp(sum[p, r: s](where(i == p*s + r, x[p], 0)))*i"),
        ("z[i % s]", "sum[p: T, r](where(i == p*s + r, z[r], 0))"),
        ("x[i // s]*z[i % s]", "sum[p, r: s](where(i == p*s + r, x[p], 0))*sum[p: T, r](where(i == p*s + r, z[r], 0))"),
        ("padded(x, 1)[i // s]", "sum[p: T, r: s](where(i == p*s + r, padded(x, 1)[p], 0))"),
        ("u[(i // s)*s + i % s]", "sum[p: T, r: s](where(i == p*s + r, u[p*s + r], 0))"),
        ("v[i // s, i % s]", "sum[p, r](where(i == p*s + r, v[p, r], 0))"),
        ("where(m[i // s], x[0], 0)", "where(sum[p, r: s](where(i == p*s + r, m[p], 0)) != 0, x[0], 0)"),
    ],
)  # fmt: skip
def test_a_quotient_is_a_sum_over_the_one_solution(formula: str, sums: str) -> None:
    def layer(text: str) -> Layer:
        return resolved(
            "P = T*s", "S = s", "z: Real[S]", "z[r] = 2*r", "u: Real[P]", "u[p] = p*x[0]", "v: Real[T, S]",
            "v[p, r] = p - r*x[0]", "y: Real[P]", f"y[i] = {text} + z[0]*u[0]*v[0, 0]*where(m[0], 1, 0)", "return y",
            signature="x: Real[T], m: Bool[T], *, s: Int = 2",
        )  # fmt: skip

    assert layer(formula) == layer(sums)


def test_repeated_and_rearranged_elements_are_numpys() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    signature = "x: Real[A, B, C], *, s: Int = 3"

    def made(*lines: str) -> np.ndarray:
        module: dict[str, object] = {}
        exec(build_module(resolved(*lines, "return y", signature=signature)), module)
        result: np.ndarray = module["forward"](x)[0]  # type: ignore[operator]
        return result

    repeated = made("P = B*s", "y: Real[A, P, C]", "y[a, p, c] = x[a, p // s, c]")
    assert np.array_equal(repeated, np.repeat(x, 3, axis=1))
    tiled = made("P = B*s", "y: Real[A, P, C]", "y[a, p, c] = x[a, p % B, c]")
    assert np.array_equal(tiled, np.tile(x, (1, 3, 1)))
    flat = made("P = B*C", "y: Real[A, P]", "y[a, p] = x[a, p // C, p % C]*s")
    assert np.array_equal(flat, 3 * x.reshape(2, 12))


# What is taken for granted


def test_conditions_say_what_a_run_has_to_fulfil() -> None:
    layer = resolved(
        "P = (H + 2*pad - dil*(R - 1) - 1) // stride + 1",
        "y: Real[P]",
        "y[p] = sum[r](padded(x)[p*stride + r*dil - pad]*w[r])",
        "return y",
        signature="x: Real[H], w: Real[R], *, stride: Int = 1, dil: Int = 1, pad: Int = 0",
    )
    texts = conditions(layer)
    assert texts[0] == "stride is at least 1"
    assert texts[1].startswith("P = ") and texts[1].endswith(" is at least 1")
    assert texts[2:] == ["dil is at least 1"]
    assert [c.expr for c in layer.conditions] == [stride - 1, P - 1, Hyper("dil", Kind.INT) - 1]


def test_a_condition_speaks_of_plain_sizes_where_nothing_is_divided() -> None:
    layer = resolved(
        "G = groups", "K = T // G", "y: Real[G, K]", "y[g, i] = x[g*K + i]", "return y",
        signature="x: Real[T], *, groups: Int = 2",
    )  # fmt: skip
    assert [c.expr for c in layer.conditions] == [Hyper("groups", Kind.INT) - 1, Size("K") - 1]
    assert conditions(layer) == ["G = groups is at least 1", "K = T // G is at least 1"]


def test_what_holds_for_every_size_is_no_condition() -> None:
    layer = resolved("P = 2*T", "Q = T + 1", "y: Real[P, Q]", "y[p, q] = where(p == q, x[0], 0)", "return y")
    assert layer.conditions == ()


def test_a_comparison_has_strides_too() -> None:
    layer = resolved("O = T*k", "y: Real[O]", "y[o] = sum[p, r: k](where(o == p*k + r, x[p], 0))", "return y",
                     signature="x: Real[T], *, k: Int = 2")  # fmt: skip
    assert "k is at least 1" in conditions(layer)


# Calls


POOL = """
def pool(x: Real[..., L], *, k: Int = 2, stride: Int = 2):
    P = (L - k) // stride + 1
    y: Real[..., P]
    y[..., p] = max[r: k](x[..., stride*p + r])
    return y

"""


def test_a_call_has_the_callers_sizes_numbers_and_conditions() -> None:
    layer = resolved("y = pool(x)", "return y", signature="x: Real[N, 9]", before=POOL)
    assert layer.axes("y") == (Size("N"), 4)
    assert layer.conditions == ()
    n, p, r = Index("n", Size("N")), Index("p", 4), Index("r", 2)
    assert layer.statements[0].expr == Max(Element(x, n, 2 * p + r), r)
    layer = resolved("y = pool(x, k=2*m, stride=m)", "return y", signature="x: Real[H], *, m: Int = 2", before=POOL)
    assert "m is at least 1" in conditions(layer)
    assert layer.statements[0].expr.indices[0].size == 2 * Hyper("m", Kind.INT)


def test_a_chain_of_calls_is_proved_and_printed() -> None:
    layer = resolved("a = pool(x)", "b = pool(a, k=3, stride=1)", "return b", signature="x: Real[N, C, H]", before=POOL)
    assert [str(d.size) for d in layer.derived] == ["P", "P2"]
    assert len(conditions(layer)) == 2


def test_a_padded_read_of_a_callee_is_one_of_the_callers_tensor() -> None:
    shift = "def shift(x: Real[..., L], *, by: Int = 1):\n    y: Real[..., L]\n"
    shift += "    y[..., i] = padded(x, 0.5)[..., i - by]\n    return y\n\n"
    layer = resolved("a[t] = 2*x[t]", "y = shift(a, by=3)", "return y", before=shift)
    i = Index("i", T)
    assert layer.statements[1].expr == Padded(Element(Tensor("a"), i - 3), "1/2")


def test_a_call_that_breaks_a_condition_is_an_error_at_the_call() -> None:
    with pytest.raises(DeriveError, match="takes for granted that stride is at least 1") as caught:
        resolved("y = pool(x, stride=0)", "return y", before=POOL)
    assert caught.value.span is not None
    assert caught.value.span.line == 9
