"""Every catalogue layer's generated module, on every row of the table, against PyTorch's autograd in float64."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import pytest
import reference_torch
from case import Array, Case
from cases import CASES, REFUSED
from conftest import ROOT
from mpmath import mp

from derive.algebra.nodes import BATCH_SIZE
from derive.language import catalogue, load
from derive.language.layer import Layer
from derive.pipeline import build_module

BY_ID = {str(case): case for case in CASES}
FIRST = {case.layer: case for case in reversed(CASES)}
ROWS = pytest.mark.parametrize("row", BY_ID)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
LAYERS = pytest.mark.parametrize("name", FIRST)


@functools.cache
def layer(name: str) -> Layer:
    return load(name)


def layers(keep: Callable[[Layer], object]) -> Any:
    """The layers that a test is about."""
    return pytest.mark.parametrize("name", [name for name in FIRST if keep(layer(name))])


def checked_axes(made: Layer) -> list[tuple[str, int]]:
    """Parameters and the places of their axes whose length another axis, or the file, gives too."""
    axes = [axis for p in made.parameters for axis in p.axes]
    return [
        (p.name, place)
        for p in made.parameters
        for place, axis in enumerate(p.axes)
        if axis.is_Integer or axes.count(axis) > 1
    ]


@functools.cache
def built(name: str) -> str | Exception:
    """The generated module's text, or what went wrong: built once in either case."""
    try:
        return build_module(layer(name))
    except Exception as error:
        return error


def text(name: str) -> str:
    result = built(name)
    if isinstance(result, Exception):
        raise result
    return result


@functools.cache
def module(name: str) -> ModuleType:
    made = ModuleType(f"generated_{name}")
    sys.modules[made.__name__] = made
    exec(compile(text(name), f"generated/{name}.py", "exec"), made.__dict__)
    return made


def hypers(case: Case) -> dict[str, float]:
    return {h.name: h.default for h in layer(case.layer).hypers} | dict(case.hypers)


