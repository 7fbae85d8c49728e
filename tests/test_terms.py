"""The normal form: merging, deltas, canonical letters, matching."""

import sympy

from derive.algebra.functions import Sigmoid
from derive.algebra.indices import free_indices, substitute, substitute_elements
from derive.algebra.letters import readable
from derive.algebra.nodes import Delta, Element, Index, Kind, Mean, Size, Softmax, Sum, Tensor
from derive.algebra.terms import Letters, Term, as_expr, canonical, collect, components, matches, normal, unify
from derive.algebra.text import show
from derive.language import parse

N, D = Size("N"), Size("D")
n, m, d = Index("n", N), Index("m", N), Index("d", D)


def T(name, *subscripts, kind=Kind.REAL):
    return Element(Tensor(name, kind), *subscripts)


def text(terms, *taken):
    return show(readable(as_expr(terms), taken))


def test_substitution_renames_a_bound_letter_that_would_capture():
    total = Sum(T("x", n) * T("a"), n)
    assert show(substitute(total, {T("a"): T("y", n)})) == "sum[n2](x[n2]*y[n])"


def test_substituting_a_bound_letter_leaves_the_sum_alone():
    total = Sum(T("x", n), n)
    assert substitute(total, {n: m}) == total


def test_an_element_of_the_bound_letter_is_not_the_free_one():
    expr = T("x", n) + Sum(T("x", n), n)
    assert substitute(expr, {T("x", n): T("y", n)}) == T("y", n) + Sum(T("x", n), n)


def test_substituting_elements_reaches_under_their_own_sum():
    total = Sum(T("x", n) ** 2, n)
    inner = substitute_elements(total, {T("x", n): T("u", n) - T("mu")})
    assert inner == Sum((T("u", n) - T("mu")) ** 2, n)


def test_free_indices_of_a_softmax_are_those_of_its_place():
    assert free_indices(Sum(T("x", n, d), n)) == {d}


def test_a_mean_of_a_sum_is_distributed_and_merged():
    terms = normal(Mean(T("x", n, d) - T("mu", d), n), Letters())
    assert text(terms, d) == "sum[n](x[n, d])/N - mu[d]"


def test_a_sum_inside_a_product_stays_one_atom():
    (term,) = normal(T("dh", n) * (1 - T("h", n) ** 2), Letters())
    assert len(term.factors) == 2


def test_the_content_of_a_sum_becomes_the_coefficient():
    (term,) = normal(T("dh", n) * (2 * T("h", n) - 2), Letters())
    assert term.coefficient == 2


def test_a_summed_delta_renames_its_index():
    label = T("t", n, kind=Kind.INT)
    c = Index("c", Size("C"))
    (term,) = normal(Sum(Delta(c, label) * T("g", n) * T("p", n, c), c), Letters())
    assert show(as_expr((term,))) == "g[n]*p[n, t[n]]"


def test_a_summed_delta_alone_is_one():
    c = Index("c", Size("C"))
    label = T("t", n, kind=Kind.INT)
    assert as_expr(normal(Sum(Delta(c, label), c), Letters())) == 1


def test_a_delta_of_two_free_indices_stays():
    (term,) = normal(Delta(n, m) * T("g", n), Letters())
    assert any(isinstance(a, Delta) for a, _ in term.factors)


def test_summing_what_does_not_depend_on_the_index_counts():
    assert text(normal(Sum(T("g", d), n), Letters()), d) == "N*g[d]"


def test_like_terms_are_recognised_under_other_letters():
    letters = Letters()
    first = normal(Sum(T("x", n, d) * T("y", n), n), letters)
    second = normal(-Sum(T("y", m) * T("x", m, d), m), letters)
    assert collect((*first, *second)) == ()


def test_two_sums_over_the_same_range_are_told_apart_by_what_they_read():
    letters = Letters()
    a = normal(Sum(T("x", n) * T("w", n, m) * T("y", m), n, m), letters)[0]
    b = normal(Sum(T("x", m) * T("w", m, n) * T("y", n), m, n), letters)[0]
    c = normal(Sum(T("x", m) * T("w", n, m) * T("y", n), m, n), letters)[0]
    assert canonical(a) == canonical(b)
    assert canonical(a) != canonical(c)


