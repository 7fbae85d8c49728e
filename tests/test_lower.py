"""Lowering: what an expert would write, and the right values for any program at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import sympy
from random_programs import PARAMETERS, SIZES, random_program
from sympy import Expr, Rational

from derive.algebra.functions import AtMost, Gt, Guard, Where
from derive.algebra.nodes import BATCH, Delta, Element, Hyper, Index, Kind, Size, Softmax, Sum, Tensor
from derive.calculus.program import Program
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.language import parse
from derive.language.layer import Layer, Parameter, Statement
from derive.lower import lower
from derive.pipeline import build_module
from derive.render.numpy import render
from derive.render.numpy_text import FunctionText

N, C, D, V = (Size(name) for name in "NCDV")
n, c, d, v = Index("n", N), Index("c", C), Index("d", D), Index("v", V)
r = Index("r", sympy.Integer(3))


def forward_only(signature: str, statements: str) -> Program:
    """A layer's own statements as a program that has no backward."""
    lines = [line.strip() for line in statements.strip().splitlines()]
    if not lines[-1].startswith("return"):
        lines.append(f"return {lines[-1].partition('[')[0].partition(' ')[0]}")
    text = "\n    ".join([f"def f({signature}):", *lines])
    layer = parse(text + "\n")
    return Program(layer, layer.statements, (), layer.returns, tuple(f"d{r}" for r in layer.returns), ())


def code(signature: str, statements: str) -> list[str]:
    """The lines of NumPy for the statements."""
    program = lower(forward_only(signature, statements))
    return FunctionText(lambda name: name, "x.dtype", set(), [], in_place=False).body(program.forward)


