"""Code written for speed and for memory gives what the code to read gives, and what the ways cost."""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sympy import Expr

import derive
from derive.check.module import GeneratedModule, inputs_of
from derive.check.samples import sample
from derive.check.sizes import choose_instance
from derive.language.layer import Layer
from derive.lower import lower
from derive.lower.arrays import (
    AddAt,
    ArrayProgram,
    Assign,
    Blocks,
    Contract,
    Einsum,
    InPlace,
    Into,
    Name,
    Ones,
    Purpose,
    Room,
    Vecdot,
    values,
    walk,
)
from derive.pipeline import build_module, ways
from derive.render.numpy import render
from derive.tune import Candidate, candidates, choose
from derive.tune.choose import Code, Saving
from derive.tune.cost import cost
from derive.tune.factors import by_factors
from derive.tune.saving import with_saved
from derive.tune.table import cost_table, sizes_of
from derive.tune.tune import tuned
from tests.conftest import Golden

PURPOSES = (Purpose.SPEED, Purpose.MEMORY)
FLOAT32 = ("batchnorm", "layernorm", "gelu", "attention", "char_mlp", "conv2d", "cross_entropy", "s4d")
"""Layers that are compared in single precision too, as each purpose has them."""


@functools.cache
def written(name: str) -> tuple[Candidate, ...]:
    return ways(derive.load(name))[0]


def program(name: str, code: Code = Code.READING, saving: Saving = Saving.DERIVED) -> ArrayProgram:
    """The first way of such code: the form that is taken."""
    return next(way.arrays for way in written(name) if way.code is code and way.saving is saving)


def module(layer: Layer, arrays: ArrayProgram, block: int | None = None) -> GeneratedModule:
    """A module; in blocks of so many elements where it works in blocks."""
    made = GeneratedModule(layer, render(arrays))
    if block is not None and "_BLOCK" in made.names:
        made.names["_BLOCK"] = block
    return made


def agree(found: Mapping[str, Any], expected: Mapping[str, Any], digits: float) -> None:
    assert [*found] == [*expected]
    for name, value in expected.items():
        assert np.shape(found[name]) == np.shape(value), name
        assert np.asarray(found[name]).dtype == np.asarray(value).dtype, name
        largest = np.abs(value)[np.isfinite(value)].max(initial=1e-30)
        np.testing.assert_allclose(found[name] / largest, value / largest, rtol=digits, atol=digits, err_msg=name)


def check_against_reading(layer: Layer, plain: ArrayProgram, others: Sequence[ArrayProgram], *dtypes: str) -> None:
    """Compare programs with the one to read: usual and small blocks, and results in arrays that are given."""
    at = sample(layer, choose_instance(layer), 0)
    reading = module(layer, plain)
    for dtype in dtypes:
        digits = {"float64": 1e-9, "float32": 2e-4}[dtype]
        inputs, cotangents = inputs_of(layer, at, dtype)
        with np.errstate(all="ignore"):
            expected = reading.run(inputs, cotangents, at.instance)
            for arrays in others:
                made = module(layer, arrays)
                found = made.run(inputs, cotangents, at.instance)
                agree(found.outputs, expected.outputs, digits)
                agree(found.gradients, expected.gradients, digits)
                if "_BLOCK" in made.names:
                    made.names["_BLOCK"] = 5
                out = {key: np.full(np.shape(g), np.nan, np.asarray(g).dtype) for key, g in expected.gradients.items()}
                given = made.backward_into(cotangents, found.cache, out)
                assert all(given[key] is array for key, array in out.items())
                agree(out, expected.gradients, digits)


@pytest.mark.parametrize("name", derive.catalogue())
def test_every_way_of_writing_gives_what_the_code_to_read_gives(name: str) -> None:
    layer = derive.load(name)
    plain = lower(derive.derive_program(layer))
    saved = with_saved(plain, moved=True)
    others = [plain, tuned(by_factors(saved), lambda rows: True), tuned(plain, lambda rows: False)]
    check_against_reading(layer, plain, [arrays for arrays in others if arrays is not None], "float64")


