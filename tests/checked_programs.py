"""Layers with gradients written down by hand, and their modules, for the tests of the checks.

Each is a layer, its textbook backward as a program, and NumPy code for both;
the tests break one piece at a time and expect the check to say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sympy
from sympy import Expr, Rational

from derive.algebra.functions import Gt, Le, Relu, Where
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    Delta,
    Element,
    Hyper,
    Index,
    Kind,
    LogSoftmax,
    Mean,
    Size,
    Softmax,
    Sum,
    Tensor,
)
from derive.calculus.program import Program
from derive.language.layer import HyperParameter, Layer, Parameter, Statement

N, D, C, T, S, E, V = (Size(letter) for letter in "NDCTSEV")
n, d, c, t, s, e = (
    Index(letter, size) for letter, size in (("n", N), ("d", D), ("c", C), ("t", T), ("s", S), ("e", E))
)
k, m = Index("k", C), Index("m", N)
eps = Hyper("eps")


def at(name: str, *subscripts: Expr, kind: Kind = Kind.REAL) -> Element:
    """An element of the tensor of that name."""
    return Element(Tensor(name, kind), *subscripts)


def equation(name: str, *indices_then_expr: Expr) -> Statement:
    """``name[indices] = expr``, the expression last."""
    *indices, expr = indices_then_expr
    return Statement(name, tuple(indices), sympy.sympify(expr))


@dataclass(frozen=True)
class Checked:
    """A layer, its program, and its module's text."""

    layer: Layer
    program: Program
    text: str

    def wrong(self, name: str, expr: Expr) -> Program:
        """The program with another right side for one statement."""
        found = self.program.definition(name)
        assert found is not None and found.expr != expr
        new = replace(found, expr=expr)
        swap = {
            where: tuple(new if st is found else st for st in getattr(self.program, where))
            for where in ("forward", "backward")
        }
        return replace(self.program, **swap)

    def edited(self, old: str, new: str) -> str:
        """The text with one piece replaced."""
        assert self.text.count(old) == 1, f"{self.text.count(old)} times {old!r}"
        return self.text.replace(old, new)


def layer_of(
    name: str,
    parameters: Mapping[str, tuple[Kind, tuple[Expr, ...]]],
    statements: tuple[Statement, ...],
    returns: tuple[str, ...] = ("y",),
    hypers: tuple[HyperParameter, ...] = (),
) -> Layer:
    """A layer whose sizes are those of its parameters."""
    params = tuple(Parameter(p, kind, axes) for p, (kind, axes) in parameters.items())
    sizes = tuple(dict.fromkeys(a for p in params for a in p.axes if isinstance(a, Size)))
    return Layer(name, "", params, hypers, sizes, (), statements, returns)


def program_of(layer: Layer, backward: tuple[Statement, ...], forward: tuple[Statement, ...] | None = None) -> Program:
    """A program with a gradient ``d<name>`` for each parameter that has one."""
    gradients = tuple((p, f"d{p}") for p in layer.differentiable)
    cotangents = tuple(f"d{name}" for name in layer.returns)
    return Program(layer, forward or layer.statements, backward, layer.returns, cotangents, gradients)


_HEAD = """
from typing import Any, NamedTuple
import numpy as np

class Gradients(NamedTuple):
    {fields}

def _expect(*tensors):
    for x in tensors:
        if x.dtype.kind == "c":
            raise ValueError("complex")
"""


_VALIDATION = """
AXES = {axes}

def fit(axes, shape, sizes):
    batch = ()
    if axes[:1] == ("...",):
        leading = len(shape) - len(axes) + 1
        axes, batch, shape = axes[1:], shape[:max(leading, 0)], shape[max(leading, 0):]
        if sizes.setdefault("...", batch) != batch:
            raise ValueError("batches of different shapes")
    if len(axes) != len(shape):
        raise ValueError("another number of axes")
    for axis, length in zip(axes, shape):
        if sizes.setdefault(axis, axis if isinstance(axis, int) else length) != length:
            raise ValueError("axes of different lengths")

def fitting(forward, backward):
    def outer_forward(*inputs, **hypers):
        sizes = {{}}
        for axes, x in zip(AXES, inputs):
            fit(axes, x.shape, sizes)
        result, cache = forward(*inputs, **hypers)
        shapes = [np.shape(y) for y in (result if isinstance(result, tuple) else (result,))]
        return result, (shapes, cache)

    def outer_backward(*cotangents_then_cache):
        *cotangents, (shapes, cache) = cotangents_then_cache
        if [np.shape(dy) for dy in cotangents] != shapes:
            raise ValueError("cotangents of other shapes")
        return backward(*cotangents, cache)

    outer_forward.__wrapped__ = forward
    return outer_forward, outer_backward

forward, backward = fitting(forward, backward)
"""


