"""Jacobian-vector products and second derivatives: generated code against PyTorch, formulas, and what it refuses."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import reference_torch
import torch
from case import Array, Case
from cases import CASES
from sympy import S
from torch.nn.attention import SDPBackend, sdpa_kernel

from derive import DeriveError, derive_program, generate, load, parse
from derive.algebra.nodes import Delta, Element, Index, Size, Softmax, Sum, Tensor
from derive.check import check
from derive.commands import main
from derive.language.layer import Carry, Layer, Statement
from derive.pipeline import build, build_module, inspect
from derive.simplify.repeats import without_repeats
from derive.simplify.starts import folded_starts

FIRST = {case.layer: case for case in reversed(CASES)}
LAYERS = pytest.mark.parametrize("name", FIRST)

# Every function is a few hundred roundings deep; values of size 1 to 100.
TOLERANCE = 1e-9

# PyTorch has a first derivative of these, and no second one.
ONCE = {"multi_margin_loss": "multi_margin_loss_backward"}

# The second derivative of PyTorch's fused weight norm by v is not that of its first (differences of it tell).
PLAIN = {"weightnorm": lambda v, g: g * v / torch.linalg.vector_norm(v, dim=0)}


@functools.cache
def layer(name: str) -> Layer:
    return load(name)


def executed(text: str, name: str) -> ModuleType:
    made = ModuleType(name)
    exec(compile(text, f"{name}.py", "exec"), made.__dict__)
    return made


@functools.cache
def module(name: str) -> ModuleType:
    return executed(build_module(layer(name), jvp=True, second=True), name)


def hypers(case: Case) -> dict[str, float]:
    return {h.name: h.default for h in layer(case.layer).hypers} | dict(case.hypers)


def together(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class Rig:
    """A layer's case in both: the module's forward and cache, and the function of its parameters in PyTorch."""

    def __init__(self, case: Case, dtype: str = "float64") -> None:
        made = layer(case.layer)
        self.names = made.differentiable
        self.inputs = case.inputs(made, dtype)
        self.output, self.cache = module(case.layer).forward(*self.inputs.values(), **case.hypers)
        rng = np.random.default_rng(11)

        def like(array: Any) -> Array:
            return np.asarray(rng.standard_normal(np.shape(array)), dtype)

        self.directions = tuple(like(self.inputs[n]) for n in self.names)
        self.cotangents = tuple(like(y) for y in together(self.output))
        self.parameters = tuple(torch.tensor(self.inputs[n], dtype=torch.float64) for n in self.names)
        fixed = {n: torch.tensor(a) for n, a in self.inputs.items() if n not in self.names}
        reference = PLAIN.get(case.layer, reference_torch.REFERENCES[case.layer])
        settings = hypers(case)

        def function(*parameters: torch.Tensor) -> Any:
            known = dict(zip(self.names, parameters, strict=True)) | fixed
            with sdpa_kernel(SDPBackend.MATH):  # the only one with a second derivative
                return reference(*(known[n] for n in self.inputs), **settings)

        self.function: Callable[..., Any] = function

    def in_torch(self, arrays: tuple[Array, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.tensor(np.asarray(a), dtype=torch.float64) for a in arrays)

    def jvp(self) -> tuple[Array, ...]:
        _, result = torch.autograd.functional.jvp(self.function, self.parameters, self.in_torch(self.directions))
        return tuple(r.numpy(force=True) for r in together(result))

    def second(self) -> tuple[Array, ...]:
        """The gradient of ⟨ddx, dx⟩ by the cotangents and the parameters."""
        parameters = tuple(p.clone().requires_grad_() for p in self.parameters)
        cotangents = tuple(c.requires_grad_() for c in self.in_torch(self.cotangents))
        outputs = together(self.function(*parameters))
        gradients = torch.autograd.grad(outputs, parameters, cotangents, create_graph=True, allow_unused=True)
        pairs = zip(gradients, self.in_torch(self.directions), strict=True)
        total = sum(((g * d).sum() for g, d in pairs if g is not None), start=torch.zeros((), dtype=torch.float64))
        wanted = (*cotangents, *parameters)
        if not total.requires_grad:
            return tuple(np.zeros(w.shape) for w in wanted)
        found = torch.autograd.grad(total, wanted, allow_unused=True)
        return tuple(
            np.zeros(w.shape) if f is None else f.numpy(force=True) for f, w in zip(found, wanted, strict=True)
        )

    def hvp(self) -> tuple[Array, ...]:
        _, result = torch.autograd.functional.hvp(self.function, self.parameters, self.in_torch(self.directions))
        return tuple(r.numpy(force=True) for r in result)


@functools.cache
def rig(name: str, dtype: str = "float64") -> Rig:
    return Rig(FIRST[name], dtype)


def agree(what: str, got: Any, expected: Array, scale: float) -> None:
    assert np.shape(got) == expected.shape, what
    error = np.abs(np.asarray(got) - expected).max(initial=0)
    assert error <= TOLERANCE * scale, f"{what} is off by {error / scale:.2g} of the largest"


def largest(arrays: tuple[Array, ...]) -> float:
    return max((float(np.abs(a).max(initial=0)) for a in arrays), default=0.0)


@LAYERS
def test_jvp_agrees_with_pytorch(name: str) -> None:
    at = rig(name)
    got = together(module(name).jvp(at.directions, at.cache))
    if name in ONCE:  # this jvp of PyTorch's is the gradient of a gradient
        with pytest.raises(RuntimeError, match=ONCE[name]):
            at.jvp()
        return
    expected = at.jvp()
    for output, tangent, wanted in zip(layer(name).returns, got, expected, strict=True):
        agree(f"{output}_dot", tangent, wanted, largest(expected) or 1.0)


@LAYERS
def test_double_backward_agrees_with_create_graph(name: str) -> None:
    at = rig(name)
    got = module(name).double_backward(*at.directions, *at.cotangents, at.cache)
    if name in ONCE:
        with pytest.raises(RuntimeError, match=ONCE[name]):
            at.second()
        return
    expected = at.second()
    for field, value, wanted in zip(got._fields, got, expected, strict=True):
        agree(field, value, wanted, max(largest(expected), largest(at.directions)))


@pytest.mark.parametrize(
    "name", [n for n in FIRST if len(load(n).returns) == 1 and not load(n).axes(load(n).returns[0])]
)
def test_hvp_agrees_with_pytorch(name: str) -> None:
    at = rig(name)
    got = module(name).hvp(at.directions, at.cache)
    if name in ONCE:
        with pytest.raises(RuntimeError, match=ONCE[name]):
            at.hvp()
        return
    expected = at.hvp()
    for field, value, wanted in zip(got._fields, got, expected, strict=True):
        agree(field, value, wanted, largest(expected) or 1.0)


@LAYERS
def test_hvp_and_jvp_are_there_where_they_have_a_meaning(name: str) -> None:
    made = layer(name)
    scalar = len(made.returns) == 1 and not made.axes(made.returns[0])
    assert hasattr(module(name), "hvp") == scalar
    assert module(name).SecondGradients._fields[len(made.returns) :] == tuple(f"d2{n}" for n in made.differentiable)


@LAYERS
def test_float32_stays_float32_and_nothing_is_changed(name: str) -> None:
    at = rig(name, "float32")
    functions = module(name)
    before = [a.copy() for a in (*at.directions, *at.cotangents, *at.inputs.values())]
    cached = [np.copy(a) for a in at.cache if isinstance(a, np.ndarray)]
    results = [*together(functions.jvp(at.directions, at.cache))]
    results += functions.double_backward(*at.directions, *at.cotangents, at.cache)
    if hasattr(functions, "hvp"):
        results += functions.hvp(at.directions, at.cache)
    assert all(np.asarray(r).dtype == np.float32 for r in results)
    for old, new in zip(before, (*at.directions, *at.cotangents, *at.inputs.values()), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(cached, (a for a in at.cache if isinstance(a, np.ndarray)), strict=True):
        np.testing.assert_array_equal(old, new)


@LAYERS
def test_backward_gives_the_same_beside_further_functions(name: str) -> None:
    at = rig(name)
    alone = executed(build_module(layer(name)), name)
    output, cache = alone.forward(*at.inputs.values(), **FIRST[name].hypers)
    for a, b in zip(together(output), together(at.output), strict=True):
        np.testing.assert_array_equal(a, b)
    together_with = module(name).backward(*at.cotangents, at.cache)
    for a, b in zip(alone.backward(*at.cotangents, cache), together_with, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * largest(together_with))


@LAYERS
def test_double_backward_is_the_transpose_of_what_it_differentiates(name: str) -> None:
    """⟨ddx, dx(dy)⟩ is linear in dy: its derivative by dy, paired with dy, is itself."""
    at = rig(name)
    functions, made = module(name), layer(name)
    second = functions.double_backward(*at.directions, *at.cotangents, at.cache)
    gradients = functions.backward(*at.cotangents, at.cache)
    paired = sum(float((d * g).sum()) for d, g in zip(at.directions, gradients, strict=True))
    claimed = sum(float((c * s).sum()) for c, s in zip(at.cotangents, second[: len(made.returns)], strict=True))
    terms = sum(float(np.abs(d * g).sum()) for d, g in zip(at.directions, gradients, strict=True))
    assert claimed == pytest.approx(paired, rel=1e-10, abs=1e-10 * (1 + terms))


# Recurrences and windows

WIDE = {
    "rnn": '''
def rnn(x: Real[T, N, I], h0: Real[N, H], wx: Real[I, H], wh: Real[H, H], b: Real[H]):
    h[-1, n, j] = h0[n, j]
    h[t, n, j]  = tanh(sum[i](x[t, n, i]*wx[i, j]) + sum[k](h[t-1, n, k]*wh[k, j]) + b[j])
    return h
''',
    "lstm": '''
def lstm(x: Real[T, D], h0: Real[H], c0: Real[H], w: Real[D, 4, H], u: Real[H, 4, H]):
    h[-1, j] = tanh(h0[j])
    c[-1, j] = c0[j]**2
    a[t, m, j] = sum[d](x[t, d]*w[d, m, j]) + sum[k](h[t-1, k]*u[k, m, j])
    c[t, j] = sigmoid(a[t, 1, j])*c[t-1, j] + sigmoid(a[t, 0, j])*tanh(a[t, 2, j])
    h[t, j] = sigmoid(a[t, 3, j])*tanh(c[t, j])
    loss = sum[j](h[T - 1, j]**2)
    return loss
''',
    "decay": '''
def decay(x: Real[T, N], a: Real[N]):
    s: Real[T, N]
    s[-1, n] = 1
    s[t, n] = a[n]*s[t-1, n]
    y[t, n] = s[t, n]*x[t, n]**2
    return y
''',
    "conv": '''
def conv(x: Real[N, C, L], w: Real[F, C, R], b: Real[F], *, stride: Int = 2, pad: Int = 1):
    P = (L + 2*pad - R) // stride + 1
    y: Real[N, F, P]
    y[n, f, p] = tanh(b[f] + sum[c, r](padded(x)[n, c, p*stride + r - pad]*w[f, c, r]))
    return y
''',
    "convs": '''
def convs(x: Real[C, L], w: Real[C, C, R], v: Real[C, C, R]):
    h: Real[C, L]
    y: Real[C, L]
    h[f, p] = tanh(sum[c, r](padded(x)[c, p + r - 1]*w[f, c, r]))
    y[f, p] = sum[c, r](padded(h)[c, p + r - 1]*v[f, c, r])
    return y
''',
    "maxpool": '''
def maxpool(x: Real[N, L], *, k: Int = 2):
    P = L // k
    y: Real[N, P]
    y[n, p] = max[r: k](x[n, k*p + r])**2
    return y
''',
    "transposed": '''
def transposed(x: Real[N, C, P], w: Real[C, F, R], *, stride: Int = 2):
    L = (P - 1)*stride + R
    y: Real[N, F, L]
    y[n, f, i] = sum[c, p, r](where(i == p*stride + r, x[n, c, p]**2*w[c, f, r], 0))
    return y
''',
    "variation": '''
def variation(x: Real[N], *, c: Real = 0.1):
    P = N - 1
    g: Real[P]
    g[i] = (x[i+1] - x[i])**4
    loss = sum[i](g[i])*c
    return loss
''',
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_recurrences_and_windows_pass_their_checks(name: str) -> None:
    made = parse(WIDE[name])
    _, report = build(made, jvp=True, second=True)
    checked = {row.name for row in report.rows}
    assert {f"{n}_dot" for n in made.returns} <= checked
    assert {f"d2{n}" for n in made.differentiable} <= checked


def test_the_second_derivative_of_a_recurrence_starts_from_what_its_start_is_given() -> None:
    program = derive_program(parse(WIDE["rnn"]), second=True)
    (second,) = program.passes
    found = {s.name: str(s) for s in second.statements}
    assert found["ddh"].startswith("ddh[-1, n, j] = ddh0[n, j]; ddh[t, n, j] = ")
    assert "ddh_next" not in found
    # 1 - h**2 is the factor of the cotangent and of the cotangent's cotangent
    assert sum("1 - h[" in text for text in found.values()) == 1


N = Size("N")
i, j, k = Index("i", N), Index("j", N), Index("k", N)


def element(name: str, *subscripts: Any) -> Element:
    return Element(Tensor(name), *subscripts)


def test_what_repeats_under_other_letters_is_read_by_its_name() -> None:
    first = Statement("a", (i, j), Softmax(element("x", i, j), (j,), (j,)))
    second = Statement("b", (k, i), Softmax(element("x", k, i), (i,), (i,)))
    third = Statement("y", (j,), Sum(element("b", i, j), i))
    assert [str(s) for s in without_repeats((first, second, third), ["y"], {})] == [
        "a[i, j] = softmax[j](x[i, j])",
        "y[j] = sum[i](a[i, j])",
    ]


def test_a_result_that_repeats_another_value_keeps_its_name() -> None:
    first = Statement("a", (i,), element("x", i) + element("z", i))
    second = Statement("b", (i,), element("x", i) + element("z", i))
    assert [str(s) for s in without_repeats((first, second), ["b"], {})] == ["a[i] = x[i] + z[i]", "b[i] = a[i]"]


def test_a_recurrence_that_is_a_copy_keeps_its_name_and_start() -> None:
    first = Statement("a", (i,), element("x", i) + element("z", i))
    second = Statement("b", (i,), element("x", i) + element("z", i), carry=Carry(i, 1, S.Zero))
    assert len(without_repeats((first, second), [], {})) == 2


@pytest.mark.parametrize(("step", "first"), [(1, S.Zero), (-1, N - 1)])
def test_what_is_added_at_the_first_step_alone_becomes_the_start(step: int, first: Any) -> None:
    u = Statement("u", (i, j), element("v", i, j) * element("w", i, j), carry=Carry(i, step, S.Zero))
    reader = Statement("v", (i, k), Delta(first, i) * element("s", k) + element("u", i - step, k))
    (only,) = folded_starts((u, reader), [])
    assert only.carry is not None
    assert str(only.carry.start) == "s[j]"
    assert only.expr == element("u", i - step, j) * element("w", i, j)


def test_a_recurrence_that_others_read_earlier_too_keeps_its_start() -> None:
    u = Statement("u", (i, j), element("v", i, j) * element("w", i, j), carry=Carry(i, 1, S.Zero))
    reader = Statement("v", (i, k), Delta(S.Zero, i) * element("s", k) + element("u", i - 1, k))
    other = Statement("y", (j,), Sum(element("u", i - 1, j), i))
    assert folded_starts((u, reader, other), ["y"]) == (u, reader, other)


# Formulas


def formulas(name: str, function: str) -> dict[str, str]:
    program = derive_program(load(name), jvp=True, second=True)
    (found,) = (p for p in program.passes if p.name == function)
    return {s.name: str(s).split(" = ", 1)[1] for s in found.statements}


def test_the_tangent_of_batchnorm_is_as_short_as_its_backward() -> None:
    assert formulas("batchnorm", "jvp") == {
        "y_dot": "gamma_dot[d]*xhat[n, d] + gamma[d]*rstd[d]*(x_dot[n, d] - xhat[n, d]*mean[m](x_dot[m, d]*xhat[m, d])"
        " - mean[m](x_dot[m, d])) + beta_dot[d]"
    }


def test_the_tangent_of_softmax_is_the_textbooks() -> None:
    assert formulas("softmax", "jvp") == {"y_dot": "y[..., c]*(z_dot[..., c] - sum[k](y[..., k]*z_dot[..., k]))"}


def test_the_tangent_of_log_softmax_is_the_textbooks() -> None:
    assert formulas("log_softmax", "jvp") == {"y_dot": "z_dot[..., c] - sum[k](exp(y[..., k])*z_dot[..., k])"}


def test_the_second_derivative_of_tanh_reads_its_own_output() -> None:
    assert formulas("tanh", "double_backward") == {
        "dx_inner": "1 - y[...]**2",
        "d2x": "-2*ddx[...]*dx_inner[...]*dy[...]*y[...]",
        "ddy": "ddx[...]*dx_inner[...]",
    }


def test_the_second_derivative_of_softmax_computes_its_backward_once() -> None:
    assert formulas("softmax", "double_backward") == {
        "dz_inner": "dy[..., c] - sum[k](dy[..., k]*y[..., k])",
        "ddz_inner": "ddz[..., c]*y[..., c]",
        "d2y": "ddz[..., c]*dz_inner[..., c] - dy[..., c]*sum[k](ddz_inner[..., k])",
        "d2z": "y[..., c]*(d2y[..., c] - sum[k](d2y[..., k]*y[..., k]))",
        "ddy": "ddz_inner[..., k] - y[..., k]*sum[c](ddz_inner[..., c])",
    }


def test_a_product_of_matrices_has_products_of_matrices_for_second_derivatives() -> None:
    found = formulas("linear", "double_backward")
    assert found["d2x"] == "sum[o](ddw[i, o]*dy[..., o])"
    assert found["d2w"] == "sum[...](ddx[..., i]*dy[..., o])"
    assert found["d2b"] == "0"


def test_a_piecewise_linear_layer_has_no_curvature() -> None:
    assert formulas("relu", "double_backward")["d2x"] == "0"
    assert set(formulas("l1_loss", "hvp").values()) == {"0"}


def test_stop_gradient_stops_tangents_and_second_derivatives() -> None:
    made = parse(
        "def f(x: Real[N], w: Real[N]):\n    loss = sum[n](stop_gradient(x[n]**2)*w[n]**3*x[n])\n    return loss\n"
    )
    program = derive_program(made, jvp=True, second=True)
    jvp, _, hvp = program.passes
    assert "2*x" not in str(jvp)
    assert [str(s) for s in hvp.statements if s.name == "dx_dot"] == [
        "dx_dot[n] = 3*stop_gradient(x[n]**2)*w[n]**2*w_dot[n]"
    ]


def test_parameters_that_are_left_out_do_not_move() -> None:
    program = derive_program(load("linear"), ["w"], jvp=True, second=True)
    jvp, second = program.passes
    assert jvp.given == (("w_dot", "w"),)
    assert [str(s) for s in jvp.statements] == ["y_dot[..., o] = sum[i](w_dot[i, o]*x[..., i])"]
    assert second.given == (("ddw", "w"), ("dy", "y"))
    assert second.results == (("y", "ddy"), ("w", "d2w"))


def test_an_output_that_is_a_copy_of_an_input_moves_with_it() -> None:
    made = parse("def f(x: Real[N], w: Real[N]):\n    z[n] = x[n]\n    y[n] = x[n]*w[n]\n    return z, y\n")
    text, report = build(made, jvp=True, second=True)
    functions = executed(text, "f")
    x, w, v = np.arange(3.0), np.arange(3.0) + 1, np.array([1.0, -2.0, 4.0])
    _, cache = functions.forward(x, w)
    first, second = functions.jvp((v, None), cache)
    np.testing.assert_array_equal(first, v)
    np.testing.assert_array_equal(second, v * w)
    first[...] = 0
    assert v[0] == 1, "the tangent handed in is not what comes back"
    assert report.passed


def test_names_that_the_layer_has_already_are_not_taken() -> None:
    made = parse(
        "def f(x: Real[N], x_dot: Real[N], d2x: Real[N]):\n    y[n] = sin(x[n]*x_dot[n])*d2x[n]\n    return y\n"
    )
    text, report = build(made, jvp=True, second=True)
    assert report.passed
    assert executed(text, "f").SecondGradients._fields == ("ddy", "d2x_", "d2x_dot", "d2d2x")


def test_a_tensor_with_a_functions_name_does_no_harm() -> None:
    made = parse("def f(jvp: Real[N], tangents: Real[N]):\n    vectors[n] = jvp[n]*tangents[n]\n    return vectors\n")
    assert build(made, jvp=True, second=True)[1].passed


# The functions


def test_none_is_zero() -> None:
    functions, at = module("linear"), rig("linear")
    zeros = tuple(np.zeros_like(d) for d in at.directions)
    full = functions.jvp((at.directions[0], zeros[1], zeros[2]), at.cache)
    np.testing.assert_array_equal(functions.jvp((at.directions[0], None, None), at.cache), full)
    np.testing.assert_array_equal(functions.jvp(functions.Tangents(x=at.directions[0]), at.cache), full)
    expected = functions.double_backward(at.directions[0], zeros[1], zeros[2], *at.cotangents, at.cache)
    got = functions.double_backward(at.directions[0], None, None, *at.cotangents, at.cache)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_direction_of_a_single_parameter_may_stand_by_itself() -> None:
    functions, at = module("tanh"), rig("tanh")
    alone = functions.jvp(at.directions[0], at.cache)
    np.testing.assert_array_equal(alone, functions.jvp([at.directions[0]], at.cache))
    np.testing.assert_array_equal(alone, functions.jvp(functions.Tangents(at.directions[0]), at.cache))


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        ((np.zeros(2),), r"expected 3 \(x, w, b\), got 1"),
        ((np.zeros((5, 2)), None, None), r"the direction of x: expected shape \(5, 3\), got \(5, 2\)"),
        ((None, None, np.zeros(4, bool)), "the direction of b: expected Real elements, got bool"),
    ],
)
def test_other_directions_are_refused(directions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("linear").jvp(directions, rig("linear").cache)


def test_another_shape_of_what_multiplies_a_gradient_is_refused() -> None:
    at = rig("linear")
    with pytest.raises(ValueError, match=r"ddw: expected shape \(3, 4\), got \(4, 3\)"):
        module("linear").double_backward(None, at.directions[1].T, None, *at.cotangents, at.cache)


def test_the_hessian_is_symmetric() -> None:
    functions, at = module("mse_loss"), rig("mse_loss")
    other = tuple(np.cos(3 * d) for d in at.directions)
    left = sum((a * b).sum() for a, b in zip(other, functions.hvp(at.directions, at.cache), strict=True))
    right = sum((a * b).sum() for a, b in zip(at.directions, functions.hvp(other, at.cache), strict=True))
    assert left == pytest.approx(right, rel=1e-13)


# What is asked for, and only that


def test_without_the_options_there_are_no_further_functions() -> None:
    text = build_module(load("batchnorm"))
    assert not any(word in text for word in ("jvp", "Tangents", "double_backward", "_optional"))
    assert derive_program(load("batchnorm")).passes == ()


def test_generated_modules_are_the_same_each_time() -> None:
    assert build_module(load("gru_cell"), jvp=True, second=True) == build_module(
        load("gru_cell"), jvp=True, second=True
    )


def test_a_wrong_formula_does_not_pass_the_check() -> None:
    made = load("softmax")
    program = derive_program(made, jvp=True, second=True)
    for number, function in enumerate(program.passes):
        last = function.statements[-1]
        wrong = replace(function, statements=(*function.statements[:-1], replace(last, expr=last.expr * 2)))
        passes = (*program.passes[:number], wrong, *program.passes[number + 1 :])
        report = check(made, replace(program, passes=passes), None)
        assert [row.name for row in report.failures] == [last.name]


def test_wrong_code_does_not_pass_the_check() -> None:
    made = load("tanh")
    program = derive_program(made, jvp=True)
    text = build_module(made, jvp=True)
    assert check(made, program, text).passed
    report = check(made, program, text.replace("return y_dot", "return 2 * y_dot"))
    assert {row.name for row in report.failures} == {"y_dot"}


def test_the_calls_of_a_network_cannot_be_kept_beside_further_derivatives() -> None:
    with pytest.raises(DeriveError, match="cannot be kept in a module with further derivatives"):
        inspect(load("feed_forward"), modules={}, jvp=True)


# The commands


def test_generate_writes_what_the_header_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "mse_loss", "--jvp", "--second", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "mse_loss.py").read_text()
    assert "`derive generate mse_loss --jvp --second`" in text
    functions = executed(text, "mse_loss")
    assert {"forward", "backward", "jvp", "double_backward", "hvp"} <= set(dir(functions))
    (written,) = generate(load("mse_loss"), out=tmp_path, jvp=True, second=True)
    assert not written.changed


def test_show_and_latex_print_the_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "softmax", "--jvp", "--second"]) == 0
    shown = capsys.readouterr().out
    assert "Tangents" in shown
    assert "Backward of the backward" in shown
    assert main(["latex", "mse_loss", "--jvp", "--second"]) == 0
    printed = capsys.readouterr().out
    assert r"\paragraph{Tangents.}" in printed
    assert r"\paragraph{Hessian times a vector.}" in printed


def test_check_reports_further_derivatives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mse_loss", "--jvp", "--second", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["layers"]
    assert {"loss_dot", "ddloss", "d2x", "dx_dot"} <= {row["name"] for row in report["rows"]}
