"""Rows of recurrent networks, running sums, state spaces and dynamic programming along a sequence."""

from __future__ import annotations

import numpy as np
from case import Array, Case, Draw, around, distribution, labels, log_distribution, mask, sizes, times, unit

__all__ = ["REFUSED", "ROWS"]

_RNN = sizes(T=6, N=2, I=3, H=4)
_NETWORKS = ("rnn", "gru", "lstm")
_MASKED = ("masked_rnn", "masked_lstm")
_RETURNS = ("discounted_return", "lambda_return", "gae")
_LONG: dict[str, Draw] = {"wh": times(0.3), "wx": times(0.3)}


def few(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """-1, 0 and 1."""
    return rng.integers(-1, 2, shape)


def extended(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Labels from 1 with blanks (0) before, between and after them, the same ones each time."""
    places = np.arange(shape[1])
    chosen = np.random.default_rng(3).integers(1, max(case.sizes["C"], 2), shape)
    return np.where(places % 2 == 0, 0, chosen) % case.sizes["C"]


def skipping(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Where a label may follow the one two places before it."""
    label = extended(rng, shape, case)
    return np.asarray((np.arange(shape[1]) > 1) & (label != 0) & (label != np.roll(label, 2, 1)))


_CTC: dict[str, Draw] = {"logp": log_distribution, "label": extended, "skip": skipping}

ROWS: tuple[Case, ...] = (
    *(Case(name, _RNN) for name in _NETWORKS),
    *(Case(name, sizes(T=1, N=2, I=3, H=4), id="one-step") for name in _NETWORKS),
    *(Case(name, sizes(T=5, N=0, I=3, H=4), id="empty-batch") for name in _NETWORKS),
    *(Case(name, sizes(T=50, N=2, I=3, H=4), draw=_LONG, id="long") for name in _NETWORKS),
    *(Case(name, _RNN, scale=30.0, terms=30.0, id="large") for name in _NETWORKS),
    *(Case(name, _RNN, draw={"mask": mask}) for name in _MASKED),
    *(Case(name, sizes(T=1, N=2, I=3, H=4), draw={"mask": mask}, id="one-step") for name in _MASKED),
    Case("bidirectional_rnn", sizes(T=6, N=3, I=4, H=5)),
    Case("bidirectional_rnn", sizes(T=1, N=3, I=4, H=5), id="one-step"),
    Case("indrnn", _RNN),
    Case("indrnn", sizes(T=1, N=2, I=3, H=4), id="one-step"),
    Case("qrnn", _RNN | {"R": 5}),
    Case("qrnn", sizes(T=2, N=3, I=4, H=5, R=6), id="short"),

    Case("cumulative_sum", sizes(T=5), (4,)),
    Case("cumulative_sum", sizes(T=5), (), id="vector"),
    Case("cumulative_sum", sizes(T=5), (2, 3), id="rank-3"),
    Case("cumulative_sum", sizes(T=0), (4,), id="empty"),
    Case("cumulative_sum", sizes(T=5), (0,), id="empty-batch"),
    Case("cumulative_product", sizes(T=5), (4,)),
    Case("cumulative_product", sizes(T=5), (), id="vector"),
    Case("cumulative_product", sizes(T=5), (2, 3), id="rank-3"),
    Case("cumulative_product", sizes(T=5), (0,), id="empty-batch"),
    Case("cumulative_product", sizes(T=5), (3,), draw={"x": few}, id="zeros"),
    Case("ema", sizes(T=5, N=3)),
    Case("ema", sizes(T=1, N=3), hypers={"alpha": 0.5}, id="one-step"),
    Case("linear_recurrence", sizes(T=5, N=3)),
    Case("linear_recurrence", sizes(T=0, N=3), id="no-steps"),
    Case("s4d", sizes(T=6, D=3, K=4)),
    Case("s4d", sizes(T=1, D=3, K=4), id="one-step"),
    Case("selective_scan", sizes(T=6, D=3, K=4)),
    Case("selective_scan", sizes(T=1, D=3, K=4), id="one-step"),
    Case("linear_attention_scan", sizes(T=6, D=3, E=4)),
    Case("linear_attention_scan", sizes(T=1, D=3, E=4), vanishing=("q", "k"), id="one-step"),
    Case("delta_rule", sizes(T=6, D=3, E=4), draw={"beta": unit}),
    Case("delta_rule", sizes(T=1, D=3, E=4), draw={"beta": unit}, id="one-step"),

    Case("crf_loss", sizes(T=6, N=3, K=4), draw={"tags": labels("K")}),
    Case("crf_loss", sizes(T=1, N=3, K=4), draw={"tags": labels("K")}, vanishing=("trans",), id="one-step"),
    Case("crf_loss", sizes(T=6, N=3, K=4), draw={"tags": labels("K")}, scale=100.0, terms=1.0, id="large"),
    Case("hmm_loss", sizes(T=6, N=3, K=4)),
    Case("hmm_loss", sizes(T=6, N=3, K=4), scale=100.0, id="large"),
    Case("hmm_loss", sizes(T=16, N=3, K=4), draw={"logp": around(-50.0)}, id="unlikely"),
    Case("ctc_loss", sizes(T=8, N=3, C=4, S=7), draw=_CTC),
    Case("ctc_loss", sizes(T=2, N=3, C=4, S=3), draw=_CTC, id="short"),
    Case("ctc_loss", sizes(T=5, N=3, C=4, S=1), draw=_CTC, id="no-labels"),
    Case("ctc_loss", sizes(T=60, N=3, C=5, S=9), draw=_CTC | {"logp": around(-30.0)}, id="unlikely"),
    Case("kalman_filter", sizes(T=6, N=3)),
    Case("kalman_filter", sizes(T=1, N=3), id="one-step"),
    *(Case(name, sizes(T=6, N=3)) for name in _RETURNS),
    *(Case(name, sizes(T=1, N=3), id="one-step") for name in _RETURNS),
    *(Case(name, sizes(T=6, N=3), hypers={"gamma": 0.7, "lam": 0.4}, id="hypers") for name in _RETURNS[1:]),
)  # fmt: skip

REFUSED: tuple[Case, ...] = (
    Case("crf_loss", sizes(T=5, N=0, K=4), draw={"tags": labels("K")}),
    Case("hmm_loss", sizes(T=5, N=0, K=4)),
    Case("ctc_loss", sizes(T=5, N=0, C=4, S=3), draw=_CTC),
    Case("kalman_filter", sizes(T=5, N=0), draw={"p0": distribution}),
)
