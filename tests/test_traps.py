"""What general algebra with indices gets wrong elsewhere comes out right here.

Each layer is one that a symbolic system was seen to differentiate wrongly:
traces added up, functions of a trace, diagonals, one letter bound and free,
deltas that a gather leaves. ``build`` compares formula and code with
differences of an independent evaluation, and the gradient is read as text.
"""

import pytest

from derive.algebra.text import show
from derive.language import parse
from derive.pipeline import build, derive_program

TRAPS = {
    "a trace and something else": (
        "def f(x: Real[N, N], a: Real):\n    y = sum[i](x[i, i]) + a\n    return y\n",
        {"dx": "dy*delta(i, n)", "da": "dy"},
    ),
    "a trace and the trace of a product": (
        "def f(x: Real[N, N]):\n    y = sum[i](x[i, i]) + sum[i, j](x[i, j] * x[j, i])\n    return y\n",
        {"dx": "dy*(delta(i, j) + 2*x[j, i])"},
    ),
    "a function of a trace": (
        "def f(x: Real[N, N]):\n    y = exp(sum[i](x[i, i]))\n    return y\n",
        {"dx": "dy*y*delta(i, n)"},
    ),
    "the trace of a square, elementwise": (
        "def f(x: Real[N, N]):\n    y = sum[i](x[i, i]**2)\n    return y\n",
        {"dx": "2*dy*x[n, n]*delta(i, n)"},
    ),
    "weights on both sides of a nonlinearity": (
        "def f(x: Real[N, I], w: Real[I, H], v: Real[H, O]):\n"
        "    h[n, j] = tanh(sum[i](x[n, i] * w[i, j]))\n"
        "    y[n, o] = sum[j](h[n, j] * v[j, o])\n"
        "    return y\n",
        {"dw": "sum[n](dpre_h[n, j]*x[n, i])", "dv": "sum[n](dy[n, o]*h[n, j])"},
    ),
    "one letter bound and free": (
        "def f(x: Real[N]):\n    y[i] = x[i] * sum[i](x[i])\n    return y\n",
        {"dx": "sum_x*dy[i] + sum[j](dy[j]*x[j])"},
    ),
    "the maximum with 0 at 0": (
        "def f(x: Real[N]):\n    y[n] = relu(x[n])\n    return y\n",
        {"dx": "(y[n] > 0)*dy[n]"},
    ),
    "a label read twice": (
        "def f(x: Real[N, C], t: Int[N]):\n    y[n] = x[n, t[n]]**2 * x[n, t[n]]\n    return y\n",
        {"dx": "3*dy[n]*x[n, t[n]]**2*delta(c, t[n])"},
    ),
    "rows picked twice add up": (
        "def f(w: Real[V, E], t: Int[B]):\n    y[e] = sum[b](w[t[b], e])\n    return y\n",
        {"dw": "dy[e]*sum[b](delta(v, t[b]))"},
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_the_gradient_is_right_and_as_expected(trap):
    text, expected = TRAPS[trap]
    layer = parse(text)
    build(layer)  # raises CheckError where formula, code and differences disagree
    found = {s.name: show(s.expr) for s in derive_program(layer).backward}
    assert {name: found[name] for name in expected} == expected