@pytest.mark.parametrize("name", FLOAT32)
def test_the_ways_that_are_chosen_give_what_the_code_to_read_gives(name: str) -> None:
    chosen = [choose(written(name), purpose)[0].arrays for purpose in Purpose]
    check_against_reading(derive.load(name), program(name), chosen, "float64", "float32")


LARGE: dict[str, dict[str, tuple[int, ...]]] = {
    "layernorm": {"x": (301, 768), "gamma": (768,), "beta": (768,)},
    "batchnorm": {"x": (1003, 300), "gamma": (300,), "beta": (300,)},
    "rmsnorm": {"x": (7, 43, 768), "gamma": (768,)},
    "softmax": {"z": (301, 1000)},
    "log_softmax": {"z": (301, 1000)},
    "gelu": {"x": (3, 100, 1001)},
    "silu": {"x": (300001,)},
    "attention": {"q": (5, 130, 16), "k": (5, 400, 16), "v": (5, 400, 24)},
}
"""Inputs of several blocks, the last one smaller."""


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize(("dtype", "digits"), [("float64", 1e-11), ("float32", 2e-4)])
def test_rows_in_blocks_with_a_remainder_give_what_whole_arrays_give(name: str, dtype: str, digits: float) -> None:
    layer = derive.load(name)
    arrays = program(name, Code.BLOCKS)
    assert any(isinstance(i, Blocks) for i in arrays.backward)
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in LARGE[name].values()]
    plain, blocks = module(layer, program(name)).names, module(layer, arrays).names
    y, cache = plain["forward"](*inputs)
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected = plain["backward"](dy, cache)._asdict()
    agree(blocks["backward"](dy, blocks["forward"](*inputs)[1])._asdict(), expected, digits)


def test_rows_in_blocks_hold_little_beside_the_result_however_many_there_are() -> None:
    arrays = choose(written("layernorm"), Purpose.SPEED)[0].arrays
    names = module(derive.load("layernorm"), arrays).names
    beside = []
    for rows in (1000, 4000):
        x, gamma = np.ones((rows, 768), np.float32), np.ones(768, np.float32)
        x[::2] = 2
        _, cache = names["forward"](x, gamma, gamma)
        tracemalloc.start()
        gradients = names["backward"](x, cache)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        beside.append(peak - sum(g.nbytes for g in gradients))
    block = 4 * names["_BLOCK"]
    assert beside[1] < 2 * block
    assert beside[1] - beside[0] < block / 8


def backward(name: str, **sizes: int) -> tuple[Any, Any, list[Any]]:
    """The backward for speed of a layer of rows, its cache, and the gradients that it gives."""
    layer = derive.load(name)
    names = module(layer, choose(written(name), Purpose.SPEED)[0].arrays).names
    rng = np.random.default_rng(0)
    x = rng.standard_normal((sizes["N"], sizes["D"]))
    _, cache = names["forward"](x, *(rng.standard_normal(sizes["D"]) for _ in range(2)))
    return names["backward"], cache, [rng.standard_normal(x.shape), rng]


