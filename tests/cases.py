"""The table of cases: every catalogue layer with shapes, values and hyper-parameters to run it on.

A row gives the layer, a number for each of its sizes, and where needed the
batch (the shape that ``...`` stands for), hyper-parameters other than the
defaults, how to draw a parameter, and a scale for the real ones that are not
drawn in a way of their own. Sizes in a row are pairwise different, so that
swapped axes cannot pass.
"""

from __future__ import annotations

from dataclasses import replace

import cases_networks
import cases_recurrences
import cases_windows
from case import (
    Case,
    Draw,
    around,
    binary,
    counts,
    distribution,
    labels,
    log_distribution,
    normal,
    positive,
    signs,
    sizes,
    times,
    unit,
)

# One number in, one number out, of any rank: all have the same rows.
ELEMENTWISE = (
    "relu", "leaky_relu", "prelu", "relu6", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus",
    "softsign", "tanh", "sigmoid", "log_sigmoid", "hardtanh", "hardsigmoid", "hardswish", "tanhshrink", "softshrink",
    "hardshrink", "glu", "swiglu", "geglu", "residual", "dropout",
)  # fmt: skip

# Means over two tensors of any rank.
ELEMENTWISE_LOSSES: dict[str, dict[str, Draw]] = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {},
    "huber_loss": {},
    "bce_loss": {"t": unit},
    "bce_with_logits": {"t": unit},
    "soft_margin_loss": {"t": signs},
    "hinge_loss": {"t": signs},
    "gaussian_nll": {},
    "poisson_nll": {"t": counts},
    "log_cosh": {},
    "focal_loss": {"t": unit},
}

SOFTMAXES = ("softmax", "log_softmax", "logsumexp")
ATTENTIONS = ("attention", "causal_attention")
CELLS = ("rnn_cell", "gru_cell", "lstm_cell")

_T = {"t": labels("C")}
_MHA = {f"b{n}": times(0.5) for n in "qkvo"} | {f"w{n}": times(0.5) for n in "qkvo"}
_CHARS: dict[str, Draw] = {"x": labels("V"), "y": labels("V")}