def module(gradients: str, layer: Layer, body: str) -> str:
    """A module's text from the names of its gradients and its two functions, with validation of shapes."""
    head = _HEAD.format(fields="\n    ".join(f"{name}: Any" for name in gradients.split()))
    axes = [tuple(int(a) if a.is_Integer else a.name for a in p.axes) for p in layer.parameters]
    return head + body + _VALIDATION.format(axes=axes)


# Batch normalization, in the expert's closed form

_rstd = equation("rstd", d, (at("var", d) + eps) ** Rational(-1, 2))
_batchnorm = layer_of(
    "batchnorm",
    {"x": (Kind.REAL, (N, D)), "gamma": (Kind.REAL, (D,)), "beta": (Kind.REAL, (D,))},
    (
        equation("mu", d, Mean(at("x", n, d), n)),
        equation("var", d, Mean((at("x", n, d) - at("mu", d)) ** 2, n)),
        equation("xhat", n, d, (at("x", n, d) - at("mu", d)) / sympy.sqrt(at("var", d) + eps)),
        equation("y", n, d, at("gamma", d) * at("xhat", n, d) + at("beta", d)),
    ),
    hypers=(HyperParameter("eps", Kind.REAL, 1e-5),),
)
BATCHNORM_DX = (
    at("gamma", d) * at("rstd", d) / N
    * (N * at("dy", n, d) - at("dbeta", d) - at("xhat", n, d) * at("dgamma", d))
)  # fmt: skip
batchnorm = Checked(
    _batchnorm,
    program_of(
        _batchnorm,
        (
            equation("dgamma", d, Sum(at("dy", n, d) * at("xhat", n, d), n)),
            equation("dbeta", d, Sum(at("dy", n, d), n)),
            equation("dx", n, d, BATCHNORM_DX),
        ),
        (
            *_batchnorm.statements[:2],
            _rstd,
            equation("xhat", n, d, (at("x", n, d) - at("mu", d)) * at("rstd", d)),
            _batchnorm.statements[3],
        ),
    ),
    module(
        "dx dgamma dbeta",
        _batchnorm,
        """
def forward(x, gamma, beta, *, eps=1e-5):
    _expect(x, gamma, beta)
    xc = x - x.mean(axis=0)
    rstd = 1 / np.sqrt((xc * xc).mean(axis=0) + eps)
    xhat = xc * rstd
    return gamma * xhat + beta, (xhat, rstd, gamma)

def backward(dy, cache):
    xhat, rstd, gamma = cache
    N = dy.shape[0]
    dgamma = (dy * xhat).sum(axis=0)
    dbeta = dy.sum(axis=0)
    dx = gamma * rstd / N * (N * dy - dbeta - xhat * dgamma)
    return Gradients(dx, dgamma, dbeta)
""",
    ),
)

# Cross-entropy from integer labels

_label = at("t", n, kind=Kind.INT)
_cross_entropy = layer_of(
    "cross_entropy",
    {"z": (Kind.REAL, (N, C)), "t": (Kind.INT, (N,))},
    (
        equation("logp", n, c, LogSoftmax(at("z", n, c), (c,), (c,))),
        equation("loss", -Mean(at("logp", n, _label), n)),
    ),
    ("loss",),
)
CROSS_ENTROPY_DZ = (sympy.exp(at("logp", n, c)) - Delta(c, _label)) * at("dloss") / N
cross_entropy = Checked(
    _cross_entropy,
    program_of(_cross_entropy, (equation("dz", n, c, CROSS_ENTROPY_DZ),)),
    module(
        "dz",
        _cross_entropy,
        """
def forward(z, t):
    shifted = z - z.max(axis=1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logp[np.arange(len(t)), t].mean(), (logp, t)

def backward(dloss, cache):
    logp, t = cache
    dz = np.exp(logp)
    dz[np.arange(len(t)), t] -= 1
    dz *= dloss / len(t)
    return Gradients(dz)
""",
    ),
)

# Softmax over the last axis, any batch

_softmax = layer_of(
    "softmax",
    {"z": (Kind.REAL, (BATCH_SIZE, C))},
    (equation("y", BATCH, c, sympy.exp(at("z", BATCH, c)) / Sum(sympy.exp(at("z", BATCH, k)), k)),),
)
SOFTMAX_DZ = at("y", BATCH, c) * (at("dy", BATCH, c) - Sum(at("dy", BATCH, k) * at("y", BATCH, k), k))
softmax = Checked(
    _softmax,
    program_of(
        _softmax,
        (equation("dz", BATCH, c, SOFTMAX_DZ),),
        (equation("y", BATCH, c, Softmax(at("z", BATCH, c), (c,), (c,))),),
    ),
    module(
        "dz",
        _softmax,
        """
def forward(z):
    _expect(z)
    y = np.exp(z - z.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y, (y,)

def backward(dy, cache):
    y, = cache
    return Gradients(y * (dy - (dy * y).sum(axis=-1, keepdims=True)))
""",
    ),
)

