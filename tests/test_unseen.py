"""Layers of recent papers that are not in the catalogue, as a user writes them, against PyTorch's autograd.

The layer files are in ``tests/unseen/``, the PyTorch side is
``tests/unseen/references.py``. Rows with an ``id`` are at inputs where the
formula, evaluated as the paper has it, overflows, divides zero by zero or
cancels, but mathematics does not.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from case import Array, Case, Draw, around, counts, labels, mask, pairs, sizes, times, unit
from unseen import references

from derive.language import catalogue, load, parse
from derive.language.layer import Layer
from derive.pipeline import build, build_module

FOLDER = Path(__file__).parent / "unseen"
FILES = {
    name: path
    for path in sorted(FOLDER.glob("*.layer"))
    for name in re.findall(r"^def (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}
PARTS = {"unit", "standardize", "bottleneck", "spread", "answer_logp", "ot"}  # called by others


def between(low: float, high: float) -> Draw:
    return lambda rng, shape, case: rng.uniform(low, high, shape)


def exactly(*values: float) -> Draw:
    return lambda rng, shape, case: np.resize(values, shape)


def near(value: float, spread: float) -> Draw:
    return lambda rng, shape, case: value + spread * rng.standard_normal(shape)


def boxes(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    corner = rng.uniform(0, 2, (shape[0], 2))
    return np.concatenate((corner, corner + rng.uniform(0.5, 2, (shape[0], 2))), 1)


def inside(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Points in the unit ball."""
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True) * rng.uniform(0.1, 0.8, (*shape[:-1], 1))


