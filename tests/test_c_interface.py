"""Modules in C take, give, refuse and leave alone what the NumPy modules do."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_modules import compiled, files, hypers, inputs, layer, numpy
from case import Array
from conftest import ROOT

# With: batch and Real hyper; labels, scalar result; sizes computed, Int hypers; products; recurrence, several
# results; Bool mask; a scalar parameter; `...` alone; maxima; a window; Int results.
SAMPLE = [
    "layernorm", "cross_entropy", "conv2d", "linear", "lstm", "masked_attention", "prelu", "mse_loss", "max_pool2d",
    "embedding", "batchnorm",
]  # fmt: skip
LAYERS = pytest.mark.parametrize("name", SAMPLE)
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def tuple_of(outputs: Any) -> tuple[Array, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def cotangents(outputs: Any, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(np.shape(y)), np.asarray(y).dtype) for y in tuple_of(outputs)]


def run(module: Any, arrays: Sequence[Any], given: dict[str, float]) -> tuple[Any, Any, Any]:
    outputs, cache = module.forward(*arrays, **given)
    return outputs, cache, module.backward(*cotangents(outputs), cache)


def assert_near(got: Any, expected: Any, tolerance: float) -> None:
    for a, b in zip(got, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def raised(call: Callable[[], object]) -> tuple[type[BaseException], str]:
    with pytest.raises((ValueError, IndexError, TypeError)) as caught:
        call()
    return caught.type, str(caught.value)


@LAYERS
def test_signatures_and_records_are_those_of_the_numpy_module(name: str) -> None:
    ours, theirs = compiled(name), numpy(name)
    assert inspect.signature(ours.forward) == inspect.signature(theirs.forward)
    arguments = [p.name for p in inspect.signature(theirs.backward).parameters.values() if p.name != "out"]
    assert [*inspect.signature(ours.backward).parameters] == [*arguments, "out"]
    assert ours.Gradients._fields == theirs.Gradients._fields
    assert ours.forward.__doc__ == theirs.forward.__doc__


@LAYERS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_call_gives_the_same(name: str, dtype: str) -> None:
    """The first call plans, those after it are made by the plan: of the same shape, of another, of the first again."""
    module, arrays, given = compiled(name), inputs(name, dtype), hypers(name)
    outputs, _, gradients = run(numpy(name), arrays, given)
    for _ in range(3):
        ours, _, own = run(module, arrays, given)
        assert_near(tuple_of(ours), tuple_of(outputs), TOLERANCE[dtype])
        assert_near(own, gradients, TOLERANCE[dtype])
        assert type(ours) is type(outputs)
        assert type(own).__name__ == "Gradients"


@LAYERS
def test_calls_are_made_by_plan_from_the_second_on(name: str) -> None:
    module, arrays, given = compiled(name), inputs(name), hypers(name)
    outputs, cache, _ = run(module, arrays, given)
    values = list(inspect.signature(module.forward).parameters.values())
    positional = [*arrays, *(given.get(p.name, p.default) for p in values if p.kind is p.KEYWORD_ONLY)]
    assert type(module._layer.forward).__name__ == "builtin_function_or_method"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._layer, "_expect", None)  # what other calls begin with
        again, _ = module._layer.forward(*positional)
        patch.setattr(module._layer, "_call", None)
        module.backward(*cotangents(outputs), cache)
    assert_near(tuple_of(again), tuple_of(outputs), 0)


@LAYERS
def test_inputs_cotangents_and_cache_are_not_modified(name: str) -> None:
    module, arrays, given = compiled(name), inputs(name), hypers(name)
    for _ in range(2):
        before = copy.deepcopy(arrays)
        outputs, cache = module.forward(*arrays, **given)
        dy = cotangents(outputs)
        kept = copy.deepcopy([*dy, *(value for value in cache if isinstance(value, np.ndarray))])
        first = module.backward(*dy, cache)
        second = module.backward(*dy, cache)
        after = [*dy, *(value for value in cache if isinstance(value, np.ndarray))]
        for a, b in zip([*arrays, *after, *first], [*before, *kept, *second], strict=True):
            np.testing.assert_array_equal(a, b)


def spread(array: Array) -> Array:
    """A view of the same values, every axis reversed, with gaps."""
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    view = wide[(..., *(slice(None, None, -2) for _ in array.shape))]
    view[...] = array
    return view


def shifted(array: Array) -> Array:
    """The same values at an address that is no multiple of their size."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def swapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


