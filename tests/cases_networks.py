"""Rows of attention, graphs, gates, contrastive losses, transport and the blocks of networks."""

from __future__ import annotations

from case import Case, Draw, around, binary, distribution, loops, mask, pairs, sizes, times, unit_rows

__all__ = ["NEEDS_TWO", "REFUSED", "ROWS"]

_QKV = sizes(T=4, S=5, D=3, E=6)
_HEADS = sizes(H=2, T=4, S=5, D=3, E=6)
_GROUPS = sizes(G=2, R=7, T=4, S=5, D=3, E=6)
_PAIRS = sizes(T=5, P=3, E=4)

# Projections of half the size keep the attention away from one key that takes all.
_HALF: dict[str, Draw] = {f"{letter}{n}": times(0.5) for letter in "wbuc" for n in "qkvo"}
_BLOCK = sizes(T=4, D=6, H=2, K=3, F=5)
_IMAGES = sizes(N=2, C=3, H=4, W=5)
_GRAPH = {"adj": loops}

ROWS: tuple[Case, ...] = (
    Case("masked_attention", _QKV, (2,), draw={"mask": mask}),
    Case("masked_attention", _QKV, (), draw={"mask": mask}, id="one"),
    Case("masked_attention", _QKV, (2, 7), draw={"mask": mask}, id="heads"),
    Case("masked_attention", _QKV, (0,), draw={"mask": mask}, id="empty"),
    Case("masked_attention", _QKV, (2,), draw={"mask": mask}, scale=30.0, terms=900.0, id="large"),
    Case("sliding_window_attention", _QKV, (2,)),
    Case("sliding_window_attention", sizes(T=8, S=7, D=3, E=6), (), hypers={"window": 3}, id="wider"),
    Case("alibi_attention", _HEADS, (7,)),
    Case("alibi_attention", _HEADS, (), id="one"),
    Case("alibi_attention", _HEADS, (2, 3), id="rank-5"),
    Case("alibi_attention", _HEADS, (7,), scale=30.0, terms=900.0, id="large"),
    Case("rope", sizes(T=5, P=3), (4,)),
    Case("rope", sizes(T=5, P=3), (), hypers={"base": 100.0}, id="base"),
    Case("rope", sizes(T=5, P=3), (2, 4), id="heads"),
    Case("rope", sizes(T=0, P=3), (2,), id="empty"),
    Case("rotary_attention", _PAIRS, (6,)),
    Case("rotary_attention", _PAIRS, (), id="one"),
    Case("rotary_attention", _PAIRS, (2, 6), scale=5.0, id="heads"),
    Case("grouped_query_attention", _GROUPS, (8,)),
    Case("grouped_query_attention", _GROUPS, (), id="one"),
    Case("grouped_query_attention", _GROUPS, (2, 3), scale=5.0, id="rank-6"),
    Case("linear_attention", _QKV, (2,)),
    Case("linear_attention", _QKV, (), id="one"),
    Case("linear_attention", _QKV, (2, 7), id="heads"),
    Case("linear_attention", _QKV, (2,), draw={"q": around(-37.0), "k": around(-37.0)}, id="low"),
    Case("multihead_causal_attention", sizes(T=4, D=6, H=2, K=3), (5,), draw=_HALF, vanishing=("bk",)),
    Case("multihead_causal_attention", sizes(T=4, D=5, H=2, K=3), (), draw=_HALF, vanishing=("bk",), id="one"),
    Case("cross_attention", sizes(T=4, S=6, D=5, I=7, H=2, K=3), (8,), draw=_HALF, vanishing=("bk",)),
    Case("cross_attention", sizes(T=4, S=6, D=5, I=7, H=2, K=3), (), draw=_HALF, vanishing=("bk",), id="one"),

    Case("contrastive_loss", sizes(N=6, D=5), draw={"t": binary}),
    Case("contrastive_loss", sizes(N=6, D=5), draw={"t": binary}, hypers={"margin": 4.0}, id="margin"),
    Case("clip_loss", sizes(N=5, D=4), draw={"img": unit_rows, "txt": unit_rows}),
    Case("clip_loss", sizes(N=5, D=4), scale=100.0, draw={"logit_scale": times(1.0)}, id="large"),
    Case("nt_xent", sizes(N=5, D=4)),
    Case("nt_xent", sizes(N=5, D=4), hypers={"tau": 1e-3}, id="cold"),
    Case("supcon", sizes(N=6, D=4), draw={"t": pairs, "z": unit_rows}),
    Case("supcon", sizes(N=6, D=4), draw={"t": pairs}, scale=100.0, id="large"),
    Case("n_pair_loss", sizes(N=5, D=4)),
    Case("n_pair_loss", sizes(N=5, D=4), scale=30.0, id="large"),

    Case("gcn", sizes(N=6, I=4, O=3)),
    Case("gcn", sizes(N=7, I=4, O=3), draw=_GRAPH, id="self-loops"),
    Case("gat", sizes(N=6, I=5, H=2, O=3), draw=_GRAPH),
    Case("gat", sizes(N=6, I=5, H=2, O=3), draw=_GRAPH, hypers={"slope": 0.05}, scale=2.0, id="slope"),
    Case("graphsage", sizes(N=6, I=4, O=3)),
    Case("graphsage", sizes(N=3, I=4, O=5), draw={"adj": lambda rng, shape, case: rng.random(shape) < 0.2}, id="alone"),
    Case("gin", sizes(N=6, I=4, H=5, O=3)),
    Case("gin", sizes(N=2, I=4, H=5, O=3), draw=_GRAPH, id="self-loops"),

    Case("highway", sizes(D=3), (5,)),
    Case("highway", sizes(D=3), (), id="vector"),
    Case("highway", sizes(D=3), (2, 4), draw={"wt": times(30.0)}, id="rank-3"),
    Case("squeeze_excite", sizes(N=2, C=4, H=5, W=6, R=3)),
    Case("squeeze_excite", sizes(N=0, C=4, H=5, W=6, R=3), id="empty"),
    Case("film", _IMAGES | {"K": 6}),
    Case("film", sizes(N=0, C=3, H=4, W=5, K=6), id="empty"),
    Case("mixture_of_experts", sizes(D=4, E=3, H=6, O=2), (5,)),
    Case("mixture_of_experts", sizes(D=4, E=3, H=6, O=2), (), id="vector"),
    Case("mixture_of_experts", sizes(D=4, E=3, H=6, O=2), (7, 5), draw={"wg": times(30.0)}, id="rank-3"),

    Case("global_avg_pool", _IMAGES),
    Case("global_avg_pool", sizes(N=0, C=3, H=4, W=5), id="empty"),
    Case("global_max_pool", _IMAGES),
    Case("global_max_pool", _IMAGES, draw={"x": lambda rng, shape, case: rng.integers(0, 3, shape)}, id="ties"),
    Case("gem_pool", _IMAGES, draw={"p": lambda rng, shape, case: 3.0 + rng.random(shape)}),
    Case("attention_pool", sizes(T=5, D=4, L=3), (2,)),
    Case("attention_pool", sizes(T=5, D=4, L=3), (), id="one"),

    Case("sinkhorn_update", sizes(N=4, M=5)),
    Case("sinkhorn_update", sizes(N=4, M=5), hypers={"eps": 1e-3}, id="sharp"),
    Case("sinkhorn", sizes(N=4, M=5), draw={"a": distribution, "b": distribution}),
    Case("sinkhorn", sizes(N=5, M=3), draw={"a": distribution, "b": distribution}, hypers={"eps": 0.05}, id="sharp"),

    Case("weight_standardization", sizes(O=3), (4,)),
    Case("weight_standardization", sizes(O=4), (2, 3, 5), id="kernel"),
    Case("weight_standardization", sizes(O=3), (4,), draw={"w": around(100.0)}, id="large-mean"),

    Case("feed_forward", sizes(D=3, F=4), (5,)),
    Case("feed_forward", sizes(D=3, F=4), (2, 5), id="rank-3"),
    Case("gelu_network", sizes(I=3, H=4, O=2), (5,)),
    Case("gelu_network", sizes(I=3, H=4, O=2), (), id="vector"),
    Case("swiglu_network", sizes(D=3, F=4), (5,)),
    Case("swiglu_network", sizes(D=3, F=4), (2, 5), id="rank-3"),
    Case("transformer_encoder_block", _BLOCK, (7,), draw=_HALF, vanishing=("bk",)),
    Case("transformer_encoder_block", _BLOCK, (), draw=_HALF, vanishing=("bk",), id="one"),
    Case("transformer_decoder_block", _BLOCK | {"S": 7}, (8,), draw=_HALF, vanishing=("bk", "ck")),
    Case("transformer_decoder_block", _BLOCK | {"S": 7}, (), draw=_HALF, vanishing=("bk", "ck"), id="one"),
    Case("gpt_block", _BLOCK, (7,), draw=_HALF, vanishing=("bk",)),
    Case("gpt_block", _BLOCK, (), draw=_HALF, vanishing=("bk",), id="one"),
    Case("vit_block", _BLOCK, (7,), draw=_HALF, vanishing=("bk",)),
    Case("vit_block", _BLOCK, (), draw=_HALF, vanishing=("bk",), id="one"),
    Case("mixer_block", sizes(N=2, T=4, C=5, S=6, M=7)),
)  # fmt: skip

# A label that does not occur twice has no positive; a row of one has no variance.
NEEDS_TWO = ("supcon", "weight_standardization")

# An empty mean or maximum.
REFUSED: tuple[Case, ...] = (
    Case("global_avg_pool", sizes(N=2, C=3, H=0, W=5), id="no-pixels"),
    Case("global_max_pool", sizes(N=2, C=3, H=0, W=5), id="no-pixels"),
    Case("squeeze_excite", sizes(N=2, C=4, H=0, W=6, R=3), id="no-pixels"),
    Case("clip_loss", sizes(N=0, D=4)),
    Case("nt_xent", sizes(N=0, D=4)),
    Case("n_pair_loss", sizes(N=0, D=4)),
    Case("contrastive_loss", sizes(N=0, D=4), draw={"t": binary}),
    Case("masked_attention", sizes(T=4, S=0, D=3, E=6), (2,), id="no-keys"),
    Case("alibi_attention", sizes(H=2, T=4, S=0, D=3, E=6), (2,), id="no-keys"),
    Case("weight_standardization", sizes(O=3), (0,), id="no-inputs"),
)  # fmt: skip