def together(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def random_like(output: tuple[Any, ...], dtype: str) -> tuple[Array, ...]:
    rng = np.random.default_rng(7)
    return tuple(
        np.asarray(rng.uniform(0.5, 1.5, np.shape(y)) * rng.choice((-1, 1), np.shape(y)), dtype) for y in output
    )


@dataclass(frozen=True)
class Run:
    """One forward and backward of a row."""

    inputs: dict[str, Array]
    cotangents: tuple[Array, ...]
    outputs: tuple[Any, ...]
    cache: Any
    gradients: Any


def execute(case: Case, inputs: dict[str, Array], dtype: str) -> Run:
    functions = module(case.layer)
    for array in inputs.values():
        array.flags.writeable = False
    output, cache = functions.forward(*inputs.values(), **case.hypers)
    outputs = together(output)
    cotangents = random_like(outputs, dtype)
    for array in cotangents:
        array.flags.writeable = False
    return Run(inputs, cotangents, outputs, cache, functions.backward(*cotangents, cache))


@functools.cache
def run(row: str, dtype: str) -> Run:
    case = BY_ID[row]
    return execute(case, case.inputs(layer(case.layer), dtype), dtype)


@functools.cache
def reference(row: str, dtype: str) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """Outputs and gradients of PyTorch in float64, for the inputs of ``dtype``."""
    case, done = BY_ID[row], run(row, dtype)
    names = layer(case.layer).differentiable
    return reference_torch.evaluate(case.layer, done.inputs, hypers(case), names, done.cotangents)


def agree(what: str, got: Any, expected: Array, tolerance: float, terms: float = 0.0) -> None:
    """Compare with the largest element, or ``terms`` if that is larger, as the scale."""
    got = np.asarray(got)
    assert got.shape == expected.shape, f"{what} has shape {got.shape}, expected {expected.shape}"
    if not expected.size:
        return
    scale = max(np.abs(expected).max(), terms)
    error = np.abs(got - expected)
    place = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    assert error[place] <= tolerance * scale, (
        f"{what}{[int(i) for i in place]} is {got[place]!r}, expected {expected[place]!r}: "
        f"off by {error[place] / scale:.2g} of the largest, allowed {tolerance:.0e}"
    )


def gradients(done: Run, case: Case) -> dict[str, Any]:
    return dict(zip(layer(case.layer).differentiable, done.gradients, strict=True))


# float32: the sums of a row have up to a few hundred terms of relative error 6e-8 each, and logits of 1e4
# are rounded to 1e-3 / 2; what is left of the error after that is below 1e-4 of the largest gradient.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
# What is left of numbers of size 1 that cancel: a hundred units in the last place.
ROUNDING = {"float64": 2e-14, "float32": 1e-5}


@ROWS
@DTYPES
def test_outputs_agree_with_pytorch(row: str, dtype: str) -> None:
    expected, _ = reference(row, dtype)
    got = run(row, dtype).outputs
    for name, y, wanted in zip(layer(BY_ID[row].layer).returns, got, expected, strict=True):
        if np.abs(wanted).max(initial=0) == 0:
            assert np.abs(y).max(initial=0) <= ROUNDING[dtype], name
        else:
            agree(name, y, wanted, TOLERANCE[dtype])


@ROWS
@DTYPES
def test_gradients_agree_with_autograd(row: str, dtype: str) -> None:
    case = BY_ID[row]
    _, expected = reference(row, dtype)
    for name, got in gradients(run(row, dtype), case).items():
        if name in case.vanishing:
            assert np.abs(got).max() <= ROUNDING[dtype], f"d{name} is zero mathematically"
        else:
            agree(f"d{name}", got, expected[name], TOLERANCE[dtype], case.terms)


@ROWS
@DTYPES
def test_outputs_and_gradients_keep_dtype_and_shape(row: str, dtype: str) -> None:
    case = BY_ID[row]
    done = run(row, dtype)
    for name, y in zip(layer(case.layer).returns, done.outputs, strict=True):
        assert np.asarray(y).dtype == dtype, name
    for name, got in gradients(done, case).items():
        assert (np.asarray(got).dtype, np.shape(got)) == (np.dtype(dtype), done.inputs[name].shape), f"d{name}"
    assert done.gradients._fields == tuple(f"d{name}" for name in layer(case.layer).differentiable)


@ROWS
def test_inputs_and_cotangents_are_left_alone_and_backward_repeats(row: str) -> None:
    case = BY_ID[row]
    done = run(row, "float64")
    again = module(case.layer).backward(*done.cotangents, done.cache)
    for first, second in zip(done.gradients, again, strict=True):
        np.testing.assert_array_equal(first, second)
    for name, fresh in case.inputs(layer(case.layer)).items():
        np.testing.assert_array_equal(done.inputs[name], fresh, err_msg=name)
    for used, fresh in zip(done.cotangents, random_like(done.outputs, "float64"), strict=True):
        np.testing.assert_array_equal(used, fresh)


@LAYERS
def test_a_gradient_shares_no_memory_with_anything(name: str) -> None:
    """So that it may be scaled or accumulated in place."""
    done = run(str(FIRST[name]), "float64")
    kept = [*done.inputs.values(), *done.cotangents, *(a for a in done.cache if isinstance(a, np.ndarray))]
    for place, gradient in enumerate(done.gradients):
        for other in (*done.gradients[place + 1 :], *kept):
            assert not np.shares_memory(gradient, other)


def spread(array: Array, style: str) -> Array:
    """The same values, laid out otherwise in memory."""
    if style == "column-major" or array.ndim == 0:
        return np.asarray(array, order="F")
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2] if style == "strided" else np.ascontiguousarray(array[..., ::-1])[..., ::-1]