# Rows: the signature, the equations, the lines.
CODE: dict[str, tuple[str, str, list[str]]] = {
    "a linear map is a matrix product": (
        "x: Real[N, I], w: Real[I, O], b: Real[O]",
        "y[n, o] = sum[i](x[n, i]*w[i, o]) + b[o]",
        ["y = x @ w + b"],
    ),
    "a weight that is stored by rows is transposed": (
        "x: Real[N, I], w: Real[O, I]",
        "y[n, o] = sum[i](x[n, i]*w[o, i])",
        ["y = x @ w.T"],
    ),
    "the result's order decides which factor comes first": (
        "x: Real[N, I], w: Real[I, O]",
        "y[o, n] = sum[i](x[n, i]*w[i, o])",
        ["y = w.T @ x.T"],
    ),
    "a sum over the batch of an outer product is one matrix product": (
        "x: Real[..., I], g: Real[..., O]",
        "y[i, o] = sum[...](x[..., i]*g[..., o])",
        ["y = x.reshape(-1, I).T @ g.reshape(-1, O)"],
    ),
    "batch axes stand in front of a matrix product": (
        "q: Real[..., T, D], k: Real[..., S, D]",
        "y[..., t, s] = sum[d](q[..., t, d]*k[..., s, d])/sqrt(D)",
        ["y = q @ np.swapaxes(k, -1, -2) / math.sqrt(D)"],
    ),
    "a head in the middle is moved to the front": (
        "q: Real[T, H, D], k: Real[S, H, D]",
        "y[h, t, s] = sum[d](q[t, h, d]*k[s, h, d])",
        ["y = np.swapaxes(q, 0, 1) @ np.moveaxis(k, 0, -1)"],
    ),
    "a matrix and a vector": (
        "x: Real[N, I], w: Real[I]",
        "y[n] = sum[i](x[n, i]*w[i])",
        ["y = x @ w"],
    ),
    "two vectors": (
        "x: Real[N], w: Real[N]",
        "y = sum[n](x[n]*w[n])",
        ["y = x @ w"],
    ),
    "factors with the same indices are multiplied and summed": (
        "x: Real[N, D], g: Real[N, D]",
        "y[d] = sum[n](x[n, d]*g[n, d])",
        ["y = (x * g).sum(axis=0)"],
    ),
    "what the sum does not run over stands outside": (
        "x: Real[N, D], a: Real[D]",
        "y[d] = sum[n](x[n, d]*a[d])",
        ["y = a * x.sum(axis=0)"],
    ),
    "a factor that only rescales is multiplied into the smaller operand": (
        "x: Real[N, I], r: Real[N], g: Real[N, O]",
        "y[i, o] = sum[n](x[n, i]*r[n]*g[n, o])",
        ["y = (r[:, None] * x).T @ g"],
    ),
    "an index of one factor alone is summed first": (
        "x: Real[N, I], w: Real[N, O, K]",
        "y[i, o] = sum[n, k](x[n, i]*w[n, o, k])",
        ["y = x.T @ w.sum(axis=-1)"],
    ),
    "a quadratic form is two products": (
        "x: Real[N], w: Real[N, D], a: Real[D]",
        "y = sum[n, d](x[n]*w[n, d]*a[d])",
        ["y = x @ w @ a"],
    ),
    "three tensors go to einsum": (
        "x: Real[N, I], z: Real[N, J], w: Real[I, J, O]",
        "y[n, o] = sum[i, j](x[n, i]*z[n, j]*w[i, j, o])",
        ['y = np.einsum("ni,nj,ijo->no", x, z, w, optimize=_PAIRWISE)'],
    ),
    "last axes with first axes": (
        "x: Real[N, B, E], w: Real[B, E, O]",
        "y[n, o] = sum[b, e](x[n, b, e]*w[b, e, o])",
        ["y = np.tensordot(x, w, axes=2)"],
    ),
    "a sum of products is summed term by term where each is a matrix product": (
        "x: Real[N, I], w: Real[I, O], b: Real[O]",
        "y[n, o] = sum[i](x[n, i]*w[i, o] + b[o])",
        ["y = x @ w + I * b"],
    ),
    "units are kept where every use wants them": (
        "x: Real[N, D]",
        """mu[n] = mean[d](x[n, d])
        y[n, d] = x[n, d] - mu[n]""",
        # what rounding of mu has left in all of them is their mean
        ["mu = x.mean(axis=-1, keepdims=True)", "y = x - mu", "y -= y.mean(axis=-1, keepdims=True)"],
    ),
    "an output keeps its own shape": (
        "x: Real[N, D]",
        """y[n] = mean[d](x[n, d])
        z[n, d] = x[n, d] - y[n]
        return y, z""",
        ["y = x.mean(axis=-1)", "z = x - y[:, None]", "z -= z.mean(axis=-1, keepdims=True)"],
    ),
    "a difference from the mean of something else is no deviation": (
        "x: Real[N, D], t: Real[N, D]",
        """mu[n] = mean[d](t[n, d])
        y[n, d] = x[n, d] - mu[n]""",
        ["mu = t.mean(axis=-1, keepdims=True)", "y = x - mu"],
    ),
    "a deviation from a mean written as a sum": (
        "x: Real[N, D]",
        """mu[d] = sum[n](x[n, d])/N
        y[n, d] = x[n, d] - mu[d]""",
        ["mu = x.sum(axis=0) / N", "y = x - mu", "y -= y.mean(axis=0, keepdims=True)"],
    ),
    "small factors first, then numbers, then what is large": (
        "x: Real[N, D], a: Real[D], b: Real[D]",
        "y[n, d] = (x[n, d] - a[d])*b[d]*a[d]/N",
        ["y = a * b / N * (x - a)"],
    ),
    "square, cube and roots": (
        "x: Real[N]",
        "y[n] = x[n]**2 + x[n]**3 + sqrt(x[n]) + 1/sqrt(x[n] + 1) + x[n]**(-1)",
        ["y = 1 / x + np.sqrt(x) + x * x + x * x * x + 1 / np.sqrt(1 + x)"],
    ),
    "softmax takes the largest element out": (
        "x: Real[..., C]",
        "y[..., c] = softmax[c](x[..., c])",
        ["y = np.exp(x - x.max(axis=-1, keepdims=True))", "y /= y.sum(axis=-1, keepdims=True)"],
    ),
    "log-softmax inside an expression gets a name": (
        "x: Real[N, C]",
        "y[n, c] = -2*log_softmax[c](x[n, c])",
        [
            "logp = x - x.max(axis=-1, keepdims=True)",
            "logp -= np.log(np.exp(logp).sum(axis=-1, keepdims=True))",
            "y = -2 * logp",
        ],
    ),
    "a gather": (
        "x: Real[N, C], t: Int[N]",
        "y[n] = x[n, t[n]]",
        ["y = x[np.arange(N), t]"],
    ),
    "rows of a table": (
        "w: Real[V, D], t: Int[...]",
        "y[..., d] = w[t[...], d]",
        ["y = w[t]"],
    ),
    "columns of a table, a batch of them": (
        "w: Real[D, V], t: Int[...]",
        "y[..., d] = w[d, t[...]]",
        ["y = w.T[t]"],
    ),
    "a gather in every row of a batch": (
        "x: Real[..., C], t: Int[...]",
        "y[...] = x[..., t[...]]",
        ["y = np.take_along_axis(x, t[..., None], axis=-1)[..., 0]"],
    ),
    "an element at a number": (
        "x: Real[N, D]",
        "y[d] = x[0, d] + x[N - 1, d]",
        ["y = x[0] + x[N - 1]"],
    ),
    "a diagonal": (
        "x: Real[N, N]",
        "y = sum[n](x[n, n])",
        ["y = np.diagonal(x).sum()"],
    ),
    "a comparison of indices is a mask": (
        "x: Real[T, S]",
        "y[t, s] = where(s <= t, x[t, s], -inf)",
        ["y = np.where(np.arange(S) <= np.arange(T)[:, None], x, -np.inf)"],
    ),
    "an index as a number has the dtype of the reals": (
        "x: Real[N, D]",
        "y[n, d] = n*x[n, d]",
        ["y = np.arange(N, dtype=x.dtype)[:, None] * x"],
    ),
    "an integer as a number has the dtype of the reals": (
        "x: Real[N], t: Int[N]",
        "y[n] = t[n]*x[n]",
        ["y = x * t.astype(x.dtype)"],
    ),
    "a truth value multiplies an array as it is": (
        "x: Real[N]",
        "y[n] = 2*(x[n] > 0)*x[n]",
        ["y = 2 * x * (x > 0)"],
    ),
    "one minus a truth value is its negation": (
        "x: Real[N]",
        "y[n] = x[n]*(1 - (x[n] > 0))",
        ["y = x * ~(x > 0)"],
    ),
    "a choice between numbers moves into the product": (
        "x: Real[N], z: Real[N]",
        "y[n] = z[n]*where(x[n] > 0, 1, 0.5)",
        ["y = np.where(x > 0, z, 0.5 * z)"],
    ),
    "a constant fills the shape": (
        "x: Real[N, D]",
        """y: Real[N, D]
        y[n, d] = x[0, 0]/N""",
        ["y = np.full(x.shape, x[0, 0] / N)"],
    ),
}


