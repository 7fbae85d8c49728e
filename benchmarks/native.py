"""The forward passes of the cases as one writes them in PyTorch and JAX, with the libraries' own functions.

Where a library has a layer ready-made, with a backward pass written by hand,
that is what it is measured by; the rest is spelled with its array functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["jax_forwards", "torch_forwards", "torch_ready_made"]

Forward = Callable[..., tuple[Any, ...]]


def torch_forwards() -> dict[str, Forward]:
    """Return PyTorch's, by layer."""
    import torch
    from torch.nn import functional as f

    def attention(q: Any, k: Any, v: Any) -> tuple[Any, ...]:
        p = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        return (p @ v,)

    def char_mlp(x: Any, y: Any, C: Any, W1: Any, b1: Any, gamma: Any, beta: Any, W2: Any, b2: Any) -> tuple[Any, ...]:
        emb = C[x].reshape(len(x), -1)
        h = emb @ W1.reshape(emb.shape[1], -1) + b1
        # The layer takes the sample variance, batch_norm the population's: eps makes up for the difference.
        n = len(x)
        a = torch.tanh(f.batch_norm(h, None, None, gamma * ((n - 1) / n) ** 0.5, beta, True, 0.0, 1e-5 * (n - 1) / n))
        return (f.cross_entropy(a @ W2 + b2, y),)

    return {
        "linear": lambda x, w, b: (torch.addmm(b, x, w),),
        "batchnorm": lambda x, gamma, beta: (f.batch_norm(x, None, None, gamma, beta, True, 0.0, 1e-5),),
        "layernorm": lambda x, gamma, beta: (f.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5),),
        "rmsnorm": lambda x, gamma: (f.rms_norm(x, x.shape[-1:], gamma, 1e-6),),
        "softmax": lambda z: (torch.softmax(z, -1),),
        "log_softmax": lambda z: (torch.log_softmax(z, -1),),
        "cross_entropy": lambda z, t: (f.cross_entropy(z, t),),
        "gelu": lambda x: (f.gelu(x),),
        "silu": lambda x: (f.silu(x),),
        "attention": attention,
        "conv2d": lambda x, w, b: (f.conv2d(x, w, b, padding=1),),
        "char_mlp": char_mlp,
    }


def torch_ready_made() -> dict[str, Forward]:
    """Return further ways in PyTorch; whichever is faster counts."""
    from torch.nn import functional as f

    return {"attention": lambda q, k, v: (f.scaled_dot_product_attention(q[None], k[None], v[None])[0],)}


def jax_forwards() -> dict[str, Forward]:
    """Return JAX's, by layer."""
    import jax
    import jax.numpy as np

    def normalized(x: Any, axis: int, eps: float, ddof: int = 0) -> Any:
        return (x - x.mean(axis, keepdims=True)) * jax.lax.rsqrt(x.var(axis, keepdims=True, ddof=ddof) + eps)

    def cross_entropy(z: Any, t: Any) -> Any:
        return -np.take_along_axis(jax.nn.log_softmax(z), t[:, None], 1).mean()

    def attention(q: Any, k: Any, v: Any) -> tuple[Any, ...]:
        p = jax.nn.softmax(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5, axis=-1)
        return (p @ v,)

    def conv2d(x: Any, w: Any, b: Any) -> tuple[Any, ...]:
        return (jax.lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1))) + b[:, None, None],)

    def char_mlp(x: Any, y: Any, C: Any, W1: Any, b1: Any, gamma: Any, beta: Any, W2: Any, b2: Any) -> tuple[Any, ...]:
        emb = C[x].reshape(len(x), -1)
        h = emb @ W1.reshape(emb.shape[1], -1) + b1
        a = np.tanh(gamma * normalized(h, 0, 1e-5, 1) + beta)
        return (cross_entropy(a @ W2 + b2, y),)

    return {
        "linear": lambda x, w, b: (x @ w + b,),
        "batchnorm": lambda x, gamma, beta: (normalized(x, 0, 1e-5) * gamma + beta,),
        "layernorm": lambda x, gamma, beta: (normalized(x, -1, 1e-5) * gamma + beta,),
        "rmsnorm": lambda x, gamma: (x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gamma,),
        "softmax": lambda z: (jax.nn.softmax(z),),
        "log_softmax": lambda z: (jax.nn.log_softmax(z),),
        "cross_entropy": lambda z, t: (cross_entropy(z, t),),
        "gelu": lambda x: (jax.nn.gelu(x, approximate=False),),
        "silu": lambda x: (jax.nn.silu(x),),
        "attention": attention,
        "conv2d": conv2d,
        "char_mlp": char_mlp,
    }
