"""Recurrences with gradients written down by hand, and their modules, for the tests of the checks."""

from __future__ import annotations

from dataclasses import replace

import sympy
from checked_programs import Checked, at, equation, layer_of, module, program_of
from sympy import Expr

from derive.algebra.functions import Eq, Sigmoid, Where
from derive.algebra.nodes import Index, Kind, Size, Sum
from derive.language.layer import Carry, Statement

T, N, D, H = (Size(letter) for letter in "TNIH")
t, n, i = Index("t", T), Index("n", N), Index("i", D)
j, k = Index("j", H), Index("k", H)
g = Index("g", 4)


def recurrence(start: Expr | int, step: int, name: str, *indices_then_expr: Expr) -> Statement:
    """A statement that may be read one step earlier along ``t``."""
    return replace(equation(name, *indices_then_expr), carry=Carry(t, step, sympy.sympify(start)))


# A linear recurrence, h[t] = a[t]*h[t-1] + x[t]

_linear = layer_of(
    "linear_recurrence",
    {"a": (Kind.REAL, (T, N)), "x": (Kind.REAL, (T, N)), "h0": (Kind.REAL, (N,))},
    (recurrence(at("h0", n), 1, "h", t, n, at("a", t, n) * at("h", t - 1, n) + at("x", t, n)),),
    ("h",),
)
linear_recurrence = Checked(
    _linear,
    program_of(
        _linear,
        (
            equation("dx", t, n, at("dh", t, n) + at("dh_next", t + 1, n)),
            recurrence(0, -1, "dh_next", t, n, at("dx", t, n) * at("a", t, n)),
            equation("da", t, n, at("dx", t, n) * at("h", t - 1, n)),
            equation("dh0", n, at("dh_next", 0, n)),
        ),
    ),
    module(
        "da dx dh0",
        _linear,
        """
def forward(a, x, h0):
    T = len(x)
    h = np.empty((T + 1, *h0.shape), np.result_type(a, x, h0))
    h[0] = h0
    for t in range(T):
        h[t + 1] = a[t]*h[t] + x[t]
    return h[1:], (a, h)

def backward(dh, cache):
    a, h = cache
    dx = np.empty_like(dh)
    dh_next = np.zeros(dh.shape[1:], dh.dtype)
    for t in reversed(range(len(dh))):
        dx[t] = dh[t] + dh_next
        dh_next = dx[t]*a[t]
    return Gradients(dx*h[:-1], dx, dh_next)
""",
    ),
)

# A plain recurrent network

_rnn = layer_of(
    "rnn",
    {
        "x": (Kind.REAL, (T, N, D)), "h0": (Kind.REAL, (N, H)), "wx": (Kind.REAL, (D, H)),
        "wh": (Kind.REAL, (H, H)), "b": (Kind.REAL, (H,)),
    },
    (
        equation("a", t, n, j, Sum(at("x", t, n, i) * at("wx", i, j), i)
                 + Sum(at("h", t - 1, n, k) * at("wh", k, j), k) + at("b", j)),
        recurrence(at("h0", n, j), 1, "h", t, n, j, sympy.tanh(at("a", t, n, j))),
    ),
    ("h",),
)  # fmt: skip
rnn = Checked(
    _rnn,
    program_of(
        _rnn,
        (
            equation("dh_total", t, n, j, at("dh", t, n, j) + at("dh_next", t + 1, n, j)),
            equation("da", t, n, j, at("dh_total", t, n, j) * (1 - at("h", t, n, j) ** 2)),
            recurrence(0, -1, "dh_next", t, n, k, Sum(at("da", t, n, j) * at("wh", k, j), j)),
            equation("dx", t, n, i, Sum(at("da", t, n, j) * at("wx", i, j), j)),
            equation("dh0", n, k, at("dh_next", 0, n, k)),
            equation("dwx", i, j, Sum(at("da", t, n, j) * at("x", t, n, i), t, n)),
            equation("dwh", k, j, Sum(at("da", t, n, j) * at("h", t - 1, n, k), t, n)),
            equation("db", j, Sum(at("da", t, n, j), t, n)),
        ),
    ),
    module(
        "dx dh0 dwx dwh db",
        _rnn,
        """
def forward(x, h0, wx, wh, b):
    T, N, I = x.shape
    H = len(b)
    h = np.empty((T + 1, N, H), np.result_type(x, h0, wx, wh, b))
    h[0] = h0
    xw = x @ wx + b
    for t in range(T):
        h[t + 1] = np.tanh(xw[t] + h[t] @ wh)
    return h[1:], (x, h, wx, wh)

def backward(dh, cache):
    x, h, wx, wh = cache
    da = np.empty_like(dh)
    dh_next = np.zeros(dh.shape[1:], dh.dtype)
    for t in reversed(range(len(dh))):
        da[t] = (dh[t] + dh_next)*(1 - h[t + 1]**2)
        dh_next = da[t] @ wh.T
    dwx = np.einsum("tni,tnj->ij", x, da)
    dwh = np.einsum("tnk,tnj->kj", h[:-1], da)
    return Gradients(da @ wx.T, dh_next, dwx, dwh, da.sum(axis=(0, 1)))
""",
    ),
)