@pytest.mark.parametrize("row", CODE, ids=lambda row: row.replace(" ", "-"))
def test_equations_become_what_one_writes_by_hand(row: str) -> None:
    signature, statements, lines = CODE[row]
    assert code(signature, statements) == lines


def at(name: str, *subscripts: Expr | int, kind: Kind = Kind.REAL) -> Element:
    """An element of a tensor."""
    return Element(Tensor(name, kind), *subscripts)


t_n, t_batch = at("t", n, kind=Kind.INT), at("t", BATCH, kind=Kind.INT)

# Rows: what backward reads (name and axes), its statement, the lines.
SCATTERS: dict[str, tuple[dict[str, tuple[Expr, ...]], Statement, list[str]]] = {
    "an embedding adds up what repeats": (
        {"t": (N,), "w": (V, D), "dy": (N, D)},
        Statement("dw", (v, d), Sum(at("dy", n, d) * Delta(v, t_n), n)),
        ["dw = np.zeros((V, D), dtype=dy.dtype)", "np.add.at(dw, t, dy)"],
    ),
    "a table by columns is written through a view": (
        {"t": (BATCH.size,), "w": (D, V), "dy": (BATCH.size, D)},
        Statement("dw", (d, v), Sum(at("dy", BATCH, d) * Delta(v, t_batch), BATCH)),
        ["dw = np.zeros((D, V), dtype=dy.dtype)", "np.add.at(dw.T, t, dy)"],
    ),
    "labels are subtracted where they are": (
        {"t": (N,), "p": (N, C), "w": (N, C), "dy": ()},
        Statement("dw", (n, c), at("dy") / N * (at("p", n, c) - Delta(c, t_n))),
        ["dw = p.copy()", "dw[np.arange(N), t] -= 1", "dw *= dy / N"],
    ),
    "labels of a batch are subtracted along the axis": (
        {"t": (BATCH.size,), "p": (BATCH.size, C), "w": (BATCH.size, C), "dy": ()},
        Statement("dw", (BATCH, c), at("dy") * (sympy.exp(at("p", BATCH, c)) - Delta(c, t_batch))),
        [
            "dw = np.exp(p)",
            "np.put_along_axis(dw, t[..., None], np.take_along_axis(dw, t[..., None], axis=-1) - 1, axis=-1)",
            "dw *= dy",
        ],
    ),
    "a gather alone is assigned": (
        {"t": (N,), "w": (N, C), "dy": (N,)},
        Statement("dw", (n, c), at("dy", n) * Delta(c, t_n)),
        ["dw = np.zeros((N, C), dtype=dy.dtype)", "dw[np.arange(N), t] = dy"],
    ),
    "a diagonal": (
        {"w": (N, N), "dy": (N,)},
        Statement("dw", (n, Index("m", N)), at("dy", n) * Delta(n, Index("m", N))),
        ["dw = np.zeros((N, N), dtype=dy.dtype)", "dw[np.arange(N), np.arange(N)] = dy"],
    ),
    "a slice": (
        {"w": (N, sympy.Integer(3)), "dy": (N,)},
        Statement("dw", (n, r), at("dy", n) * Delta(r, 0) - 2 * at("dy", n) * Delta(r, 1)),
        ["dw = np.zeros((N, 3), dtype=dy.dtype)", "dw[:, 0] = dy", "dw[:, 1] = -2 * dy"],
    ),
    "a place that short axes do not have": (
        {"w": (N, C), "dy": (N,)},
        Statement("dw", (n, c), at("dy", n) * Delta(c, 1)),
        ["dw = dy[:, None] * (np.arange(C) == 1)"],
    ),
    "what depends on the fixed index is read there": (
        {"t": (N,), "p": (N, C), "w": (N, C), "dy": ()},
        Statement("dw", (n, c), at("dy") * at("p", n, c) * Delta(c, t_n)),
        ["dw = np.zeros(p.shape, dtype=dy.dtype)", "dw[np.arange(N), t] = dy * p[np.arange(N), t]"],
    ),
    "a delta inside a function is a comparison": (
        {"t": (N,), "w": (N, C), "dy": (N, C)},
        Statement("dw", (n, c), at("dy", n, c) * sympy.exp(Rational(1, 2) * Delta(c, t_n))),
        ["dw = dy * np.exp(0.5 * (np.arange(C) == t[:, None]).astype(dy.dtype))"],
    ),
}