ROWS: tuple[Case, ...] = (
    *(Case(name, batch=(4, 5)) for name in ELEMENTWISE),
    *(Case(name, id="scalar") for name in ELEMENTWISE),
    *(Case(name, batch=(2, 3, 4), scale=30.0, id="large") for name in ELEMENTWISE),
    *(Case(name, batch=(0, 3), id="empty") for name in ELEMENTWISE),
    Case("leaky_relu", batch=(7,), hypers={"negative_slope": 0.2}, id="slope"),
    Case("elu", batch=(7,), hypers={"alpha": 0.7}, id="alpha"),
    Case("celu", batch=(7,), hypers={"alpha": 0.7}, id="alpha"),
    Case("selu", batch=(7,), hypers={"alpha": 1.5, "scale": 2.0}, id="constants"),
    Case("softplus", batch=(7,), hypers={"beta": 3.0}, id="beta"),
    Case("hardtanh", batch=(7,), hypers={"min_val": -0.5, "max_val": 0.25}, id="bounds"),
    Case("softshrink", batch=(7,), hypers={"lambd": 0.25}, id="lambd"),
    Case("hardshrink", batch=(7,), hypers={"lambd": 1.25}, id="lambd"),
    Case("dropout", batch=(6, 2), hypers={"p": 0.1}, id="rate"),
    Case("dropout", batch=(6, 2), hypers={"p": 0.0}, id="no-rate"),
    *(Case(name, batch=(100,), scale=1e4, terms=1.0, id="huge") for name in ELEMENTWISE),

    Case("linear", sizes(I=3, O=4), (5,)),
    Case("linear", sizes(I=3, O=4), (), id="vector"),
    Case("linear", sizes(I=3, O=4), (2, 5, 6), id="rank-4"),
    Case("linear", sizes(I=3, O=4), (0,), id="empty"),
    Case("bilinear", sizes(I=3, J=4, O=5), (6,)),
    Case("bilinear", sizes(I=3, J=4, O=5), (), id="vector"),
    Case("bilinear", sizes(I=3, J=4, O=5), (2, 6), id="rank-3"),
    Case("bilinear", sizes(I=3, J=4, O=5), (0,), id="empty"),
    Case("embedding", sizes(V=6, E=3), (8,), draw={"t": labels("V")}),
    Case("embedding", sizes(V=6, E=3), (), draw={"t": labels("V")}, id="scalar"),
    Case("embedding", sizes(V=6, E=3), (4, 5), draw={"t": labels("V")}, id="sequences"),
    Case("embedding", sizes(V=6, E=3), (0, 5), draw={"t": labels("V")}, id="empty"),

    *(Case(name, sizes(C=7), (4,)) for name in SOFTMAXES),
    *(Case(name, sizes(C=7), (), id="vector") for name in SOFTMAXES),
    *(Case(name, sizes(C=7), (2, 3, 4), id="rank-4") for name in SOFTMAXES),
    *(Case(name, sizes(C=7), (0,), id="empty") for name in SOFTMAXES),
    *(Case(name, sizes(C=7), (4,), scale=1e3, id="large") for name in SOFTMAXES),
    *(Case(name, sizes(C=7), (9,), scale=1e4, id="huge") for name in SOFTMAXES),
    *(Case(name, sizes(C=1), (3,), vanishing=("z",), id="one-class") for name in ("softmax", "log_softmax")),

    Case("batchnorm", sizes(N=5, D=3)),
    Case("batchnorm", sizes(N=7, D=4), hypers={"eps": 0.1}, id="eps"),
    Case("batchnorm", sizes(N=7, D=4), draw={"x": around(100.0)}, id="large-mean"),
    Case("batchnorm", sizes(N=5, D=0), id="no-features"),
    Case("batchnorm2d", sizes(N=5, C=3, H=4, W=2)),
    Case("batchnorm2d", sizes(N=2, C=3, H=1, W=1), hypers={"eps": 1e-3}, id="pixel"),
    Case("batchnorm_inference", sizes(D=3), (5,), draw={"var": positive}),
    Case("batchnorm_inference", sizes(D=3), (), draw={"var": positive}, id="vector"),
    Case("batchnorm_inference", sizes(D=3), (4, 2), draw={"var": positive}, hypers={"eps": 0.1}, id="rank-3"),
    Case("batchnorm_inference", sizes(D=3), (0,), draw={"var": positive}, id="empty"),
    Case("layernorm", sizes(D=5), (4,)),
    Case("layernorm", sizes(D=5), (), id="vector"),
    Case("layernorm", sizes(D=5), (2, 3, 4), hypers={"eps": 0.1}, id="rank-4"),
    Case("layernorm", sizes(D=5), (0, 3), id="empty"),
    Case("layernorm", sizes(D=5), (4,), draw={"x": around(100.0)}, id="large-mean"),
    Case("rmsnorm", sizes(D=5), (4,)),
    Case("rmsnorm", sizes(D=5), (), id="vector"),
    Case("rmsnorm", sizes(D=5), (2, 3, 4), hypers={"eps": 0.1}, id="rank-4"),
    Case("rmsnorm", sizes(D=5), (0, 3), id="empty"),
    Case("rmsnorm", sizes(D=5), (4,), scale=1e4, id="large"),
    Case("groupnorm", sizes(N=3, G=2, K=4, H=5, W=6)),
    Case("groupnorm", sizes(N=0, G=2, K=4, H=5, W=6), id="empty"),
    Case("groupnorm", sizes(N=3, G=2, K=4, H=1, W=1), hypers={"eps": 0.1}, id="pixel"),
    Case("instancenorm", sizes(N=3, C=2, H=4, W=5)),
    Case("instancenorm", sizes(N=0, C=2, H=4, W=5), id="empty"),
    Case("instancenorm", sizes(N=1, C=2, H=4, W=5), hypers={"eps": 0.1}, id="one"),
    Case("l2_normalize", sizes(D=5), (4,)),
    Case("l2_normalize", sizes(D=5), (), id="vector"),
    Case("l2_normalize", sizes(D=5), (2, 3, 4), scale=1e4, id="rank-4"),
    Case("l2_normalize", sizes(D=5), (0,), id="empty"),
    Case("l2_normalize", sizes(D=5), (4,), hypers={"eps": 2.0}, id="eps"),
    Case("weightnorm", sizes(I=4, O=3)),
    Case("weightnorm", sizes(I=4, O=3), scale=1e-4, id="small"),

    Case("cross_entropy", sizes(N=5, C=7), draw=_T),
    Case("cross_entropy", sizes(N=5, C=7), draw=_T, scale=1e3, id="large"),
    Case("cross_entropy", sizes(N=5, C=7), draw=_T, scale=1e4, id="huge"),
    Case("cross_entropy", sizes(N=1, C=2), draw=_T, id="one"),
    Case("nll_loss", sizes(N=5, C=7), draw=_T | {"logp": log_distribution}),
    Case("nll_loss", sizes(N=1, C=2), draw=_T | {"logp": log_distribution}, id="one"),
    Case("cross_entropy_soft", sizes(N=5, C=7), draw={"t": distribution}),
    Case("cross_entropy_soft", sizes(N=5, C=7), draw={"t": normal}, id="any-target"),
    Case("cross_entropy_soft", sizes(N=5, C=7), draw={"t": distribution}, scale=1e3, id="large"),
    Case("cross_entropy_smoothed", sizes(N=5, C=7), draw=_T),
    Case("cross_entropy_smoothed", sizes(N=5, C=7), draw=_T, hypers={"smoothing": 0.0}, id="no-smoothing"),
    Case("cross_entropy_smoothed", sizes(N=5, C=7), draw=_T, hypers={"smoothing": 0.4}, scale=1e3, id="large"),
    Case("cross_entropy_weighted", sizes(N=5, C=7), draw=_T | {"w": positive}),
    Case("cross_entropy_weighted", sizes(N=9, C=4), draw=_T | {"w": positive}, scale=1e3, id="large"),
    *(Case(name, batch=(4, 5), draw=draw) for name, draw in ELEMENTWISE_LOSSES.items()),
    *(Case(name, draw=draw, id="scalar") for name, draw in ELEMENTWISE_LOSSES.items()),
    *(Case(name, batch=(2, 3, 4), draw=draw, id="rank-3") for name, draw in ELEMENTWISE_LOSSES.items()),
    *(
        Case(name, batch=(9,), draw=ELEMENTWISE_LOSSES[name], scale=1e3, id="large")
        for name in ELEMENTWISE_LOSSES
        if name not in ("bce_loss", "bce_with_logits", "gaussian_nll", "poisson_nll", "focal_loss")
    ),
    Case("bce_with_logits", batch=(9,), draw={"z": times(1e3), "t": unit}, id="large"),
    Case("bce_with_logits", batch=(9,), draw={"t": binary}, id="binary"),
    Case("focal_loss", batch=(9,), draw={"t": binary}, id="binary"),
    Case("focal_loss", batch=(9,), draw={"t": unit, "z": times(1e3)}, id="large"),
    Case("focal_loss", batch=(9,), draw={"t": binary}, hypers={"alpha": 0.6, "gamma": 0.5}, id="hypers"),
    Case("smooth_l1_loss", batch=(9,), hypers={"beta": 0.3}, id="beta"),
    Case("huber_loss", batch=(9,), hypers={"delta": 0.3}, id="delta"),
    Case("hinge_loss", batch=(9,), draw={"t": signs}, hypers={"margin": 0.3}, id="margin"),
    Case("gaussian_nll", batch=(9,), draw={"var": positive}, hypers={"eps": 1e-3}, id="eps"),
    Case("kl_div", sizes(N=5, C=7), draw={"logq": log_distribution, "p": distribution}),
    Case("kl_div", sizes(N=1, C=2), draw={"logq": log_distribution, "p": distribution}, id="one"),
    Case("multi_margin_loss", sizes(N=5, C=7), draw=_T),
    Case("multi_margin_loss", sizes(N=4, C=3), draw=_T, hypers={"margin": 0.3}, id="margin"),
    Case("cosine_similarity", sizes(D=5), (4,)),
    Case("cosine_similarity", sizes(D=5), (), id="vector"),
    Case("cosine_similarity", sizes(D=5), (2, 3, 4), scale=1e3, id="rank-4"),
    Case("cosine_similarity", sizes(D=5), (0,), id="empty"),
    Case("cosine_similarity", sizes(D=5), (4,), hypers={"eps": 2.0}, id="eps"),
    Case("cosine_embedding_loss", sizes(N=6, D=5), draw={"t": signs}),
    Case("cosine_embedding_loss", sizes(N=9, D=4), draw={"t": signs}, hypers={"margin": 0.2}, id="margin"),
    Case("triplet_margin_loss", sizes(N=6, D=5)),
    Case("triplet_margin_loss", sizes(N=9, D=4), hypers={"margin": 0.2, "eps": 1e-3}, id="margin"),
    Case("dice_loss", sizes(N=5, V=7), draw={"p": unit, "t": binary}),
    Case("dice_loss", sizes(N=3, V=4), draw={"p": unit, "t": binary}, hypers={"smooth": 0.1}, id="smooth"),
    Case("info_nce", sizes(N=5, D=3)),
    Case("info_nce", sizes(N=4, D=6), hypers={"temperature": 0.5}, id="temperature"),
    Case("info_nce", sizes(N=4, D=6), scale=30.0, id="large"),

    *(Case(name, sizes(T=4, S=5, D=3, E=6), (2,)) for name in ATTENTIONS),
    *(Case(name, sizes(T=4, S=5, D=3, E=6), (), id="one") for name in ATTENTIONS),
    *(Case(name, sizes(T=5, S=4, D=3, E=6), (2, 7), id="heads") for name in ATTENTIONS),
    *(Case(name, sizes(T=4, S=5, D=3, E=6), (0,), id="empty") for name in ATTENTIONS),
    *(Case(name, sizes(T=0, S=5, D=3, E=6), (2,), id="no-queries") for name in ATTENTIONS),
    *(Case(name, sizes(T=4, S=5, D=3, E=6), (2,), scale=30.0, terms=900.0, id="large") for name in ATTENTIONS),
    Case("multihead_attention", sizes(T=4, D=6, H=2, K=3), (5,), draw=_MHA, vanishing=("bk",)),
    Case("multihead_attention", sizes(T=4, D=5, H=2, K=3), (), draw=_MHA, vanishing=("bk",), id="one"),
    Case("multihead_attention", sizes(T=4, D=5, H=2, K=3), (0,), draw=_MHA, id="empty"),

    *(Case(name, sizes(I=3, H=4), (5,)) for name in CELLS),
    *(Case(name, sizes(I=3, H=4), (), id="vector") for name in CELLS),
    *(Case(name, sizes(I=3, H=4), (2, 5), id="rank-3") for name in CELLS),
    *(Case(name, sizes(I=3, H=4), (0,), id="empty") for name in CELLS),
    *(Case(name, sizes(I=3, H=4), (5,), scale=30.0, terms=30.0, id="large") for name in CELLS),
    Case("tiny_mlp", sizes(N=5, I=3, H=4, O=2)),
    Case("tiny_mlp", sizes(N=1, I=3, H=2, O=1), id="essay"),
    Case("tiny_mlp", sizes(N=0, I=3, H=4, O=2), id="empty"),
    Case("char_mlp", sizes(N=8, B=3, V=9, E=2, H=5), draw=_CHARS, vanishing=("b1",)),
    Case("char_mlp", sizes(N=40, B=4, V=6, E=3, H=7), draw=_CHARS, hypers={"eps": 1e-3}, vanishing=("b1",), id="eps"),
    *cases_networks.ROWS,
    *cases_windows.ROWS,
    *cases_recurrences.ROWS,
)  # fmt: skip

