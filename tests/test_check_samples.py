"""Sizes and inputs at which layers are tried."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
import sympy
from checked_programs import (
    ALL,
    BATCH,
    C,
    D,
    N,
    V,
    at,
    attention,
    batchnorm,
    cross_entropy,
    d,
    embedding,
    equation,
    layer_of,
    n,
)
from sympy import Expr

from derive.algebra.functions import Eq, FloorDiv, Relu
from derive.algebra.nodes import BATCH_SIZE, Hyper, Index, Kind, Size, Sum
from derive.check.samples import (
    KINK_MARGIN,
    label_ranges,
    sample,
)
from derive.check.sizes import choose_instance, choose_other_instance, choose_sizes
from derive.check.work import work
from derive.errors import CheckError
from derive.language import parse
from derive.language.layer import DerivedSize, HyperParameter, Layer

R, P, G, K = Size("R"), Size("P"), Size("G"), Size("K")


def elementwise(expr: Expr, kind: Kind = Kind.REAL) -> Layer:
    """y[...] = expr of x[...]."""
    return layer_of("f", {"x": (kind, (BATCH_SIZE,))}, (equation("y", BATCH, expr),))


@pytest.mark.parametrize("checked", ALL, ids=lambda c: c.layer.name)
def test_sizes_are_pairwise_different(checked: object) -> None:
    for instance in (first := choose_instance(checked.layer), choose_other_instance(checked.layer, first)):
        lengths = [*instance.sizes.values(), *instance.batch]
        assert len(set(lengths)) == len(lengths)
        assert min(lengths) >= 2


def test_the_second_choice_orders_the_sizes_the_other_way_and_has_another_batch() -> None:
    first = choose_instance(attention.layer)
    second = choose_other_instance(attention.layer, first)
    assert sorted(first.sizes, key=first.sizes.get) == sorted(second.sizes, key=second.sizes.get, reverse=True)
    assert (first.batch, second.batch) == ((2, 3), ())


def test_literal_sizes_are_kept_free() -> None:
    layer = layer_of("f", {"x": (Kind.REAL, (N, sympy.Integer(3), D))}, (equation("y", Sum(at("x", n, 0, d), n, d)),))
    assert choose_sizes(layer).sizes == {"N": 2, "D": 4}


def with_derived(expr: Expr, **hypers: int) -> Layer:
    """A layer over N and R with a derived size P."""
    p = Index("p", P)
    layer = layer_of(
        "f",
        {"x": (Kind.REAL, (N, R))},
        (equation("y", p, p * Sum(at("x", n, Index("r", R)), n, Index("r", R))),),
        hypers=tuple(HyperParameter(name, Kind.INT, value) for name, value in hypers.items()),
    )
    return replace(layer, derived=(DerivedSize(P, expr),))


def test_derived_sizes_come_out_whole_and_different() -> None:
    sizes = choose_sizes(with_derived(FloorDiv(N, R))).sizes
    assert sizes["N"] == sizes["R"] * sizes["P"]
    assert len(set(sizes.values())) == 3


def test_a_number_of_groups_divides_its_size() -> None:
    sizes = choose_sizes(with_derived(FloorDiv(N, Hyper("groups", Kind.INT)), groups=32)).sizes
    assert sizes["N"] == 32 * sizes["P"]


def test_derived_sizes_are_at_least_one() -> None:
    window = FloorDiv(N + 2 * Hyper("pad", Kind.INT) - R, Hyper("stride", Kind.INT)) + 1
    sizes = choose_sizes(with_derived(window, pad=0, stride=2)).sizes
    assert sizes["P"] == (sizes["N"] - sizes["R"]) // 2 + 1 >= 1


def test_impossible_sizes_are_an_error() -> None:
    with pytest.raises(CheckError, match="no sizes below 64 so that P is at least 1"):
        choose_sizes(with_derived(N - N * R))


def test_the_same_seed_gives_the_same_inputs() -> None:
    instance = choose_instance(batchnorm.layer)
    assert sample(batchnorm.layer, instance, 3) == sample(batchnorm.layer, instance, 3)
    assert sample(batchnorm.layer, instance, 3).inputs != sample(batchnorm.layer, instance, 4).inputs


def test_inputs_are_exact_in_float32() -> None:
    values = sample(batchnorm.layer, choose_instance(batchnorm.layer), 0).inputs["x"].values()
    assert all(struct.unpack("f", struct.pack("f", v))[0] == v for v in values)


def test_inputs_of_the_second_sample_are_not() -> None:
    found = sample(batchnorm.layer, choose_instance(batchnorm.layer), 0, single=False)
    values = [*found.inputs["x"].values(), *found.cotangents["dy"].values()]
    assert all(struct.unpack("f", struct.pack("f", v))[0] != v for v in values)


def test_labels_stay_in_the_axis_they_index_and_one_comes_twice() -> None:
    for checked, name, bound in ((cross_entropy, "t", C), (embedding, "tokens", V)):
        instance = choose_instance(checked.layer)
        labels = list(sample(checked.layer, instance, 0).inputs[name].values())
        assert all(0 <= label < instance.extent(bound) for label in labels)
        assert len(set(labels)) < len(labels)


def test_labels_are_followed_through_statements_and_comparisons() -> None:
    label = at("t", n, kind=Kind.INT)
    moved = replace(equation("u", n, label), kind=Kind.INT)
    layer = layer_of(
        "f",
        {"x": (Kind.REAL, (N, D)), "t": (Kind.INT, (N,)), "s": (Kind.INT, (N,))},
        (moved, equation("y", n, d, at("x", n, at("u", n, kind=Kind.INT)) * Eq(d, at("s", n, kind=Kind.INT)))),
    )
    assert label_ranges(layer) == {"t": [D], "s": [D], "u": [D]}


@pytest.mark.parametrize(
    ("kind", "low", "high"), [(Kind.POSITIVE, 0, math.inf), (Kind.UNIT, 0, 1), (Kind.BOOL, -0.5, 1.5)]
)
def test_inputs_are_of_their_kind(kind: Kind, low: float, high: float) -> None:
    layer = elementwise(at("x", BATCH, kind=kind) * 2, kind)
    values = sample(layer, choose_instance(layer), 0).inputs["x"].values()
    assert all(low < v < high for v in values)
    assert len(set(values)) > 1


@pytest.mark.parametrize(
    "expr",
    [
        sympy.log(at("x", BATCH)), sympy.sqrt(at("x", BATCH)), sympy.sqrt(at("x", BATCH) ** 2 - 1) + at("x", BATCH),
        sympy.asin(at("x", BATCH)), sympy.log(-at("x", BATCH)), sympy.log(sympy.log(at("x", BATCH))),
    ],
    ids=str,
)  # fmt: skip
def test_real_inputs_are_drawn_from_the_domain(expr: Expr) -> None:
    layer = elementwise(expr)
    assert sample(layer, choose_instance(layer), 0).smooth


def test_no_finite_result_is_an_error_that_says_so() -> None:
    layer = elementwise(sympy.log(-sympy.exp(at("x", BATCH))))
    with pytest.raises(CheckError, match="f: no inputs found at which its results are finite numbers"):
        sample(layer, choose_instance(layer), 0)


@pytest.mark.parametrize("seed", range(5))
def test_inputs_keep_away_from_kinks(seed: int) -> None:
    layer = elementwise(Relu(at("x", BATCH)) + sympy.Abs(at("x", BATCH) - 1))
    found = sample(layer, choose_instance(layer), seed)
    distances = [min(abs(x), abs(x - 1)) for x in found.inputs["x"].values()]
    assert min(distances) == pytest.approx(found.kink)
    assert found.kink >= KINK_MARGIN


def test_work_counts_the_loops() -> None:
    layer = layer_of("f", {"x": (Kind.REAL, (N, D))}, (equation("y", n, Sum(at("x", n, d), d)),))
    assert work(layer, choose_sizes(layer)) == 6 + 2  # the sums, and a place for each


def test_a_whole_number_is_not_divided_by_a_label_of_0() -> None:
    made = parse(
        "def paced(x: Real[T, G], period: Int[G]):\n"
        "    y[t, g] = where(t % period[g] == 0, x[t, g], 2*x[t, g])\n"
        "    return y\n"
    )
    instance = choose_instance(made)
    for seed in range(5):
        assert 0 not in sample(made, instance, seed).inputs["period"].values()