@pytest.mark.parametrize("row", SCATTERS, ids=lambda row: row.replace(" ", "-"))
def test_deltas_become_scatters(row: str) -> None:
    shapes, statement, lines = SCATTERS[row]
    kinds = {"t": Kind.INT}
    parameters = tuple(Parameter(k, kinds.get(k, Kind.REAL), axes) for k, axes in shapes.items() if k != "dy")
    axes = shapes["dy"]
    letters = tuple(BATCH if size == BATCH.size else Index(f"i{k}", size) for k, size in enumerate(axes))
    zero = Statement("y", letters, sympy.Integer(0))
    sizes = tuple(dict.fromkeys(size for p in parameters for size in p.axes if isinstance(size, Size)))
    layer = Layer("f", "", parameters, (), sizes, (), (zero,), ("y",))
    program = Program(layer, (zero,), (statement,), ("y",), ("dy",), (("w", "dw"),))
    text = FunctionText(lambda name: name, "dy.dtype", set(), [], in_place=True)
    assert text.body(lower(program).backward) == lines


def test_the_cache_holds_what_backward_reads_and_nothing_else() -> None:
    layer = parse(
        "def f(x: Real[N, D], w: Real[D], *, eps: Real = 1e-5):\n    y[n, d] = x[n, d]*w[d] + eps\n    return y\n"
    )
    dw = Statement("dw", (d,), Hyper("eps") * Sum(at("dy", n, d) * at("x", n, d), n) + N)
    dx = Statement("dx", (n, d), at("dy", n, d))
    program = Program(layer, layer.statements, (dx, dw), ("y",), ("dy",), (("x", "dx"), ("w", "dw")))
    assert [field.name for field in lower(program).cache] == ["x", "eps"]