# Not defined on one element: a variance with Bessel's correction, and what PyTorch refuses.
_NEEDS_TWO = (
    "batchnorm",
    "batchnorm2d",
    "instancenorm",
    "groupnorm",
    "char_mlp",
    *cases_networks.NEEDS_TWO,
    *cases_windows.NEEDS_MORE,
)

ONES = tuple(
    replace(case, sizes=dict.fromkeys(case.sizes, 1), batch=(1,) * len(case.batch), terms=1.0, vanishing=(), id="ones")
    for case in {row.layer: row for row in reversed(ROWS)}.values()
    if case.layer not in _NEEDS_TWO
)

CASES: tuple[Case, ...] = (*ROWS, *ONES)

# An empty mean, maximum or variance: these are refused.
REFUSED: tuple[Case, ...] = (
    *(Case(name, batch=(0,), draw=draw, id="empty") for name, draw in ELEMENTWISE_LOSSES.items()),
    *(Case(name, sizes(N=0, C=3), draw=_T) for name in ("cross_entropy", "nll_loss", "multi_margin_loss")),
    Case("cross_entropy_smoothed", sizes(N=0, C=3), draw=_T),
    Case("cross_entropy_soft", sizes(N=0, C=3), draw={"t": distribution}),
    Case("kl_div", sizes(N=0, C=3), draw={"p": distribution}),
    Case("cosine_embedding_loss", sizes(N=0, D=3), draw={"t": signs}),
    Case("triplet_margin_loss", sizes(N=0, D=3)),
    Case("dice_loss", sizes(N=0, V=3)),
    Case("batchnorm", sizes(N=0, D=3)),
    Case("batchnorm2d", sizes(N=0, C=3, H=2, W=4)),
    Case("batchnorm2d", sizes(N=2, C=3, H=0, W=4), id="no-pixels"),
    Case("instancenorm", sizes(N=2, C=3, H=0, W=4), id="no-pixels"),
    Case("groupnorm", sizes(N=2, G=3, K=0, H=4, W=5), id="no-channels"),
    *(Case(name, sizes(C=0), (3,), id="no-classes") for name in SOFTMAXES),
    Case("layernorm", sizes(D=0), (3,), id="no-features"),
    Case("rmsnorm", sizes(D=0), (3,), id="no-features"),
    Case("char_mlp", sizes(N=0, B=3, V=9, E=2, H=5), draw=_CHARS),
    *cases_networks.REFUSED,
    *cases_windows.REFUSED,
    *cases_recurrences.REFUSED,
)  # fmt: skip
