"""Networks written out to one module: nothing twice in its text or its cache, linear in depth, as PyTorch has it."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

import derive
from derive.calculus.calls import callees
from derive.check.module import GeneratedModule
from derive.language.layer import Layer
from derive.lower import lower
from derive.pipeline import build_module, build_network, derive_program
from tests.case import Case, sizes
from tests.conftest import ROOT
from tests.network_texts import encoder, tower
from tests.repeated import recomputed, repeated, shared_memory

FILES = ROOT / "tests" / "networks"
TEXTS = {"tower30": tower(30), "encoder6": encoder(6), "tower3": tower(3), "encoder2": encoder(2)}
BLOCKS = (
    "transformer_encoder_block", "transformer_decoder_block", "gpt_block", "vit_block", "mixer_block", "feed_forward",
)  # fmt: skip
NAMES = ("tower30", "encoder6", "unet", "inception", "equal_calls", "twice", "nested", "two_steps", *BLOCKS)


@cache
def network(name: str) -> Layer:
    if name in TEXTS:
        return derive.parse(TEXTS[name])
    if name in BLOCKS:
        return derive.load(name)
    file = "scale" if name in ("unet", "inception") else "calls"
    return derive.load(f"{FILES / file}.layer:{name}")


@cache
def text(name: str) -> str:
    return build_module(network(name))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_computed_twice(name: str) -> None:
    assert repeated(text(name)) == []
    assert recomputed(text(name)) == []


def test_what_is_computed_twice_is_found() -> None:
    twice = (
        "def forward(x, w):\n    h = x @ w\n    y = np.exp(h) + x @ w\n\ndef backward(dy, cache):\n    dx = dy * h\n"
    )
    assert repeated(twice) == ["forward: x @ w"]
    again = "def forward(x):\n    h = np.exp(x)\n\ndef backward(dy, cache):\n    dx = dy * np.exp(x)\n"
    assert recomputed(again) == ["h = np.exp(x)"]


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_holds_no_array_twice(name: str) -> None:
    layer = network(name)
    case = Case(name, {size.name: 2 + k for k, size in enumerate(layer.sizes)}, batch=(2,))
    _, cache = GeneratedModule(layer, text(name)).names["forward"](*case.inputs(layer).values())
    assert shared_memory(cache) == []


def test_of_a_relu_and_what_goes_into_it_one_is_kept() -> None:
    """The derivative reads the sign of its result, which the next layer's weights need anyway."""
    fields = text("feed_forward").partition("class Cache")[2].partition("class Gradients")[0]
    assert "    a: np.ndarray" in fields
    assert "    h: np.ndarray" not in fields


def _calls(text: str) -> int:
    """How many functions Python calls to derive and lower a layer: the same on every machine, unlike seconds."""
    layer = derive.parse(text)
    profile = cProfile.Profile()
    profile.runcall(lambda: lower(derive_program(layer)))
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("make", "depth"), [(tower, 8), (encoder, 2)])
def test_the_work_grows_as_the_depth(make: Callable[[int, int], str], depth: int) -> None:
    """Three times as deep is three times the work, and a fifth more for what looks through all statements.

    Every network has names of its own, so that none finds another one's expressions in a cache.
    """
    _calls(make(1, 300))
    assert _calls(make(3 * depth, 200)) < 3.6 * _calls(make(depth, 100))


# Against PyTorch


def _linear(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return x @ w + b


def _tower(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        x = x + torch.relu(_linear(x, w, b))
    return x


def _normalized(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta)


def _encoder(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    for k in range(0, len(weights), 16):
        wq, wk, wv, wo, bq, bk, bv, bo, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2 = weights[k : k + 16]
        q, key, v = (torch.einsum("btd,dhk->bhtk", x, w) + b[:, None, :] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        a = torch.nn.functional.scaled_dot_product_attention(q, key, v)
        x = _normalized(x + torch.einsum("bhtk,hkd->btd", a, wo) + bo, gamma1, beta1)
        x = _normalized(x + _linear(torch.relu(_linear(x, w1, b1)), w2, b2), gamma2, beta2)
    return x


def _unet(x: torch.Tensor, *p: torch.Tensor) -> torch.Tensor:
    w1, b1, w2, b2, w3, b3, v2, c2, v1, c1 = p
    a1 = torch.relu(_linear(x, w1, b1))
    a2 = torch.relu(_linear(a1, w2, b2))
    r2 = torch.relu(_linear(a2 + torch.relu(_linear(a2, w3, b3)), v2, c2))
    return x + _linear(a1 + r2, v1, c1)


def _inception(x: torch.Tensor, *p: torch.Tensor) -> torch.Tensor:
    w1, b1, w2, b2, v2, c2, w3, gamma, beta, w, b = p
    m = _linear(x, w1, b1) + _linear(torch.relu(_linear(x, w2, b2)), v2, c2) + x @ w3
    g = torch.nn.functional.batch_norm(m, None, None, gamma, beta, training=True)
    return _linear(torch.relu(g), w, b)


def _block(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *p: torch.Tensor) -> torch.Tensor:
    gamma, beta = p
    g = torch.nn.functional.batch_norm(_linear(x, w, b), None, None, gamma, beta, training=True, eps=1e-3)
    return x + torch.relu(g)


AGAINST = {
    "block": (_block, sizes(N=7, D=4)),
    "tower30": (_tower, sizes(N=5, D=4)),
    "encoder6": (_encoder, sizes(B=2, T=5, D=6, H=2, K=3, F=7)),
    "unet": (_unet, sizes(N=5, A=6, B=4, C=3)),
    "inception": (_inception, sizes(N=7, D=4, E=5, K=3)),
}


@pytest.mark.parametrize("form", ["written out", "calls"])
@pytest.mark.parametrize("name", AGAINST)
def test_networks_agree_with_torch(name: str, form: str) -> None:
    layer = network(name)
    reference, lengths = AGAINST[name]
    if form == "calls":
        texts = {each.name: (build_network if each.calls else build_module)(each) for each in (*callees(layer), layer)}
        module = GeneratedModule(layer, texts[layer.name], texts)
    else:
        module = GeneratedModule(layer, text(name))
    inputs = Case(name, lengths, scale=0.5).inputs(layer)
    tensors = [torch.tensor(a, requires_grad=True) for a in inputs.values()]
    expected = reference(*tensors)
    y, cache = module.names["forward"](*inputs.values())
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    dy = np.random.default_rng(0).normal(size=y.shape)
    gradients = torch.autograd.grad(expected, tensors, torch.tensor(dy))
    for (field, got), wanted in zip(module.backward({"dy": dy}, cache).items(), gradients, strict=True):
        scale = max(1.0, float(wanted.abs().max()))
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-9, atol=1e-9 * scale, err_msg=field)