def test_statements_that_nothing_needs_are_left_out() -> None:
    layer = parse("def f(x: Real[N]):\n    a[n] = exp(x[n])\n    b[n] = exp(a[n])\n    y[n] = a[n]\n    return y\n")
    program = lower(Program(layer, layer.statements, (), ("y",), ("dy",), ()))
    assert [str(s).partition(" =")[0] for s in program.forward] == ["a", "y"]


def test_a_statement_that_only_renames_is_left_out() -> None:
    text = "def f(x: Real[N, M]):\n    a[m, n] = x[n, m]\n    y[n, m] = exp(a[m, n]) + a[m, n]\n    return y\n"
    program = lower(Program(parse(text), parse(text).statements, (), ("y",), ("dy",), ()))
    assert [str(s) for s in program.forward] == ["y = +(x[n, m], np.exp(x[n, m])[n, m])[n, m]"]


def test_formulas_for_people_leave_guards_out() -> None:
    layer = parse("def f(x: Real[N]):\n    y[n] = where(x[n] > 0, x[n], 0)\n    return y\n")
    x = at("x", n)
    y = Statement("y", (n,), Where(Gt(x, 0), sympy.log(Guard(Gt(x, 0), x, sympy.S.One)), sympy.exp(AtMost(x, 0))))
    program = lower(Program(layer, (y,), (), ("y",), ("dy",), ()))
    assert program.forward_formulas == ("y[n] = where(x[n] > 0, log(x[n]), exp(x[n]))",)


def test_an_array_program_prints_readably() -> None:
    program = lower(forward_only("x: Real[N, D], w: Real[D]", "y[n, d] = x[n, d]*w[d] + 1"))
    assert str(program) == "forward:\n    y = +(1, *(w[d], x[n, d])[n, d])[n, d]\ncache: N, D\nbackward:\n"


def test_a_softmax_with_indices_of_its_own_reads_its_row() -> None:
    i, j = Index("i", C), Index("j", C)
    layer = parse("def f(z: Real[N, C], t: Int[N]):\n    y[n] = z[n, t[n]]\n    return y\n")
    y = Statement("y", (n,), Softmax(at("z", n, i), (i,), (t_n,)) + Sum(Softmax(at("z", n, i), (i,), (j,)) ** 2, j))
    program = lower(Program(layer, (y,), (), ("y",), ("dy",), ()))
    text = FunctionText(lambda name: name, "z.dtype", set(), [], in_place=False)
    assert text.body(program.forward) == [
        "p = np.exp(z - z.max(axis=-1, keepdims=True))",
        "p /= p.sum(axis=-1, keepdims=True)",
        "y = p[np.arange(N), t] + (p * p).sum(axis=-1)",
    ]


# Any program


def keyed(array: np.ndarray, axes: tuple[Expr, ...], instance: Instance) -> Mapping[Any, Any]:
    """An array as the evaluator takes it."""
    return {key: array[instance.position(key)].item() for key in instance.keys(axes)}


