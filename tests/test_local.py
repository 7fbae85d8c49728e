"""Scalar derivatives: every row of the function table against numerical differentiation."""

import mpmath
import pytest
import sympy

from derive.algebra.functions import BY_CLASS, FUNCTIONS, Eq, Gt, Relu, Row, StopGradient, Where
from derive.algebra.nodes import Element, Index, Kind, Size, Sum, Tensor
from derive.algebra.text import show
from derive.calculus.local import derivative, variables

X, Y, Z = (Element(Tensor(name)) for name in "xyz")
SMOOTH = [row for row in FUNCTIONS if not row.infix and row.name not in ("polygamma", "stop_gradient")]


def value(expr, at):
    """Evaluate an expression of scalar elements in multiprecision."""
    if expr in at:
        return at[expr]
    if expr.is_number:
        return mpmath.mpf(expr.p) / expr.q if expr.is_Rational else mpmath.mpf(str(sympy.N(expr, 60)))
    inner = [value(a, at) for a in expr.args]
    if isinstance(expr, sympy.Add):
        return mpmath.fsum(inner)
    if isinstance(expr, sympy.Mul):
        return mpmath.fprod(inner)
    if isinstance(expr, sympy.Pow):
        return inner[0] ** inner[1]
    return BY_CLASS[type(expr)].mp(mpmath, *inner)


def numerically(f, point, k):
    step = mpmath.mpf(10) ** -18
    up, down = list(point), list(point)
    up[k] += step
    down[k] -= step
    return (f(*up) - f(*down)) / (2 * step)


@pytest.mark.parametrize("row", SMOOTH, ids=lambda r: r.name)
def test_partial_derivatives_of_the_table_agree_with_central_differences(row: Row):
    low, high = row.domain
    arguments = (X, Y, Z)[: row.arity]
    with mpmath.workdps(50):
        for k in range(5):
            point = [mpmath.mpf(low) + (high - low) * mpmath.mpf(7 * k + 5 * j + 3) / 47 for j in range(row.arity)]
            if row.name == "where":
                point[0] = mpmath.mpf(k % 2)
            if row.name == "clip":
                point = [mpmath.mpf(v) for v in ((0.3, -1, 1), (-1.7, -1, 1), (1.2, -1, 1), (0.4, 2, 1), (5, 2, 3))[k]]
            if row.name in ("at_least", "at_most"):  # the bound is known to hold where they stand
                point[1] = point[0] - (1 if row.name == "at_least" else -1)
            if row.name == "guard":  # the number on the condition's other side is never used
                point[0] = mpmath.mpf(1)
            application = row.cls(*arguments)
            for n, argument in enumerate(arguments):
                if row.name in ("where", "guard") and (n == 0 or (row.name == "guard" and n == 2)):
                    continue
                expected = numerically(lambda *v: row.mp(mpmath, *v), point, n)
                found = value(derivative(application, argument), dict(zip(arguments, point, strict=True)))
                assert abs(found - expected) <= mpmath.mpf(10) ** -25 * (1 + abs(expected)), (row.name, point)


@pytest.mark.parametrize(
    ("expression", "kink", "expected"),
    [
        (Relu(X), 0, 0),
        (sympy.Abs(X), 0, 0),
        (sympy.Integer(3) * Relu(X), 0, 0),
    ],
    ids=["relu", "abs", "3 relu"],
)
def test_derivatives_at_kinks_are_those_of_frameworks(expression, kink, expected):
    assert value(derivative(expression, X), {X: mpmath.mpf(kink)}) == expected


def test_maximum_of_equals_gives_each_half():
    row = next(r for r in FUNCTIONS if r.name == "maximum")
    for argument in (X, Y):
        assert value(derivative(row.cls(X, Y), argument), {X: mpmath.mpf(2), Y: mpmath.mpf(2)}) == 0.5


def test_clip_passes_the_gradient_at_its_bounds():
    row = next(r for r in FUNCTIONS if r.name == "clip")
    clipped = row.cls(X, sympy.Integer(-1), sympy.Integer(1))
    for bound in (-1, 1):
        assert value(derivative(clipped, X), {X: mpmath.mpf(bound)}) == 1


def test_own_output_is_used_where_it_is_cheaper():
    own = Element(Tensor("y"))
    assert show(derivative(sympy.tanh(X), X, own)) == "1 - y**2"
    assert show(derivative(sympy.exp(X), X, own)) == "y"
    assert show(derivative(X ** sympy.Rational(-1, 2), X, own)) == "-0.5*y**3"
    assert show(derivative(sympy.sqrt(X), X, own)) == "0.5/y"
    assert derivative(Relu(X), X, own) == Gt(own, 0)


def test_where_keeps_the_untaken_branch_out_of_the_product():
    guarded = Where(Gt(X, 0), sympy.log(X), sympy.Integer(0))
    assert derivative(guarded, X) == Where(Gt(X, 0), 1 / X, 0)


def test_conditions_subscripts_and_stopped_gradients_are_no_variables():
    n = Index("n", Size("N"))
    label = Element(Tensor("t", Kind.INT), n)
    expr = Where(Gt(X, Y), Y, 0) + StopGradient(Z) + Element(Tensor("w"), label) * Eq(label, 2)
    assert {show(v) for v in variables(expr)} == {"y", "w[t[n]]"}


def test_a_reduction_is_one_variable():
    n = Index("n", Size("N"))
    total = Sum(Element(Tensor("a"), n), n)
    assert show(derivative(X * total**2, total)) == "2*x*sum[n](a[n])"
