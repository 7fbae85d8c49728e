"""What PyTorch computes for attention, graphs, gates, contrastive losses, transport and the blocks of networks.

A reference takes the layer's tensors in order and its hyper-parameters by
name. They are written stably by hand (``log_softmax``, ``logsumexp``), so
that they may be compared at inputs where the paper's formula overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, einsum, softmax

__all__ = ["REFERENCES", "heads", "perceptron"]

INF = torch.inf


def positions(t: int, s: int) -> tuple[Tensor, Tensor]:
    return torch.arange(t)[:, None], torch.arange(s)[None, :]


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / math.sqrt(q.shape[-1])


def off_diagonal(n: int) -> Tensor:
    return ~torch.eye(n, dtype=torch.bool)


# --- attention ---


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[..., None, :].expand(*q.shape[:-1], -1))


def sliding_window_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    t, s = positions(q.shape[-2], k.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=(s <= t) & (t - s < window))


def alibi_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    t, s = positions(q.shape[-2], k.shape[-2])
    count = q.shape[-3]
    slope = 2.0 ** (-8 * torch.arange(1, count + 1, dtype=q.dtype) / count)
    a = scores(q, k) - slope[:, None, None] * (t - s)
    return softmax(a.masked_fill(s > t, -INF), -1) @ v


def rope(x: Tensor, *, base: float = 10000.0) -> Tensor:
    if not x.numel():
        return x.clone()
    pairs = x.shape[-2]
    angle = torch.outer(
        torch.arange(x.shape[-3], dtype=torch.float64),
        base ** (-torch.arange(pairs, dtype=torch.float64) / pairs),
    )
    turned = torch.view_as_complex(x.contiguous()) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned)


def rotary_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(rope(q).flatten(-2), rope(k).flatten(-2), v, is_causal=True)


def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    shared = F.scaled_dot_product_attention(
        q.flatten(-4, -3), k.repeat_interleave(q.shape[-3], -3), v.repeat_interleave(q.shape[-3], -3), is_causal=True
    )
    return shared.unflatten(-3, q.shape[-4:-2])


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def feature(x: Tensor) -> Tensor:
        return torch.where(x > 0, x + 1, x.clamp(max=0).exp())

    a = feature(q) @ feature(k).mT
    return a @ v / a.sum(-1, keepdim=True)


def heads(
    x: Tensor, z: Tensor,
    wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, bq: Tensor, bk: Tensor, bv: Tensor, bo: Tensor,
    *, causal: bool = False,
) -> Tensor:  # fmt: skip
    """Attention of x to z with heads: weights [D, H, K] into them, [H, K, D] out of them."""
    q = einsum("...td,dhk->...htk", x, wq) + bq[:, None, :]
    k = einsum("...td,dhk->...htk", z, wk) + bk[:, None, :]
    v = einsum("...td,dhk->...htk", z, wv) + bv[:, None, :]
    return einsum("...htk,hkd->...td", F.scaled_dot_product_attention(q, k, v, is_causal=causal), wo) + bo


def multihead_causal_attention(x: Tensor, *projections: Tensor) -> Tensor:
    return heads(x, x, *projections, causal=True)


# --- contrastive losses ---


def contrastive_loss(x1: Tensor, x2: Tensor, t: Tensor, *, margin: float) -> Tensor:
    r = torch.linalg.vector_norm(x1 - x2, dim=1)
    return torch.where(t == 1, r**2, F.relu(margin - r) ** 2).mean() / 2


def clip_loss(img: Tensor, txt: Tensor, logit_scale: Tensor) -> Tensor:
    z, t = logit_scale.exp() * img @ txt.T, torch.arange(len(img))
    return (F.cross_entropy(z, t) + F.cross_entropy(z.T, t)) / 2


def nt_xent(x: Tensor, *, tau: float) -> Tensor:
    z = F.normalize(x, dim=-1, eps=0).transpose(0, 1).flatten(0, 1)
    n = len(x)
    s = (z @ z.T / tau).masked_fill(~off_diagonal(2 * n), -INF)
    return F.cross_entropy(s, torch.arange(2 * n).roll(n))


def supcon(z: Tensor, t: Tensor, *, tau: float) -> Tensor:
    other = off_diagonal(len(z))
    logp = F.log_softmax((z @ z.T / tau).masked_fill(~other, -INF), 1)
    positive = (t[:, None] == t[None]) & other
    return -(logp.masked_fill(~positive, 0).sum(1) / positive.sum(1)).sum()


def n_pair_loss(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x @ y.T, torch.arange(len(x)))


# --- graphs ---


def gcn(x: Tensor, adj: Tensor, w: Tensor, b: Tensor) -> Tensor:
    a = (adj | torch.eye(len(x), dtype=torch.bool)).to(x.dtype)
    d = a.sum(1).rsqrt()
    return d[:, None] * a * d @ x @ w + b


def gat(x: Tensor, adj: Tensor, w: Tensor, asrc: Tensor, adst: Tensor, *, slope: float) -> Tensor:
    h = einsum("ni,iko->nko", x, w)
    src, dst = (h * asrc).sum(-1), (h * adst).sum(-1)
    score = F.leaky_relu(src[:, None] + dst[None], slope).masked_fill(~adj[..., None], -INF)
    return einsum("ijk,jko->iko", softmax(score, 1), h)


def graphsage(x: Tensor, adj: Tensor, w: Tensor, v: Tensor, b: Tensor) -> Tensor:
    a = adj.to(x.dtype)
    return F.relu(x @ w + (a @ x / a.sum(1, keepdim=True).clamp(min=1)) @ v + b)


def gin(x: Tensor, adj: Tensor, eps: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(((1 + eps) * x + adj.to(x.dtype) @ x) @ w1 + b1) @ w2 + b2


# --- gates ---


def highway(x: Tensor, wh: Tensor, bh: Tensor, wt: Tensor, bt: Tensor) -> Tensor:
    return torch.lerp(x, F.relu(x @ wh + bh), torch.sigmoid(x @ wt + bt))


def squeeze_excite(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    gate = torch.sigmoid(F.relu(x.mean((2, 3)) @ w1 + b1) @ w2 + b2)
    return x * gate[..., None, None]


def film(x: Tensor, z: Tensor, wg: Tensor, bg: Tensor, wb: Tensor, bb: Tensor) -> Tensor:
    gamma, beta = z @ wg + bg, z @ wb + bb
    return gamma[..., None, None] * x + beta[..., None, None]


def mixture_of_experts(x: Tensor, wg: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    out = [perceptron(x, w1[e], b1[e], w2[e], b2[e], F.relu) for e in range(len(w1))]
    return (torch.stack(out, -2) * softmax(x @ wg, -1)[..., None]).sum(-2)


# --- pooling, transport, weights ---


def global_avg_pool(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1)[..., 0, 0] if x.numel() else x.sum((2, 3))


def gem_pool(x: Tensor, p: Tensor) -> Tensor:
    return (x**p).mean((2, 3)) ** (1 / p)


def attention_pool(x: Tensor, v: Tensor, u: Tensor, w: Tensor) -> Tensor:
    a = softmax((torch.tanh(x @ v) * torch.sigmoid(x @ u)) @ w, -1)
    return (a[..., None] * x).sum(-2)


def sinkhorn_update(cost: Tensor, a: Tensor, b: Tensor, g: Tensor, *, eps: float) -> tuple[Tensor, Tensor]:
    f = eps * (a.log() - torch.logsumexp((g - cost) / eps, 1))
    return f, eps * (b.log() - torch.logsumexp((f[:, None] - cost) / eps, 0))


def sinkhorn(cost: Tensor, a: Tensor, b: Tensor, *, eps: float) -> tuple[Tensor, Tensor]:
    # Sinkhorn's own scalings u and v of the kernel, where they do not overflow
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    kernel, v = torch.exp(-cost / eps), torch.ones_like(b)
    for _ in range(3):
        f, g = sinkhorn_update(cost, a, b, g, eps=eps)
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    plan = torch.exp((f[:, None] + g - cost) / eps)
    assert torch.allclose(plan, u[:, None] * kernel * v)
    return plan, (plan * cost).sum()


def weight_standardization(w: Tensor, *, eps: float) -> Tensor:
    rows = w.flatten(0, -2)
    return ((rows - rows.mean(0)) / torch.sqrt(rows.var(0, correction=0) + eps)).reshape(w.shape)


# --- blocks ---


def perceptron(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: Callable[[Tensor], Tensor] = F.gelu
) -> Tensor:
    return activation(x @ w1 + b1) @ w2 + b2


def feed_forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return perceptron(x, w1, b1, w2, b2, F.relu)


def swiglu_network(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    return (F.silu(x @ w1) * (x @ w3)) @ w2


def norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], gamma, beta)


def transformer_encoder_block(x: Tensor, *rest: Tensor) -> Tensor:
    attention, (gamma1, beta1, w1, b1, w2, b2, gamma2, beta2) = rest[:8], rest[8:]
    h = norm(x + heads(x, x, *attention), gamma1, beta1)
    y = norm(h + feed_forward(h, w1, b1, w2, b2), gamma2, beta2)
    wq, wk, wv, wo, bq, bk, bv, bo = attention
    D, H, K = wq.shape
    if D == H * K and x.ndim == 3:  # what torch.nn.TransformerEncoderLayer can do
        layer = torch.nn.TransformerEncoderLayer(D, H, w1.shape[1], 0.0, batch_first=True, dtype=x.dtype)
        state = {
            "self_attn.in_proj_weight": torch.cat([w.reshape(D, D).T for w in (wq, wk, wv)]),
            "self_attn.in_proj_bias": torch.cat([b.flatten() for b in (bq, bk, bv)]),
            "self_attn.out_proj.weight": wo.reshape(D, D).T, "self_attn.out_proj.bias": bo,
            "linear1.weight": w1.T, "linear1.bias": b1, "linear2.weight": w2.T, "linear2.bias": b2,
            "norm1.weight": gamma1, "norm1.bias": beta1, "norm2.weight": gamma2, "norm2.bias": beta2,
        }  # fmt: skip
        layer.load_state_dict(state)
        assert torch.allclose(y, layer(x))
    return y


def transformer_decoder_block(x: Tensor, z: Tensor, *rest: Tensor) -> Tensor:
    own, (gamma1, beta1), cross, (gamma2, beta2) = rest[:8], rest[8:10], rest[10:18], rest[18:20]
    network, (gamma3, beta3) = rest[20:24], rest[24:]
    h = norm(x + heads(x, x, *own, causal=True), gamma1, beta1)
    g = norm(h + heads(h, z, *cross), gamma2, beta2)
    return norm(g + feed_forward(g, *network), gamma3, beta3)


def _prenormalized(x: Tensor, rest: tuple[Tensor, ...], causal: bool) -> Tensor:
    n = norm(x, *rest[:2])
    h = x + heads(n, n, *rest[2:10], causal=causal)
    return h + perceptron(norm(h, *rest[10:12]), *rest[12:])


def gpt_block(x: Tensor, *rest: Tensor) -> Tensor:
    return _prenormalized(x, rest, causal=True)


def vit_block(x: Tensor, *rest: Tensor) -> Tensor:
    return _prenormalized(x, rest, causal=False)


def mixer_block(x: Tensor, *rest: Tensor) -> Tensor:
    h = x + perceptron(norm(x, *rest[:2]).mT, *rest[2:6]).mT
    return h + perceptron(norm(h, *rest[6:8]), *rest[8:])


REFERENCES: dict[str, Callable[..., Any]] = {
    "masked_attention": masked_attention,
    "sliding_window_attention": sliding_window_attention,
    "alibi_attention": alibi_attention,
    "rope": rope,
    "rotary_attention": rotary_attention,
    "grouped_query_attention": grouped_query_attention,
    "linear_attention": linear_attention,
    "multihead_causal_attention": multihead_causal_attention,
    "cross_attention": heads,
    "contrastive_loss": contrastive_loss,
    "clip_loss": clip_loss,
    "nt_xent": nt_xent,
    "supcon": supcon,
    "n_pair_loss": n_pair_loss,
    "gcn": gcn,
    "gat": gat,
    "graphsage": graphsage,
    "gin": gin,
    "highway": highway,
    "squeeze_excite": squeeze_excite,
    "film": film,
    "mixture_of_experts": mixture_of_experts,
    "global_avg_pool": global_avg_pool,
    "global_max_pool": lambda x: x.amax((2, 3)),
    "gem_pool": gem_pool,
    "attention_pool": attention_pool,
    "sinkhorn_update": sinkhorn_update,
    "sinkhorn": sinkhorn,
    "weight_standardization": weight_standardization,
    "feed_forward": feed_forward,
    "gelu_network": perceptron,
    "swiglu_network": swiglu_network,
    "transformer_encoder_block": transformer_encoder_block,
    "transformer_decoder_block": transformer_decoder_block,
    "gpt_block": gpt_block,
    "vit_block": vit_block,
    "mixer_block": mixer_block,
}