# Causal attention: a masked softmax between two products

_p = at("p", BATCH, t, s)
_dp = at("dp", BATCH, t, s)
_attention = layer_of(
    "attention",
    {
        "q": (Kind.REAL, (BATCH_SIZE, T, D)),
        "k": (Kind.REAL, (BATCH_SIZE, S, D)),
        "v": (Kind.REAL, (BATCH_SIZE, S, E)),
    },
    (
        equation("score", BATCH, t, s, Sum(at("q", BATCH, t, d) * at("k", BATCH, s, d), d) / sympy.sqrt(D)),
        equation("p", BATCH, t, s, Softmax(Where(Le(s, t), at("score", BATCH, t, s), -sympy.oo), (s,), (s,))),
        equation("y", BATCH, t, e, Sum(_p * at("v", BATCH, s, e), s)),
    ),
)
ATTENTION_DQ = Sum(at("ds", BATCH, t, s) * at("k", BATCH, s, d), s) / sympy.sqrt(D)
ATTENTION_DS = _p * (_dp - Sum(_p * _dp, s))
attention = Checked(
    _attention,
    program_of(
        _attention,
        (
            equation("dp", BATCH, t, s, Sum(at("dy", BATCH, t, e) * at("v", BATCH, s, e), e)),
            equation("ds", BATCH, t, s, ATTENTION_DS),
            equation("dq", BATCH, t, d, ATTENTION_DQ),
            equation("dk", BATCH, s, d, Sum(at("ds", BATCH, t, s) * at("q", BATCH, t, d), t) / sympy.sqrt(D)),
            equation("dv", BATCH, s, e, Sum(_p * at("dy", BATCH, t, e), t)),
        ),
    ),
    module(
        "dq dk dv",
        _attention,
        """
def forward(q, k, v):
    scale = k.shape[-1] ** -0.5
    score = (q @ np.swapaxes(k, -1, -2)) * scale
    score = np.where(np.tri(*score.shape[-2:], dtype=bool), score, -np.inf)
    p = np.exp(score - score.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p @ v, (q, k, v, p, scale)

def backward(dy, cache):
    q, k, v, p, scale = cache
    dp = dy @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True)) * scale
    return Gradients(ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ dy)
""",
    ),
)

# Embedding of tokens: labels may agree, so the gradient adds

_token = at("tokens", n, kind=Kind.INT)
_row = Index("r", V)
_embedding = layer_of(
    "embedding",
    {"w": (Kind.REAL, (V, D)), "tokens": (Kind.INT, (N,))},
    (equation("y", n, d, at("w", _token, d)),),
)
embedding = Checked(
    _embedding,
    program_of(_embedding, (equation("dw", _row, d, Sum(Delta(_row, _token) * at("dy", n, d), n)),)),
    module(
        "dw",
        _embedding,
        """
def forward(w, tokens):
    return w[tokens], (tokens, w.shape)

def backward(dy, cache):
    tokens, shape = cache
    dw = np.zeros(shape, dy.dtype)
    np.add.at(dw, tokens, dy)
    return Gradients(dw)
""",
    ),
)

# A product with a square matrix, where a transposition keeps the shape

_i, _j = Index("i", D), Index("j", D)
_square = layer_of(
    "square",
    {"x": (Kind.REAL, (N, D)), "w": (Kind.REAL, (D, D))},
    (equation("y", n, _j, Relu(Sum(at("x", n, _i) * at("w", _i, _j), _i))),),
)
square = Checked(
    _square,
    program_of(
        _square,
        (
            equation("g", n, _j, at("dy", n, _j) * Gt(at("y", n, _j), 0)),
            equation("dx", n, _i, Sum(at("g", n, _j) * at("w", _i, _j), _j)),
            equation("dw", _i, _j, Sum(at("x", n, _i) * at("g", n, _j), n)),
        ),
    ),
    module(
        "dx dw",
        _square,
        """
def forward(x, w):
    y = np.maximum(x @ w, 0)
    return y, (x, w, y)

def backward(dy, cache):
    x, w, y = cache
    g = dy * (y > 0)
    return Gradients(g @ w.T, x.T @ g)
""",
    ),
)

ALL = (batchnorm, cross_entropy, softmax, attention, embedding, square)