def values(seed: int, instance: Instance) -> dict[str, np.ndarray]:
    """Random inputs of the parameters."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for parameter in PARAMETERS:
        shape = instance.shape(parameter.axes)
        if parameter.kind is Kind.INT:
            arrays[parameter.name] = np.asarray(rng.integers(0, SIZES["C"], shape))
        elif parameter.kind is Kind.BOOL:
            arrays[parameter.name] = np.asarray(rng.random(shape) < 0.5)
        else:
            arrays[parameter.name] = np.asarray(rng.standard_normal(shape))
    return arrays


def evaluated(program: Program, instance: Instance, arrays: Mapping[str, np.ndarray], dy: np.ndarray) -> dict[str, Any]:
    """The values of all statements, element by element."""
    inputs = {p.name: keyed(arrays[p.name], p.axes, instance) for p in PARAMETERS}
    inputs["dy"] = keyed(dy, program.forward[-1].axes, instance)
    found = Evaluator((*program.forward, *program.backward), instance, context=floats()).run(inputs)
    return {
        s.name: np.array([found[s.name][k] for k in instance.keys(s.axes)], float).reshape(instance.shape(s.axes))
        for s in (*program.forward, *program.backward)
    }


@pytest.mark.parametrize("batch", [(2,), (), (2, 3)], ids=["one batch axis", "no batch axis", "two batch axes"])
def test_any_program_has_the_values_of_its_formulas(batch: tuple[int, ...]) -> None:
    """60 random programs in all nodes; what is not finite, or too large to compare, is passed over."""
    instance = Instance(SIZES, batch, {"eps": 0.5, "p": 2})
    compared = 0
    for seed in range(60):
        program = random_program(seed)
        arrays = values(seed, instance)
        dy = np.asarray(np.random.default_rng(seed).standard_normal(instance.shape(program.forward[-1].axes)))
        try:
            expected = evaluated(program, instance, arrays, dy)
        except (ZeroDivisionError, OverflowError):
            continue
        if not all(np.isfinite(a).all() and (abs(a) < 1e6).all() for a in expected.values()):
            continue
        text = render(lower(program))
        space: dict[str, Any] = {}
        exec(compile(text, f"program {seed}", "exec"), space)
        for dtype, tolerance in (("float64", 1e-9), ("float32", None)):
            inputs = [a.astype(dtype) if a.dtype.kind == "f" else a for a in map(arrays.__getitem__, arrays)]
            with warnings.catch_warnings():
                if dtype == "float32":  # of a program that differentiates nothing, any number may overflow there
                    warnings.simplefilter("ignore", RuntimeWarning)
                y, cache = space["forward"](*inputs)
                gradients = space["backward"](dy, cache)
            got = {"y": y, **{name: getattr(gradients, f"d{p}") for p, name in program.gradients}}
            for name, value in got.items():
                assert np.asarray(value).dtype == dtype, (seed, name)
                assert np.shape(value) == expected[name].shape, (seed, name)
                if tolerance is not None:
                    error = abs(value - expected[name]).max() / (1 + abs(expected[name]).max())
                    assert error < tolerance, (seed, name, error, str(program))
        compared += 1
    assert compared > 50


def test_a_row_that_is_masked_altogether_passes_no_gradient_and_no_warning() -> None:
    text = """
def f(x: Real[N, D], m: Bool[N, D]):
    lse[n] = log(sum[d](where(m[n, d], exp(x[n, d]), 0)))
    y[n] = log(1 + exp(lse[n]))
    return y
"""
    namespace: dict[str, Any] = {}
    exec(build_module(parse(text)), namespace)
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    y, cache = namespace["forward"](x, np.array([[True, False], [False, False]]))
    (dx,) = namespace["backward"](np.ones(2), cache)
    assert y[1] == 0
    np.testing.assert_array_equal(dx[1], [0, 0])
    assert dx[0, 0] == pytest.approx(1 / (1 + np.exp(-1.0)), rel=1e-12)