def test_gradients_are_written_to_any_form_of_out() -> None:
    run, cache, (dy, _) = backward("layernorm", N=6, D=4)
    plain = run(dy, cache)
    out = type(plain)(*map(np.empty_like, plain))
    for given in (out, list(out), out._asdict()):
        result = run(dy, cache, out=given)
        assert all(a is b for a, b in zip(result, out, strict=True))
        agree(result._asdict(), plain._asdict(), 1e-12)
    result = run(dy, cache, out=(None, out.dgamma, None))
    assert result.dgamma is out.dgamma
    agree(result._asdict(), plain._asdict(), 1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dx": np.empty((6, 5))}, r"out, dx: expected float64 of shape \(6, 4\), got float64 of shape \(6, 5\)"),
        ({"dx": np.empty((6, 4), "f")}, r"out, dx: expected float64 of shape \(6, 4\), got float32 of shape"),
        ({"dgamma": [0.0] * 4}, "out, dgamma: expected an array that can be written to, or None"),
        ({"dz": np.empty(4)}, "out: expected names among dx, dgamma, dbeta, got dz"),
        ([None], r"out: expected Gradients\(dx, dgamma, dbeta\), a sequence in this order or a dict"),
        (1.0, "out: expected Gradients"),
    ],
)
def test_an_out_that_does_not_fit_is_an_error(given: Any, message: str) -> None:
    run, cache, (dy, _) = backward("layernorm", N=6, D=4)
    with pytest.raises(ValueError, match=message):
        run(dy, cache, out=given)


def test_arrays_of_out_that_share_memory_are_an_error_and_those_side_by_side_are_not() -> None:
    run, cache, (dy, _) = backward("layernorm", N=6, D=4)
    both = np.zeros(8)
    with pytest.raises(ValueError, match="out, dbeta: shares memory with another one"):
        run(dy, cache, out={"dgamma": both[:4], "dbeta": both[3:7]})
    plain = run(dy, cache)
    run(dy, cache, out={"dgamma": both[::2], "dbeta": both[1::2]})
    np.testing.assert_allclose(both[::2], plain.dgamma)
    np.testing.assert_allclose(both[1::2], plain.dbeta)


def test_an_array_of_out_may_be_the_cotangent_or_part_of_it() -> None:
    run, cache, (dy, _) = backward("batchnorm", N=9, D=4)
    plain = run(dy, cache)
    shared = np.zeros((10, 4))
    shared[1:] = dy
    result = run(shared[1:], cache, out={"dx": shared[:-1]})
    np.testing.assert_allclose(result.dx, plain.dx)
    np.testing.assert_allclose(shared[:-1], plain.dx)


def test_layernorm_for_speed_is_as_recorded(golden: Golden) -> None:
    golden("numpy/layernorm_for_speed.py.txt", build_module(derive.load("layernorm"), purpose="speed"))


def test_batchnorm_goes_over_the_rows_once_for_the_sums_and_once_for_the_rest() -> None:
    arrays = tuned(program("batchnorm"), lambda rows: True)
    assert arrays is not None
    first, second = (i for i in arrays.backward if isinstance(i, Blocks))
    assert {i.name for i in first.body if isinstance(i, InPlace)} == {"dgamma", "dbeta"}
    assert "dx_rows2" in {name for name, _ in second.parts} | {"dx_rows2"}
    assert not any(isinstance(i, Assign) for i in second.body)


def operations(arrays: ArrayProgram) -> list[type]:
    return [type(node) for i in arrays.backward for value in values(i) for node in walk(value)]


def test_sums_are_spelled_as_products_and_without_arrays_between() -> None:
    arrays = program("batchnorm", Code.WHOLE)
    assert Einsum in operations(arrays)
    assert Ones in operations(arrays)
    assert Vecdot in operations(program("softmax", Code.WHOLE))


def test_a_product_that_einsum_would_look_for_is_written_as_one() -> None:
    plain, fast = program("char_mlp"), program("char_mlp", Code.WHOLE)
    assert sum(t is Einsum for t in operations(plain)) > sum(t is Einsum for t in operations(fast))
    assert any(isinstance(i, AddAt) and i.flat for i in fast.backward)
    assert sum(t is Contract for t in operations(fast)) > sum(t is Contract for t in operations(plain))


def test_results_are_written_to_arrays_that_are_there() -> None:
    code = program("silu", Code.WHOLE).backward
    assert [type(i) for i in code if isinstance(i, (Room, Into, InPlace))].count(Room) == 1
    assert sum(isinstance(i, (Into, InPlace)) for i in code) >= 4
    made = [i.value for i in code if isinstance(i, Assign)]
    assert all(isinstance(node, Name) for value in made for node in walk(value) if node is not value)


