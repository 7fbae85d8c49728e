"""What PyTorch computes for convolutions, pooling over windows and blocks of networks for images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["REFERENCES"]


def _hypers(stride: int, pad: int, dilation: int = 1) -> dict[str, int]:
    return {"stride": stride, "padding": pad, "dilation": dilation}


def conv1d(x: Tensor, w: Tensor, b: Tensor, *, stride: int, pad: int, dilation: int) -> Tensor:
    return F.conv1d(x, w, b, **_hypers(stride, pad, dilation))


def conv2d(x: Tensor, w: Tensor, b: Tensor, *, stride: int = 1, pad: int = 0, dilation: int = 1) -> Tensor:
    return F.conv2d(x, w, b, **_hypers(stride, pad, dilation))


def conv3d(x: Tensor, w: Tensor, b: Tensor, *, stride: int, pad: int) -> Tensor:
    return F.conv3d(x, w, b, **_hypers(stride, pad))


def grouped_conv2d(x: Tensor, w: Tensor, b: Tensor, *, stride: int, pad: int, dilation: int) -> Tensor:
    groups = w.shape[0]
    y = F.conv2d(x.flatten(1, 2), w.flatten(0, 1), b.flatten(), groups=groups, **_hypers(stride, pad, dilation))
    return y.unflatten(1, (groups, -1))


def depthwise_conv2d(x: Tensor, w: Tensor, b: Tensor, *, stride: int = 1, pad: int = 0) -> Tensor:
    return F.conv2d(x, w[:, None], b, groups=len(w), **_hypers(stride, pad))


def pointwise_conv2d(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.conv2d(x, w[:, :, None, None], b)


def separable_conv2d(x: Tensor, w: Tensor, b: Tensor, v: Tensor, a: Tensor, *, stride: int, pad: int) -> Tensor:
    return pointwise_conv2d(depthwise_conv2d(x, w, b, stride=stride, pad=pad), v, a)


def causal_conv1d(x: Tensor, w: Tensor, b: Tensor, *, dilation: int) -> Tensor:
    late = F.pad(x.mT, (dilation * (len(w) - 1), 0))
    return F.conv1d(late, w.flip(0).permute(2, 1, 0), b, dilation=dilation).mT


def gated_conv1d(x: Tensor, wf: Tensor, bf: Tensor, wg: Tensor, bg: Tensor, *, dilation: int) -> Tensor:
    a, g = causal_conv1d(x, wf, bf, dilation=dilation), causal_conv1d(x, wg, bg, dilation=dilation)
    return torch.tanh(a) * torch.sigmoid(g)


def conv_transpose1d(x: Tensor, w: Tensor, b: Tensor, *, stride: int, pad: int) -> Tensor:
    return F.conv_transpose1d(x, w, b, stride=stride, padding=pad)


def conv_transpose2d(x: Tensor, w: Tensor, b: Tensor, *, stride: int = 1, pad: int = 0) -> Tensor:
    return F.conv_transpose2d(x, w, b, stride=stride, padding=pad)


def unfold(x: Tensor, *, k: int, stride: int, pad: int) -> Tensor:
    patches = F.unfold(x, k, padding=pad, stride=stride)
    high, wide = ((side + 2 * pad - k) // stride + 1 for side in x.shape[2:])
    return patches.reshape(*x.shape[:2], k, k, high, wide)


def pixel_shuffle(x: Tensor) -> Tensor:
    n, c, r, s, p, q = x.shape
    y = x.permute(0, 1, 4, 2, 5, 3).reshape(n, c, p * r, q * s)
    if r == s and x.numel():
        assert torch.equal(y, F.pixel_shuffle(x.flatten(1, 3), r))
    return y


def pixel_unshuffle(x: Tensor, *, k: int) -> Tensor:
    high, wide = (side // k * k for side in x.shape[2:])
    return F.pixel_unshuffle(x[:, :, :high, :wide], k).unflatten(1, (x.shape[1], k, k))


def upsample_nearest(x: Tensor, *, k: int) -> Tensor:
    return F.interpolate(x, scale_factor=k, mode="nearest")


def total_variation(x: Tensor) -> Tensor:
    return (x.diff(dim=2).abs().sum((1, 2, 3)) + x.diff(dim=3).abs().sum((1, 2, 3))).mean()


def local_response_norm(x: Tensor, *, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, k)


def _shared_maximum(windows: Tensor) -> Tensor:
    # F.max_pool2d gives the gradient to one of equal maxima; amax shares it
    return windows.amax(-1)


def max_pool1d(x: Tensor, *, k: int, stride: int, pad: int) -> Tensor:
    y = _shared_maximum(F.pad(x, (pad, pad), value=-torch.inf).unfold(2, k, stride))
    assert torch.equal(y, F.max_pool1d(x, k, stride, pad))
    return y


def max_pool2d(x: Tensor, *, k: int = 2, stride: int = 2, pad: int = 0) -> Tensor:
    wide = F.pad(x, (pad, pad, pad, pad), value=-torch.inf).unfold(2, k, stride).unfold(3, k, stride)
    y = _shared_maximum(wide.flatten(-2))
    assert torch.equal(y, F.max_pool2d(x, k, stride, pad))
    return y


def avg_pool1d(x: Tensor, *, k: int, stride: int, pad: int) -> Tensor:
    return F.avg_pool1d(x, k, stride, pad)


def avg_pool2d(x: Tensor, *, k: int, stride: int, pad: int) -> Tensor:
    return F.avg_pool2d(x, k, stride, pad)


def avg_pool2d_inside(x: Tensor, *, k: int, stride: int, pad: int) -> Tensor:
    return F.avg_pool2d(x, k, stride, pad, count_include_pad=False)


def lp_pool2d(x: Tensor, *, p: float, k: int, stride: int) -> Tensor:
    return F.lp_pool2d(x.abs(), p, k, stride)


# --- blocks ---


def _norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, gamma, beta, training=True)


def residual_block(
    x: Tensor, w1: Tensor, b1: Tensor, gamma1: Tensor, beta1: Tensor,
    w2: Tensor, b2: Tensor, gamma2: Tensor, beta2: Tensor,
) -> Tensor:  # fmt: skip
    h = F.relu(_norm(F.conv2d(x, w1, b1, padding=1), gamma1, beta1))
    return F.relu(x + _norm(F.conv2d(h, w2, b2, padding=1), gamma2, beta2))


def inception_block(
    x: Tensor, w1: Tensor, b1: Tensor, u3: Tensor, a3: Tensor, w3: Tensor, b3: Tensor,
    u5: Tensor, a5: Tensor, w5: Tensor, b5: Tensor, wp: Tensor, bp: Tensor,
) -> Tensor:  # fmt: skip
    one = pointwise_conv2d(x, w1, b1)
    three = F.conv2d(F.relu(pointwise_conv2d(x, u3, a3)), w3, b3, padding=1)
    five = F.conv2d(F.relu(pointwise_conv2d(x, u5, a5)), w5, b5, padding=2)
    pool = pointwise_conv2d(F.max_pool2d(x, 3, 1, 1), wp, bp)
    return F.relu(torch.cat((one, three, five, pool), 1))


def unet_skip(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor) -> Tensor:
    up = F.conv_transpose2d(F.relu(F.conv2d(F.max_pool2d(x, 2), w1, b1, padding=1)), w2, b2, stride=2)
    up = F.pad(up, (0, x.shape[3] - up.shape[3], 0, x.shape[2] - up.shape[2]))
    return F.relu(F.conv2d(torch.cat((x, up), 1), w3.flatten(1, 2), b3, padding=1))


def inverted_bottleneck(
    x: Tensor, w1: Tensor, b1: Tensor, gamma1: Tensor, beta1: Tensor,
    w2: Tensor, b2: Tensor, gamma2: Tensor, beta2: Tensor, w3: Tensor, b3: Tensor, gamma3: Tensor, beta3: Tensor,
) -> Tensor:  # fmt: skip
    h = F.relu6(_norm(pointwise_conv2d(x, w1, b1), gamma1, beta1))
    g = F.relu6(_norm(depthwise_conv2d(h, w2, b2, pad=1), gamma2, beta2))
    return x + _norm(pointwise_conv2d(g, w3, b3), gamma3, beta3)


def convnext_block(
    x: Tensor, w: Tensor, b: Tensor, gamma: Tensor, beta: Tensor,
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, scale: Tensor,
) -> Tensor:  # fmt: skip
    t = depthwise_conv2d(x, w, b, pad=3).permute(0, 2, 3, 1)
    g = F.layer_norm(t, t.shape[-1:], gamma, beta, 1e-6)
    return x + (scale * (F.gelu(g @ w1 + b1) @ w2 + b2)).permute(0, 3, 1, 2)


REFERENCES: dict[str, Callable[..., Any]] = {
    "conv1d": conv1d,
    "conv2d": conv2d,
    "conv3d": conv3d,
    "grouped_conv2d": grouped_conv2d,
    "depthwise_conv2d": depthwise_conv2d,
    "pointwise_conv2d": pointwise_conv2d,
    "separable_conv2d": separable_conv2d,
    "causal_conv1d": causal_conv1d,
    "gated_conv1d": gated_conv1d,
    "conv_transpose1d": conv_transpose1d,
    "conv_transpose2d": conv_transpose2d,
    "unfold": unfold,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "upsample_nearest": upsample_nearest,
    "total_variation": total_variation,
    "local_response_norm": local_response_norm,
    "max_pool1d": max_pool1d,
    "max_pool2d": max_pool2d,
    "avg_pool1d": avg_pool1d,
    "avg_pool2d": avg_pool2d,
    "avg_pool2d_inside": avg_pool2d_inside,
    "lp_pool2d": lp_pool2d,
    "residual_block": residual_block,
    "inception_block": inception_block,
    "unet_skip": unet_skip,
    "inverted_bottleneck": inverted_bottleneck,
    "convnext_block": convnext_block,
}