def times_of_events(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return np.sort(rng.uniform(0.5, 5.0, shape), -1)


def knots(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return np.sort(rng.uniform(-2.0, 2.0, shape), -1)


ATTENTION = sizes(T=4, S=5, D=3, E=6)
HEADS = sizes(H=2, T=4, S=5, D=3, E=6)
TC = {"t": labels("C")}
NC = sizes(N=5, C=4)

CASES: tuple[Case, ...] = (
    Case("softmax_one", sizes(C=5), (3,)),
    Case("softmax_one", sizes(C=5), (7,), scale=1e4, id="huge"),
    Case("quiet_attention", ATTENTION, (2,)),
    Case("quiet_attention", ATTENTION, (2,), draw={"q": near(1e3, 1.0), "k": near(1.0, 1e-3)}, id="large"),
    Case("sink_attention", HEADS, (3,)),
    Case(
        "sink_attention", HEADS, (3,),
        draw={"q": near(1e3, 1.0), "k": near(1.0, 1e-3), "sink": near(1732.0, 1.0)}, id="large",
    ),
    Case("sink_attention", HEADS, (3,), draw={"sink": around(1e3)}, id="sink-takes-all"),
    Case("sigmoid_attention", ATTENTION, (2,)),
    Case("sigmoid_attention", ATTENTION, (2,), scale=40.0, id="large"),
    Case("softcap_attention", ATTENTION, (2,), hypers={"cap": 5.0, "window": 2}),
    Case("softcap_attention", ATTENTION, (2,), scale=40.0, id="large"),
    Case("cosine_attention", HEADS | {"N": 7}),
    Case("cosine_attention", HEADS | {"N": 7}, draw={"logit_scale": around(1e3)}, id="huge-scale"),
    Case("qk_norm_attention", ATTENTION, (2,)),
    Case("talking_heads_attention", sizes(N=2, T=4, S=5, H=3, D=6, G=7, E=8, J=9)),
    Case("differential_attention", ATTENTION, (7,)),
    Case("masked_grouped_query_attention", ATTENTION | {"G": 2, "R": 7}, (8,), draw={"mask": mask}),
    Case(
        "masked_grouped_query_attention", ATTENTION | {"G": 2, "R": 7}, (8,), draw={"mask": mask}, scale=40.0,
        id="large",
    ),
    Case("gated_attention_unit", sizes(T=4, E=5, K=3, D=6), (2,)),
    Case("retention", HEADS, (3,)),
    Case("retention", sizes(H=2, T=150, D=3, E=4), (), draw={"gamma": between(1e-4, 1e-3)}, id="fast-decay"),
    Case("attention_free", sizes(N=2, T=4, S=4, D=3)),
    Case("attention_free", sizes(N=2, T=5, S=5, D=3), draw={"k": around(1e3)}, id="large"),
    Case("slot_attention", sizes(N=2, I=5, D=3, K=4, A=6, E=7)),
    Case("slot_attention", sizes(N=2, I=5, D=3, K=4, A=6, E=7), scale=8.0, id="large"),
    Case("hopfield_energy", sizes(N=3, M=5, D=4)),
    Case("hopfield_energy", sizes(N=3, M=5, D=4), scale=100.0, id="large"),
    Case("dyt", sizes(D=5), (4,)),
    Case("scalenorm", sizes(D=5), (4,)),
    Case("global_response_norm", sizes(N=2, H=4, W=5, C=3)),
    Case("modulated_linear", sizes(N=5, I=3, O=4)),
    Case("weight_standardized_linear", sizes(I=5, O=3), (4,)),
    Case("evonorm_s0", sizes(N=2, G=3, K=4, P=5)),
    Case("dora_linear", sizes(I=5, O=4, R=2), (3,)),
    Case("gated_group_rmsnorm", sizes(G=2, K=4), (3,)),
    Case("ngpt_update", sizes(D=5), (4,)),
    Case("adaln_zero", sizes(N=2, T=4, D=5, C=3, M=6)),
    Case("snake", sizes(N=2, C=3, T=4)),
    Case("rational", sizes(P=6, Q=4), (5,)),
    Case("rational", sizes(P=6, Q=4), (5,), draw={"x": exactly(0.0, 0.5, -1.0)}, id="at-zero"),
    Case("maxout", sizes(I=5, K=3, O=4), (2,)),
    Case("xatglu", {}, (4, 5)),
    Case("xielu", {}, (4, 5)),
    Case("xielu", {}, (4, 5), draw={"x": times(1e4), "an": around(0)}, id="huge"),
    Case("fast_kan", sizes(I=3, G=5, O=4), (2,)),
    Case("siren", sizes(I=3, O=4), (2,)),
    Case("fourier_features", sizes(I=3, F=4), (2,)),
    Case("llama_ffn", sizes(D=4, F=5), (3,)),
    Case("primer_ffn", sizes(D=4, F=5), (3,)),
    Case("rwkv_channel_mix", sizes(N=2, T=3, D=4, F=5), draw={"mu": unit}),
    Case("lora_linear", sizes(I=5, O=4, R=2), (3,)),
    Case("soft_moe", sizes(N=2, T=5, D=4, E=3, P=6, M=7)),
    Case("soft_moe", sizes(N=2, T=5, D=4, E=3, P=6, M=7), draw={"phi": times(1e3)}, id="large"),
    Case("switch_layer", sizes(N=7, D=4, E=3, O=5)),
    Case("cbam_channel", sizes(N=2, C=4, H=5, W=6, R=3)),
    Case("cross_network", sizes(N=5, D=4)),
    Case("factorization_machine", sizes(N=5, F=3, V=7, K=4), draw={"ids": labels("V")}),
    Case("triangle_update", sizes(R=5, C=4, K=3)),
    Case("convolve_and_rectify", sizes(N=6, I=4, O=3)),
    Case("egnn", sizes(N=5, F=4, M=6)),
    Case(
        "transe", sizes(N=7, E=6, R=4, D=5),
        draw={"head": labels("E"), "rel": labels("R"), "tail": labels("E"), "corrupt": labels("E")},
    ),
    Case("poincare_distance", sizes(N=5, D=3), draw={"u": inside, "v": inside}),
    Case("siglip", sizes(N=5, D=4)),
    Case("siglip", sizes(N=5, D=4), draw={"tprime": around(9.0)}, id="sharp"),
    Case("hard_negative_nce", sizes(N=6, D=4)),
    Case("vicreg", sizes(N=6, D=4)),
    Case("barlow_twins", sizes(N=6, D=4)),
    Case("alignment_uniformity", sizes(N=6, D=4)),
    Case("alignment_uniformity", sizes(N=6, D=4), scale=50.0, id="far"),
    Case("mmd", sizes(N=6, M=5, D=4)),
    Case("energy_distance", sizes(N=6, M=5, D=4)),
    Case("dpo", sizes(N=6)),
    Case("dpo", sizes(N=6), scale=1e5, id="large"),
    Case(
        "simpo", sizes(N=3, T=4, S=5, V=6),
        draw={"yw": labels("V"), "yl": labels("V"), "mw": mask, "ml": mask},
    ),
    Case(
        "simpo", sizes(N=3, T=4, S=5, V=6), scale=1e3,
        draw={"yw": labels("V"), "yl": labels("V"), "mw": mask, "ml": mask}, id="large",
    ),
    Case("orpo", sizes(N=6), draw={"lw": between(-3, -0.1), "ll": between(-3, -0.1)}),
    Case(
        "orpo", sizes(N=4),
        draw={"lw": exactly(-1e-12, -900.0, -1e-3, -1.0), "ll": exactly(-800.0, -1e-9, -5.0)}, id="sure",
    ),
    Case("kto", sizes(N=6), scale=5.0),
    Case("ppo", sizes(N=6, A=4), draw={"action": labels("A"), "old": between(-2.0, -0.5)}),
    Case(
        "ppo", sizes(N=6, A=4),
        draw={"action": labels("A"), "logits": times(1e3), "old": between(-2.0, -0.5)}, id="large",
    ),
    Case("grpo", sizes(G=5, T=4), draw={"logp": times(0.3), "old": times(0.3), "mask": mask}),
    Case("sac_actor", sizes(N=5, A=3)),
    Case("sac_actor", sizes(N=5, A=3), draw={"mu": times(100.0)}, id="saturated"),
    Case("z_loss_cross_entropy", sizes(V=5), (4,), draw={"t": labels("V")}),
    Case("z_loss_cross_entropy", sizes(V=5), (2, 3), draw={"t": labels("V")}, scale=1e4, id="huge"),
    Case("poly1_loss", NC, draw=TC),
    Case("poly1_loss", NC, draw=TC, scale=1e4, id="huge"),
    Case("generalized_cross_entropy", NC, draw=TC),
    Case("generalized_cross_entropy", NC, draw=TC, scale=1e4, id="huge"),
    Case("stablemax_cross_entropy", NC, draw=TC),
    Case("stablemax_cross_entropy", NC, draw=TC | {"z": exactly(1.0, -2.0, 0.5)}, id="at-one"),
    Case("arcface", sizes(N=5, C=4, D=3), draw=TC),
    Case("cosface", sizes(N=5, C=4, D=3), draw=TC),
    Case("cosface", sizes(N=5, C=4, D=3), draw=TC, hypers={"s": 3000.0}, id="sharp"),
    Case("circle_loss", sizes(N=6), draw={"t": pairs, "s": between(-1, 1)}),
    Case("circle_loss", sizes(N=6), draw={"t": pairs, "s": between(-1, 1)}, hypers={"scale": 2000.0}, id="sharp"),
    Case("asymmetric_loss", sizes(N=5, C=4)),
    Case("asymmetric_loss", sizes(N=5, C=4), scale=1e3, id="large"),
    Case("evidential_loss", sizes(N=5, K=4), draw={"t": labels("K")}),
    Case("evidential_loss", sizes(N=5, K=4), draw={"t": labels("K")}, scale=1e3, id="large"),
    Case("cox_partial_likelihood", sizes(N=6), draw={"event": mask}),
    Case("cox_partial_likelihood", sizes(N=6), draw={"event": mask, "risk": times(1e4)}, id="huge"),
    Case("approx_ndcg", sizes(N=3, K=5), draw={"rel": counts}),
    Case("approx_ndcg", sizes(N=3, K=5), draw={"rel": counts}, hypers={"temperature": 1e-3}, id="cold"),
    Case("listnet", sizes(N=3, K=5)),
    Case("listnet", sizes(N=3, K=5), scale=1e3, id="large"),
    Case("jensen_shannon", NC),
    Case(
        "jensen_shannon", NC,
        draw={"a": exactly(0.0, 1.0, -1e4, -2e3), "b": exactly(0.5, -1.0, -3e3, -5e3)}, id="sure",
    ),
    Case("tversky_loss", sizes(N=2, C=3, V=5), draw=TC),
    Case("tversky_loss", sizes(N=2, C=3, V=5), draw=TC, scale=1e3, id="large"),
    Case("giou_loss", sizes(N=6), draw={"a": boxes, "b": boxes}),
    Case("wing_loss", {}, (4, 5), scale=10.0),
    Case("pinball_loss", sizes(N=5, Q=3)),
    Case("quantile_huber", sizes(N=3, Q=4, M=5)),
    Case("beta_nll", {}, (4, 5)),
    Case("gaussian_crps", {}, (4, 5)),
    Case("gaussian_crps", {}, (4, 5), scale=1e3, id="far"),
    Case("negative_binomial_nll", {}, (4, 5), draw={"t": counts}),
    Case("student_t_nll", sizes(N=5, D=3)),
    Case("nig_evidential", sizes(N=6)),
    Case("nig_evidential", sizes(N=6), draw={"alpha": between(200.0, 400.0)}, id="sure"),
    Case("tweedie_loss", sizes(N=6)),
    Case("mixture_density_nll", sizes(N=5, K=4, D=3)),
    Case("mixture_density_nll", sizes(N=5, K=4, D=3), draw={"t": times(1e3)}, id="far"),
    Case("mixture_density_nll", sizes(N=5, K=4, D=3), draw={"logits": times(1e3)}, id="sure"),
    Case("laplace_product", sizes(N=5, D=3)),
    Case("uncertainty_weighting", sizes(K=4)),
    Case("barron_loss", {}, (4, 5), draw={"alpha": exactly(1.3)}),
    Case("barron_loss", {}, (4, 5), draw={"alpha": exactly(-2.0)}, id="geman-mcclure"),
    Case("vae_loss", sizes(N=3, K=4, D=5)),
    Case("vae_loss", sizes(N=3, K=4, D=5), draw={"mu": times(1e3)}, id="large"),
    Case("gumbel_softmax", sizes(C=5), (3,)),
    Case("gumbel_softmax", sizes(C=5), (3,), hypers={"tau": 1e-3}, id="cold"),
    Case("concrete_gate", sizes(N=5, D=4)),
    Case("concrete_gate", sizes(N=5, D=4), draw={"logalpha": times(1e3)}, id="large"),
    Case("vector_quantize", sizes(N=6, K=5, D=3)),
    Case("finite_scalar_quantize", sizes(D=5), (4,)),
    Case("planar_flow", sizes(N=5, D=3)),
    Case("affine_coupling", sizes(N=5, A=3, B=4)),
    Case("edm_loss", sizes(N=5, D=3)),
    Case("hinge_gan", sizes(N=5, M=6)),
    Case("nonsaturating_gan", sizes(N=5, M=6)),
    Case("nonsaturating_gan", sizes(N=5, M=6), scale=1e3, id="large"),
    Case("perceiver_pool", sizes(N=2, T=5, K=3, D=4, E=6), draw={"mask": mask}),
    Case(
        "perceiver_pool", sizes(N=2, T=5, K=3, D=4, E=6),
        draw={"mask": mask, "seed": near(40.0, 1.0), "x": near(1.0, 0.02), "wk": near(2.5, 0.1)}, id="large",
    ),
    Case("min_lstm", sizes(N=2, T=5, I=3, H=4)),
    Case("clockwork_rnn", sizes(T=6, N=2, I=3, G=3, K=2), draw={"period": exactly(1, 2, 4)}),
    Case("phased_lstm", sizes(T=5, N=3, I=2, H=4), hypers={"ron": 0.4}),
    Case("slstm", sizes(T=4, N=2, I=3, H=5)),
    Case("slstm", sizes(T=4, N=2, I=3, H=5), draw={"b": exactly(*[900.0] * 5, *[-800.0] * 5, *[0.3] * 10)}, id="large"),
    Case("convlstm", sizes(T=3, N=2, C=2, H=4, W=5, F=3, K=3)),
    Case("mlstm", sizes(T=6, D=3, E=4)),
    Case("mamba2_ssd", sizes(B=2, T=5, H=3, P=4, N=6)),
    Case("gated_linear_attention", sizes(N=2, T=4, D=5, H=2, K=3, V=4, R=6)),
    Case(
        "gated_linear_attention", sizes(N=2, T=4, D=5, H=2, K=3, V=4, R=6), draw={"ba": near(-80.0, 1.0)}, id="closed"
    ),
    Case("rwkv7", sizes(T=4, H=2, K=3, E=5)),
    Case("pcen", sizes(T=5, F=3)),
    Case("garch", sizes(T=7)),
    Case("hawkes_nll", sizes(N=3, K=5), draw={"t": times_of_events, "end": between(5.0, 6.0)}),
    Case("vtrace", sizes(T=5, N=3)),
    Case("wavenet_block", sizes(N=2, C=3, T=9, F=4, K=3, S=5)),
    Case("dynamic_conv", sizes(N=2, T=6, H=3, D=4, K=3)),
    Case("dynamic_conv", sizes(N=2, T=6, H=3, D=4, K=3), draw={"w": times(500.0)}, id="sharp"),
    Case("hyena", sizes(N=2, T=6, D=3, M=4, F=5)),
    Case("blur_pool", sizes(N=2, C=3, H=8, W=7)),
    Case("swin_attention", sizes(N=2, H=7, W=5, D=4, A=3, K=2, B=3)),
    Case("wavelet_lifting", sizes(N=2, T=9)),
    Case("sobel_loss", sizes(N=2, H=5, W=6)),
    Case("ssim", sizes(H=6, W=5)),
    Case("tv2d", sizes(H=6, W=5)),
    Case("involution", sizes(N=2, C=3, T=7, K=4)),
    Case("local_attention", sizes(T=6, D=3)),
    Case("relative_attention", sizes(T=6, D=3, M=4)),
    Case("kan_layer", sizes(N=5, I=2, G=9, O=3), draw={"knots": knots}),
    Case("n_step_td", sizes(T=6, N=2)),
    Case("neural_ode_rk4", sizes(N=3, D=2, H=4)),
    Case("em_mixture", sizes(N=6, D=2, K=3)),
    Case("em_mixture", sizes(N=6, D=2, K=3), draw={"x": times(100.0), "m0": times(100.0)}, id="far"),
    Case("leapfrog", sizes(N=3, D=2)),
    Case("lista", sizes(N=4, M=3, K=5), draw={"theta": between(0.05, 0.3)}),
    Case("heat", sizes(I=6, T=4)),
    Case("sinkhorn_divergence", sizes(N=4, M=5, D=2)),
    Case("sinkhorn_divergence", sizes(N=4, M=5, D=2), hypers={"eps": 1e-2}, id="cold"),
    Case("coordinate_attention", sizes(N=2, C=4, H=3, W=5, M=6)),
    Case("non_local_block", sizes(N=2, C=3, H=5, W=4, K=6)),
    Case("global_filter", sizes(N=2, T=6, D=3, K=4)),
    Case("gated_deltanet", sizes(T=4, H=2, K=3, V=5)),
    Case("biquad_filter", sizes(N=2, T=6)),
    Case("lru", sizes(T=4, N=2, D=3, S=5)),
    Case("stft_loss", sizes(N=2, T=9, W=4)),
    Case("swin_shift", sizes(N=2, H=4, W=5, D=3)),
    Case("reflect_conv", sizes(N=2, C=3, T=7, F=4, K=3)),
    Case("capsule_routing", sizes(N=2, I=3, A=4, J=5, B=6)),
    Case("unrolled_adam", sizes(D=3, N=5, M=4)),
    Case("appnp", sizes(N=4, C=3)),
    Case("spatial_transformer", sizes(N=2, C=3, H=5, W=6), draw={"theta": times(0.4)}),
    Case("ntm_addressing", sizes(B=2, M=3, S=3, N=5)),
)  # fmt: skip

BY_ID = {str(case): case for case in CASES}
FIRST = {case.layer: case for case in reversed(CASES)}
ROWS = pytest.mark.parametrize("row", BY_ID)


@functools.cache
def layer(name: str) -> Layer:
    return load(f"{FILES[name]}:{name}")


@functools.cache
def module(name: str) -> ModuleType:
    made = ModuleType(f"generated_{name}")
    sys.modules[made.__name__] = made
    exec(compile(build_module(layer(name)), f"generated/{name}.py", "exec"), made.__dict__)
    return made


def together(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def run(case: Case, dtype: str) -> tuple[dict[str, Array], tuple[Array, ...], dict[str, Array], tuple[Array, ...]]:
    """Inputs, outputs, gradients by name and cotangents of the generated module."""
    inputs = case.inputs(layer(case.layer), dtype)
    output, cache = module(case.layer).forward(*inputs.values(), **case.hypers)
    outputs = together(output)
    rng = np.random.default_rng(7)
    cotangents = tuple(np.asarray(rng.standard_normal(np.shape(y)), dtype) for y in outputs)
    gradients = module(case.layer).backward(*cotangents, cache)
    return inputs, outputs, dict(zip(layer(case.layer).differentiable, gradients, strict=True)), cotangents


def reference(
    case: Case, inputs: dict[str, Array], cotangents: tuple[Array, ...]
) -> tuple[list[Array], dict[str, Array]]:
    """The same of PyTorch in float64."""
    names = layer(case.layer).differentiable
    tensors = {
        n: torch.tensor(a, dtype=torch.float64 if n in names else None, requires_grad=n in names)
        for n, a in inputs.items()
    }
    hypers = {h.name: h.default for h in layer(case.layer).hypers} | dict(case.hypers)
    outputs = references.evaluate(case.layer, tuple(tensors.values()), hypers)
    seeds = [torch.tensor(c, dtype=torch.float64) for c in cotangents]
    linked = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if y.requires_grad]
    found = torch.autograd.grad(
        [y for y, _ in linked], [tensors[n] for n in names], [seed for _, seed in linked], allow_unused=True
    )
    gradients = {n: np.zeros(inputs[n].shape) if g is None else g.numpy() for n, g in zip(names, found, strict=True)}
    return [y.detach().numpy() for y in outputs], gradients


def agree(what: str, got: Any, expected: Array, tolerance: float) -> None:
    """Compare with the largest element as the scale."""
    got = np.asarray(got)
    assert got.shape == expected.shape, f"{what} has shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(expected).all(), f"the reference for {what} is not finite"
    scale = np.abs(expected).max(initial=0)
    error = np.abs(got - expected).max(initial=0)
    assert error <= tolerance * scale, f"{what} is {got}, expected {expected}: off by {error}, the largest is {scale}"


def test_none_of_the_layers_is_in_the_catalogue() -> None:
    assert not set(catalogue()) & set(FILES)


def test_every_layer_has_a_row() -> None:
    assert set(FIRST) == set(FILES) - PARTS


@ROWS
def test_outputs_and_gradients_agree_with_autograd(row: str) -> None:
    case = BY_ID[row]
    inputs, outputs, gradients, cotangents = run(case, "float64")
    expected_outputs, expected_gradients = reference(case, inputs, cotangents)
    for name, y, expected in zip(layer(case.layer).returns, outputs, expected_outputs, strict=True):
        agree(name, y, expected, 1e-9)
    for name, gradient in gradients.items():
        agree(f"d{name}", gradient, expected_gradients[name], 1e-9)


@ROWS
def test_float32_stays_float32(row: str) -> None:
    case = BY_ID[row]
    inputs, outputs, gradients, _ = run(case, "float32")
    for name, y in zip(layer(case.layer).returns, outputs, strict=True):
        assert np.asarray(y).dtype == "float32", name
        assert np.isfinite(y).all(), name
    for name, gradient in gradients.items():
        assert (np.asarray(gradient).dtype, np.shape(gradient)) == ("float32", inputs[name].shape), f"d{name}"
        assert np.isfinite(gradient).all(), f"d{name}"


@pytest.mark.parametrize("name", [c.layer for c in FIRST.values() if c.batch])
@pytest.mark.parametrize("batch", [(), (2, 3), (3, 1, 2)], ids=str)
def test_a_batch_may_have_any_rank(name: str, batch: tuple[int, ...]) -> None:
    case = FIRST[name]
    case = Case(name, case.sizes, batch, case.hypers, case.draw)
    inputs, outputs, gradients, cotangents = run(case, "float64")
    expected_outputs, expected_gradients = reference(case, inputs, cotangents)
    for n, y, expected in zip(layer(name).returns, outputs, expected_outputs, strict=True):
        agree(n, y, expected, 1e-9)
    for n, gradient in gradients.items():
        agree(f"d{n}", gradient, expected_gradients[n], 1e-9)


# The check takes a second or so a layer: these are as different as they come.
CHECKED = (
    "softmax_one", "sink_attention", "retention", "cosine_attention", "ngpt_update", "rational", "switch_layer",
    "convolve_and_rectify", "siglip", "energy_distance", "kto", "evidential_loss", "cox_partial_likelihood",
    "quantile_huber", "laplace_product", "vector_quantize", "concrete_gate", "clockwork_rnn", "hawkes_nll",
    "wavelet_lifting",
)  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_the_programs_own_check_passes(name: str) -> None:
    text, report = build(layer(name))
    assert report.passed
    assert text == build_module(layer(name))


SECOND = ("hawkes_nll", "stft_loss", "capsule_routing", "gated_linear_attention", "rwkv7")


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_agree_with_autograd(name: str) -> None:
    case, of = FIRST[name], layer(name)
    text = build_module(of, jvp=True, second=True)
    assert max(map(len, text.splitlines())) <= 120
    made = ModuleType(f"second_{name}")
    sys.modules[made.__name__] = made
    exec(compile(text, f"generated/{name}.py", "exec"), made.__dict__)
    inputs = case.inputs(of)
    output, cache = made.forward(*inputs.values(), **case.hypers)
    rng = np.random.default_rng(11)
    cotangents = [np.asarray(rng.standard_normal(np.shape(y))) for y in together(output)]
    directions = [np.asarray(rng.standard_normal(inputs[n].shape)) for n in of.differentiable]
    found = made.double_backward(*directions, *cotangents, cache)

    tensors = [torch.tensor(inputs[n], requires_grad=True) for n in of.differentiable]
    given = dict(zip(of.differentiable, tensors, strict=True))
    arguments = tuple(given[n] if n in given else torch.tensor(inputs[n]) for n in inputs)
    outputs = references.evaluate(name, arguments, {h.name: h.default for h in of.hypers} | dict(case.hypers))
    seeds = [torch.tensor(c, requires_grad=True) for c in cotangents]
    first = torch.autograd.grad(outputs, tensors, seeds, create_graph=True)
    second = torch.autograd.grad(first, [*seeds, *tensors], [torch.tensor(d) for d in directions])
    for field, got, expected in zip(found._fields, found, second, strict=True):
        agree(field, got, expected.numpy(), 1e-9)


# Names that the text of a module has for things of its own.
@pytest.mark.parametrize(
    "name", ["zeta", "expit", "gammaln", "dtype", "dtypes", "batch", "batch_axes", "rows", "count"]
)
def test_a_parameter_may_have_any_name_that_the_language_takes(name: str) -> None:
    made = parse(
        f"def some({name}: Real[..., D], t: Int[...], *, {name}1: Real = 1.5):\n"
        f"    z[..., d] = {name}1 * lgamma(square({name}[..., d])) * sigmoid({name}[..., d])\n"
        f"    y = mean[...](z[..., t[...]] - logsumexp[d](z[..., d]))\n"
        "    return y\n"
    )
    assert build(made)[1].passed
    made = parse(
        f"def other(x: Real[..., D], *, {name}: Real = 1.5):\n"
        f"    z[..., d] = lgamma({name} + x[..., d]**2) * sigmoid({name}*x[..., d])\n"
        f"    m[d] = mean[...](z[..., d])\n"
        f"    y = mean[..., d](z[..., d] - m[d])\n"
        "    return y\n"
    )
    text, report = build(made)
    assert report.passed
    assert f"def forward(x, *, {name}=1.5):" in text
