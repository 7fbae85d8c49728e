"""What PyTorch computes for recurrent networks, running sums, state spaces and dynamic programming.

``torch.nn``'s own networks where there are some; the others step through time
in plain tensor operations, each in a way of its own where there is another
(products of all factors between two steps, sums over all paths).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["REFERENCES"]


def _gates(w: Tensor) -> Tensor:
    """From [I, gates, H] to PyTorch's [gates·H, I]."""
    return w.flatten(1).T


def rnn(x: Tensor, h0: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> Tensor:
    if not x.shape[1]:
        return x[..., :1] + h0
    y, _ = torch.rnn_tanh(x, h0[None], (wx.T, wh.T, bx, bh), True, 1, 0.0, False, False, False)
    return y


def gru(x: Tensor, h0: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> Tensor:
    if not x.shape[1]:
        return x[..., :1] + h0
    weights = (_gates(wx), _gates(wh), bx.flatten(), bh.flatten())
    y, _ = torch.gru(x, h0[None], weights, True, 1, 0.0, False, False, False)
    return y


def lstm(
    x: Tensor, h0: Tensor, c0: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    weights = (_gates(wx), _gates(wh), bx.flatten(), bh.flatten())
    h, c = h0, c0
    states = []
    for t in range(len(x)):
        new = torch.lstm_cell(x[t], (h, c), *weights) if x.shape[1] else (h, c)
        keep = mask[t, :, None] if mask is not None else torch.tensor(True)
        h, c = torch.where(keep, new[0], h), torch.where(keep, new[1], c)
        states.append((h, c))
    hs, cs = (torch.stack(s) for s in zip(*states, strict=True))
    if mask is None and x.shape[1]:
        y, _, last = torch.lstm(x, (h0[None], c0[None]), weights, True, 1, 0.0, False, False, False)
        assert torch.allclose(y, hs) and torch.allclose(last[0], cs[-1])
    return hs, cs


def masked_rnn(x: Tensor, mask: Tensor, h0: Tensor, *weights: Tensor) -> Tensor:
    wx, wh, bx, bh = weights
    h, states = h0, []
    for t in range(len(x)):
        h = torch.where(mask[t, :, None], torch.rnn_tanh_cell(x[t], h, wx.T, wh.T, bx, bh), h)
        states.append(h)
    return torch.stack(states)


def masked_lstm(x: Tensor, mask: Tensor, h0: Tensor, c0: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    return lstm(x, h0, c0, *weights, mask=mask)


def bidirectional_rnn(x: Tensor, h0: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> Tensor:
    weights = [w for d in (0, 1) for w in (wx[d].T, wh[d].T, bx[d], bh[d])]
    y, _ = torch.rnn_tanh(x, h0, weights, True, 1, 0.0, False, True, False)
    return y.unflatten(2, (2, -1))


def indrnn(x: Tensor, h0: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    h, states = h0, []
    for a in x @ w + b:
        h = F.relu(a + u * h)
        states.append(h)
    return torch.stack(states)


def qrnn(x: Tensor, h0: Tensor, wz: Tensor, wf: Tensor, wo: Tensor) -> Tensor:
    def convolved(w: Tensor) -> Tensor:
        late = F.pad(x.permute(1, 2, 0), (len(w) - 1, 0))
        return F.conv1d(late, w.flip(0).permute(2, 1, 0)).permute(2, 0, 1)

    z, f, o = torch.tanh(convolved(wz)), torch.sigmoid(convolved(wf)), torch.sigmoid(convolved(wo))
    return o * linear_recurrence((1 - f) * z, f, h0)


def cumulative_product(x: Tensor) -> Tensor:
    y = torch.stack([x[..., : t + 1].prod(-1) for t in range(x.shape[-1])], -1)
    assert torch.allclose(y, x.cumprod(-1))
    return y


def linear_recurrence(x: Tensor, a: Tensor, h0: Tensor) -> Tensor:
    """h[t] = Σ_{s <= t} x[s]·Π_{s < r <= t} a[r], with h0 in the place of x[-1]."""
    inputs = (h0, *x)
    h = []
    for t in range(len(x)):
        terms = [v * a[s : t + 1].prod(0) for s, v in enumerate(inputs[: t + 2])]
        h.append(torch.stack(terms).sum(0))
    return torch.stack(h) if h else x


def ema(x: Tensor, *, alpha: float) -> Tensor:
    return linear_recurrence(alpha * x, torch.full_like(x, 1 - alpha), x[0])


def s4d(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor) -> Tensor:
    # as a convolution with the kernel Σ_k c·decay^r·b
    decay = torch.exp(-delta[:, None] * a)
    r = torch.arange(len(u))[:, None, None]
    kernel = (c * decay**r * (1 - decay) / a * b).sum(-1)
    y = [(kernel[: t + 1].flip(0) * u[: t + 1]).sum(0) for t in range(len(u))]
    return torch.stack(y) + skip * u


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor) -> Tensor:
    s, y = torch.zeros_like(a), []
    for t in range(len(u)):
        s = torch.exp(delta[t, :, None] * a) * s + (delta[t] * u[t])[:, None] * b[t]
        y.append(s @ c[t])
    return torch.stack(y) + skip * u


def linear_attention_scan(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    a = torch.tril((F.elu(q) + 1) @ (F.elu(k) + 1).T)
    return a @ v / a.sum(-1, keepdim=True)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    # s[t] = (1 - β·k·kᵀ)·s[t-1] + β·k·vᵀ
    s, y = q.new_zeros(q.shape[1], v.shape[1]), []
    for t in range(len(q)):
        s = (torch.eye(len(s), dtype=s.dtype) - beta[t] * torch.outer(k[t], k[t])) @ s + beta[t] * torch.outer(
            k[t], v[t]
        )
        y.append(q[t] @ s)
    return torch.stack(y)


def crf_loss(emit: Tensor, tags: Tensor, trans: Tensor, start: Tensor) -> Tensor:
    steps, batch, states = emit.shape
    alpha = start + emit[0]
    for t in range(1, steps):
        alpha = emit[t] + torch.logsumexp(alpha[:, :, None] + trans, 1)
    total = torch.logsumexp(alpha, 1)

    def score(path: Tensor) -> Tensor:
        own = emit[torch.arange(steps)[:, None], torch.arange(batch), path].sum(0)
        return start[path[0]] + own + trans[path[:-1], path[1:]].sum(0)

    if states**steps < 5000:  # all paths
        paths = [
            score(torch.tensor(p)[:, None].expand(-1, batch)) for p in itertools.product(range(states), repeat=steps)
        ]
        assert torch.allclose(total, torch.logsumexp(torch.stack(paths), 0))
    return (total - score(tags)).mean()


def hmm_loss(logp: Tensor, trans: Tensor, start: Tensor) -> Tensor:
    alpha = F.log_softmax(start, 0) + logp[0]
    for row in logp[1:]:
        alpha = row + torch.logsumexp(alpha[:, :, None] + F.log_softmax(trans, 1), 1)
    return -torch.logsumexp(alpha, 1).mean()


def ctc_loss(logp: Tensor, label: Tensor, skip: Tensor) -> Tensor:
    targets = label[:, 1::2]
    lengths = torch.full(label.shape[:1], targets.shape[1])
    steps = torch.full(label.shape[:1], len(logp))
    # F.ctc_loss gives the gradient of logits that a log_softmax made the log-probabilities of
    loss = _paths(logp, label, skip).mean()
    assert torch.allclose(loss, F.ctc_loss(logp, targets, steps, lengths, reduction="sum") / len(label))
    return loss


def _paths(logp: Tensor, label: Tensor, skip: Tensor) -> Tensor:
    """Negative log-likelihoods by the forward algorithm, in a product of matrices of moves."""
    batch, places = label.shape
    s = torch.arange(places)
    distance = s - s[:, None]
    moves = (distance == 0) | (distance == 1) | ((distance == 2) & skip[:, None, :])
    logs = torch.zeros(batch, places, places, dtype=logp.dtype).masked_fill(~moves, -1e30)
    alpha = torch.full((batch, places), -1e30, dtype=logp.dtype)
    alpha[:, 0] = 0
    for row in logp:
        alpha = row.gather(1, label) + torch.logsumexp(alpha[:, :, None] + logs, 1)
    return -torch.logsumexp(alpha[:, -2:], 1)


def kalman_filter(x: Tensor, q: Tensor, r: Tensor, m0: Tensor, p0: Tensor) -> tuple[Tensor, Tensor]:
    m, p, loss, means = m0, p0, torch.zeros_like(m0), []
    for row in x:
        law = torch.distributions.Normal(m, torch.sqrt(p + q + r))
        loss = loss - law.log_prob(row)
        precision = 1 / (p + q) + 1 / r
        m, p = (m / (p + q) + row / r) / precision, 1 / precision
        means.append(m)
    return torch.stack(means), loss.mean()


def discounted_return(r: Tensor, last: Tensor, *, gamma: float) -> Tensor:
    steps = len(r)
    rows = [sum((gamma**k * r[t + k] for k in range(steps - t)), gamma ** (steps - t) * last) for t in range(steps)]
    return torch.stack(rows)


def gae(r: Tensor, v: Tensor, last: Tensor, *, gamma: float, lam: float) -> Tensor:
    delta = r + gamma * torch.cat((v[1:], last[None])) - v
    t = torch.arange(len(r), dtype=r.dtype)
    return torch.triu((gamma * lam) ** (t - t[:, None]).clamp(min=0)) @ delta


def lambda_return(r: Tensor, v: Tensor, last: Tensor, *, gamma: float, lam: float) -> Tensor:
    return gae(r, v, last, gamma=gamma, lam=lam) + v


REFERENCES: dict[str, Callable[..., Any]] = {
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "masked_rnn": masked_rnn,
    "masked_lstm": masked_lstm,
    "bidirectional_rnn": bidirectional_rnn,
    "indrnn": indrnn,
    "qrnn": qrnn,
    "cumulative_sum": lambda x: x.cumsum(-1),
    "cumulative_product": cumulative_product,
    "ema": ema,
    "linear_recurrence": linear_recurrence,
    "s4d": s4d,
    "selective_scan": selective_scan,
    "linear_attention_scan": linear_attention_scan,
    "delta_rule": delta_rule,
    "crf_loss": crf_loss,
    "hmm_loss": hmm_loss,
    "ctc_loss": ctc_loss,
    "kalman_filter": kalman_filter,
    "discounted_return": discounted_return,
    "lambda_return": lambda_return,
    "gae": gae,
}
