"""What ``derive bench`` is made of: formulas in other libraries, the staged form, work, sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy

from derive.bench.formulas import Forward, NotRun
from derive.bench.inputs import chosen_sizes, cotangents, inputs, instance_at, parse_sizes
from derive.bench.machine import Machine, machine
from derive.bench.namespaces import numpy_namespace, torch_namespace
from derive.bench.operations import one_by_one
from derive.bench.peers import PEERS, Peer
from derive.bench.staged import staged_module, staged_program
from derive.bench.work import compulsory_bytes, product_flops
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.module import GeneratedModule, dense, inputs_of
from derive.check.samples import sample
from derive.check.sizes import choose_instance
from derive.errors import DeriveError
from derive.language import load, parse
from derive.pipeline import build_module, derive_program

# Reductions of every kind, lookups, windows with and without padding and strides, recurrences in both directions,
# masks, integer labels, several results.
LAYERS = (
    "batchnorm", "layernorm", "softmax", "log_softmax", "logsumexp", "cross_entropy", "attention", "causal_attention",
    "conv2d", "conv_transpose1d", "max_pool2d", "avg_pool1d", "upsample_nearest", "pixel_shuffle", "embedding", "rope",
    "rnn", "lstm", "bidirectional_rnn", "cumulative_sum", "cumulative_product", "gae", "glu", "gelu", "mish", "prelu",
    "huber_loss", "focal_loss", "kl_div", "cosine_similarity", "weight_standardization", "char_mlp",
)  # fmt: skip
QUICK = ("batchnorm", "softmax", "cross_entropy", "attention", "conv2d", "rnn", "embedding", "gae", "char_mlp")

MACHINE = Machine("a machine", 1e10, 1e11, "float32")


def known(names: tuple[str, ...]) -> list[str]:
    """Return those of the names that the catalogue has."""
    from derive.language import catalogue

    return [name for name in names if name in catalogue()]


def test_layers_named_here_are_in_the_catalogue() -> None:
    assert known(LAYERS) == list(LAYERS)
    assert known(QUICK) == list(QUICK)


def at_small_sizes(name: str) -> tuple[Any, Any, dict[str, Any], dict[str, Any], Any]:
    """Return a layer, its sizes, inputs, cotangents and the sample that they are from."""
    layer = load(name)
    instance = choose_instance(layer)
    found = sample(layer, instance, 0)
    return layer, instance, *inputs_of(layer, found, np.float64), found


# Formulas in other libraries


@pytest.mark.parametrize("name", known(LAYERS))
def test_formulas_on_whole_arrays_agree_with_evaluation_element_by_element(name: str) -> None:
    layer, instance, arrays, _, found = at_small_sizes(name)
    expected = Evaluator(layer.statements, instance, floats()).run(found.inputs)
    results = Forward(layer, instance, numpy_namespace("float64"))(*arrays.values())
    for output, value in zip(layer.returns, results, strict=True):
        right = dense(expected[output], instance.shape(layer.axes(output)), np.float64)
        assert value.shape == right.shape
        assert np.allclose(value, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", known(QUICK))
def test_torch_differentiates_the_formulas_to_the_generated_gradients(name: str) -> None:
    torch = pytest.importorskip("torch")
    layer, instance, arrays, given, _ = at_small_sizes(name)
    expected = GeneratedModule(layer, build_module(layer)).run(arrays, given, instance).gradients
    (peer,) = [p for p in PEERS if p.name == "torch"]
    prepared = peer.prepare(layer, instance, arrays, layer.differentiable, given)
    found = prepared.gradients(prepared.run())
    assert len(found) == len(expected)
    for value, right in zip(found, expected.values(), strict=True):
        assert np.allclose(value, right, rtol=1e-8, atol=1e-10)
    assert torch.is_tensor(prepared.run()[0])


@pytest.mark.parametrize("peer", [p for p in PEERS if p.package != "torch"], ids=lambda p: p.name)
@pytest.mark.parametrize("name", ["batchnorm", "conv2d", "rnn", "cross_entropy"])
def test_other_libraries_do_so_where_they_are_installed(peer: Peer, name: str) -> None:
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    layer, instance, arrays, given, _ = at_small_sizes(name)
    expected = GeneratedModule(layer, build_module(layer)).run(arrays, given, instance).gradients
    prepared = peer.prepare(layer, instance, arrays, layer.differentiable, given)
    for value, right in zip(prepared.gradients(prepared.run()), expected.values(), strict=True):
        assert np.allclose(value, right, rtol=1e-8, atol=1e-10)


def test_a_gradient_that_a_library_leaves_out_is_zero() -> None:
    pytest.importorskip("torch")
    layer = parse("def flat(x: Real[N], s: Real[N]):\n    y[n] = sign(x[n]) + s[n]\n    return y\n")
    arrays = {"x": np.array([1.0, -2.0]), "s": np.array([0.5, 0.25])}
    given = {"dy": np.array([3.0, 4.0])}
    (peer,) = [p for p in PEERS if p.name == "torch"]
    prepared = peer.prepare(layer, instance_at(layer, {"N": (2,)}), arrays, ("x", "s"), given)
    dx, ds = prepared.gradients(prepared.run())
    assert dx.tolist() == [0, 0]
    assert ds.tolist() == [3, 4]


def test_what_a_library_has_no_counterpart_of_is_not_run() -> None:
    layer = parse("def bend(x: Real[N]):\n    y[n] = 2*tanh(x[n])\n    return y\n")
    space = numpy_namespace("float64")
    del space.functions[sympy.tanh]
    with pytest.raises(NotRun, match=r"tanh\(x\[n\]\) has no counterpart in it"):
        Forward(layer, instance_at(layer, {"N": (2,)}), space)(np.zeros(2))


def test_torch_numbers_and_tensors_go_together() -> None:
    torch = pytest.importorskip("torch")
    space = torch_namespace(torch.float64)
    x = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    assert space.where(x > 0, x, 0.0).tolist() == [0, 2]
    assert space.reduce("prod", torch.tensor([[1.0, 2.0], [3.0, 4.0]]), (0, 1)).item() == 24
    assert space.pad(x, 0, 1, 2, 7.0).tolist() == [7, -1, 2, 7, 7]


# The staged form


@pytest.mark.parametrize("name", known(LAYERS))
def test_the_staged_form_has_the_generated_gradients(name: str) -> None:
    layer, instance, arrays, given, _ = at_small_sizes(name)
    expected = GeneratedModule(layer, build_module(layer)).run(arrays, given, instance).gradients
    found = GeneratedModule(layer, staged_module(layer)).run(arrays, given, instance).gradients
    assert found.keys() == expected.keys()
    for key, right in expected.items():
        assert np.allclose(found[key], right, rtol=1e-8, atol=1e-10), key


def test_the_staged_form_goes_through_the_forward_pass_backwards() -> None:
    program = staged_program(load("softmax"))
    assert [str(s) for s in program.forward] == [
        "y_1[...] = max[c2](z[..., c2])",
        "y_2[...] = stop_gradient(y_1[...])",
        "y_3[..., c2] = z[..., c2] - y_2[...]",
        "y_4[..., c2] = exp(y_3[..., c2])",
        "y_5[...] = sum[c2](y_4[..., c2])",
        "y[..., c] = y_4[..., c]/y_5[...]",
    ]
    assert [str(s) for s in program.backward] == [
        "dy_5[...] = -sum[c](dy[..., c]*y_4[..., c])/y_5[...]**2",
        "dy_4[..., c2] = dy[..., c2]/y_5[...] + dy_5[...]",
        "dz[..., c2] = dy_4[..., c2]*y_4[..., c2]",
    ]


def test_the_staged_form_takes_the_parameters_that_are_asked_for() -> None:
    program = staged_program(load("batchnorm"), ["beta"])
    assert program.gradients == (("beta", "dbeta"),)
    assert [s.name for s in program.backward] == ["dbeta"]


def test_products_of_matrices_stay_whole_and_names_stay_apart() -> None:
    layer = parse(
        "def both(x: Real[N, D], w: Real[D, H], y_1: Real[H]):\n"
        "    y[n, h] = tanh(sum[d](x[n, d]*w[d, h]) + y_1[h])*2\n"
        "    return y\n"
    )
    assert [str(s) for s in one_by_one(layer).statements] == [
        "y_2[n, h] = sum[d](w[d, h]*x[n, d])",
        "y_3[n, h] = y_2[n, h] + y_1[h]",
        "y_4[n, h] = tanh(y_3[n, h])",
        "y[n, h] = 2*y_4[n, h]",
    ]


# Work


@pytest.mark.parametrize(
    ("name", "sizes", "nbytes", "flops"),
    [
        # dy, x (saved as x̂), gamma and dx, dgamma, dbeta
        ("batchnorm", "N=8192,D=512", 4 * (3 * 8192 * 512 + 3 * 512), 0),
        # dy and z in, dz out
        ("softmax", "...=64,C=10", 4 * 3 * 640, 0),
        # z, labels and the loss' cotangent in, dz out
        ("cross_entropy", "N=64,C=10", 4 * (2 * 640 + 1) + 8 * 64, 0),
        # x, w, dy in, dx, dw, db out; two products
        ("linear", "...=64,I=32,O=16", 4 * (2 * 64 * 32 + 2 * 32 * 16 + 64 * 16 + 16), 2 * 2 * 64 * 32 * 16),
        # four products of T·S·D
        ("attention", "...=2,T=5,S=7,D=3,E=3", 4 * 2 * (2 * (5 * 3 + 7 * 3 + 7 * 3) + 5 * 3), 4 * 2 * 2 * 5 * 7 * 3),
        # two products over the offsets of the window
        ("conv2d", "N=2,C=3,H=8,W=8,F=4,R=3,S=3", None, 2 * 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)),
    ],
)
def test_bytes_that_must_move_and_products_that_must_be_taken(
    name: str, sizes: str, nbytes: int | None, flops: int
) -> None:
    layer = load(name)
    instance, program = instance_at(layer, parse_sizes(sizes)), derive_program(layer)
    arrays, given = inputs(layer, instance, "float32"), cotangents(layer, instance, "float32")
    if nbytes is not None:
        assert compulsory_bytes(program, arrays, given) == nbytes
    assert product_flops(program, instance) == flops


def test_what_the_gradients_do_not_depend_on_need_not_be_read() -> None:
    layer = load("residual") if "residual" in known(("residual",)) else load("linear")
    program = derive_program(layer, [layer.differentiable[-1]])
    instance = instance_at(layer, {})
    arrays, given = inputs(layer, instance, "float32"), cotangents(layer, instance, "float32")
    everything = sum(a.nbytes for a in (*arrays.values(), *given.values()))
    assert compulsory_bytes(program, arrays, given) <= everything + arrays[layer.differentiable[-1]].nbytes


def test_three_factors_are_multiplied_in_the_cheapest_order() -> None:
    layer = parse(
        "def chain(x: Real[N, M], a: Real[M, K], y: Real[K, J]):\n"
        "    z[n, j] = sum[m, k](x[n, m]*a[m, k]*y[k, j])\n    return z\n"
    )
    instance = instance_at(layer, parse_sizes("N=2,M=3,K=5,J=7"))
    # dx = (dz @ y.T) @ a.T; the other way, dz @ (y.T @ a.T), takes 294.
    assert product_flops(derive_program(layer, ["x"]), instance) == 2 * 2 * 7 * 5 + 2 * 2 * 5 * 3


def test_a_product_with_a_vector_is_a_pass_over_the_matrix() -> None:
    layer = parse("def once(x: Real[M], a: Real[N, M]):\n    z[n] = sum[m](x[m]*a[n, m])\n    return z\n")
    assert product_flops(derive_program(layer), instance_at(layer, {})) == 0


def test_the_limit_is_the_slower_of_memory_and_products() -> None:
    assert MACHINE.limit(12, 10**12) == 10.0
    small, large = MACHINE.limit(1200, 0), MACHINE.limit(1200_000, 0)
    assert 0 < small < large


def test_a_machine_has_rates() -> None:
    found = machine("float32", 0.01)
    assert found.bandwidth > 0
    assert found.flops > 0
    assert "GB/s" in str(found)


# Sizes and inputs


def test_sizes_are_read() -> None:
    assert parse_sizes("N=8192, D=512") == {"N": (8192,), "D": (512,)}
    assert parse_sizes("...=16x256,C=3") == {"...": (16, 256), "C": (3,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N", "--sizes: cannot read 'N'"),
        ("N=-1", "--sizes: cannot read 'N=-1'"),
        ("N=3,N=4", "--sizes: N is given twice"),
        ("N=3x4", "--sizes: N is one axis, not 2"),
        ("", "--sizes: cannot read ''"),
    ],
)
def test_sizes_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(DeriveError) as caught:
        parse_sizes(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("batchnorm", "M=3", "--sizes: 'M' is no size of batchnorm"),
        ("batchnorm", "N=0", "--sizes: N = 0, and a size is at least 1"),
        ("conv2d", "P=3", "--sizes: 'P' is computed from others"),
    ],
)
def test_sizes_that_a_layer_does_not_have(name: str, sizes: str, message: str) -> None:
    with pytest.raises(DeriveError) as caught:
        instance_at(load(name), parse_sizes(sizes))
    assert caught.value.message == message


def test_sizes_that_do_not_fit_one_another() -> None:
    with pytest.raises(DeriveError, match="conv2d cannot be run at") as caught:
        instance_at(load("conv2d"), parse_sizes("H=2,R=5"))
    assert "give all of its sizes" in str(caught.value)


def test_likely_sizes_stand_for_those_not_given() -> None:
    instance = instance_at(load("layernorm"), {"D": (7,)})
    assert (instance.batch, instance.sizes["D"]) == ((1024,), 7)
    assert list(instance_at(load("batchnorm"), parse_sizes("D=3,N=4")).sizes.items()) == [("N", 4), ("D", 3)]
    instance = instance_at(load("conv2d"), parse_sizes("H=9,W=9,R=3,S=3,stride=2,pad=1"))
    assert (instance.sizes["P"], instance.hypers["stride"], instance.hypers["pad"]) == (5, 2, 1)


def test_likely_sizes_of_windows_are_small_and_loops_short() -> None:
    sizes = instance_at(load("conv2d"), {}).sizes
    assert sizes["R"] < 6 < sizes["P"]
    assert instance_at(load("rnn"), {}).sizes["T"] == 16
    assert instance_at(load("gelu"), {}).batch == (1024, 64)


def test_of_several_layers_each_takes_its_own_sizes() -> None:
    layers = [load("batchnorm"), load("softmax")]
    texts = ["N=8,D=4", "...=8,C=4", "N=16"]
    assert chosen_sizes(layers, layers[0], texts) == [{"N": (8,), "D": (4,)}, {"N": (16,)}]
    assert chosen_sizes(layers, layers[1], texts) == [{"...": (8,), "C": (4,)}]
    assert chosen_sizes(layers, layers[1], []) == [{}]
    # A name that none of them has is for each to complain of.
    assert chosen_sizes(layers, layers[1], ["Q=3"]) == [{"Q": (3,)}]


def test_inputs_keep_to_their_kinds_and_the_same_seed_gives_the_same() -> None:
    layer = load("cross_entropy")
    instance = instance_at(layer, parse_sizes("N=100,C=5"))
    arrays = inputs(layer, instance, "float32", 3)
    assert (arrays["z"].dtype, arrays["t"].dtype) == (np.float32, np.int64)
    assert set(arrays["t"].tolist()) == set(range(5))
    again, other = inputs(layer, instance, "float32", 3), inputs(layer, instance, "float32", 4)
    assert np.array_equal(arrays["z"], again["z"])
    assert not np.array_equal(arrays["z"], other["z"])


def test_inputs_are_taken_from_where_results_are_finite() -> None:
    layer = parse("def root(x: Real[N]):\n    y[n] = sqrt(x[n])\n    return y\n")
    assert inputs(layer, instance_at(layer, {}), "float64")["x"].min() > 0
    layer = parse("def never(x: Real[N]):\n    y[n] = log(-x[n]**2 - 1)\n    return y\n")
    with pytest.raises(DeriveError, match="no random inputs give finite results"):
        inputs(layer, instance_at(layer, {}), "float64")
