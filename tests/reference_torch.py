"""What PyTorch computes for each catalogue layer: ``torch.nn.functional`` where it has the function.

A reference takes the layer's tensors in order and its hyper-parameters by
name, and returns what the layer returns. Where PyTorch has the function its
own implementation is called (layouts adapted); the others are written in
plain tensor operations, which autograd differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import reference_networks
import reference_recurrences
import reference_windows
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Reference = Callable[..., Any]


def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.linear(x, w.T, b)


def bilinear(x1: Tensor, x2: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("...i,ijo,...j->...o", x1, w, x2) + b


def embedding(t: Tensor, w: Tensor) -> Tensor:
    return F.embedding(t, w)


def dropout(x: Tensor, mask: Tensor, *, p: float) -> Tensor:
    return torch.where(mask, x / (1 - p), torch.zeros_like(x))


def prelu(x: Tensor, w: Tensor) -> Tensor:
    return F.prelu(x, w.reshape(1))


def selu(x: Tensor, *, alpha: float, scale: float) -> Tensor:
    if alpha == 1.6732632423543772 and scale == 1.0507009873554805:
        return F.selu(x)
    return scale * F.elu(x, alpha)


def celu(x: Tensor, *, alpha: float) -> Tensor:
    # F.celu's backward rounds alpha to float32
    return alpha * F.elu(x / alpha)


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def softplus(x: Tensor, *, beta: float) -> Tensor:
    # F.softplus is the identity above its threshold; this is the function itself.
    return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta


def hardsigmoid(x: Tensor) -> Tensor:
    # F.hardsigmoid's backward multiplies by 1/6 in float32, whatever the dtype
    return F.relu6(x + 3) / 6


def glu(a: Tensor, b: Tensor) -> Tensor:
    return F.glu(torch.stack((a, b)), dim=0)[0]


def swiglu(a: Tensor, b: Tensor) -> Tensor:
    return F.silu(a) * b


def geglu(a: Tensor, b: Tensor) -> Tensor:
    return F.gelu(a) * b


def batchnorm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    if not x.shape[1]:
        return x * gamma + beta
    return F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)


def batchnorm_inference(
    x: Tensor, mu: Tensor, var: Tensor, gamma: Tensor, beta: Tensor, *, eps: float
) -> Tensor:  # F.batch_norm passes no gradient to the running statistics
    return gamma * (x - mu) * torch.rsqrt(var + eps) + beta


def layernorm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)


def rmsnorm(x: Tensor, gamma: Tensor, *, eps: float) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], gamma, eps)


def groupnorm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    y = F.group_norm(x.flatten(1, 2), x.shape[1], gamma.flatten(), beta.flatten(), eps)
    return y.unflatten(1, x.shape[1:3])


def instancenorm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    if not x.numel():
        return x * gamma[:, None, None] + beta[:, None, None]
    return F.instance_norm(x, weight=gamma, bias=beta, eps=eps)


def l2_normalize(x: Tensor, *, eps: float) -> Tensor:
    return F.normalize(x, dim=-1, eps=eps)


def weightnorm(v: Tensor, g: Tensor) -> Tensor:
    return torch._weight_norm(v, g[None, :], 1)


def cross_entropy_smoothed(z: Tensor, t: Tensor, *, smoothing: float) -> Tensor:
    return F.cross_entropy(z, t, label_smoothing=smoothing)


def cross_entropy_weighted(z: Tensor, t: Tensor, w: Tensor) -> Tensor:
    # F.cross_entropy passes no gradient to its weights
    logp = F.log_softmax(z, dim=1).gather(1, t[:, None])[:, 0]
    loss = -(w[t] * logp).sum() / w[t].sum()
    assert torch.allclose(loss, F.cross_entropy(z, t, weight=w.detach()))
    return loss


def smooth_l1_loss(x: Tensor, t: Tensor, *, beta: float) -> Tensor:
    return F.smooth_l1_loss(x, t, beta=beta)


def huber_loss(x: Tensor, t: Tensor, *, delta: float) -> Tensor:
    return F.huber_loss(x, t, delta=delta)


def kl_div(logq: Tensor, p: Tensor) -> Tensor:
    return F.kl_div(logq, p, reduction="batchmean")


def multi_margin_loss(z: Tensor, t: Tensor, *, margin: float) -> Tensor:
    return F.multi_margin_loss(z, t, margin=margin)


def soft_margin_loss(x: Tensor, t: Tensor) -> Tensor:
    # F.soft_margin_loss passes no gradient to its target, and overflows
    return torch.logaddexp(-t * x, torch.zeros_like(x)).mean()


def hinge_loss(x: Tensor, t: Tensor, *, margin: float) -> Tensor:
    return F.relu(margin - t * x).mean()


def cosine_similarity(x1: Tensor, x2: Tensor, *, eps: float) -> Tensor:
    # F.cosine_similarity differentiates a norm that counts as eps as if it did not
    r1, r2 = (torch.linalg.vector_norm(x, dim=-1).clamp_min(eps) for x in (x1, x2))
    y = (x1 * x2).sum(-1) / (r1 * r2)
    assert torch.allclose(y, F.cosine_similarity(x1, x2, dim=-1, eps=eps))
    return y


def gaussian_nll(x: Tensor, t: Tensor, var: Tensor, *, eps: float) -> Tensor:
    return F.gaussian_nll_loss(x, t, var, eps=eps)


def poisson_nll(x: Tensor, t: Tensor) -> Tensor:
    return torch.mean(torch.exp(x) - t * x)


def log_cosh(x: Tensor, t: Tensor) -> Tensor:
    d = x - t
    return (torch.logaddexp(d, -d) - np.log(2)).mean()


def focal_loss(z: Tensor, t: Tensor, *, alpha: float, gamma: float) -> Tensor:
    # torchvision.ops.sigmoid_focal_loss
    p = torch.sigmoid(z)
    ce = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    p_t = p * t + (1 - p) * (1 - t)
    alpha_t = alpha * t + (1 - alpha) * (1 - t)
    return (alpha_t * ce * (1 - p_t) ** gamma).mean()


def dice_loss(p: Tensor, t: Tensor, *, smooth: float) -> Tensor:
    dice = (2 * (p * t).sum(1) + smooth) / ((p * p).sum(1) + (t * t).sum(1) + smooth)
    return (1 - dice).mean()


def info_nce(q: Tensor, k: Tensor, *, temperature: float) -> Tensor:
    return F.cross_entropy(q @ k.T / temperature, torch.arange(len(q)))


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def multihead_attention(
    x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, bq: Tensor, bk: Tensor, bv: Tensor, bo: Tensor
) -> Tensor:
    q, k, v = (torch.einsum("...td,dhk->...htk", x, w) + b[:, None, :] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
    y = torch.einsum("...htk,hkd->...td", F.scaled_dot_product_attention(q, k, v), wo) + bo
    D, H, K = wq.shape
    if D == H * K and x.ndim == 3:  # what torch.nn.MultiheadAttention can do
        into = torch.cat([w.reshape(D, D).T for w in (wq, wk, wv)])
        bias = torch.cat([b.flatten() for b in (bq, bk, bv)])
        rows, out = x.transpose(0, 1), wo.reshape(D, D).T
        own, _ = F.multi_head_attention_forward(
            rows, rows, rows, D, H, into, bias, None, None, False, 0.0, out, bo, need_weights=False
        )
        assert torch.allclose(y, own.transpose(0, 1))
    return y


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _gates(w: Tensor) -> Tensor:
    """From [I, gates, H] to PyTorch's [gates·H, I]."""
    return w.flatten(1).T