@LAYERS
@pytest.mark.parametrize("style", ["column-major", "strided", "reversed"])
def test_the_layout_in_memory_does_not_matter(name: str, style: str) -> None:
    case = FIRST[name]
    done = run(str(case), "float64")
    functions = module(name)
    output, cache = functions.forward(*(spread(a, style) for a in done.inputs.values()), **case.hypers)
    got = functions.backward(*(spread(c, style) for c in done.cotangents), cache)
    pairs = [*zip(together(output), done.outputs, strict=True), *zip(got, done.gradients, strict=True)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@layers(lambda made: len(made.differentiable) > 1)
def test_mixed_precision_promotes_and_a_gradient_has_its_parameters_dtype(name: str) -> None:
    case = FIRST[name]
    wide = case.inputs(layer(name), "float32")
    reals = layer(name).differentiable
    mixed = {n: a.astype("float64") if n in reals[1:] else a for n, a in wide.items()}
    done = execute(case, mixed, "float64")
    assert {np.asarray(y).dtype for y in done.outputs} == {np.dtype("float64")}
    _, expected = reference_torch.evaluate(name, mixed, hypers(case), reals, done.cotangents)
    for n, got in gradients(done, case).items():
        assert np.asarray(got).dtype == mixed[n].dtype, f"d{n}"
        if n not in case.vanishing:
            agree(f"d{n}", got, expected[n], TOLERANCE["float32"])


@LAYERS
def test_a_wrong_rank_is_a_value_error_that_names_the_tensor(name: str) -> None:
    case = FIRST[name]
    inputs = case.inputs(layer(name))
    for parameter in layer(name).parameters:
        if parameter.axes[:1] == (BATCH_SIZE,):
            continue
        wrong = inputs | {parameter.name: inputs[parameter.name][None]}
        with pytest.raises(ValueError, match=rf"^{parameter.name}: expected shape .*, got \(1,"):
            module(name).forward(*wrong.values(), **case.hypers)


@layers(checked_axes)
def test_a_wrong_size_is_a_value_error(name: str) -> None:
    case = FIRST[name]
    inputs = case.inputs(layer(name))
    for parameter, place in checked_axes(layer(name)):
        array = inputs[parameter]
        axes = layer(name).axes(parameter)
        axis = 0 if axes[place] == BATCH_SIZE else array.ndim - len(axes) + place
        longer = np.concatenate((array, array.take([0], axis)), axis)
        with pytest.raises(ValueError, match=r"^\w+: expected shape .*, got \("):
            module(name).forward(*(inputs | {parameter: longer}).values(), **case.hypers)


@LAYERS
def test_a_cotangent_of_the_wrong_shape_is_a_value_error(name: str) -> None:
    done = run(str(FIRST[name]), "float64")
    wrong = (done.cotangents[0][None], *done.cotangents[1:])
    with pytest.raises(ValueError, match=rf"^d{layer(name).returns[0]}: expected shape .*, got \(1,"):
        module(name).backward(*wrong, done.cache)


@LAYERS
def test_integers_are_no_real_tensor(name: str) -> None:
    case = FIRST[name]
    inputs = case.inputs(layer(name))
    for parameter in layer(name).differentiable:
        wrong = inputs | {parameter: np.ones_like(inputs[parameter], int)}
        with pytest.raises(ValueError, match=rf"^{parameter}: expected \w+ elements, got int64$"):
            module(name).forward(*wrong.values(), **case.hypers)


def test_the_words_of_a_wrong_shape() -> None:
    x, gamma, beta = np.zeros((4, 5)), np.zeros(6), np.zeros(5)
    with pytest.raises(ValueError) as caught:
        module("layernorm").forward(x, gamma, beta)
    assert str(caught.value) == "gamma: expected shape (D,) = (5,), D from x (4, 5), got (6,)"


@layers(lambda made: len(made.differentiable) < len(made.parameters))
def test_labels_and_masks_have_to_be_integers_and_truth_values(name: str) -> None:
    case = FIRST[name]
    inputs = case.inputs(layer(name))
    plain = [p for p in layer(name).parameters if not p.kind.differentiable]
    for parameter in plain:
        wrong = inputs | {parameter.name: inputs[parameter.name].astype("float64")}
        with pytest.raises(ValueError, match=rf"^{parameter.name}: expected "):
            module(name).forward(*wrong.values(), **case.hypers)


# Which axis the labels of a layer point into.
LABELS = {
    "embedding": {"t": "V"},
    "cross_entropy": {"t": "C"},
    "nll_loss": {"t": "C"},
    "cross_entropy_smoothed": {"t": "C"},
    "cross_entropy_weighted": {"t": "C"},
    "multi_margin_loss": {"t": "C"},
    "char_mlp": {"x": "V", "y": "V"},
    "crf_loss": {"tags": "K"},
    "ctc_loss": {"label": "C"},
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("beyond", [False, True], ids=["negative", "too-large"])
def test_a_label_out_of_range_is_an_index_error(name: str, beyond: bool) -> None:
    case = FIRST[name]
    for label, size in LABELS[name].items():
        inputs = case.inputs(layer(name))
        inputs[label] = inputs[label].copy()
        inputs[label][..., 0] = case.sizes[size] if beyond else -1
        with pytest.raises(IndexError):
            module(name).forward(*inputs.values(), **case.hypers)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_mean_over_nothing_is_a_value_error(case: Case) -> None:
    inputs = case.inputs(layer(case.layer))
    with pytest.raises(ValueError, match="empty"):
        module(case.layer).forward(*inputs.values(), **case.hypers)


@LAYERS
def test_the_committed_module_is_what_the_layer_file_gives(name: str) -> None:
    path = ROOT / "generated" / f"{name}.py"
    assert path.exists(), f"make it with `derive generate {name}`"
    assert path.read_text(encoding="utf-8") == text(name)


def test_every_catalogue_layer_has_a_row_and_a_reference() -> None:
    names = set(catalogue())
    assert names == set(FIRST)
    assert names == set(reference_torch.REFERENCES)


@LAYERS
def test_a_layer_says_what_it_is_and_where_it_is_from(name: str) -> None:
    lines = layer(name).doc.splitlines()
    assert lines[0].endswith(".") and lines[1] == ""
    source = " ".join(layer(name).doc[layer(name).doc.index("Source: ") :].split())
    assert re.search(r'^Source: .+, ".+", \d{4}\b.*\.$', source), source


@LAYERS
def test_a_generated_module_needs_only_numpy_and_scipy_special(name: str) -> None:
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(text(name)))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert imported <= {"math", "typing", "numpy", "numpy.lib.stride_tricks", "scipy.special"}


# ---------------------------------------------------------------------------------------------------------------
# At kinks: (layer, x, derivative there), as PyTorch has it.

KINKS = [
    ("relu", 0.0, 0.0),
    ("leaky_relu", 0.0, 0.01),
    ("relu6", 0.0, 0.0),
    ("relu6", 6.0, 0.0),
    ("elu", 0.0, 1.0),
    ("hardsigmoid", -3.0, 0.0),
    ("hardsigmoid", 3.0, 0.0),
    ("softsign", 0.0, 1.0),
    ("softshrink", 0.5, 0.0),
    ("softshrink", -0.5, 0.0),
    ("hardshrink", 0.5, 0.0),
    ("hardshrink", -0.5, 0.0),
]


@pytest.mark.parametrize(("name", "x", "derivative"), KINKS)
def test_the_derivative_at_a_kink_is_pytorchs(name: str, x: float, derivative: float) -> None:
    point = np.array([x])
    _, cache = module(name).forward(point)
    assert module(name).backward(np.ones(1), cache)[0].tolist() == [derivative]
    values = {h.name: h.default for h in layer(name).hypers}
    _, expected = reference_torch.evaluate(name, {"x": point}, values, ("x",), (np.ones(1),))
    assert expected["x"].tolist() == [derivative]


@pytest.mark.parametrize("x", [-1.0, 1.0])
def test_clip_passes_the_gradient_at_its_bounds(x: float) -> None:
    _, cache = module("hardtanh").forward(np.array([x]))
    assert module("hardtanh").backward(np.ones(1), cache).dx.tolist() == [1.0]


def test_equal_values_give_l1_loss_no_gradient() -> None:
    _, cache = module("l1_loss").forward(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    got = module("l1_loss").backward(1.0, cache)
    assert got.dx.tolist() == [0.0, -0.5]
    assert got.dt.tolist() == [0.0, 0.5]


def test_a_margin_that_is_just_met_gives_no_gradient() -> None:
    _, cache = module("hinge_loss").forward(np.array([1.0, -1.0]), np.array([1, -1]))
    assert module("hinge_loss").backward(1.0, cache).dx.tolist() == [0.0, 0.0]
    _, cache = module("multi_margin_loss").forward(np.array([[2.0, 1.0, 1.0]]), np.array([0]))
    assert module("multi_margin_loss").backward(1.0, cache).dz.tolist() == [[0.0, 0.0, 0.0]]


def test_repeated_tokens_add_up_in_the_embeddings_gradient() -> None:
    t = np.array([2, 0, 2, 2])
    _, cache = module("embedding").forward(t, np.zeros((4, 2)))
    dy = np.arange(8.0).reshape(4, 2)
    assert module("embedding").backward(dy, cache).dw.tolist() == [[2, 3], [0, 0], [10, 13], [0, 0]]


# ---------------------------------------------------------------------------------------------------------------
# Stability: single precise values, compared with mpmath.

EXTREMES = (-1e4, -800.0, -100.0, -30.0, -2.0, -1e-5, -1e-12, 0.0, 1e-12, 1e-5, 2.0, 30.0, 100.0, 800.0, 1e4)


def _sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mp.exp(-x))


def _selu(x: mpmath.mpf) -> mpmath.mpf:
    return mp.mpf(1.0507009873554805) * (x if x > 0 else mp.mpf(1.6732632423543772) * mp.expm1(x))


def _mish_slope(x: mpmath.mpf) -> mpmath.mpf:
    a = mp.tanh(mp.log1p(mp.exp(x)))
    return a + x * (1 - a**2) * _sigmoid(x)


# layer: value, derivative
EXACT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "log_sigmoid": (lambda x: -mp.log1p(mp.exp(-x)), lambda x: _sigmoid(-x)),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), _sigmoid),
    "tanh": (mp.tanh, lambda x: 1 / mp.cosh(x) ** 2),
    "silu": (lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x))),
    "mish": (lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), _mish_slope),
    "elu": (lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.mpf(1) if x > 0 else mp.exp(x)),
    "celu": (lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.mpf(1) if x > 0 else mp.exp(x)),
    "selu": (_selu, lambda x: _selu(mp.mpf(1)) * (1 if x > 0 else mp.mpf(1.6732632423543772) * mp.exp(x))),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "gelu": (lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x)),
}

