"""The cost model ranks forms; the form that is taken is never dearer than the staged one by it."""

from itertools import count

import pytest
import sympy

from derive.algebra.nodes import Element, Index, Size, Sum, Tensor
from derive.algebra.terms import as_expr
from derive.calculus.differentiate import differentiate
from derive.calculus.hoisting import hoisted
from derive.language import catalogue, load, parse
from derive.language.layer import Statement
from derive.simplify import simplify
from derive.simplify.cost import TYPICAL, cost
from derive.simplify.lines import Line, in_order, needed, statement_of
from derive.simplify.sharing import without_copies
from derive.stability import stabilize

N, D = Size("N"), Size("D")
n, d = Index("n", N), Index("d", D)


def T(name, *subscripts):
    return Element(Tensor(name), *subscripts)


def statement(expr, *indices):
    return cost([Statement("y", indices, expr)])


def test_small_factors_are_multiplied_before_the_large():
    assert statement(T("a") * T("g", d) * T("x", n, d), n, d) == TYPICAL**2 + TYPICAL


def test_a_sign_costs_nothing():
    assert statement(T("x", n) - T("y", n), n) == statement(T("x", n) + T("y", n), n)


def test_a_reduction_that_stands_twice_is_computed_once():
    total = Sum(T("x", n, d), d)
    once = statement(T("y", n) + total, n)
    assert statement(T("y", n) + total + total * T("z", n), n) < once + statement(total, n)


def test_a_product_of_matrices_is_cheaper_than_its_elementwise_passes():
    w = T("w", d, Index("o", Size("O")))
    contracted = statement(Sum(T("x", n, d) * w, d), n, Index("o", Size("O")))
    assert contracted < TYPICAL**3


@pytest.mark.parametrize("name", catalogue())
def test_no_catalogue_layer_is_dearer_than_its_staged_form(name):
    layer = load(name)
    staged = differentiate(layer, *stabilize(layer))
    program = simplify(staged)
    results = [gradient for _, gradient in program.gradients]
    lines = needed([Line(a.target, a.terms, a.carry) for a in staged.adjoints], results)
    # What does not depend on a loop's names is computed before it, of the stages as of the closed form.
    unhoisted = tuple(map(statement_of, in_order(without_copies(lines, results))))
    number = count()
    stages = cost(hoisted(unhoisted, lambda wish: f"{wish}_{next(number)}")[0])
    # The model's own margin is 3 %; factors in front of a bracket may cost one pass more than term by term.
    brackets = [s for s in program.backward if any(isinstance(f, sympy.Add) for f in sympy.Mul.make_args(s.expr))]
    passes = sum(TYPICAL ** len(s.indices) for s in brackets)
    assert cost(program.backward) <= stages / 0.97 + passes


def test_work_that_several_read_is_not_repeated():
    text = """
def f(x: Real[N, D], w: Real[D, K], v: Real[D, K]):
    h[n, d] = tanh(x[n, d])
    y[n, k] = sum[d](h[n, d] * w[d, k])
    z[n, k] = sum[d](h[n, d] * v[d, k])
    return y, z
"""
    program = simplify(differentiate(parse(text), *stabilize(parse(text))))
    assert [s.name for s in program.backward][-3:] == ["dx", "dw", "dv"]
    products = [s for s in program.backward if s.expr.has(Sum)]
    contractions = sum(len(s.expr.atoms(Sum)) for s in products)
    assert contractions == 4, [str(s) for s in products]


def test_terms_as_an_expression_are_what_they_add_up_to():
    layer = parse("def f(x: Real[N], a: Real):\n    y[n] = a * x[n] + x[n]**2\n    return y\n")
    staged = differentiate(layer, *stabilize(layer))
    (dx,) = [a for a in staged.adjoints if a.name == "x"]
    assert sympy.expand(as_expr(dx.terms)) == T("dy", n) * T("a") + 2 * T("dy", n) * T("x", n)