def rnn_cell(x: Tensor, h: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> Tensor:
    return torch.rnn_tanh_cell(_rows(x), _rows(h), wx.T, wh.T, bx, bh).reshape(h.shape)


def gru_cell(x: Tensor, h: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> Tensor:
    out = torch.gru_cell(_rows(x), _rows(h), _gates(wx), _gates(wh), bx.flatten(), bh.flatten())
    return out.reshape(h.shape)


def lstm_cell(x: Tensor, h: Tensor, c: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> tuple[Tensor, Tensor]:
    state = (_rows(h), _rows(c))
    h_next, c_next = torch.lstm_cell(_rows(x), state, _gates(wx), _gates(wh), bx.flatten(), bh.flatten())
    return h_next.reshape(h.shape), c_next.reshape(c.shape)


def tiny_mlp(x: Tensor, y: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    y_pred = torch.tanh(x @ W1 + b1) @ W2 + b2
    return (0.5 * (y_pred - y) ** 2).sum()


def char_mlp(
    x: Tensor, y: Tensor, C: Tensor, W1: Tensor, b1: Tensor, gamma: Tensor, beta: Tensor, W2: Tensor, b2: Tensor,
    *, eps: float,
) -> Tensor:  # fmt: skip
    h = C[x].flatten(1) @ W1.flatten(0, 1) + b1
    hhat = (h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=True) + eps)
    logits = torch.tanh(gamma * hhat + beta) @ W2 + b2
    return F.cross_entropy(logits, y)


REFERENCES: dict[str, Reference] = {
    "linear": linear,
    "bilinear": bilinear,
    "embedding": embedding,
    "dropout": dropout,
    "residual": torch.add,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": prelu,
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": selu,
    "celu": celu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": F.logsigmoid,
    "hardtanh": F.hardtanh,
    "hardsigmoid": hardsigmoid,
    "hardswish": F.hardswish,
    "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "glu": glu,
    "swiglu": swiglu,
    "geglu": geglu,
    "softmax": lambda z: F.softmax(z, dim=-1),
    "log_softmax": lambda z: F.log_softmax(z, dim=-1),
    "logsumexp": lambda z: torch.logsumexp(z, dim=-1),
    "batchnorm": batchnorm,
    "batchnorm2d": batchnorm,
    "batchnorm_inference": batchnorm_inference,
    "layernorm": layernorm,
    "rmsnorm": rmsnorm,
    "groupnorm": groupnorm,
    "instancenorm": instancenorm,
    "l2_normalize": l2_normalize,
    "weightnorm": weightnorm,
    "cross_entropy": F.cross_entropy,
    "nll_loss": F.nll_loss,
    "cross_entropy_soft": F.cross_entropy,
    "cross_entropy_smoothed": cross_entropy_smoothed,
    "cross_entropy_weighted": cross_entropy_weighted,
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "smooth_l1_loss": smooth_l1_loss,
    "huber_loss": huber_loss,
    "bce_loss": F.binary_cross_entropy,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "kl_div": kl_div,
    "multi_margin_loss": multi_margin_loss,
    "soft_margin_loss": soft_margin_loss,
    "hinge_loss": hinge_loss,
    "cosine_similarity": cosine_similarity,
    "cosine_embedding_loss": F.cosine_embedding_loss,
    "triplet_margin_loss": F.triplet_margin_loss,
    "gaussian_nll": gaussian_nll,
    "poisson_nll": poisson_nll,
    "log_cosh": log_cosh,
    "focal_loss": focal_loss,
    "dice_loss": dice_loss,
    "info_nce": info_nce,
    "attention": F.scaled_dot_product_attention,
    "causal_attention": causal_attention,
    "multihead_attention": multihead_attention,
    "rnn_cell": rnn_cell,
    "gru_cell": gru_cell,
    "lstm_cell": lstm_cell,
    "tiny_mlp": tiny_mlp,
    "char_mlp": char_mlp,
    **reference_networks.REFERENCES,
    **reference_windows.REFERENCES,
    **reference_recurrences.REFERENCES,
}

Array = NDArray[np.generic]


def outputs(name: str, inputs: dict[str, Array], hypers: dict[str, float]) -> tuple[Array, ...]:
    """Return the layer's outputs in float64."""
    return evaluate(name, inputs, hypers, (), None)[0]


def evaluate(
    name: str,
    inputs: dict[str, Array],
    hypers: dict[str, float],
    differentiated: tuple[str, ...],
    cotangents: tuple[Array, ...] | None,
) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """Return the outputs and, for the given cotangents, the gradients, all in float64.

    Args:
        name: the layer.
        inputs: an array a parameter, in order; reals of any precision.
        hypers: every hyper-parameter.
        differentiated: the parameters whose gradients are wanted.
        cotangents: one an output.
    """
    tensors = {
        n: torch.tensor(a, dtype=torch.float64 if a.dtype.kind == "f" else None, requires_grad=n in differentiated)
        for n, a in inputs.items()
    }
    result = REFERENCES[name](*tensors.values(), **hypers)
    results = result if isinstance(result, tuple) else (result,)
    gradients: dict[str, Array] = {}
    if cotangents is not None and differentiated:
        seeds = [torch.tensor(np.asarray(c), dtype=torch.float64) for c in cotangents]
        wanted = [tensors[n] for n in differentiated]
        found = torch.autograd.grad(results, wanted, seeds, allow_unused=True)
        for n, g in zip(differentiated, found, strict=True):
            gradients[n] = np.zeros(inputs[n].shape) if g is None else g.numpy()
    return tuple(r.detach().numpy() for r in results), gradients