# Derivatives through an own output or a sum near a zero crossing keep absolute precision only.
ABSOLUTE = {"sigmoid", "tanh", "silu", "mish", "elu", "celu", "selu", "gelu"}


@pytest.mark.parametrize("name", EXACT)
@DTYPES
def test_extreme_inputs_lose_no_digits(name: str, dtype: str) -> None:
    """A few units in the last place of the value or the input; in the derivative relative or absolute."""
    value, slope = EXACT[name]
    x = np.array(EXTREMES, dtype)
    y, cache = module(name).forward(x)
    dx = module(name).backward(np.ones_like(x), cache)[0]
    ulp, smallest = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    with mp.workdps(60):
        for point, got, derivative in zip(x.tolist(), y.tolist(), dx.tolist(), strict=True):
            exact, rate = value(mp.mpf(point)), slope(mp.mpf(point))
            allowed = 16 * ulp * (abs(exact) + abs(point * rate)) + smallest
            assert abs(got - exact) <= allowed, f"{name}({point}) is {got!r}, not {mp.nstr(exact, 17)}"
            allowed = 16 * ulp * (1 if name in ABSOLUTE else abs(rate)) + smallest
            assert abs(derivative - rate) <= allowed, f"{name}'({point}) is {derivative!r}, not {mp.nstr(rate, 17)}"


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 1e8])
def test_softmaxes_do_not_mind_a_shift_of_the_logits(shift: float) -> None:
    z = np.array([0.0, 1.0, -2.0, 0.5])
    plain = module("log_softmax").forward(z)[0]
    np.testing.assert_allclose(module("log_softmax").forward(z + shift)[0], plain, rtol=1e-14)
    np.testing.assert_allclose(module("softmax").forward(z + shift)[0], np.exp(plain), rtol=1e-14)
    np.testing.assert_allclose(module("logsumexp").forward(z + shift)[0], np.log(np.exp(z).sum()) + shift, rtol=1e-15)