# Long short-term memory, the four gates along an axis of their own

_gate = [at("a", t, n, number, j) for number in range(4)]
_in, _forget, _new, _out = Sigmoid(_gate[0]), Sigmoid(_gate[1]), sympy.tanh(_gate[2]), Sigmoid(_gate[3])
_c, _dc = at("c", t, n, j), at("dc_total", t, n, j)
_slopes = (
    _dc * _new * _in * (1 - _in),
    _dc * at("c", t - 1, n, j) * _forget * (1 - _forget),
    _dc * _in * (1 - _new**2),
    at("dh_total", t, n, j) * sympy.tanh(_c) * _out * (1 - _out),
)
LSTM_DC = at("dc", t, n, j) + at("dc_next", t + 1, n, j) + at("dh_total", t, n, j) * _out * (1 - sympy.tanh(_c) ** 2)
_lstm = layer_of(
    "lstm",
    {
        "x": (Kind.REAL, (T, N, D)), "h0": (Kind.REAL, (N, H)), "c0": (Kind.REAL, (N, H)),
        "wx": (Kind.REAL, (D, sympy.Integer(4), H)), "wh": (Kind.REAL, (H, sympy.Integer(4), H)),
    },
    (
        equation("a", t, n, g, j, Sum(at("x", t, n, i) * at("wx", i, g, j), i)
                 + Sum(at("h", t - 1, n, k) * at("wh", k, g, j), k)),
        recurrence(at("c0", n, j), 1, "c", t, n, j, _forget * at("c", t - 1, n, j) + _in * _new),
        recurrence(at("h0", n, j), 1, "h", t, n, j, _out * sympy.tanh(_c)),
    ),
    ("h", "c"),
)  # fmt: skip
lstm = Checked(
    _lstm,
    program_of(
        _lstm,
        (
            equation("dh_total", t, n, j, at("dh", t, n, j) + at("dh_next", t + 1, n, j)),
            equation("dc_total", t, n, j, LSTM_DC),
            equation("da", t, n, g, j, Where(Eq(g, 0), _slopes[0], Where(Eq(g, 1), _slopes[1],
                     Where(Eq(g, 2), _slopes[2], _slopes[3])))),
            recurrence(0, -1, "dc_next", t, n, j, _dc * _forget),
            recurrence(0, -1, "dh_next", t, n, k, Sum(at("da", t, n, g, j) * at("wh", k, g, j), g, j)),
            equation("dx", t, n, i, Sum(at("da", t, n, g, j) * at("wx", i, g, j), g, j)),
            equation("dh0", n, k, at("dh_next", 0, n, k)),
            equation("dc0", n, j, at("dc_next", 0, n, j)),
            equation("dwx", i, g, j, Sum(at("da", t, n, g, j) * at("x", t, n, i), t, n)),
            equation("dwh", k, g, j, Sum(at("da", t, n, g, j) * at("h", t - 1, n, k), t, n)),
        ),
    ),
    module(
        "dx dh0 dc0 dwx dwh",
        _lstm,
        """
def sigmoid(a):
    return 1/(1 + np.exp(-a))

def forward(x, h0, c0, wx, wh):
    T, N, I = x.shape
    H = h0.shape[1]
    dtype = np.result_type(x, h0, c0, wx, wh)
    h, c, gates = np.empty((T + 1, N, H), dtype), np.empty((T + 1, N, H), dtype), np.empty((4, T, N, H), dtype)
    h[0], c[0] = h0, c0
    xw = np.einsum("tni,igj->tgnj", x, wx)
    for t in range(T):
        a = xw[t] + np.einsum("nk,kgj->gnj", h[t], wh)
        gates[:, t] = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
        c[t + 1] = gates[1, t]*c[t] + gates[0, t]*gates[2, t]
        h[t + 1] = gates[3, t]*np.tanh(c[t + 1])
    return (h[1:], c[1:]), (x, h, c, gates, wx, wh)

def backward(dh, dc, cache):
    x, h, c, (i, f, z, o), wx, wh = cache
    da = np.empty((len(dh), 4, *dh.shape[1:]), dh.dtype)
    dh_next, dc_next = np.zeros(dh.shape[1:], dh.dtype), np.zeros(dc.shape[1:], dc.dtype)
    for t in reversed(range(len(dh))):
        tanhc = np.tanh(c[t + 1])
        dht = dh[t] + dh_next
        dct = dc[t] + dc_next + dht*o[t]*(1 - tanhc**2)
        da[t] = (dct*z[t]*i[t]*(1 - i[t]), dct*c[t]*f[t]*(1 - f[t]), dct*i[t]*(1 - z[t]**2),
                 dht*tanhc*o[t]*(1 - o[t]))
        dc_next = dct*f[t]
        dh_next = np.einsum("gnj,kgj->nk", da[t], wh)
    dx = np.einsum("tgnj,igj->tni", da, wx)
    dwx = np.einsum("tni,tgnj->igj", x, da)
    dwh = np.einsum("tnk,tgnj->kgj", h[:-1], da)
    return Gradients(dx, dh_next, dc_next, dwx, dwh)
""",
    ),
)

LOOPS = (linear_recurrence, rnn, lstm)
