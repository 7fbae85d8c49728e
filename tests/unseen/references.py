"""What PyTorch computes for the layers of this folder, by the name of the layer.

A reference takes the layer's tensors in order and its hyper-parameters by
name, and returns what the layer returns. They are written stably by hand
(``log_softmax``, ``logsigmoid``, ...), so that they may be compared at inputs
where the formula of the paper overflows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, einsum, logsumexp, softmax, where
from unseen import references_wide

INF = torch.inf


def positions(t: int, s: int) -> tuple[Tensor, Tensor]:
    return torch.arange(t)[:, None], torch.arange(s)[None, :]


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / math.sqrt(q.shape[-1])


def off_diagonal(n: int) -> Tensor:
    return ~torch.eye(n, dtype=torch.bool)


def softplus(x: Tensor) -> Tensor:
    # F.softplus is the identity above its threshold, or overflows below it.
    return torch.logaddexp(x, torch.zeros_like(x))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return ((x[:, None] - y[None]) ** 2).sum(-1)


# --- attention ---


def softmax_one(z: Tensor) -> Tensor:
    return softmax(F.pad(z, (0, 1)), -1)[..., :-1]


def quiet_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return softmax_one(scores(q, k)) @ v


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor) -> Tensor:
    t, s = positions(q.shape[-2], k.shape[-2])
    a = scores(q, k).masked_fill(s > t, -INF)
    extra = sink[:, None, None].expand(*a.shape[:-1], 1)
    return softmax(torch.cat((a, extra), -1), -1)[..., :-1] @ v


def sigmoid_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.sigmoid(scores(q, k) - math.log(k.shape[-2])) @ v


def softcap_attention(q: Tensor, k: Tensor, v: Tensor, *, cap: float, window: int) -> Tensor:
    t, s = positions(q.shape[-2], k.shape[-2])
    a = cap * torch.tanh(scores(q, k) / cap)
    return softmax(a.masked_fill((s > t) | (t - s >= window), -INF), -1) @ v


def cosine_attention(q: Tensor, k: Tensor, v: Tensor, logit_scale: Tensor, bias: Tensor, *, largest: float) -> Tensor:
    tau = torch.clamp(logit_scale, max=math.log(largest)).exp()[:, None, None]
    return softmax(tau * (F.normalize(q, dim=-1, eps=0) @ F.normalize(k, dim=-1, eps=0).mT) + bias, -1) @ v


def qk_norm_attention(q: Tensor, k: Tensor, v: Tensor, gq: Tensor, gk: Tensor) -> Tensor:
    qn, kn = F.rms_norm(q, q.shape[-1:], gq, 1e-6), F.rms_norm(k, k.shape[-1:], gk, 1e-6)
    return F.scaled_dot_product_attention(qn, kn, v)


def talking_heads_attention(q: Tensor, k: Tensor, v: Tensor, pl: Tensor, pw: Tensor) -> Tensor:
    weights = softmax(einsum("nthd,nshd,hj->njts", q, k, pl), -1)
    return einsum("njts,jg,nsge->ntge", weights, pw, v)


def differential_attention(
    q: Tensor, k: Tensor, v: Tensor, lq: Tensor, lk: Tensor, g: Tensor, *, init: float
) -> Tensor:
    a = softmax(scores(q, k), -1)
    lam = torch.exp(lq[0] @ lk[0]) - torch.exp(lq[1] @ lk[1]) + init
    o = (a[..., 0, :, :] - lam * a[..., 1, :, :]) @ v
    return (1 - init) * F.rms_norm(o, o.shape[-1:], g, 1e-5)


def masked_grouped_query_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    a = scores(q, k[..., None, :, :]).masked_fill(~mask[..., None, None, :, :], -INF)
    return softmax(a, -1) @ v[..., None, :, :]


def gated_attention_unit(u: Tensor, v: Tensor, z: Tensor, gamma: Tensor, beta: Tensor, b: Tensor, wo: Tensor) -> Tensor:
    q, k = z * gamma[0] + beta[0], z * gamma[1] + beta[1]
    return (u * (F.relu(q @ k.mT / q.shape[-2] + b) ** 2 @ v)) @ wo


def retention(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Tensor:
    n, m = positions(q.shape[-2], q.shape[-2])
    decay = gamma[:, None, None] ** (n - m).clamp(min=0) * (n >= m)
    return (q @ k.mT * decay) @ v


def attention_free(q: Tensor, k: Tensor, v: Tensor, w: Tensor) -> Tensor:
    p = softmax(k[:, None] + w[None, :, :, None], 2)
    return torch.sigmoid(q) * (p * v[:, None]).sum(2)


def slot_attention(inputs: Tensor, slots: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, *, eps: float) -> Tensor:
    attn = softmax(scores(inputs @ wk, slots @ wq), -1) + eps
    return (attn / attn.sum(1, keepdim=True)).mT @ (inputs @ wv)


def hopfield_energy(state: Tensor, pattern: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    s = beta * state @ pattern.T
    offset = math.log(len(pattern)) / beta + torch.linalg.vector_norm(pattern, dim=1).max() ** 2 / 2
    return -logsumexp(s, 1) / beta + (state**2).sum(1) / 2 + offset, softmax(s, 1) @ pattern


# --- normalization ---


def dyt(x: Tensor, alpha: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return gamma * torch.tanh(alpha * x) + beta


def scalenorm(x: Tensor, g: Tensor) -> Tensor:
    return g * F.normalize(x, dim=-1, eps=0)


def global_response_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    gx = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    return gamma * (x * (gx / (gx.mean(-1, keepdim=True) + eps))) + beta + x


def modulated_linear(x: Tensor, style: Tensor, w: Tensor, *, eps: float) -> Tensor:
    return (x * style) @ w * torch.rsqrt(style**2 @ w**2 + eps)


def weight_standardized_linear(x: Tensor, w: Tensor, gain: Tensor, b: Tensor, *, eps: float) -> Tensor:
    var, mean = torch.var_mean(w, 0, correction=0)
    return x @ ((w - mean) * torch.rsqrt(torch.clamp(len(w) * var, min=eps)) * gain) + b


def evonorm_s0(x: Tensor, v: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    s = torch.sqrt(x.var((2, 3), correction=0, keepdim=True) + eps)
    return x * torch.sigmoid(v[..., None] * x) / s * gamma[..., None] + beta[..., None]


def dora_linear(x: Tensor, w0: Tensor, a: Tensor, b: Tensor, m: Tensor) -> Tensor:
    return x @ (m * F.normalize(w0 + a @ b, dim=0, eps=0))


def gated_group_rmsnorm(x: Tensor, z: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    return weight * F.rms_norm(x * F.silu(z), x.shape[-1:], None, eps)


def ngpt_update(h: Tensor, a: Tensor, alpha: Tensor) -> Tensor:
    return F.normalize(h + alpha.abs() * (F.normalize(a, dim=-1, eps=0) - h), dim=-1, eps=0)


def adaln_zero(
    x: Tensor, c: Tensor, w: Tensor, b: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, *, eps: float
) -> Tensor:
    shift, scale, gate = (einsum("nk,kid->nid", F.silu(c), w) + b)[:, :, None].unbind(1)
    h = F.layer_norm(x, x.shape[-1:], None, None, eps) * (1 + scale) + shift
    return x + gate * (F.gelu(h @ w1 + b1, approximate="tanh") @ w2 + b2)


# --- units ---


def snake(x: Tensor, a: Tensor) -> Tensor:
    return x + torch.sin(a[:, None] * x) ** 2 / a[:, None]


def rational(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    p, q = torch.zeros_like(x), torch.zeros_like(x)
    for coefficient in a.flip(0):
        p = p * x + coefficient
    for coefficient in b.flip(0):
        q = (q + coefficient) * x
    return p / (1 + q.abs())


def maxout(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return (einsum("...i,kio->...ko", x, w) + b).amax(-2)


def xatglu(x: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
    return v * ((torch.atan(x) / math.pi + 0.5) * (1 + 2 * alpha) - alpha) * x


def xielu(x: Tensor, ap: Tensor, an: Tensor, *, beta: float) -> Tensor:
    below = x.clamp(max=0)
    pos, neg = softplus(ap), beta + softplus(an)
    return where(x > 0, pos * x**2, neg * (torch.expm1(below) - below)) + beta * x


def fast_kan(x: Tensor, w: Tensor, base: Tensor, *, lo: float, hi: float) -> Tensor:
    grid = torch.linspace(lo, hi, w.shape[1], dtype=torch.float64)
    phi = torch.exp(-(((x[..., None] - grid) / (grid[1] - grid[0])) ** 2))
    return einsum("...ig,igo->...o", phi, w) + F.silu(x) @ base


def siren(x: Tensor, w: Tensor, b: Tensor, *, omega: float) -> Tensor:
    return torch.sin(omega * (x @ w + b))


def fourier_features(x: Tensor, freq: Tensor) -> tuple[Tensor, Tensor]:
    proj = 2 * math.pi * x @ freq
    return torch.cos(proj), torch.sin(proj)


def llama_ffn(x: Tensor, g: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    h = F.rms_norm(x, x.shape[-1:], g, 1e-6)
    return x + (F.silu(h @ w1) * (h @ w3)) @ w2


def primer_ffn(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    return F.relu(x @ w1) ** 2 @ w2


def rwkv_channel_mix(x: Tensor, last: Tensor, mu: Tensor, wr: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
    r, k = torch.lerp(last, x, mu[0]) @ wr, torch.lerp(last, x, mu[1]) @ wk
    return torch.sigmoid(r) * (F.relu(k) ** 2 @ wv)


def lora_linear(x: Tensor, w0: Tensor, a: Tensor, b: Tensor, bias: Tensor, *, alpha: float) -> Tensor:
    return x @ (w0 + alpha / a.shape[1] * a @ b) + bias


def soft_moe(x: Tensor, phi: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    logits = einsum("ntd,dep->ntep", x, phi)
    slots = einsum("ntep,ntd->nepd", softmax(logits, 1), x)
    outs = einsum("nepm,emd->nepd", F.gelu(einsum("nepd,edm->nepm", slots, w1)), w2)
    return einsum("ntep,nepd->ntd", softmax(logits.flatten(2), 2).reshape(logits.shape), outs)


def switch_layer(x: Tensor, wg: Tensor, w: Tensor, *, alpha: float) -> tuple[Tensor, Tensor]:
    p = softmax(x @ wg, -1)
    top, i = p.max(-1)
    share = F.one_hot(i, p.shape[1]).to(p.dtype).mean(0)
    return top[:, None] * einsum("nd,ndo->no", x, w[i]), alpha * p.shape[1] * (share * p.mean(0)).sum()


def cbam_channel(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    a, b = (F.relu(pooled @ w1) @ w2 for pooled in (x.mean((2, 3)), x.amax((2, 3))))
    return torch.sigmoid(a + b)[..., None, None] * x


def cross_network(x0: Tensor, xl: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return x0 * (xl @ w.T + b) + xl


def factorization_machine(ids: Tensor, x: Tensor, w0: Tensor, w: Tensor, emb: Tensor) -> Tensor:
    v = emb[ids] * x[..., None]
    return w0 + (w[ids] * x).sum(1) + 0.5 * (v.sum(1) ** 2 - (v**2).sum(1)).sum(1)


def triangle_update(
    z: Tensor, wa: Tensor, wb: Tensor, ga: Tensor, gb: Tensor, gamma: Tensor, beta: Tensor, wo: Tensor, go: Tensor
) -> Tensor:
    a, b = torch.sigmoid(z @ ga) * (z @ wa), torch.sigmoid(z @ gb) * (z @ wb)
    m = einsum("ilk,jlk->ijk", a, b)
    return torch.sigmoid(z @ go) * (F.layer_norm(m, m.shape[-1:], gamma, beta) @ wo)


# --- graphs ---


def convolve_and_rectify(x: Tensor, adj: Tensor, w: Tensor) -> Tensor:
    a = (adj | torch.eye(len(x), dtype=torch.bool)).to(x.dtype)
    d = a.sum(1).rsqrt()
    return F.relu(d[:, None] * a * d @ x @ w)


def egnn(
    h: Tensor, x: Tensor, we: Tensor, wd: Tensor, be: Tensor, wx: Tensor, wh: Tensor, wm: Tensor
) -> tuple[Tensor, Tensor]:
    away = x[:, None] - x[None]
    m = F.silu((h @ we)[:, None] + (h @ we)[None] + (away**2).sum(-1)[..., None] * wd + be)
    m = m * off_diagonal(len(x))[..., None]
    return h + h @ wh + m.sum(1) @ wm, x + (away * (m @ wx)[..., None]).sum(1) / (len(x) - 1)


def transe(
    head: Tensor, rel: Tensor, tail: Tensor, corrupt: Tensor, ent: Tensor, trans: Tensor, *, margin: float
) -> Tensor:
    pos, neg = ((ent[head] + trans[rel] - ent[end]).norm(dim=-1) for end in (tail, corrupt))
    return F.relu(margin + pos - neg).sum()


def poincare_distance(u: Tensor, v: Tensor) -> Tensor:
    return torch.acosh(1 + 2 * ((u - v) ** 2).sum(-1) / ((1 - (u**2).sum(-1)) * (1 - (v**2).sum(-1))))


# --- contrastive ---


def siglip(x: Tensor, y: Tensor, tprime: Tensor, b: Tensor) -> Tensor:
    logits = tprime.exp() * F.normalize(x, dim=-1, eps=0) @ F.normalize(y, dim=-1, eps=0).T + b
    z = 2 * torch.eye(len(x), dtype=x.dtype) - 1
    return -F.logsigmoid(z * logits).sum() / len(x)


def hard_negative_nce(q: Tensor, k: Tensor, *, tau: float, beta: float, tauplus: float) -> Tensor:
    s, n = F.normalize(q, dim=1, eps=0) @ F.normalize(k, dim=1, eps=0).T / tau, len(q)
    pos = s.diag()
    # Everything divided by exp(pos), so that nothing overflows.
    hard = softmax((beta * s).masked_fill(~off_diagonal(n), -INF), 1)
    reweighted = (hard * torch.exp(s - pos[:, None])).sum(1) * (n - 1)
    neg = torch.maximum((reweighted - (n - 1) * tauplus) / (1 - tauplus), (n - 1) * torch.exp(-1 / tau - pos))
    return torch.log1p(neg).mean()


def vicreg(x: Tensor, y: Tensor, *, lam: float, mu: float, nu: float, eps: float) -> Tensor:
    def spread(z: Tensor) -> Tensor:
        cov = torch.cov(z.T)
        v = F.relu(1 - torch.sqrt(cov.diag() + eps)).mean()
        return mu * v + nu * (cov * off_diagonal(len(cov))).square().sum() / len(cov)

    return lam * ((x - y) ** 2).sum(1).mean() + spread(x) + spread(y)


def barlow_twins(za: Tensor, zb: Tensor, *, lam: float) -> Tensor:
    a, b = ((z - z.mean(0)) / z.std(0, correction=0) for z in (za, zb))
    c = a.T @ b / len(a)
    return (1 - c.diag()).square().sum() + lam * (c * off_diagonal(len(c))).square().sum()


def alignment_uniformity(x: Tensor, y: Tensor, *, alpha: float, t: float) -> tuple[Tensor, Tensor]:
    align = (x - y).norm(dim=1).pow(alpha).mean()
    pairs = torch.triu_indices(len(x), len(x), 1)
    d2 = ((x[pairs[0]] - x[pairs[1]]) ** 2).sum(1)
    return align, logsumexp(-t * d2, 0) - math.log(len(d2))


def mmd(x: Tensor, y: Tensor, *, sigma: float) -> Tensor:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-squared_distances(a, b) / (2 * sigma**2))

    n, m = len(x), len(y)
    xx = (kernel(x, x) * off_diagonal(n)).sum() / (n * (n - 1))
    yy = (kernel(y, y) * off_diagonal(m)).sum() / (m * (m - 1))
    return xx + yy - 2 * kernel(x, y).mean()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    def mean_distance(a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vector_norm(a[:, None] - b[None], dim=-1).mean()

    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


# --- preference ---


def dpo(pw: Tensor, pl: Tensor, rw: Tensor, rl: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    h = beta * ((pw - rw) - (pl - rl))
    return -F.logsigmoid(h).mean(), (h > 0).to(h.dtype).mean()


def simpo(
    zw: Tensor, zl: Tensor, yw: Tensor, yl: Tensor, mw: Tensor, ml: Tensor, *, beta: float, gamma: float
) -> Tensor:
    def logp(z: Tensor, y: Tensor, m: Tensor) -> Tensor:
        return (F.log_softmax(z, -1).gather(2, y[..., None])[..., 0] * m).sum(1) / m.sum(1)

    return -F.logsigmoid(beta * (logp(zw, yw, mw) - logp(zl, yl, ml)) - gamma).mean()


def orpo(lw: Tensor, ll: Tensor, *, lam: float) -> Tensor:
    ratio = lw - torch.log(-torch.expm1(lw)) - (ll - torch.log(-torch.expm1(ll)))
    return (-lw - lam * F.logsigmoid(ratio)).mean()


def kto(p: Tensor, r: Tensor, desirable: Tensor, kl: Tensor, *, beta: float, wd: float, wu: float) -> Tensor:
    h = beta * (p - r - kl.clamp(min=0).detach())
    return where(desirable, wd * (1 - torch.sigmoid(h)), wu * (1 - torch.sigmoid(-h))).mean()


def ppo(
    logits: Tensor, action: Tensor, old: Tensor, adv: Tensor, value: Tensor, ret: Tensor,
    *, clip_eps: float, vf: float, ent: float,
) -> Tensor:  # fmt: skip
    logp = F.log_softmax(logits, -1)
    ratio = torch.exp(logp.gather(1, action[:, None])[:, 0] - old)
    ahat = (adv - adv.mean()) / (adv.std(correction=0) + 1e-8)
    surrogate = torch.minimum(ratio * ahat, ratio.clamp(1 - clip_eps, 1 + clip_eps) * ahat)
    entropy = -(logp.exp() * logp).sum(1)
    return -surrogate.mean() + vf * F.mse_loss(value, ret) - ent * entropy.mean()


def grpo(logp: Tensor, old: Tensor, ref: Tensor, reward: Tensor, mask: Tensor, *, eps: float, beta: float) -> Tensor:
    adv = ((reward - reward.mean()) / reward.std(correction=0))[:, None]
    r = torch.exp(logp - old)
    gain = torch.minimum(r * adv, r.clamp(1 - eps, 1 + eps) * adv)
    kl = torch.expm1(ref - logp) - (ref - logp)
    return -(((gain - beta * kl) * mask).sum(1) / mask.sum(1)).mean()


def sac_actor(mu: Tensor, logstd: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    u = mu + logstd.exp() * noise
    squash = 2 * (math.log(2) - u - softplus(-2 * u))
    return torch.tanh(u), (-(noise**2) / 2 - logstd - math.log(2 * math.pi) / 2 - squash).sum(1)


# --- classification ---


def z_loss_cross_entropy(z: Tensor, t: Tensor, *, weight: float) -> Tensor:
    logz = logsumexp(z, -1)
    return (logz - z.gather(-1, t[..., None])[..., 0] + weight * logz**2).mean()


def poly1_loss(z: Tensor, t: Tensor, *, eps: float) -> Tensor:
    logpt = F.log_softmax(z, 1).gather(1, t[:, None])
    return (-logpt + eps * (1 - logpt.exp())).mean()


def generalized_cross_entropy(z: Tensor, t: Tensor, *, q: float) -> Tensor:
    logpt = F.log_softmax(z, 1).gather(1, t[:, None])
    return (-torch.expm1(q * logpt) / q).mean()


def stablemax_cross_entropy(z: Tensor, t: Tensor) -> Tensor:
    logs = where(z >= 0, torch.log1p(z.clamp(min=0)), -torch.log1p(-z.clamp(max=0)))
    return F.nll_loss(logs - logsumexp(logs, 1, keepdim=True), t)


def arcface(x: Tensor, w: Tensor, t: Tensor, *, s: float, m: float) -> Tensor:
    cosine = F.normalize(x, dim=1, eps=0) @ F.normalize(w, dim=0, eps=0)
    chosen = F.one_hot(t, w.shape[1]).bool()
    return F.cross_entropy(s * where(chosen, torch.cos(torch.acos(cosine) + m), cosine), t)


def cosface(x: Tensor, w: Tensor, t: Tensor, *, s: float, m: float) -> Tensor:
    cosine = F.normalize(x, dim=1, eps=0) @ F.normalize(w, dim=0, eps=0)
    return F.cross_entropy(s * cosine.sub(m * F.one_hot(t, w.shape[1]).to(x.dtype)), t)


def circle_loss(s: Tensor, t: Tensor, *, m: float, scale: float) -> Tensor:
    same = t[:, None] == t[None]
    fixed = s.detach()
    an, ap = F.relu(fixed + m), F.relu(1 + m - fixed)
    neg = logsumexp((scale * an * (s - m)).masked_fill(same, -INF), 1)
    pos = logsumexp((-scale * ap * (s - (1 - m))).masked_fill(~(same & off_diagonal(len(t))), -INF), 1)
    return softplus(neg + pos).mean()


def asymmetric_loss(z: Tensor, t: Tensor, *, gp: float, gn: float, m: float) -> Tensor:
    pm = torch.maximum(torch.sigmoid(z) - m, torch.zeros_like(z))
    positive = torch.sigmoid(-z) ** gp * F.logsigmoid(z)
    return -where(t, positive, pm**gn * torch.log1p(-pm)).sum()


def evidential_loss(z: Tensor, t: Tensor, *, lam: float) -> Tensor:
    alpha = softplus(z) + 1
    chosen = F.one_hot(t, z.shape[1]).bool()
    risk = torch.digamma(alpha.sum(1)) - torch.digamma(alpha[chosen])
    rest = where(chosen, torch.ones_like(alpha), alpha)
    uniform = torch.distributions.Dirichlet(torch.ones_like(alpha))
    return (risk + lam * torch.distributions.kl_divergence(torch.distributions.Dirichlet(rest), uniform)).mean()


def cox_partial_likelihood(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    at_risk = time[None] >= time[:, None]
    total = logsumexp(risk[None].expand(len(risk), -1).masked_fill(~at_risk, -INF), 1)
    return -((risk - total) * event).sum() / event.sum() + 0 * time.sum()


def approx_ndcg(s: Tensor, rel: Tensor, *, temperature: float) -> Tensor:
    pairs = torch.sigmoid((s[:, None, :] - s[:, :, None]) / temperature)
    rank = 1 + (pairs * off_diagonal(s.shape[1])).sum(2)
    return -((2.0**rel - 1) / torch.log2(1 + rank)).sum(1).mean()


def listnet(s: Tensor, rel: Tensor) -> Tensor:
    return F.cross_entropy(s, softmax(rel, 1))


def jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    logp, logq = F.log_softmax(a, 1), F.log_softmax(b, 1)
    logm = torch.logaddexp(logp, logq) - math.log(2)
    return (logp.exp() * (logp - logm) + logq.exp() * (logq - logm)).sum(1).mean() / 2


def tversky_loss(z: Tensor, t: Tensor, *, alpha: float, beta: float, smooth: float) -> Tensor:
    p, chosen = softmax(z, 1), F.one_hot(t, z.shape[1]).mT
    tp, fp, fn = (p * chosen).sum(2), (p * (1 - chosen)).sum(2), ((1 - p) * chosen).sum(2)
    return 1 - ((tp + smooth) / (tp + alpha * fp + beta * fn + smooth)).mean()


# --- regression ---


def giou_loss(a: Tensor, b: Tensor) -> Tensor:
    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(1)

    inter = area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    hull = area(torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:]))
    union = area(a[:, :2], a[:, 2:]) + area(b[:, :2], b[:, 2:]) - inter
    return (1 - inter / union + (hull - union) / hull).mean()


def wing_loss(x: Tensor, t: Tensor, *, w: float, eps: float) -> Tensor:
    err = (x - t).abs()
    return where(err < w, w * torch.log1p(err / eps), err - w + w * math.log1p(w / eps)).mean()


def pinball_loss(x: Tensor, t: Tensor, tau: Tensor) -> Tensor:
    err = t[:, None] - x
    return torch.maximum(tau * err, (tau - 1) * err).sum(1).mean()


def quantile_huber(theta: Tensor, target: Tensor, *, kappa: float) -> Tensor:
    u = target[:, None, :] - theta[:, :, None]
    huber = F.huber_loss(u, torch.zeros_like(u), reduction="none", delta=kappa)
    tau = (torch.arange(theta.shape[1]) + 0.5) / theta.shape[1]
    return ((tau[:, None] - (u < 0).double()).abs() * huber).mean(2).sum(1).mean()


def beta_nll(mu: Tensor, var: Tensor, t: Tensor, *, beta: float) -> Tensor:
    return (var.detach() ** beta * F.gaussian_nll_loss(mu, t, var, reduction="none", eps=0)).mean()


def gaussian_crps(mu: Tensor, sigma: Tensor, t: Tensor) -> Tensor:
    normal = torch.distributions.Normal(0.0, 1.0)
    z = (t - mu) / sigma
    return (sigma * (z * (2 * normal.cdf(z) - 1) + 2 * normal.log_prob(z).exp() - 1 / math.sqrt(math.pi))).mean()


def negative_binomial_nll(mu: Tensor, alpha: Tensor, t: Tensor) -> Tensor:
    r = 1 / alpha
    law = torch.distributions.NegativeBinomial(r, logits=torch.log(alpha * mu), validate_args=False)
    return -law.log_prob(t.double()).mean()


def student_t_nll(x: Tensor, t: Tensor, scale: Tensor, nu: Tensor) -> Tensor:
    return -torch.distributions.StudentT(nu, x, scale).log_prob(t).sum(1).mean()


def nig_evidential(mu: Tensor, v: Tensor, alpha: Tensor, beta: Tensor, t: Tensor, *, lam: float) -> Tensor:
    law = torch.distributions.StudentT(2 * alpha, mu, torch.sqrt(beta * (1 + v) / (v * alpha)))
    return (-law.log_prob(t) + lam * (t - mu).abs() * (2 * v + alpha)).mean()


def tweedie_loss(eta: Tensor, t: Tensor, *, rho: float) -> Tensor:
    return (-t * torch.exp((1 - rho) * eta) / (1 - rho) + torch.exp((2 - rho) * eta) / (2 - rho)).mean()


def mixture_density_nll(logits: Tensor, mu: Tensor, logsigma: Tensor, t: Tensor) -> Tensor:
    z = (t[:, None] - mu) * torch.exp(-logsigma)[..., None]
    logdensity = (-(z**2) / 2 - logsigma[..., None] - math.log(2 * math.pi) / 2).sum(-1)
    return -logsumexp(F.log_softmax(logits, 1) + logdensity, 1).mean()


def laplace_product(x: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return torch.distributions.Laplace(x, b).log_prob(t).sum(1).exp()


def uncertainty_weighting(losses: Tensor, s: Tensor) -> Tensor:
    return (losses * torch.exp(-s) / 2 + s / 2).sum()


def barron_loss(x: Tensor, alpha: Tensor, c: Tensor) -> Tensor:
    b = (alpha - 2).abs()
    return (b / alpha * torch.expm1(alpha / 2 * torch.log1p((x / c) ** 2 / b))).mean()


# --- generative ---


def vae_loss(
    x: Tensor, mu: Tensor, logvar: Tensor, noise: Tensor, w: Tensor, b: Tensor, *, beta: float
) -> tuple[Tensor, Tensor]:
    z = mu + torch.exp(logvar / 2) * noise
    logits = z @ w + b
    rec = (softplus(logits) - x * logits).sum(1)
    kl = (mu**2 + torch.expm1(logvar) - logvar).sum(1) / 2
    return (rec + beta * kl).mean(), z


def gumbel_softmax(logits: Tensor, u: Tensor, *, tau: float) -> Tensor:
    return softmax((logits - torch.log(-torch.log(u))) / tau, -1)


def concrete_gate(
    logalpha: Tensor, u: Tensor, x: Tensor, *, beta: float, gamma: float, zeta: float
) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid((torch.logit(u) + logalpha) / beta)
    gate = (s * (zeta - gamma) + gamma).clamp(0, 1)
    return x * gate, torch.sigmoid(logalpha - beta * math.log(-gamma / zeta)).sum()


def vector_quantize(x: Tensor, codebook: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    q = codebook[torch.cdist(x, codebook).argmin(1)]
    loss = ((x.detach() - q) ** 2 + beta * (x - q.detach()) ** 2).sum(1).mean()
    return x + (q - x).detach(), loss


def finite_scalar_quantize(z: Tensor, *, levels: int) -> Tensor:
    bounded = (levels - 1) / 2 * torch.tanh(z)
    return bounded + (bounded.round() - bounded).detach()


def planar_flow(x: Tensor, u: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    wu = w @ u
    uhat = u + (softplus(wu) - 1 - wu) * w / (w @ w)
    h = torch.tanh(x @ w + b)
    return x + uhat * h[:, None], torch.log((1 + (uhat @ w) * (1 - h**2)).abs())


def affine_coupling(xa: Tensor, xb: Tensor, ws: Tensor, wt: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.tanh(xa @ ws)
    return xb * s.exp() + xa @ wt, s.sum(1)


def edm_loss(x: Tensor, noise: Tensor, sigma: Tensor, w: Tensor, *, data: float) -> Tensor:
    sigma = sigma[:, None]
    total = sigma**2 + data**2
    y = x + sigma * noise
    denoised = data**2 / total * y + sigma * data / total * y @ w
    return (total / (sigma * data) ** 2 * (denoised - x) ** 2).sum(1).mean()


def hinge_gan(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean(), -fake.mean()


def nonsaturating_gan(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean(), -F.logsigmoid(fake).mean()


def perceiver_pool(x: Tensor, seed: Tensor, mask: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
    a = scores(seed, x @ wk).masked_fill(~mask[:, None], -INF)
    return softmax(a, -1) @ (x @ wv)


def evaluate(name: str, tensors: tuple[Tensor, ...], hypers: dict[str, float]) -> tuple[Tensor, ...]:
    """Outputs of the reference of that name."""
    reference = globals().get(name) or getattr(references_wide, name)
    output: Any = reference(*tensors, **hypers)
    return output if isinstance(output, tuple) else (output,)
