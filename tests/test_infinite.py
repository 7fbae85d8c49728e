"""Where a logarithm is that of 0, or a distance that of no path: values are infinite, gradients are not undefined."""

from __future__ import annotations

import numpy as np
import pytest

from derive.algebra.nodes import LogSumExp, SafeSoftmax
from derive.calculus.infinite import infinities, may_vanish
from derive.language import load, parse
from derive.pipeline import build_module, derive_program, inspect

ALIGNMENT = """
def alignment(x: Real[T, S], skip: Bool[S]):
    alpha[-1, s] = where(s == 0, 0, -inf)
    alpha[t, s] = x[t, s] + {}
    y = log(exp(alpha[T - 1, S - 1]) + exp(padded(alpha, -inf)[T - 1, S - 2]))
    return y
"""
WRITTEN = {
    "by terms": "log(exp(alpha[t-1, s]) + exp(padded(alpha, -inf)[t-1, s-1])"
    " + where(skip[s], exp(padded(alpha, -inf)[t-1, s-2]), 0))",
    "by an axis": "log(sum[r: 3](where(r < 2 or skip[s], exp(padded(alpha, -inf)[t-1, s-r]), 0)))",
}
WARPING = """
def warping(d: Real[T, S]):
    r[-1, s] = where(s == 0, 0, inf)
    r[t, s] = d[t, s] + minimum(r[t-1, s], padded(r, inf)[t-1, s-1])
    y = r[T-1, S-1]
    return y
"""
TERMS = """
def terms(a: Real[N], b: Real[N], c: Real[N], m: Bool[N]):
    y[n] = log(exp(a[n]) + exp(b[n]) + where(m[n], exp(c[n]), 0))
    return y
"""


def _module(layer):
    scope = {"__name__": layer.name}
    exec(compile(build_module(layer), layer.name, "exec"), scope)
    return scope["forward"], scope["backward"]


def _alignments(x, skip):
    """Every path's sum, by recursion over the last place."""
    steps, places = x.shape

    def ending(t, s):
        if t < 0:
            return [(0.0, ())] if s == 0 else []
        before = [s, s - 1] + ([s - 2] if skip[s] else [])
        return [(v + x[t, s], (*p, (t, s))) for b in before if b >= 0 for v, p in ending(t - 1, b)]

    return [*ending(steps - 1, places - 1), *(ending(steps - 1, places - 2) if places > 1 else [])]


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("shift", [0.0, 1000.0, -1000.0])
def test_states_that_no_path_reaches_pass_no_gradient(form, shift):
    forward, backward = _module(parse(ALIGNMENT.format(WRITTEN[form])))
    rng = np.random.default_rng(0)
    x, skip = rng.normal(size=(4, 5)) + shift, np.array([False, False, True, False, True])
    y, cache = forward(x, skip)
    (dx,) = backward(1.0, cache)
    paths = _alignments(x, skip)
    values = np.array([v for v, _ in paths])
    assert np.isclose(y, values.max() + np.log(np.exp(values - values.max()).sum()), rtol=1e-13)
    weights = np.exp(values - values.max())
    expected = np.zeros_like(x)
    for weight, (_, path) in zip(weights / weights.sum(), paths, strict=True):
        for place in path:
            expected[place] += weight
    np.testing.assert_allclose(dx, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("text", [*(ALIGNMENT.format(w) for w in WRITTEN.values()), WARPING, TERMS])
def test_a_layer_with_infinities_passes_its_check(text):
    report = inspect(parse(text), jvp=True)[1]
    assert report.passed, report.failure()


def test_a_labelling_without_alignment_has_an_infinite_loss_and_no_gradient():
    forward, backward = _module(load("ctc_loss"))
    logp = np.log(np.full((2, 1, 3), 1 / 3))
    label, skip = np.array([[0, 1, 0, 2, 0, 1, 0]]), np.array([[False, False, False, True, False, True, False]])
    loss, cache = forward(logp, label, skip)
    (dlogp,) = backward(1.0, cache)
    assert loss == np.inf
    assert not dlogp.any()


@pytest.mark.parametrize("shift", [1000.0, -1000.0, 0.0])
def test_a_sum_of_three_exponentials_keeps_its_digits(shift):
    forward, backward = _module(parse(TERMS))
    a, b, c = np.array([0.1, 0.2]) + shift, np.array([0.3, -0.4]) + shift, np.array([0.5, 0.6]) + shift
    y, cache = forward(a, b, c, np.array([True, False]))
    gradients = backward(np.ones(2), cache)
    logs = np.array([a, b, [c[0], -np.inf]]) - shift
    total = np.exp(logs).sum(axis=0)
    np.testing.assert_allclose(y - shift, np.log(total), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradients, np.exp(logs) / total, rtol=1e-12)


def test_what_may_be_infinite_follows_from_masks_borders_and_starts():
    program = derive_program(parse(ALIGNMENT.format(WRITTEN["by an axis"])))
    assert infinities(program.forward) == {"alpha_start": {-1}, "alpha": {-1}, "y": {-1}}
    assert infinities(derive_program(parse(WARPING)).forward) == {"r_start": {1}, "r": {1}, "y": {1}}
    assert infinities(derive_program(load("log_softmax")).forward) == {}


def test_only_a_row_that_may_be_masked_from_elsewhere_is_guarded():
    program = derive_program(parse(ALIGNMENT.format(WRITTEN["by an axis"])))
    known = infinities(program.forward)
    (alpha,) = (s for s in program.forward if s.name == "alpha")
    (lse,) = alpha.expr.atoms(LogSumExp)
    assert may_vanish(lse.body, known)
    masked = """
def masked(x: Real[N, K], m: Bool[N, K]):
    y[n] = logsumexp[k](where(m[n, k], x[n, k], -inf))
    return y
"""
    assert not any(s.expr.has(SafeSoftmax) for s in derive_program(parse(masked)).backward)


TRANSDUCER = """
def transducer(blank: Real[T, U], emit: Real[T, U]):
    K = T + U - 1
    a: Real[K, U]
    a[-1, u] = -inf
    a[k, u] = where(k == 0, where(u == 0, 0, -inf), log(
        exp(a[k-1, u] + padded(blank, -inf)[k-u-1, u]) + exp(padded(a, -inf)[k-1, u-1] + padded(emit, -inf)[k-u, u-1])
    ))
    loss = -(a[K-1, U-1] + blank[T-1, U-1])
    return loss
"""


def test_what_is_negative_where_a_size_allows_it_has_its_sign_at_every_size():
    report = inspect(parse(TRANSDUCER))[1]  # dloss*where(K - 1 == 0, 0, -1) in Python's numbers
    assert report.passed, report.failure()


@pytest.mark.parametrize("body", ["where(m[n, d], x[n, d]**2, 0)", "m[n, d]*x[n, d]**2"])
def test_the_norm_of_a_row_that_is_masked_whole_passes_no_gradient(body):
    forward, backward = _module(
        parse(f"def masked(x: Real[N, D], m: Bool[N, D]):\n    r[n] = sqrt(sum[d]({body}))\n    return r\n")
    )
    x, m = np.array([[3.0, 4.0], [1.0, 2.0]]), np.array([[True, True], [False, False]])
    r, cache = forward(x, m)
    assert r.tolist() == [5, 0]
    np.testing.assert_allclose(backward(np.ones(2), cache).dx, [[0.6, 0.8], [0, 0]], rtol=1e-15)
