"""Rows of convolutions, pooling over windows and blocks of networks for images."""

from __future__ import annotations

import numpy as np
from case import Array, Case, around, sizes

__all__ = ["NEEDS_MORE", "REFUSED", "ROWS"]

_CONV1D = sizes(N=2, C=3, W=11, F=4, R=5)
_CONV2D = sizes(N=2, C=3, H=9, W=10, F=4, R=5, S=6)
_CONV3D = sizes(N=2, C=3, D=6, H=7, W=8, F=9, R=4, S=5, T=1)
_GROUPED = sizes(N=2, G=3, C=4, H=8, W=9, F=5, R=6, S=7)
_POOLED = sizes(N=2, C=3, H=7, W=9)
_BLOCK = sizes(N=2, C=4, H=5, W=6)


def ties(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Whole numbers, so that maxima are equal."""
    return rng.integers(0, 3, shape)


ROWS: tuple[Case, ...] = (
    Case("conv1d", _CONV1D),
    Case("conv1d", _CONV1D, hypers={"stride": 2, "pad": 3}, id="stride"),
    Case("conv1d", _CONV1D, hypers={"stride": 3, "pad": 2, "dilation": 2}, id="dilation"),
    Case("conv1d", sizes(N=0, C=3, W=11, F=4, R=5), hypers={"pad": 1}, id="empty"),
    Case("conv1d", sizes(N=2, C=3, W=7, F=4, R=1), hypers={"stride": 3}, id="gaps"),
    Case("conv2d", _CONV2D),
    Case("conv2d", _CONV2D, hypers={"stride": 2, "pad": 1}, id="stride"),
    Case("conv2d", _CONV2D, hypers={"pad": 2}, id="pad"),
    Case("conv2d", sizes(N=2, C=3, H=10, W=12, F=4, R=2, S=5), hypers={"stride": 3, "pad": 4, "dilation": 2}, id="all"),
    Case("conv2d", sizes(N=0, C=3, H=8, W=9, F=4, R=5, S=6), id="empty"),
    Case("conv2d", sizes(N=2, C=3, H=8, W=9, F=4, R=1, S=6), hypers={"stride": 4}, id="gaps"),
    Case("conv3d", _CONV3D),
    Case("conv3d", _CONV3D, hypers={"stride": 2, "pad": 1}, id="stride"),
    Case("grouped_conv2d", _GROUPED),
    Case("grouped_conv2d", _GROUPED, hypers={"stride": 2, "pad": 3}, id="stride"),
    Case("grouped_conv2d", sizes(N=2, G=3, C=4, H=8, W=9, F=5, R=2, S=1), hypers={"dilation": 3}, id="dilation"),
    Case("depthwise_conv2d", sizes(N=2, C=3, H=8, W=9, R=4, S=5)),
    Case("depthwise_conv2d", sizes(N=2, C=3, H=8, W=9, R=4, S=5), hypers={"stride": 3, "pad": 2}, id="stride"),
    Case("pointwise_conv2d", sizes(N=2, C=3, H=4, W=5, F=6)),
    Case("pointwise_conv2d", sizes(N=0, C=3, H=4, W=5, F=6), id="empty"),
    Case("separable_conv2d", sizes(N=2, C=3, H=8, W=9, R=4, S=5, F=6)),
    Case("separable_conv2d", sizes(N=2, C=3, H=8, W=9, R=4, S=5, F=6), hypers={"stride": 2, "pad": 1}, id="stride"),
    Case("causal_conv1d", sizes(N=2, T=7, C=3, R=4, F=5)),
    Case("causal_conv1d", sizes(N=2, T=7, C=3, R=4, F=5), hypers={"dilation": 3}, id="dilation"),
    Case("gated_conv1d", sizes(N=2, T=7, C=3, R=4, F=5)),
    Case("gated_conv1d", sizes(N=2, T=9, C=3, R=4, F=5), hypers={"dilation": 2}, id="dilation"),
    Case("conv_transpose1d", sizes(N=2, C=3, P=6, F=4, R=5)),
    Case("conv_transpose1d", sizes(N=2, C=3, P=6, F=4, R=5), hypers={"stride": 3, "pad": 2}, id="stride"),
    Case("conv_transpose1d", sizes(N=2, C=3, P=6, F=4, R=2), hypers={"stride": 5}, id="gaps"),
    Case("conv_transpose2d", sizes(N=2, C=3, P=4, Q=6, F=5, R=7, S=8)),
    Case("conv_transpose2d", sizes(N=2, C=3, P=4, Q=6, F=5, R=7, S=8), hypers={"stride": 2, "pad": 1}, id="stride"),
    Case("conv_transpose2d", sizes(N=2, C=3, P=4, Q=5, F=6, R=1, S=7), hypers={"stride": 3}, id="gaps"),
    Case("unfold", sizes(N=2, C=4, H=7, W=8)),
    Case("unfold", sizes(N=2, C=4, H=7, W=8), hypers={"k": 2, "stride": 3, "pad": 1}, id="stride"),
    Case("pixel_shuffle", sizes(N=2, C=3, R=4, S=5, P=6, Q=7)),
    Case("pixel_shuffle", sizes(N=0, C=3, R=4, S=5, P=6, Q=7), id="empty"),
    Case("pixel_unshuffle", sizes(N=2, C=3, H=7, W=9)),
    Case("pixel_unshuffle", sizes(N=2, C=3, H=7, W=9), hypers={"k": 3}, id="three"),
    Case("upsample_nearest", sizes(N=2, C=3, P=4, Q=5)),
    Case("upsample_nearest", sizes(N=2, C=3, P=4, Q=5), hypers={"k": 3}, id="three"),
    Case("total_variation", sizes(N=2, C=3, H=4, W=5)),
    Case("local_response_norm", sizes(N=2, C=7, H=4, W=3)),
    Case("local_response_norm", sizes(N=2, C=5, H=4, W=3), hypers={"size": 4, "alpha": 0.5, "k": 2.0}, id="even"),
    Case("local_response_norm", sizes(N=2, C=3, H=4, W=5), scale=100.0, id="large"),

    Case("max_pool1d", sizes(N=2, C=3, W=9)),
    Case("max_pool1d", sizes(N=2, C=3, W=9), hypers={"k": 3, "stride": 2, "pad": 1}, id="overlap"),
    Case("max_pool1d", sizes(N=2, C=3, W=9), hypers={"k": 4, "stride": 1, "pad": 2}, draw={"x": ties}, id="ties"),
    Case("max_pool2d", _POOLED),
    Case("max_pool2d", _POOLED, hypers={"k": 3, "stride": 2, "pad": 1}, id="overlap"),
    Case("max_pool2d", _POOLED, hypers={"k": 2, "stride": 3}, id="gaps"),
    Case("max_pool2d", sizes(N=0, C=3, H=7, W=9), id="empty"),
    Case("avg_pool1d", sizes(N=2, C=3, W=9)),
    Case("avg_pool1d", sizes(N=2, C=3, W=9), hypers={"k": 4, "stride": 3, "pad": 2}, id="overlap"),
    Case("avg_pool2d", _POOLED),
    Case("avg_pool2d", _POOLED, hypers={"k": 3, "stride": 2, "pad": 1}, id="overlap"),
    Case("avg_pool2d", _POOLED, hypers={"k": 2, "stride": 3}, id="gaps"),
    Case("avg_pool2d_inside", _POOLED),
    Case("avg_pool2d_inside", _POOLED, hypers={"k": 3, "stride": 2, "pad": 1}, id="overlap"),
    Case("lp_pool2d", _POOLED),
    Case("lp_pool2d", _POOLED, hypers={"p": 3.0, "k": 3, "stride": 1}, draw={"x": around(5.0)}, id="three"),

    Case("residual_block", _BLOCK, vanishing=("b1", "b2")),
    Case("inception_block", sizes(N=2, C=3, H=7, W=8, A=4, B=5, D=6, E=1, F=9, G=10)),
    Case("unet_skip", sizes(N=2, C=3, H=6, W=8, D=4, F=5)),
    Case("unet_skip", sizes(N=2, C=3, H=7, W=9, D=4, F=5), id="odd"),
    Case("inverted_bottleneck", sizes(N=2, C=3, H=5, W=6, E=7), vanishing=("b1", "b2", "b3")),
    Case("convnext_block", sizes(N=2, C=3, H=5, W=6, E=7)),
)  # fmt: skip

# A window is larger than one element, or a variance needs two.
NEEDS_MORE = (
    "unfold", "pixel_unshuffle", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool2d_inside",
    "lp_pool2d", "total_variation", "residual_block", "inception_block", "unet_skip", "inverted_bottleneck",
)  # fmt: skip

REFUSED: tuple[Case, ...] = (
    Case("total_variation", sizes(N=0, C=3, H=4, W=5)),
    Case("residual_block", sizes(N=0, C=4, H=5, W=6)),
)