def test_what_forward_computes_anyway_is_saved() -> None:
    arrays = with_saved(program("gelu"), moved=False)
    assert [f.name for f in arrays.cache] == ["x", "erfc_x"]
    assert "erfc_x = erfc(" in render(arrays)
    assert with_saved(program("softmax"), moved=False) is program("softmax")


def test_a_saved_product_is_read_as_its_factors_where_one_multiplies_something_else_anyway() -> None:
    arrays = by_factors(program("rmsnorm"))
    assert [f.name for f in arrays.cache if f.axes] == ["gamma", "rrms", "xhat"]
    assert by_factors(program("layernorm")) is program("layernorm")


def test_a_function_moves_to_forward_where_it_takes_the_place_of_what_it_is_of() -> None:
    arrays = with_saved(program("cross_entropy"), moved=True)
    assert [f.name for f in arrays.cache] == ["t", "exp_logp"]


# Costs


def test_costs_follow_from_the_sizes() -> None:
    batchnorm = derive.load("batchnorm")
    at = sizes_of(batchnorm, {"N": (8192,), "D": (512,)})
    found = {way.code: way.cost for way in candidates({"closed": program("batchnorm")}, at)}
    reading, whole, blocks = (found[code] for code in Code)
    assert whole.passes < reading.passes
    assert blocks.memory < whole.memory < reading.memory
    assert blocks.extra < 8192 * 512 / 16
    twice = cost(program("batchnorm"), sizes_of(batchnorm, {"N": (16384,), "D": (512,)}))
    assert twice.memory == pytest.approx(2 * reading.memory, rel=1e-3)
    assert twice.calls == reading.calls


def test_products_are_counted_in_multiply_adds() -> None:
    layer = derive.load("linear")
    at = sizes_of(layer, {"...": (64, 64), "I": (512,), "O": (256,)})
    assert cost(program("linear"), at).products == 2 * 4096 * 512 * 256


def test_blocks_are_for_large_arrays_and_whole_arrays_for_small_ones() -> None:
    layer = derive.load("layernorm")

    def fastest(rows: int) -> Candidate:
        at: dict[Expr, int] = sizes_of(layer, {"...": (rows,), "D": (768,)})
        return choose(candidates({"closed": program("layernorm")}, at), Purpose.SPEED)[0]

    assert fastest(8192).code is Code.BLOCKS
    assert fastest(4).code is Code.WHOLE


def test_memory_never_saves_or_holds_more_than_speed() -> None:
    for name in ("gelu", "layernorm", "batchnorm", "attention", "cross_entropy"):
        speed, memory = (choose(written(name), purpose)[0].cost for purpose in PURPOSES)
        assert memory.saved + memory.extra <= 1.05 * (speed.saved + speed.extra), name


def test_the_code_to_read_is_kept_where_nothing_is_computed_twice() -> None:
    for name in ("batchnorm", "softmax", "linear", "attention"):
        way, why = choose(written(name), Purpose.READING)
        assert (way.code, way.saving, why) == (Code.READING, Saving.DERIVED, "reads best")
        assert way.arrays == replace(program(name), purpose=Purpose.READING)


def test_the_table_names_each_way_and_the_choice_for_each_purpose() -> None:
    layer = derive.load("gelu")
    text = cost_table(layer, written("gelu"), sizes_of(layer, {"...": (8192, 768)}))
    assert "... = 6291456" in text
    lines = text.splitlines()
    assert len(lines) == 3 + len(written("gelu"))
    for purpose in Purpose:
        assert sum(f"{purpose.value}: " in line for line in lines) == 1


def test_a_size_that_the_layer_lacks_is_an_error() -> None:
    with pytest.raises(derive.DeriveError, match="layernorm has no size 'N'"):
        sizes_of(derive.load("layernorm"), {"N": (4,)})
