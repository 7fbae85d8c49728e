"""Rewriting to stable primitives, rule by rule: the exact result, a near miss, equal values on both sides."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from random import Random
from typing import Any

import mpmath
import pytest
from sympy import Expr

from derive.algebra.nodes import Kind
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.language import parse
from derive.language.layer import Layer
from derive.stability import PHASES
from derive.stability.matching import same
from derive.stability.rule import Rule

RULES: dict[str, Rule] = {r.name: r for phase in PHASES for r in phase.rules}


# Every rule: the letters of its identity, what it makes of an expression, and what it leaves alone


@dataclass(frozen=True)
class Row:
    """A rule's row.

    Attributes:
        given: parameters of the identity.
        fires: parameters, an expression, and exactly what the rule makes of it.
        silent: parameters and a near miss.
    """

    given: str
    fires: tuple[str, str, str]
    silent: tuple[str, str]


ROWS: dict[str, Row] = {
    "log_of_sum_of_exponentials": Row(
        "a: Real[K]",
        ("z: Real[N, I, J]", "log(sum[i, j](exp(2*z[n, i, j])))", "logsumexp[i, j](2*z[n, i, j])"),
        ("z: Real[N, K]", "log(sum[k](exp(z[n, k]) - 1))"),
    ),
    "log_of_mean_of_exponentials": Row(
        "a: Real[K]",
        ("z: Real[K]", "log(mean[k](exp(z[k])))", "logsumexp[k](z[k]) - log(K)"),
        ("z: Real[K]", "log(mean[k](z[k]))"),
    ),
    "log_of_weighted_sum_of_exponentials": Row(
        "a: Real[K], w: Positive[K]",
        ("z: Real[K], q: Unit[K]", "log(sum[k](q[k]*exp(z[k])))", "logsumexp[k](z[k] + log(q[k]))"),
        ("z: Real[K], q: Real[K]", "log(sum[k](q[k]*exp(z[k])))"),
    ),
    "log_of_masked_sum_of_exponentials": Row(
        "a: Real[K], m: Bool[K]",
        (
            "z: Real[N, K], t: Real[K]",
            "log(sum[k](where(t[k] > 0.5, exp(z[n, k]), 0)))",
            "logsumexp[k](where(t[k] > 0.5, z[n, k], -inf))",
        ),
        ("z: Real[N, K], m: Bool[K]", "log(sum[k](where(m[k], exp(z[n, k]), 1)))"),
    ),
    "log_of_softmax": Row(
        "a: Real[C]",
        ("z: Real[N, C]", "log(softmax[c](z[n, c]))", "log_softmax[c](z[n, c])"),
        ("z: Real[N, C]", "log(1e-8 + softmax[c](z[n, c]))"),
    ),
    "log_of_sum_with_exponential": Row(
        "a: Real, b: Real",
        ("x: Real", "log(1 + exp(x))", "softplus(x)"),
        ("x: Real, b: Real", "log(b + exp(x))"),
    ),
    "log_of_product_with_exponential": Row(
        "a: Real, p: Positive",
        ("x: Real, p: Real, k: Positive", "log(p*exp(x)/k)", "x + log(p/k)"),
        ("x: Real, p: Real, k: Positive", "log(p*x/k)"),
    ),
    "log_of_power_of_exponentials": Row(
        "a: Real[K]",
        ("z: Real[K]", "log(1/sum[k](exp(z[k]))**2)", "-2*logsumexp[k](z[k])"),
        ("z: Real[K]", "log(1/sum[k](z[k])**2)"),
    ),
    "log_of_prod": Row(
        "p: Positive[N]",
        ("p: Unit[N]", "log(prod[n](p[n]))", "sum[n](log(p[n]))"),
        ("p: Real[N]", "log(prod[n](p[n]))"),
    ),
    "exp_of_log_softmax": Row(
        "a: Real[C]",
        ("z: Real[N, C]", "exp(log_softmax[c](z[n, c]))", "softmax[c](z[n, c])"),
        ("z: Real[N, C]", "exp(2*log_softmax[c](z[n, c]))"),
    ),
    "softmax_quotient": Row(
        "a: Real[C]",
        ("z: Real[N, C], v: Real[N]", "v[n]*exp(z[n, c])/sum[k](exp(z[n, k]))", "v[n]*softmax[c](z[n, c])"),
        ("z: Real[N, C], x: Real[N, C]", "exp(x[n, c])/sum[k](exp(z[n, k]))"),
    ),
    "softmax_weighted_sum": Row(
        "a: Real[C], v: Real[C]",
        (
            "a: Real[T, S], v: Real[S]",
            "sum[s](exp(a[t, s])*v[s])/sum[s](exp(a[t, s]))",
            "sum[s](softmax[s](a[t, s])*v[s])",
        ),
        ("a: Real[T, S], v: Real[S]", "sum[s](a[t, s]*v[s])/sum[s](exp(a[t, s]))"),
    ),
    "softmax_with_further_terms": Row(
        "a: Real[C], b: Positive",
        (
            "a: Real[T, S], v: Real[S], p: Real",
            "sum[s](exp(a[t, s])*v[s])/(exp(p) + sum[s](exp(a[t, s])))",
            "sum[s](softmax[s](a[t, s])*v[s])*sigmoid(logsumexp[s](a[t, s]) - p)",
        ),
        ("a: Real[T, S], b: Real", "exp(a[t, s])/(b + sum[k](exp(a[t, k])))"),
    ),
    "sigmoid_quotient": Row(
        "a: Real, b: Real",
        (
            "p: Real, z: Real[K]",
            "exp(p)/(exp(p) + sum[k](exp(z[k])))",
            "sigmoid(p - logsumexp[k](z[k]))",
        ),
        ("p: Real, q: Real, r: Real", "exp(r)/(exp(p) + exp(q))"),
    ),
    "reciprocal_of_sum_with_exponential": Row(
        "x: Real",
        ("x: Real", "1/(2 + exp(-x))**2", "sigmoid(log(2) + x)**2/4"),
        ("x: Real", "1/(exp(x) - 1)"),
    ),
    "logaddexp_from_softplus": Row(
        "a: Real, b: Real",
        ("a: Real, b: Real, c: Real", "2*c - a - b - softplus(c - a - b)", "2*c - logaddexp(a + b, c)"),
        ("x: Real, y: Real", "x - x*y + softplus(-x)"),
    ),
    "exponential_times_sigmoid": Row(
        "x: Real",
        ("x: Real, y: Real", "y*exp(x + y)*sigmoid(-x)**2", "y*exp(y)*sigmoid(x)*sigmoid(-x)"),
        ("x: Real, y: Real", "exp(x)*sigmoid(x)"),
    ),
    "product_of_exponentials": Row(
        "a: Real, b: Real",
        ("a: Real, b: Real, y: Real", "y*exp(a)*exp(-2*b)", "y*exp(a - 2*b)"),
        ("a: Real, b: Real, y: Real", "y*exp(a)*exp(b)"),
    ),
    "log_of_erfc": Row(
        "x: Real",
        ("x: Real", "log(erfc(-3*x)/2)", "log_ndtr(3*sqrt(2)*x)"),
        ("x: Real", "log(erfc(x) + 1)"),
    ),
    "log_of_one_plus_over_one_minus": Row(
        "x: Unit",
        ("x: Unit, y: Unit", "log((1 - x*y)/(2 + 2*x*y))", "log1p(-x*y) - log1p(x*y) - log(2)"),
        ("x: Unit, y: Unit", "log((1 + x)/(1 - y))"),
    ),
    "guarded_product": Row(
        "x: Real",
        ("x: Real, k: Real", "(x < 0)*k*exp(x)", "where(x < 0, k*exp(at_most(x, 0)), 0)"),
        ("x: Real, k: Real", "(x > 0)*k*exp(x)"),
    ),
    "mean_product_less_product_of_means": Row(
        "x: Real[N], y: Real[N]",
        (
            "x: Real[N], y: Real[N], c: Real",
            "2*mean[m](x[m])*mean[n](y[n])/c - 2*mean[n](x[n]*y[n])/c + 1",
            "-2*mean[n]((x[n] - mean[m](x[m]))*(y[n] - mean[m](y[m])))/c + 1",
        ),
        ("x: Real[N], y: Real[N]", "mean[n](x[n]*y[n]) + mean[n](x[n])*mean[n](y[n])"),
    ),
    "quotient_of_exponentials": Row(
        "a: Real, b: Real[K]",
        ("a: Real, b: Real[K]", "3*exp(a)/sum[k](exp(b[k]))", "3*exp(a - logsumexp[k](b[k]))"),
        ("a: Real, b: Real[K]", "a/sum[k](exp(b[k]))"),
    ),
    "less_its_logsumexp": Row(
        "a: Real[C]",
        (
            "z: Real[N, C], y: Real",
            "2*logsumexp[k](z[n, k]) - 2*z[n, c] + y",
            "y - 2*log_softmax[c](z[n, c])",
        ),
        ("z: Real[N, C], x: Real[N, C]", "x[n, c] - logsumexp[k](z[n, k])"),
    ),
    "softmax_less_maximum": Row(
        "a: Real[C]",
        ("z: Real[N, C]", "softmax[c](z[n, c] - max[k](z[n, k]))", "softmax[c](z[n, c])"),
        ("z: Real[N, C]", "softmax[c](z[n, c] - max[m](z[m, c]))"),
    ),
    "log_softmax_less_maximum": Row(
        "a: Real[C]",
        ("z: Real[N, C]", "log_softmax[c](z[n, c] - stop_gradient(max[k](z[n, k])))", "log_softmax[c](z[n, c])"),
        ("z: Real[N, C], b: Real[N]", "log_softmax[c](z[n, c] - b[n])"),
    ),
    "logsumexp_less_maximum": Row(
        "a: Real[K], b: Real",
        (
            "z: Real[K], x: Real",
            "x + max[k](z[k]) + logsumexp[k](z[k] - max[j](z[j]))",
            "x + logsumexp[k](z[k])",
        ),
        ("z: Real[K], b: Real", "logsumexp[k](z[k] - b) - b"),
    ),
    "softplus_from_maximum": Row(
        "x: Real",
        ("x: Real, t: Real", "relu(x) - x*t + softplus(-abs(x))", "softplus(x) - x*t"),
        ("x: Real, y: Real", "relu(x) + softplus(-abs(y))"),
    ),
    "difference_of_log_sigmoids": Row(
        "x: Real",
        ("x: Real, y: Real", "y + 2*log_sigmoid(x) - 2*log_sigmoid(-x)", "y + 2*x"),
        ("x: Real, y: Real", "log_sigmoid(x) + log_sigmoid(-x)"),
    ),
    "log_of_sigmoid": Row(
        "x: Real",
        ("x: Real", "log(sigmoid(3*x))", "log_sigmoid(3*x)"),
        ("x: Real", "log(sigmoid(x) + 1e-8)"),
    ),
    "log_of_cosh": Row(
        "x: Real",
        ("x: Real, y: Real", "log(cosh(x - y))", "log_cosh(x - y)"),
        ("x: Real", "log(cosh(x) - 1)"),
    ),
    "log_of_two_exponentials": Row(
        "x: Real",
        ("x: Real", "log((exp(2*x) + exp(-2*x))/2)", "log_cosh(2*x)"),
        ("x: Real, y: Real", "log(exp(x) + exp(-y))"),
    ),
    "log_of_expm1": Row(
        "x: Positive",
        ("x: Positive", "log(expm1(x))", "x + log(-expm1(-x))"),
        ("x: Positive", "log(-expm1(-x))"),
    ),
    "log_of_one_minus_tanh_squared": Row(
        "x: Real",
        ("x: Real", "log(1 - tanh(x)**2)", "-2*log_cosh(x)"),
        ("x: Real", "log(1 - tanh(x)**4)"),
    ),
    "log_of_one_plus_tanh": Row(
        "x: Real",
        ("x: Real", "log((1 - tanh(x))/2)", "log_sigmoid(-2*x)"),
        ("x: Real", "log(2 - tanh(x))"),
    ),
    "log1p_of_exponential": Row(
        "x: Real",
        ("x: Real", "log1p(2*exp(x))", "softplus(x + log(2))"),
        ("x: Real", "log1p(-exp(x))"),
    ),
    "exponential_less_one": Row(
        "x: Real, f: Real",
        ("x: Real, y: Real", "1 + y - exp(x)", "y - expm1(x)"),
        ("x: Real", "exp(x) + 1"),
    ),
    "expm1_plus_one": Row(
        "x: Real, f: Real",
        ("x: Real, f: Real, g: Real", "g + 2*f*expm1(x) + 2*f", "g + 2*f*exp(x)"),
        ("x: Real, f: Real", "2*f*expm1(x) + f"),
    ),
    "constant_cancelled_in_a_branch": Row(
        "x: Real, y: Real, m: Bool",
        (
            "x: Real, f: Real",
            "f + 3*where(x > 0.5, 2*expm1(x), x) + 6",
            "f + where(x > 0.5, 6*exp(x), 3*x + 6)",
        ),
        ("x: Real", "2 + where(x > 0.5, x, expm1(x))"),
    ),
    "one_plus_tanh": Row(
        "x: Real",
        ("x: Real, y: Real", "(1 - tanh(3*x))/2 + y", "sigmoid(-6*x) + y"),
        ("x: Real", "2 + tanh(x)"),
    ),
    "one_plus_erf": Row(
        "x: Real",
        ("x: Real, y: Real", "(1 - erf(x))/2 + y", "erfc(x)/2 + y"),
        ("x: Real", "2 + erf(x)"),
    ),
    "one_minus_sigmoid": Row(
        "x: Real",
        ("x: Real, y: Real", "y + 1 - sigmoid(2*x)", "y + sigmoid(-2*x)"),
        ("x: Real", "1 + sigmoid(x)"),
    ),
    "twice_sigmoid_less_one": Row(
        "x: Real",
        ("x: Real", "1 - 2*sigmoid(2*x)", "-tanh(x)"),
        ("x: Real", "1 + 2*sigmoid(x)"),
    ),
    "difference_of_exponentials": Row(
        "x: Real",
        ("x: Real, y: Real", "y*exp(x) - y*exp(-x)", "2*y*sinh(x)"),
        ("x: Real", "exp(x) - exp(-2*x)"),
    ),
    "tanh_from_exponentials": Row(
        "x: Real",
        ("x: Real", "-3*expm1(-2*x)*sigmoid(2*x)", "3*tanh(x)"),
        ("x: Real", "expm1(x)*sigmoid(x)"),
    ),
    "sinh_over_cosh": Row(
        "x: Real",
        ("x: Real, y: Real", "y*sinh(x)/(exp(x) + exp(-x))", "y*tanh(x)/2"),
        ("x: Real, y: Real", "sinh(x)/cosh(y)"),
    ),
    "minus_softplus": Row(
        "x: Real",
        ("x: Real, t: Real", "-2*t*softplus(-x)", "2*t*log_sigmoid(x)"),
        ("x: Real", "-softplus(x)"),
    ),
    "x_log_x": Row(
        "t: Positive, q: Positive",
        ("t: Real, q: Positive", "3*t*log(t/q)", "3*xlogy(t, t) - 3*t*log(q)"),
        ("t: Positive", "t*log(t)"),
    ),
    "x_log_x_in_a_sum": Row(
        "t: Positive, q: Real",
        ("t: Real, q: Real", "2*t*(log(t) - q)", "2*t*log(t) - 2*t*q"),
        ("t: Real, q: Positive", "t*(log(q) - t)"),
    ),
    "log_of_one_plus": Row(
        "x: Positive",
        ("x: Real, y: Real", "log(1 - x*y)", "log1p(-x*y)"),
        ("x: Real", "log(2 + x)"),
    ),
    "reciprocal_of_cosh": Row(
        "x: Real",
        ("x: Real", "1/(exp(x) + exp(-x))**2", "exp(-2*log_cosh(x))/4"),
        ("x: Real", "1/sinh(x)"),
    ),
    "reciprocal_of_exponentials": Row(
        "a: Real[K]",
        ("a: Real, b: Real", "1/(exp(a) + exp(b))**2", "exp(-2*(a + softplus(b - a)))"),
        ("a: Real[K]", "1/sum[k](a[k])"),
    ),
    "root_of_sum_of_squares": Row(
        "x: Real[I]",
        ("x: Real[I], y: Real[I]", "1/sqrt(sum[i](4*x[i]**2*y[i]**2))", "1/norm[i](2*x[i]*y[i])"),
        ("x: Real[I]", "sqrt(sum[i](x[i]**2) + 1e-12)"),
    ),
    "variance": Row(
        "x: Real[N]",
        ("x: Real[N, M]", "var[n, m](x[n, m])", "mean[n, m]((x[n, m] - mean[i, j](x[i, j]))**2)"),
        ("x: Real[N]", "mean[n](x[n]**2)"),
    ),
    "standard_deviation": Row(
        "x: Real[N]",
        ("x: Real[N]", "std[n](x[n])", "sqrt(mean[n]((x[n] - mean[m](x[m]))**2))"),
        ("x: Real[N]", "norm[n](x[n])"),
    ),
    "mean_square_less_squared_mean": Row(
        "x: Real[N]",
        (
            "x: Real[N]",
            "sum[n](x[n]**2)/(N - 1) - sum[m](x[m])**2/(N*(N - 1)) + 1",
            "sum[n]((x[n] - mean[m](x[m]))**2)/(N - 1) + 1",
        ),
        ("x: Real[N], y: Real[N]", "mean[n](x[n]**2) - mean[n](y[n])**2"),
    ),
    "guarded_branches": Row(
        "x: Real",
        (
            "x: Real, c: Real, k: Real",
            "where(x > c, log(x - c), k*exp(2*(x - c)))",
            "where(x > c, log(guard(x > c, x - c, 1)), k*exp(2*at_most(x, c) - 2*c))",
        ),
        ("x: Real, y: Real", "where(x > 0, exp(x), exp(y) + log(y))"),
    ),
    "minimum_of_exponential": Row(
        "x: Real, a: Positive",
        ("x: Real, a: Real", "minimum(0, 2*expm1(3*x))", "2*expm1(3*minimum(x, 0))"),
        ("x: Real, a: Real", "minimum(1, expm1(x))"),
    ),
}  # fmt: skip


_WORDS = {"sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "norm"}


def _free(node: ast.AST, bound: frozenset[str] = frozenset()) -> dict[str, None]:
    """The index letters of an expression that are free in it, in order."""
    found: dict[str, None] = {}
    match node:
        case ast.Call(func=ast.Subscript(value=ast.Name(id=word), slice=letters), args=args):
            own = [n.id for n in ast.walk(letters) if isinstance(n, ast.Name)]
            if word not in _WORDS:
                found.update(dict.fromkeys(i for i in own if i not in bound))
            for arg in args:
                found.update(_free(arg, bound | set(own)))
        case ast.Subscript(slice=letters):
            own = [n.id for n in ast.walk(letters) if isinstance(n, ast.Name) and n.id.islower()]
            found.update(dict.fromkeys(i for i in own if i not in bound))
        case _:
            for child in ast.iter_child_nodes(node):
                found.update(_free(child, bound))
    return found


def _layer(given: str, *texts: str) -> Layer:
    """Parse expressions as the statements ``r0``, ``r1`` … of a layer with these parameters."""
    lines = []
    for k, text in enumerate(texts):
        letters = ", ".join(sorted(_free(ast.parse(text))))
        lines.append(f"    r{k}[{letters}] = {text}" if letters else f"    r{k} = {text}")
    read = {w for text in texts for w in re.findall(r"\w+", text)}
    parameters = [p for p in re.findall(r"\w+: \w+(?:\[[^]]*\])?", given) if p.partition(":")[0] in read]
    names = ", ".join(f"r{k}" for k in range(len(texts)))
    return parse("\n".join([f"def row({', '.join(parameters)}):", *lines, f"    return {names}", ""]))


def _expression(given: str, text: str) -> Expr:
    return _layer(given, text).statements[0].expr


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_row(name: str) -> None:
    assert name in ROWS


@pytest.mark.parametrize("name", ROWS)
def test_a_rule_gives_exactly_this(name: str) -> None:
    given, before, after = ROWS[name].fires
    result = RULES[name].apply(_expression(given, before))
    assert result is not None
    assert same(result, _expression(given, after)), result


@pytest.mark.parametrize("name", ROWS)
def test_a_rule_leaves_a_near_miss_alone(name: str) -> None:
    expr = _expression(*ROWS[name].silent)
    assert not isinstance(expr, RULES[name].heads) or RULES[name].apply(expr) is None


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("seed", range(3))
def test_both_sides_of_an_identity_have_the_same_value(name: str, seed: int) -> None:
    left, _, right = RULES[name].identity.partition(" = ")
    _compare_sides(ROWS[name].given, left, right, seed, (-2.0, 2.0))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("seed", range(3))
def test_an_expression_and_what_a_rule_makes_of_it_have_the_same_value(name: str, seed: int) -> None:
    _compare_sides(*ROWS[name].fires, seed, (0.1, 0.9))  # inside the domain of every row


def _compare_sides(given: str, left: str, right: str, seed: int, reals: tuple[float, float]) -> None:
    layer = _layer(given, left, right)
    sizes = {s.name: 2 + k for k, s in enumerate(layer.sizes)}
    inputs = _random_inputs(layer, Instance(sizes, (), {}), seed, reals)
    values = Evaluator(layer.statements, Instance(sizes, (), {})).run(inputs)
    assert values["r0"]
    for key, value in values["r0"].items():
        assert abs(value - values["r1"][key]) <= mpmath.mpf(10) ** -40 * (1 + abs(value)), (key, inputs)


def _random_inputs(
    layer: Layer, instance: Instance, seed: int, reals: tuple[float, float]
) -> dict[str, dict[Any, Any]]:
    random = Random(seed)
    ranges = {Kind.REAL: reals, Kind.POSITIVE: (0.2, 3.0), Kind.UNIT: (0.1, 0.9)}
    return {
        p.name: {
            k: n % 2 == 0 if p.kind is Kind.BOOL else random.uniform(*ranges[p.kind])
            for n, k in enumerate(instance.keys(p.axes))
        }
        for p in layer.parameters
    }