def by_columns(array: Array) -> Array:
    return np.array(array, order="F")


def frozen(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


@LAYERS
@pytest.mark.parametrize("kind", [spread, shifted, swapped, by_columns, frozen])
def test_arrays_of_any_layout_give_the_same(name: str, kind: Callable[[Array], Array]) -> None:
    module, arrays, given = compiled(name), inputs(name), hypers(name)
    outputs, _, gradients = run(module, arrays, given)
    other = [kind(array) for array in arrays]
    ours, kept = module.forward(*other, **given)
    own = module.backward(*(kind(np.asarray(dy)) for dy in cotangents(outputs)), kept)
    assert [np.asarray(g).dtype.newbyteorder("=") for g in own] == [np.asarray(g).dtype for g in gradients]
    for a, b in zip([*tuple_of(ours), *own], [*tuple_of(outputs), *gradients], strict=True):
        np.testing.assert_array_equal(a, b)


def test_lists_and_numbers_are_taken_as_numpy_takes_them() -> None:
    module, other = compiled("prelu"), numpy("prelu")
    for arrays in (([[1.0, -2.0]], 0.25), (np.array([1.0, -2.0], "float32"), 0.25), (np.array([3.0, -2.0]), 1)):
        for _ in range(2):
            (y, cache), (z, kept) = module.forward(*arrays), other.forward(*arrays)
            assert_near([y], [z], 1e-12)
            assert_near(module.backward(np.ones_like(y), cache), other.backward(np.ones_like(z), kept), 1e-12)


@LAYERS
def test_mixed_precision_promotes_and_gradients_have_their_parameters_dtype(name: str) -> None:
    arrays, given = inputs(name), hypers(name)
    real = [k for k, array in enumerate(arrays) if array.dtype.kind == "f"]
    arrays = [a.astype("float64") if k == real[-1] else a for k, a in enumerate(arrays)]
    for _ in range(2):
        outputs, _, gradients = run(compiled(name), arrays, given)
        expected, _, wanted = run(numpy(name), arrays, given)
        assert_near(tuple_of(outputs), tuple_of(expected), 1e-6)
        assert_near(gradients, wanted, 1e-6)


def test_labels_of_every_integer_dtype_are_taken() -> None:
    z, t = inputs("cross_entropy")
    expected, _ = compiled("cross_entropy").forward(z, t.astype("int64"))
    for dtype in ("int8", "uint8", "int32", "uint64", ">i4"):
        loss, cache = compiled("cross_entropy").forward(z, t.astype(dtype))
        assert loss == expected
        assert np.isfinite(compiled("cross_entropy").backward(1.0, cache).dz).all()


def test_a_scalar_result_is_a_numpy_scalar_and_its_cotangent_any_number() -> None:
    z, t = inputs("cross_entropy")
    for _ in range(2):
        loss, cache = compiled("cross_entropy").forward(z, t)
        assert type(loss) is np.float32
        (expected,) = compiled("cross_entropy").backward(np.float32(2), cache)
        for number in (2.0, 2, np.array(2.0), np.float64(2), np.array(2, "int8")):
            np.testing.assert_array_equal(compiled("cross_entropy").backward(number, cache).dz, expected)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("layernorm", [(0, 5), (5,), (5,)]), ("layernorm", [(2, 0, 5), (5,), (5,)]), ("linear", [(0, 3), (3, 2), (2,)]),
     ("layernorm", [(5,), (5,), (5,)]), ("prelu", [(0,), ()]), ("prelu", [(), ()])],
)  # fmt: skip
def test_batches_of_no_elements_and_of_no_axes_work(name: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [np.ones(shape, "float32") for shape in shapes]
    for _ in range(2):
        ours, theirs = run(compiled(name), arrays, {}), run(numpy(name), arrays, {})
        assert_near(tuple_of(ours[0]), tuple_of(theirs[0]), 1e-6)
        assert_near(ours[2], theirs[2], 1e-6)


def ones(*shape: int, dtype: str = "float32") -> Array:
    return np.ones(shape, dtype)


REFUSED = {
    "another shape": ("layernorm", [ones(4, 5), ones(6), ones(5)], {}),
    "too many axes": ("layernorm", [ones(4, 5), ones(1, 5), ones(5)], {}),
    "no axes": ("layernorm", [ones(), ones(5), ones(5)], {}),
    "integers for reals": ("layernorm", [ones(4, 5, dtype="int64"), ones(5), ones(5)], {}),
    "complex numbers": ("layernorm", [ones(4, 5, dtype="complex64"), ones(5), ones(5)], {}),
    "texts": ("layernorm", [np.array(["a"]), ones(1), ones(1)], {}),
    "an empty axis": ("layernorm", [ones(4, 0), ones(0), ones(0)], {}),
    "reals for labels": ("cross_entropy", [ones(4, 5), ones(4)], {}),
    "a label too large": ("cross_entropy", [ones(4, 5), np.array([0, 1, 5, 2])], {}),
    "a label below 0": ("cross_entropy", [ones(4, 5), np.array([0, -1, 4, 2])], {}),
    "a stride of 0": ("conv2d", [ones(1, 2, 5, 5), ones(3, 2, 3, 3), ones(3)], {"stride": 0}),
    "a kernel too large": ("conv2d", [ones(1, 2, 2, 2), ones(3, 2, 3, 3), ones(3)], {}),
    "a mask of integers": ("masked_attention", None, {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_refused_alike(what: str) -> None:
    name, arrays, given = REFUSED[what]
    if arrays is None:
        arrays = [a.astype("int64") if a.dtype == bool else a for a in inputs(name)]
    expected = raised(lambda: numpy(name).forward(*arrays, **given))
    assert raised(lambda: compiled(name).forward(*arrays, **given)) == expected
    run(compiled(name), inputs(name), hypers(name))  # with plans it is the same
    assert raised(lambda: compiled(name).forward(*arrays, **given)) == expected


def test_a_label_out_of_range_is_an_error_in_a_planned_call_too() -> None:
    z, t = ones(4, 5), np.array([0, 1, 4, 2])
    compiled("cross_entropy").forward(z, t)
    t[2] = 5
    with pytest.raises(IndexError, match="t: expected labels from 0 to 4, got 5"):
        compiled("cross_entropy").forward(z, t)
    t[2] = 3
    assert np.isfinite(compiled("cross_entropy").forward(z, t)[0])


@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_reals_that_c_has_no_functions_for_are_refused(dtype: str) -> None:
    if np.dtype(dtype).itemsize == 8:
        pytest.skip("a long double is a double here")
    with pytest.raises(ValueError, match=r"x: expected float32 or float64 elements, got float"):
        compiled("layernorm").forward(ones(4, 5, dtype=dtype), ones(5), ones(5))


@LAYERS
def test_cotangents_of_another_shape_or_kind_are_refused_alike(name: str) -> None:
    arrays, given = inputs(name), hypers(name)
    outputs, cache = compiled(name).forward(*arrays, **given)
    _, kept = numpy(name).forward(*arrays, **given)
    good = cotangents(outputs)
    for bad in (np.ones((*np.shape(good[0]), 2), "float32"), np.asarray(good[0], complex)):
        expected = raised(partial(numpy(name).backward, bad, *good[1:], kept))
        for _ in range(2):
            assert raised(partial(compiled(name).backward, bad, *good[1:], cache)) == expected
            compiled(name).backward(*good, cache)


def test_a_cache_that_forward_has_not_returned_is_refused() -> None:
    module = compiled("layernorm")
    _, cache = module.forward(ones(4, 5), ones(5), ones(5))
    for bad in (tuple(cache), None, list(cache)):
        with pytest.raises(TypeError, match=r"cache: expected the one that forward has returned, got \w+"):
            module.backward(ones(4, 5), bad)
    with pytest.raises(ValueError, match=r"cache.gamma: expected shape \(5,\), got \(4,\)"):
        module.backward(ones(4, 5), cache._replace(gamma=ones(4)))


def test_hyper_parameters_may_change_from_call_to_call() -> None:
    module, other = compiled("layernorm"), numpy("layernorm")
    x, gamma, beta = inputs("layernorm", "float64")
    for eps in (1e-5, 0.1, 2, np.float32(0.5), 0.1):
        (y, cache), (z, kept) = module.forward(x, gamma, beta, eps=eps), other.forward(x, gamma, beta, eps=eps)
        assert_near([y], [z], 1e-7)
        assert_near(module.backward(y, cache), other.backward(z, kept), 1e-6)
    module, other = compiled("conv2d"), numpy("conv2d")
    arrays = inputs("conv2d", "float64")
    for stride, pad in ((1, 0), (2, 1), (np.int64(1), 2), (1, 0), (2, 1)):
        ours = run(module, arrays, {"stride": stride, "pad": pad})
        theirs = run(other, arrays, {"stride": stride, "pad": pad})
        assert_near([ours[0]], [theirs[0]], 1e-12)
        assert_near(ours[2], theirs[2], 1e-12)


def test_arguments_are_counted_as_in_python() -> None:
    for module in (compiled("layernorm"), numpy("layernorm")):
        with pytest.raises(TypeError, match=r"forward\(\) missing 1 required positional argument: 'beta'"):
            module.forward(ones(4, 5), ones(5))
        with pytest.raises(TypeError, match=r"forward\(\) takes 3 positional arguments but 4 were given"):
            module.forward(ones(4, 5), ones(5), ones(5), 1e-5)


# out


@LAYERS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_written_to_the_arrays_of_out(name: str, dtype: str) -> None:
    module, arrays, given = compiled(name), inputs(name, dtype), hypers(name)
    outputs, cache, expected = run(module, arrays, given)
    dy = cotangents(outputs)
    fresh = [np.full_like(np.asarray(g), 7) for g in expected]
    fields = expected._fields
    for out in (type(expected)(*fresh), tuple(fresh), fresh, dict(zip(fields, fresh, strict=True))):
        for array in fresh:
            array.fill(7)
        got = module.backward(*dy, cache, out)
        assert all(a is b for a, b in zip(got, fresh, strict=True))
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    some = module.backward(*dy, cache, {fields[0]: fresh[0]})
    assert some[0] is fresh[0]


def test_out_may_be_what_is_read() -> None:
    module = compiled("layernorm")
    outputs, cache, expected = run(module, inputs("layernorm"), {})
    (dy,) = cotangents(outputs)
    got = module.backward(dy, cache, type(expected)(dy, None, None))
    assert got.dx is dy
    np.testing.assert_array_equal(dy, expected.dx)
    (dy,) = cotangents(outputs)
    module.backward(dy, cache, type(expected)(cache.xhat, None, None))
    np.testing.assert_array_equal(cache.xhat, expected.dx)


def test_out_of_another_layout_is_written_to() -> None:
    module = compiled("layernorm")
    outputs, cache, expected = run(module, inputs("layernorm"), {})
    out = spread(np.zeros_like(expected.dx))
    assert module.backward(*cotangents(outputs), cache, [out, None, None]).dx is out
    np.testing.assert_array_equal(out, expected.dx)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out[:2], r"out: expected Gradients\(dx, dgamma, dbeta\), a sequence in this order or a dict"),
        (lambda out: {"dz": out[0]}, r"out: expected names among dx, dgamma, dbeta, got dz"),
        (lambda out: [out[0][:-1], *out[1:]], r"out, dx: expected float32 of shape \S+ \d+\), got float32 of shape "),
        (lambda out: [out[0].astype("float64"), *out[1:]], r"out, dx: expected float32 of shape .*, got float64 of"),
        (lambda out: [*out[:2], out[1]], r"out, dbeta: shares memory with another one"),
        (lambda out: [out[0], frozen(out[1]), None], r"out, dgamma: expected an array that can be written to, or None"),
        (lambda out: [out[0].tolist(), None, None], r"out, dx: expected an array that can be written to, or None"),
    ],
)
def test_out_that_does_not_fit_is_refused(change: Callable[[list[Array]], Any], message: str) -> None:
    module = compiled("layernorm")
    outputs, cache, expected = run(module, inputs("layernorm"), {})
    given = change([np.zeros_like(g) for g in expected])
    for out in (given, type(expected)(*given)) if len(given) == 3 else (given,):
        with pytest.raises(ValueError, match=message):
            module.backward(*cotangents(outputs), cache, out)


# The text


@LAYERS
def test_formatter_and_linter_have_nothing_to_say(name: str, tmp_path: Path) -> None:
    for file, text in files(name).items():
        if file.endswith(".py"):
            (tmp_path / file).write_text(text, encoding="utf-8")
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(tmp_path)]
    for command in (["format", "--check"], ["check", "--ignore", "E741"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# Many calls


@LAYERS
def test_a_cache_survives_pickling_and_copying(name: str) -> None:
    module = compiled(name)
    outputs, cache, expected = run(module, inputs(name), hypers(name))
    with pytest.MonkeyPatch.context() as patch:
        home = type(sys)("home_of_the_cache")
        home.Cache = module.Cache  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "home_of_the_cache", home)
        patch.setattr(module.Cache, "__module__", "home_of_the_cache")
        read = pickle.loads(pickle.dumps(cache))
    for kept in (read, copy.deepcopy(cache), cache._replace()):
        for a, b in zip(module.backward(*cotangents(outputs), kept), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_more_shapes_than_plans_are_kept() -> None:
    module, other = compiled("layernorm"), numpy("layernorm")
    caches = []
    for n in (*range(1, 150), 1, 2, 149):
        x = np.random.default_rng(n).standard_normal((n, 5))
        y, cache = module.forward(x, x[0], x[-1])
        assert_near([y], [other.forward(x, x[0], x[-1])[0]], 1e-10)
        caches.append((x, cache))
    for x, cache in caches:
        assert_near(module.backward(x, cache), other.backward(x, other.forward(x, x[0], x[-1])[1]), 1e-10)


@pytest.mark.parametrize("size", [(3, 5), (400, 500)], ids=["locked", "unlocked"])
def test_threads_may_call_at_the_same_time(size: tuple[int, int]) -> None:
    """Those of larger arrays run side by side, each with a workspace of its own."""
    module = compiled("batchnorm")
    wrong: list[int] = []

    def work(number: int) -> None:
        x = np.random.default_rng(number).standard_normal((size[0] + number, size[1])).astype("float32")
        expected = run(module, [x, x[0].copy(), x[1].copy()], {})
        for _ in range(20):
            got = run(module, [x, x[0].copy(), x[1].copy()], {})
            same = [np.array_equal(a, b) for a, b in zip((got[0], *got[2]), (expected[0], *expected[2]), strict=True)]
            wrong.extend([number] * (not all(same)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_calls_do_not_keep_memory() -> None:
    """References are counted right: results go when they are let go, and arguments are held by nothing."""
    module = compiled("layernorm")
    x, gamma, beta = inputs("layernorm")
    y, cache = module.forward(x, gamma, beta)
    out = module.backward(y, cache)
    given = [x, gamma, beta, y, out, *out, cache.sizes, cache.dtypes, type(out), type(cache), np.float32, None]
    before = [sys.getrefcount(value) for value in given[:-1]]
    for _ in range(100):
        y_, cache_ = module.forward(x, gamma, beta)
        module.backward(y, cache)
        module.backward(y, cache, out)
        module.backward(y_, cache_)
        with pytest.raises(ValueError, match="gamma: expected"):
            module.forward(x[0, :2], gamma, beta)
        del y_, cache_
    after = [sys.getrefcount(value) for value in given[:-1]]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0] * len(before)


@LAYERS
def test_without_the_help_of_c_the_calls_are_the_same(name: str) -> None:
    """As on other Pythons than CPython, and where arrays are not laid out as expected."""
    from derive.check.module import GeneratedModule

    own = GeneratedModule(layer(name), files(name)).names
    own["_compiled"].native = lambda: None
    arrays, given = inputs(name), hypers(name)
    expected = run(compiled(name), arrays, given)
    for _ in range(2):
        outputs, cache = own["forward"](*arrays, **given)
        gradients = own["backward"](*cotangents(outputs), cache)
        for a, b in zip([*tuple_of(outputs), *gradients], [*tuple_of(expected[0]), *expected[2]], strict=True):
            np.testing.assert_array_equal(a, b)
    assert own["_layer"].forward == own["_layer"]._forward