@pytest.mark.parametrize("mean", [1e3, 1e6])
@pytest.mark.parametrize("name", ["batchnorm", "layernorm"])
def test_the_variance_of_data_with_a_large_mean_does_not_cancel(name: str, mean: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, 6)) + mean
    ones, zeros = np.ones(6), np.zeros(6)
    y, cache = module(name).forward(x, ones, zeros)
    dy = rng.standard_normal((8, 6))
    got = module(name).backward(dy, cache)
    centred = x - x.mean(0 if name == "batchnorm" else 1, keepdims=True)
    z, cache = module(name).forward(centred, ones, zeros)
    np.testing.assert_allclose(y, z, atol=1e-14 * mean)
    np.testing.assert_allclose(got[0], module(name).backward(dy, cache)[0], atol=1e-14 * mean)


def test_norms_at_zero_have_a_gradient() -> None:
    """PyTorch: a vector of zeros counts as one of norm eps."""
    x, dy = np.zeros((2, 3)), np.ones((2, 3))
    y, cache = module("l2_normalize").forward(x, eps=0.5)
    assert y.tolist() == x.tolist()
    assert module("l2_normalize").backward(dy, cache).dx.tolist() == (2 * dy).tolist()
    y, cache = module("cosine_similarity").forward(x, np.ones((2, 3)))
    assert y.tolist() == [0.0, 0.0]
    got = module("cosine_similarity").backward(np.ones(2), cache)
    assert np.isfinite(got.dx1).all() and np.isfinite(got.dx2).all()


