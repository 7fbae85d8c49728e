"""The gradients of windows and recurrences come out as in the literature, by the same rule as all others."""

import pytest
from sympy import Add

from derive.algebra.nodes import Delta, Element, Index, Padded, Size, Tensor
from derive.algebra.terms import Term, as_expr
from derive.algebra.text import show
from derive.language import parse
from derive.language.loops import Loop, loops
from derive.pipeline import derive_program

LAYERS = {
    # The weight gradient is a correlation of the input with the cotangent, the input gradient lands where it was read.
    "conv1d": (
        """
def conv1d(x: Real[N, C, H], w: Real[F, C, R], *, stride: Int = 1, pad: Int = 0):
    P = (H + 2*pad - R) // stride + 1
    y: Real[N, F, P]
    y[n, f, p] = sum[c, r](padded(x)[n, c, p*stride + r - pad]*w[f, c, r])
    return y
""",
        {
            "dx": "sum[f, p, r](delta(i, p*stride + r - pad)*dy[n, f, p]*w[f, c, r])",
            "dw": "sum[n, p](dy[n, f, p]*padded(x)[n, c, p*stride + r - pad])",
        },
    ),
    # A gradient over a window is added up once, not once for every reader.
    "pooled": (
        """
def pooled(x: Real[N, H], g: Real[N, H], *, k: Int = 2):
    P = H // k
    h[n, i] = x[n, i]*g[n, i]
    y: Real[N, P]
    y[n, p] = mean[r: k](h[n, k*p + r])
    return y
""",
        {
            "dh": "sum[p, r: k](dy[n, p]*delta(i, p*k + r))/k",
            "dx": "dh[n, i]*g[n, i]",
            "dg": "dh[n, i]*x[n, i]",
        },
    ),
    # Transposed convolution: its gradient is a convolution (Dumoulin & Visin, 2016).
    "transposed": (
        """
def transposed(x: Real[N, C, P], w: Real[C, F, R], *, stride: Int = 2):
    H = (P - 1)*stride + R
    y: Real[N, F, H]
    y[n, f, i] = sum[c, p, r](where(i == p*stride + r, x[n, c, p]*w[c, f, r], 0))
    return y
""",
        {
            "dx": "sum[f, r](w[c, f, r]*padded(dy)[n, f, p*stride + r])",
            "dw": "sum[n, p](x[n, c, p]*padded(dy)[n, f, p*stride + r])",
        },
    ),
    "mirrored": (
        "def mirrored(x: Real[T], w: Real[T]):\n    y[t] = x[T - 1 - t]*w[t]\n    return y\n",
        {"dx": "dy[T - 1 - i]*w[T - 1 - i]", "dw": "dy[t]*x[T - 1 - t]"},
    ),
    # Backpropagation through time (Werbos, 1990): one product a step, weight gradients outside.
    "rnn": (
        """
def rnn(x: Real[T, N, I], h0: Real[N, H], wx: Real[I, H], wh: Real[H, H], b: Real[H]):
    h[-1, n, j] = h0[n, j]
    h[t, n, j] = tanh(sum[i](x[t, n, i]*wx[i, j]) + sum[k](h[t-1, n, k]*wh[k, j]) + b[j])
    return h
""",
        {
            "dpre_h_factor": "1 - h[t, n, j]**2",
            "dpre_h": "dpre_h_factor[t, n, j]*(dh[t, n, j] + dh_next[t + 1, n, j])",
            "dh_next": "sum[k](wh[j, k]*dpre_h[t, n, k])",
            "dx": "sum[j](wx[i, j]*dpre_h[t, n, j])",
            "dh0": "dh_next[0, n, j]",
            "dwx": "sum[t, n](dpre_h[t, n, j]*x[t, n, i])",
            "dwh": "sum[t, n](dpre_h[t, n, j]*h[t - 1, n, k])",
            "db": "sum[t, n](dpre_h[t, n, j])",
        },
    ),
    # A prefix sum's gradient is the suffix sum.
    "prefix_sum": (
        "def prefix_sum(x: Real[T, N]):\n    c[-1, n] = 0\n    c[t, n] = c[t-1, n] + x[t, n]\n    return c\n",
        {"dx": "dc[t, n] + dx[t + 1, n]"},
    ),
    "ema": (
        """
def ema(x: Real[T, N], y0: Real[N], *, alpha: Real = 0.1):
    y[-1, n] = y0[n]
    y[t, n] = alpha*x[t, n] + (1 - alpha)*y[t-1, n]
    return y
""",
        {
            "dy_total": "(1 - alpha)*dy_total[t + 1, n] + dy[t, n]",
            "dx": "alpha*dy_total[t, n]",
            "dy0": "(1 - alpha)*dy_total[0, n]",
        },
    ),
    # Sun et al. (2023): the recurrent form of retention runs backwards as it runs forwards.
    "retention": (
        """
def retention(q: Real[T, D], k: Real[T, D], v: Real[T, E], *, gamma: Real = 0.9):
    s[-1, d, e] = 0
    s[t, d, e] = gamma*s[t-1, d, e] + k[t, d]*v[t, e]
    y[t, e] = sum[d](q[t, d]*s[t, d, e])
    return y
""",
        {
            "ds": "gamma*ds[t + 1, d, e] + dy[t, e]*q[t, d]",
            "dq": "sum[e](dy[t, e]*s[t, d, e])",
            "dk": "sum[e](v[t, e]*ds[t, d, e])",
            "dv": "sum[d](k[t, d]*ds[t, d, e])",
        },
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_in_closed_form(name):
    text, expected = LAYERS[name]
    found = {s.name: show(s.expr) for s in derive_program(parse(text)).backward}
    assert {key: found.get(key) for key in expected} == expected


def test_a_loop_holds_only_what_depends_on_time():
    program = derive_program(parse(LAYERS["rnn"][0]))
    (forward,) = (p for p in loops(program.forward) if isinstance(p, Loop))
    (backward,) = (p for p in loops(program.backward) if isinstance(p, Loop))
    assert [s.name for s in forward.statements] == ["h"]
    assert [s.name for s in backward.statements] == ["dpre_h", "dh_next"]
    assert (forward.step, backward.step) == (1, -1)


H, P, R = map(Size, "HPR")
I_H, I_P, I_R = Index("i", H), Index("p", P), Index("r", R)


def read(name, *subscripts):
    return Element(Tensor(name), *subscripts)


def resolved(factors, bound):
    return as_expr((Term.of(Add(1), [(f, Add(1)) for f in factors], bound),))


def test_a_bound_index_of_a_shifted_delta_becomes_a_padded_read():
    place = 2 * I_P + I_R - 1
    found = resolved([read("v", I_H), Delta(I_H, place)], [I_H])
    assert found == Padded(read("v", place))


def test_a_delta_that_reads_a_function_of_the_index_stays():
    found = resolved([read("v", I_H) ** -1, Delta(I_H, 2 * I_P)], [I_H])
    assert found.has(Delta)


def test_an_index_of_another_range_is_no_renaming():
    # y[p] = x[p] with p over fewer elements than x has: dx is 0 beyond them.
    found = resolved([read("dy", I_P), Delta(I_H, I_P)], [I_P])
    assert found.has(Delta)


def test_what_is_read_beside_a_shifted_delta_is_not_moved_to_its_place():
    found = resolved([read("g", I_H), read("dy", I_P), Delta(I_H, I_P + I_R)], [I_P])
    assert found.has(read("g", I_H))
