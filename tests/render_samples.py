"""Programs written by hand, so that the renderers are tested without the derivation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from sympy import Integer, Rational, exp, sqrt

from derive.algebra.functions import Gt, Le, Where
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    Delta,
    Element,
    Hyper,
    Index,
    Kind,
    LogSoftmax,
    LogSumExp,
    Mean,
    Size,
    Softmax,
    Sum,
    Tensor,
)
from derive.calculus.program import Equation, Program, Stage, Step
from derive.errors import Source, Span
from derive.language import load
from derive.language.layer import HyperParameter, Layer, Parameter, Statement
from derive.pipeline import derive_program

N, D, C, SI, SO = (Size(name) for name in "NDCIO")
n, d, c, i, o = (Index(name, size) for name, size in zip("ndcio", (N, D, C, SI, SO), strict=True))
k = Index("k", C)


@cache
def derived(name: str) -> Program:
    """Return the program of a catalogue layer."""
    return derive_program(load(name))


def element(name: str, *subscripts: Index, kind: Kind = Kind.REAL) -> Element:
    return Element(Tensor(name, kind), *subscripts)


def written(layer: Layer, text: str) -> Layer:
    """Return the layer as if it had been read from a file."""
    source = Source(f"{layer.name}.layer", f"# Layers.\n\n{text}\n\ndef another(x: Real[N]):\n    return x\n")
    return replace(layer, source=source, span=Span(source, 3, 1))


def statement(name: str, indices: tuple[Index, ...], expr: object) -> Statement:
    return Statement(name, indices, expr)  # type: ignore[arg-type]


def linear() -> Program:
    """y = x @ w + b."""
    x, w, b, dy = element("x", n, i), element("w", i, o), element("b", o), element("dy", n, o)
    layer = Layer(
        "linear", "A linear map: y = x @ w + b.\n\nEach row is mapped by 100 % of w_io & shifted by $b$.",
        (Parameter("x", Kind.REAL, (N, SI)), Parameter("w", Kind.REAL, (SI, SO)), Parameter("b", Kind.REAL, (SO,))),
        (), (N, SI, SO), (), (statement("y", (n, o), Sum(x * w, i) + b),), ("y",),
    )  # fmt: skip
    layer = written(
        layer,
        '''def linear(x: Real[N, I], w: Real[I, O], b: Real[O]):
    """A linear map: y = x @ w + b."""
    y[n, o] = sum[i](x[n, i] * w[i, o]) + b[o]
    return y''',
    )
    backward = (
        statement("dx", (n, i), Sum(dy * w, o)),
        statement("dw", (i, o), Sum(x * dy, n)),
        statement("db", (o,), Sum(dy, n)),
    )
    steps = tuple(
        Step(Stage.CHAIN, s.target, s.expr, "{0} stands in the definition of y only", (of,), (("y", s.expr),))
        for s, of in zip(backward, (x, w, b), strict=True)
    )
    gradients = (("x", "dx"), ("w", "dw"), ("b", "db"))
    return Program(layer, layer.statements, backward, ("y",), ("dy",), gradients, steps)


def batchnorm() -> Program:
    """Batch statistics, with the published closed form."""
    x, gamma, beta = element("x", n, d), element("gamma", d), element("beta", d)
    mu, var = element("mu", d), element("var", d)
    xc, rstd, xhat, dy = element("xc", n, d), element("rstd", d), element("xhat", n, d), element("dy", n, d)
    dxhat, dxc, dgamma, dbeta = element("dxhat", n, d), element("dxc", n, d), element("dgamma", d), element("dbeta", d)
    eps = Hyper("eps")
    layer = Layer(
        "batchnorm", "Batch normalization with batch statistics (Ioffe & Szegedy, 2015).",
        (Parameter("x", Kind.REAL, (N, D)), Parameter("gamma", Kind.REAL, (D,)), Parameter("beta", Kind.REAL, (D,))),
        (HyperParameter("eps", Kind.REAL, 1e-5),), (N, D), (),
        (
            statement("mu", (d,), Mean(x, n)),
            statement("var", (d,), Mean((x - mu) ** 2, n)),
            statement("xhat", (n, d), (x - mu) / sqrt(var + eps)),
            statement("y", (n, d), gamma * xhat + beta),
        ),
        ("y",),
    )  # fmt: skip
    forward = (
        statement("mu", (d,), Mean(x, n)),
        statement("xc", (n, d), x - mu),
        statement("var", (d,), Mean(xc**2, n)),
        statement("rstd", (d,), 1 / sqrt(var + eps)),
        statement("xhat", (n, d), xc * rstd),
        statement("y", (n, d), gamma * xhat + beta),
    )
    layer = written(
        layer,
        '''def batchnorm(x: Real[N, D], gamma: Real[D], beta: Real[D], *, eps: Real = 1e-5):
    """Batch normalization with batch statistics (Ioffe & Szegedy, 2015)."""
    mu[d]      = mean[n](x[n, d])
    var[d]     = mean[n]((x[n, d] - mu[d])**2)
    xhat[n, d] = (x[n, d] - mu[d]) / sqrt(var[d] + eps)
    y[n, d]    = gamma[d] * xhat[n, d] + beta[d]
    return y''',
    )
    dx = gamma * rstd / N * (N * dy - dbeta - xhat * dgamma)
    backward = (
        statement("dgamma", (d,), Sum(dy * xhat, n)),
        statement("dbeta", (d,), Sum(dy, n)),
        statement("dx", (n, d), dx),
    )
    steps = (
        Step(Stage.NAME, xc, x - mu, "x - mu is used twice and gets a name"),
        Step(Stage.CHAIN, dxhat, gamma * dy, "xhat stands in the definition of y", (), (("y", gamma * dy),)),
        Step(
            Stage.CHAIN, dxc, rstd * dxhat + 2 * xc / N * element("dvar", d), "xc reaches the loss along two paths", (),
            (("xhat", rstd * dxhat), ("var", 2 * xc / N * element("dvar", d))),
        ),
        Step(Stage.FACT, Sum(xc, n), Integer(0), "the deviations from a mean add up to zero: {0} and {1}",
             (Equation(xc, x - mu), Equation(Sum(x, n), N * mu))),
        Step(Stage.SIMPLIFY, element("dmu", d), -rstd * Sum(dxhat, n), "the second term vanishes because {0}",
             (Equation(Sum(xc, n), Integer(0)),)),
        Step(Stage.RESULT, element("dx", n, d), dx, "the sums are the gradients dgamma and dbeta"),
    )  # fmt: skip
    gradients = (("x", "dx"), ("gamma", "dgamma"), ("beta", "dbeta"))
    return Program(layer, forward, backward, ("y",), ("dy",), gradients, steps)


def log_softmax() -> Program:
    """Over the last axis, any number of leading ones."""
    z, y, dy = element("z", BATCH, c), element("y", BATCH, c), element("dy", BATCH, c)
    inner = element("dy", BATCH, k)
    layer = Layer(
        "log_softmax", "The logarithm of softmax.", (Parameter("z", Kind.REAL, (BATCH_SIZE, C)),), (), (C,), (),
        (statement("y", (BATCH, c), z - LogSumExp(element("z", BATCH, k), k)),), ("y",),
    )  # fmt: skip
    layer = written(
        layer,
        """def log_softmax(z: Real[..., C]):
    y[..., c] = z[..., c] - log(sum[k](exp(z[..., k])))
    return y""",
    )
    forward = (statement("y", (BATCH, c), LogSoftmax(z, (c,), (c,))),)
    backward = (statement("dz", (BATCH, c), dy - exp(y) * Sum(inner, k)),)
    softmax = Softmax(element("z", BATCH, k), (k,), (c,))
    steps = (
        Step(Stage.REWRITE, y, forward[0].expr, "log(exp(a)/sum[k](exp(a))) = log_softmax[k](a): exp(a) overflows"),
        Step(Stage.CHAIN, element("dz", BATCH, c), dy - softmax * Sum(inner, k), "directly, and through the sum"),
        Step(Stage.SIMPLIFY, softmax, exp(y), "the softmax is the exponential of the output"),
    )
    return Program(layer, forward, backward, ("y",), ("dy",), (("z", "dz"),), steps)


def long_one() -> Program:
    """Formulas that fit no line, user text that is hostile to TeX."""
    x, dy, t = element("x", n, d), element("dy", n, d), element("t", n, kind=Kind.INT)
    parts = [element(f"a_rather_long_name{j}", n, d) for j in range(1, 9)]
    total = sum((Rational(j, 3) * p * exp(-(x**2)) for j, p in enumerate(parts, 1)), Integer(0))
    nested = Where(Gt(total, 0), Sum(total * total, d), Where(Le(n, d), -total, x))
    layer = Layer(
        "bad_%_name", "50 % of $x$ & #1 {\\input{x}} ~^_ \\end{document} <% if %> << v >> <# é ü 日 γ \"q\"",
        (*(Parameter(p.name, Kind.REAL, (N, D)) for p in (x, *parts)), Parameter("t", Kind.INT, (N,))),
        (), (N, D), (), (statement("y", (n, d), total),), ("y",),
    )  # fmt: skip
    long = dy * exp(-total) * (total + Delta(d, t)) + dy * nested / (1 + total)
    return Program(layer, layer.statements, (statement("dx", (n, d), long),), ("y",), ("dy",), (("x", "dx"),))


SAMPLES = {"linear": linear, "batchnorm": batchnorm, "log_softmax": log_softmax, "long_one": long_one}