def test_symmetric_letters_do_not_hide_equality():
    letters = Letters()
    a = normal(Sum(T("x", n) * T("x", m) * Sigmoid(T("x", n)), n, m), letters)[0]
    b = normal(Sum(T("x", m) * T("x", n) * Sigmoid(T("x", m)), n, m), letters)[0]
    assert canonical(a) == canonical(b)


def test_independent_sums_are_split():
    (term,) = normal(T("a", d) * Sum(T("x", n, d), n) * Sum(T("y", m) * T("z", m), m), Letters())
    outer, sums = components(term)
    assert outer == [(T("a", d), 1)]
    assert len(sums) == 2


def test_a_sum_matches_only_where_nothing_else_reads_its_index():
    letters = Letters()
    pattern = ((T("x", n, d), sympy.S.One),)
    variables = frozenset((n, d))
    alone = normal(Sum(T("x", m, d), m), letters)[0]
    weighted = normal(Sum(T("x", m, d) * T("y", m), m), letters)[0]
    assert len(list(matches(pattern, variables, (n,), alone, {}))) == 1
    assert list(matches(pattern, variables, (n,), weighted, {})) == []


def test_a_product_matches_inside_higher_powers():
    letters = Letters()
    (term,) = normal(T("x", n) / T("r") ** 3, letters)
    pattern = ((T("x", n), sympy.S.One), (T("r"), sympy.S.NegativeOne))
    ((mapping, rest, bound),) = matches(pattern, frozenset((n,)), (), term, {})
    assert dict(rest) == {T("r"): -2}
    assert bound == ()
    assert mapping == {n: n}


def test_terms_multiply_without_capturing():
    letters = Letters()
    a = normal(Sum(T("x", n), n), letters)[0]
    product = a.times(a.renamed({}, letters))
    assert len(product.bound) == 2
    assert show(readable(as_expr((product,)))) == "sum[n](x[n])**2"


def test_a_term_with_opposite_exponents_cancels():
    assert Term.of(sympy.S.One, [(T("a"), sympy.S.One), (T("a"), sympy.S.NegativeOne)]).factors == ()


def test_the_sum_of_a_diagonal_is_not_one_of_a_row():
    row = Sum(T("x", n, m), m)
    assert not unify(row, Sum(T("x", m, m), m), {}, frozenset((n,)))
    mapping: dict[sympy.Expr, sympy.Expr] = {}
    assert unify(row, Sum(T("x", Index("k", N), m), m), mapping, frozenset((n,)))
    assert mapping == {n: Index("k", N)}


def test_the_softmax_of_a_diagonal_is_not_one_of_a_row():
    row = Softmax(T("x", n, m), (m,), (m,))
    k = Index("k", N)
    assert not unify(row, Softmax(T("x", k, k), (k,), (k,)), {}, frozenset((n, m)))
    assert unify(row, Softmax(T("x", m, k), (k,), (k,)), {}, frozenset((n, m)))


def test_letters_over_sizes_that_only_print_alike_differ():
    assert Index("t", Size("T", "open 0")) != Index("t", Size("T"))
    assert Index("t", Size("T")) == Index("t", Size("T"))


def test_a_large_whole_number_is_written_as_a_power_of_ten():
    assert show(parse("def f(x: Real[N]):\n    y[n] = 1e30*x[n] + 1200\n    return y\n").statements[0].expr) == (
        "1e30*x[n] + 1200"
    )


def test_three_deltas_of_one_bound_letter_leave_two():
    i, j, k = (Index(letter, N) for letter in "ijk")
    one = sympy.S.One
    term = Term.of(one, [(Delta(i, n), one), (Delta(j, n), one), (Delta(k, n), one), (T("g", n), one)], [n])
    deltas = [atom for atom, _ in term.factors if isinstance(atom, Delta)]
    assert len(deltas) == 2
    assert frozenset().union(*(d.args for d in deltas)) == {i, j, k}
    assert all(exponent == 1 for _, exponent in term.factors)