@DTYPES
def test_logits_far_apart_give_exact_losses(dtype: str) -> None:
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    loss, cache = module("cross_entropy").forward(z, np.array([0, 0]))
    assert loss == 1e4
    assert module("cross_entropy").backward(1.0, cache).dz.tolist() == [[0.0, 0.0], [-0.5, 0.5]]
    loss, cache = module("bce_with_logits").forward(z, np.array([[1, 0], [1, 0]], dtype))
    assert loss == 5e3
    assert module("bce_with_logits").backward(1.0, cache).dz.tolist() == [[0.0, 0.0], [-0.25, 0.25]]


@DTYPES
def test_a_logit_of_minus_infinity_is_a_class_ruled_out(dtype: str) -> None:
    z = np.array([[0.5, -np.inf, 1.5], [-np.inf, 2.0, -np.inf]], dtype)
    dy = np.array([[1.0, 2.0, -3.0], [0.5, 1.0, 4.0]], dtype)
    y, cache = module("softmax").forward(z)
    two = np.array([0.5, 1.5], dtype)
    p, inner = module("softmax").forward(two)
    assert y.tolist() == [[p[0], 0.0, p[1]], [0.0, 1.0, 0.0]]
    expected = module("softmax").backward(dy[0, ::2], inner).dz
    dz = module("softmax").backward(dy, cache).dz
    np.testing.assert_allclose(dz, [[expected[0], 0.0, expected[1]], [0.0, 0.0, 0.0]], rtol=1e-6)
    y, cache = module("logsumexp").forward(z)
    np.testing.assert_allclose(y, [np.log(np.exp(0.5) + np.exp(1.5)), 2.0], rtol=1e-6)
    dz = module("logsumexp").backward(np.ones(2, dtype), cache).dz
    np.testing.assert_allclose(dz, [[p[0], 0.0, p[1]], [0.0, 1.0, 0.0]], rtol=1e-6)
    loss, cache = module("cross_entropy").forward(z, np.array([2, 1]))
    np.testing.assert_allclose(loss, -np.log(p[1]) / 2, rtol=1e-6)
    dz = module("cross_entropy").backward(1.0, cache).dz
    np.testing.assert_allclose(dz, [[p[0] / 2, 0.0, (p[1] - 1) / 2], [0.0, 0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
@pytest.mark.parametrize("name", LABELS)
def test_labels_may_be_integers_of_any_width(name: str, kind: str) -> None:
    case = FIRST[name]
    done = run(str(case), "float64")
    inputs = {n: a.astype(kind) if n in LABELS[name] else a for n, a in done.inputs.items()}
    again = execute(case, inputs, "float64")
    for a, b in zip((*again.outputs, *again.gradients), (*done.outputs, *done.gradients), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_probability_of_zero_adds_nothing_to_the_divergence() -> None:
    logq = np.log(np.array([[0.5, 0.25, 0.25]]))
    loss, cache = module("kl_div").forward(logq, np.array([[0.5, 0.5, 0.0]]))
    assert loss == pytest.approx(0.5 * np.log(2.0), rel=1e-15)
    with np.errstate(divide="ignore"):
        got = module("kl_div").backward(1.0, cache)
    assert got.dlogq.tolist() == [[-0.5, -0.5, 0.0]]
    assert got.dp[0, 2] == -np.inf


def test_masked_scores_get_no_weight_and_no_gradient() -> None:
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((4, 3)) for _ in range(3))
    y, cache = module("causal_attention").forward(q, k, v)
    np.testing.assert_array_equal(y[0], v[0])
    got = module("causal_attention").backward(np.array([[1.0] * 3, *[[0.0] * 3] * 3]), cache)
    assert np.abs(got.dv[1:]).max() == 0
    assert np.abs(got.dk).max() == 0


def test_dropout_scales_what_it_keeps() -> None:
    x, mask = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    y, cache = module("dropout").forward(x, mask, p=0.75)
    assert y.tolist() == [4.0, 0.0, 12.0]
    assert module("dropout").backward(np.ones(3), cache).dx.tolist() == [4.0, 0.0, 4.0]
