"""What PyTorch computes for the layers of windows and recurrences of this folder, by the name of the layer.

Where there is another way to the same result, the reference takes it: the
convolution of the library, the quadratic form of a scan, a Fourier transform,
a recursive function instead of a table.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, einsum, logsumexp, sigmoid, softmax, stack, tanh, where

INF = torch.inf


def softplus(x: Tensor) -> Tensor:
    # F.softplus is the identity above its threshold, or overflows below it.
    return torch.logaddexp(x, torch.zeros_like(x))


def lower(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril()


# --- recurrences ---


def min_lstm(x: Tensor, h0: Tensor, wf: Tensor, bf: Tensor, wi: Tensor, bi: Tensor, wh: Tensor, bh: Tensor) -> Tensor:
    f, i, c = sigmoid(x @ wf + bf), sigmoid(x @ wi + bi), x @ wh + bh
    h, steps = h0, []
    for t in range(x.shape[1]):
        h = (f[:, t] * h + i[:, t] * c[:, t]) / (f[:, t] + i[:, t])
        steps.append(h)
    return stack(steps, 1)


def clockwork_rnn(x: Tensor, h0: Tensor, w: Tensor, u: Tensor, b: Tensor, period: Tensor) -> Tensor:
    u = u * lower(h0.shape[1])[:, None, :, None]
    h, steps = h0, []
    for t in range(len(x)):
        new = tanh(einsum("ni,igk->ngk", x[t], w) + b + einsum("nfl,flgk->ngk", h, u))
        h = where((t % period == 0)[None, :, None], new, h)
        steps.append(h)
    return stack(steps)


def phased_lstm(
    x: Tensor, time: Tensor, h0: Tensor, c0: Tensor, w: Tensor, u: Tensor, b: Tensor, tau: Tensor, shift: Tensor,
    *, ron: float, alpha: float,
) -> Tensor:  # fmt: skip
    h, c, steps = h0, c0, []
    for t in range(len(x)):
        phi = torch.remainder(time[t][:, None] - shift, tau) / tau
        gate = where(phi < ron / 2, 2 * phi / ron, where(phi < ron, 2 - 2 * phi / ron, alpha * phi))
        i, f, z, o = (einsum("ni,igj->ngj", x[t], w) + einsum("nk,kgj->ngj", h, u) + b).unbind(1)
        new = sigmoid(f) * c + sigmoid(i) * tanh(z)
        c, h = gate * new + (1 - gate) * c, gate * sigmoid(o) * tanh(new) + (1 - gate) * h
        steps.append(h)
    return stack(steps)


def slstm(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    h = torch.zeros(x.shape[1], b.shape[1], dtype=x.dtype)
    logs = torch.zeros_like(h)  # of the normaliser; the cell relative to it
    ratio, steps = torch.zeros_like(h), []
    for t in range(len(x)):
        i, f, z, o = (einsum("ni,igj->ngj", x[t], w) + einsum("nk,kgj->ngj", h, u) + b).unbind(1)
        kept = F.logsigmoid(f) + logs
        logs = torch.logaddexp(kept, i)
        ratio = (kept - logs).exp() * ratio + (i - logs).exp() * tanh(z)
        h = sigmoid(o) * ratio
        steps.append(h)
    return stack(steps)


def convlstm(x: Tensor, h0: Tensor, c0: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    before, after = w.shape[-1] // 2, w.shape[-1] - 1 - w.shape[-1] // 2
    h, c, steps = h0, c0, []
    for t in range(len(x)):
        both = F.pad(torch.cat((x[t], h), 1), (before, after, before, after))
        a = F.conv2d(both, torch.cat((w, u), 2).flatten(0, 1), b.flatten())
        i, f, z, o = a.unflatten(1, b.shape).unbind(1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(z)
        h = sigmoid(o) * tanh(c)
        steps.append(h)
    return stack(steps)


def mlstm(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, o: Tensor) -> Tensor:
    """The quadratic form of the paper's appendix; its state starts with m = 0."""
    total = F.logsigmoid(f).cumsum(0)
    weight = (total[:, None] - total + i).masked_fill(~lower(len(q)), -INF)
    m = torch.maximum(weight.max(1).values, total)
    score = q @ k.T / math.sqrt(q.shape[1]) * torch.exp(weight - m[:, None])
    return sigmoid(o) * (score @ v) / torch.maximum(score.sum(1).abs(), torch.exp(-m))[:, None]


def mamba2_ssd(x: Tensor, dt: Tensor, alog: Tensor, b: Tensor, c: Tensor, skip: Tensor, bias: Tensor) -> Tensor:
    """The quadratic form: a masked attention with decays."""
    delta = softplus(dt + bias)
    total = -(delta * alog.exp()).cumsum(1)
    decay = (total[:, :, None] - total[:, None]).masked_fill(~lower(x.shape[1])[..., None], -INF).exp()
    return einsum("btn,bsn,btsh,bsh,bshp->bthp", c, b, decay, delta, x) + skip[:, None] * x


def gated_linear_attention(
    x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wa: Tensor, wb: Tensor, ba: Tensor, wo: Tensor, *, tau: float
) -> Tensor:
    q, k, v = (einsum("ntd,dhk->nthk", x, w) for w in (wq, wk, wv))
    alpha = torch.exp(F.logsigmoid(einsum("ntr,rhk->nthk", x @ wa, wb) + ba) / tau)
    state = torch.zeros(len(x), *k.shape[2:], v.shape[-1], dtype=x.dtype)
    steps = []
    for t in range(x.shape[1]):
        state = alpha[:, t, :, :, None] * state + k[:, t, :, :, None] * v[:, t, :, None]
        steps.append(einsum("nhk,nhke,hed->nd", q[:, t], state, wo))
    return stack(steps, 1)


def rwkv7(r: Tensor, w: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    state, steps = s0, []
    decay = torch.exp(-math.exp(-0.5) * sigmoid(w))
    for t in range(len(r)):
        transition = torch.diag_embed(decay[t]) + a[t][:, :, None] * b[t][:, None]
        state = state @ transition + v[t][:, :, None] * k[t][:, None]
        steps.append((state @ r[t][:, :, None])[..., 0])
    return stack(steps), state


def pcen(e: Tensor, s: Tensor, alpha: Tensor, delta: Tensor, r: Tensor, *, eps: float) -> Tensor:
    m, steps = e[0], []
    for row in e:
        m = m + s * (row - m)
        steps.append((row * (m + eps) ** -alpha + delta) ** r - delta**r)
    return stack(steps)


def garch(x: Tensor, omega: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    s, before, steps = omega, torch.zeros_like(omega), []
    for value in x:
        s = omega + alpha * before**2 + beta * s
        before = value
        steps.append(s.log() + value**2 / s)
    return stack(steps).sum() / 2


def hawkes_nll(t: Tensor, end: Tensor, mu: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    earlier = torch.ones(t.shape[1], t.shape[1], dtype=torch.bool).tril(-1)
    excited = where(earlier, torch.exp(-beta * (t[:, :, None] - t[:, None])), 0.0).sum(-1)
    compensator = mu * end + alpha / beta * (1 - torch.exp(-beta * (end[:, None] - t))).sum(1)
    return (compensator - torch.log(mu + alpha * excited).sum(1)).mean()


def vtrace(
    logp: Tensor, old: Tensor, r: Tensor, v: Tensor, last: Tensor, *, gamma: float, rho: float, c: float
) -> Tensor:
    ratio = torch.exp(logp - old)
    delta = ratio.clamp(max=rho) * (r + gamma * torch.cat((v[1:], last[None])) - v)
    back, steps = torch.zeros_like(last), []
    for t in reversed(range(len(r))):
        back = delta[t] + gamma * ratio[t].clamp(max=c) * back
        steps.append(v[t] + back)
    return stack(steps[::-1])


# --- windows ---


def wavenet_block(x: Tensor, wf: Tensor, wg: Tensor, wr: Tensor, ws: Tensor, *, dilation: int) -> tuple[Tensor, Tensor]:
    past = F.pad(x, (dilation * (wf.shape[2] - 1), 0))
    z = tanh(F.conv1d(past, wf, dilation=dilation)) * sigmoid(F.conv1d(past, wg, dilation=dilation))
    return x + wr @ z, ws @ z


def dynamic_conv(x: Tensor, w: Tensor) -> Tensor:
    kernel = softmax(einsum("ntgd,gdhk->nthk", x, w), -1)
    taps = kernel.shape[-1]
    windows = F.pad(x, (0, 0, 0, 0, taps - 1, 0)).unfold(1, taps, 1)
    return einsum("nthk,nthdk->nthd", kernel, windows)


def hyena(
    q: Tensor, k: Tensor, v: Tensor, pe: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, decay: Tensor, bias: Tensor
) -> Tensor:
    n = q.shape[1]
    kernel = torch.sin(pe @ w1 + b1) @ w2 * torch.exp(-decay * torch.arange(n)[:, None])
    u = k * v
    spectrum = torch.fft.rfft(kernel, 2 * n, dim=0) * torch.fft.rfft(u, 2 * n, dim=1)
    return q * (torch.fft.irfft(spectrum, 2 * n, dim=1)[:, :n] + bias * u)


def blur_pool(x: Tensor, *, stride: int) -> Tensor:
    row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype)
    kernel = (row[:, None] * row / 16).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.max_pool2d(x, 2, 1), kernel, stride=stride, padding=1, groups=x.shape[1])


def swin_attention(x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, bias: Tensor, *, m: int) -> Tensor:
    n, height, width, d = x.shape
    p, q = height // m, width // m
    tokens = x[:, : p * m, : q * m].reshape(n, p, m, q, m, d).transpose(2, 3).reshape(n, p, q, m * m, d)
    queries, keys, values = (einsum("npqld,dak->npqalk", tokens, w) for w in (wq, wk, wv))
    rows, columns = torch.arange(m * m) // m, torch.arange(m * m) % m
    i, j = rows[:, None] - rows + m - 1, columns[:, None] - columns + m - 1
    score = queries @ keys.mT / math.sqrt(wq.shape[2]) + bias[:, i, j]
    y = einsum("npqalk,akd->npqld", softmax(score, -1) @ values, wo)
    y = y.reshape(n, p, q, m, m, d).transpose(2, 3).reshape(n, p * m, q * m, d)
    return F.pad(y, (0, 0, 0, width - q * m, 0, height - p * m))


def wavelet_lifting(x: Tensor) -> tuple[Tensor, Tensor]:
    half = x.shape[1] // 2
    even, odd = F.pad(x, (0, 2))[:, 0 : 2 * half + 2 : 2], x[:, 1::2][:, :half]
    detail = odd - (even[:, :-1] + even[:, 1:]) / 2
    return even[:, :-1] + (F.pad(detail, (1, 0))[:, :half] + detail) / 4, detail


def sobel_loss(x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=x.dtype)
    edges = F.conv2d((x - y)[:, None], stack((kernel, kernel.T))[:, None])
    return torch.sqrt((edges**2).sum(1) + eps**2).mean()


def ssim(x: Tensor, y: Tensor, *, k: int, c1: float, c2: float) -> Tensor:
    def windowed(z: Tensor) -> Tensor:
        return F.avg_pool2d(z[None], k, 1)[0]

    mx, my = windowed(x), windowed(y)
    vx, vy, cov = windowed(x**2) - mx**2, windowed(y**2) - my**2, windowed(x * y) - mx * my
    return 1 - ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def tv2d(u: Tensor, f: Tensor, *, lam: float, eps: float) -> Tensor:
    down, right = u.diff(dim=0)[:, :-1], u.diff(dim=1)[:-1]
    return ((u - f) ** 2).sum() / 2 + lam * torch.sqrt(down**2 + right**2 + eps).sum()


def involution(x: Tensor, w: Tensor) -> Tensor:
    taps = w.shape[1]
    windows = F.pad(x, (taps // 2, taps - 1 - taps // 2)).unfold(2, taps, 1)
    return einsum("nlk,nclk->ncl", einsum("ncl,ck->nlk", x, w), windows)


def local_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    ago = torch.arange(len(q))[:, None] - torch.arange(len(q))
    score = (q @ k.T / math.sqrt(q.shape[1])).masked_fill((ago < 0) | (ago > window), -INF)
    return softmax(score, -1) @ v


def relative_attention(q: Tensor, k: Tensor, v: Tensor, r: Tensor) -> Tensor:
    ago = torch.arange(len(q))[:, None] - torch.arange(len(k))
    known = (ago >= 0) & (ago < len(r))
    position = where(known, (q @ r.T).gather(1, ago.clamp(0, len(r) - 1)), 0.0)
    score = ((q @ k.T + position) / math.sqrt(q.shape[1])).masked_fill(ago < 0, -INF)
    return softmax(score, -1) @ v


def kan_layer(x: Tensor, knots: Tensor, coef: Tensor, base: Tensor) -> Tensor:
    def spline(g: int, degree: int) -> Tensor:
        if degree == 0:
            return ((knots[:, g] <= x) & (x < knots[:, g + 1])).to(x)
        rising = (x - knots[:, g]) / (knots[:, g + degree] - knots[:, g])
        falling = (knots[:, g + degree + 1] - x) / (knots[:, g + degree + 1] - knots[:, g + 1])
        return rising * spline(g, degree - 1) + falling * spline(g + 1, degree - 1)

    count = knots.shape[1] - 3
    splines = stack([spline(g, 2) for g in range(count)], -1)
    return einsum("nig,iog->no", splines, coef[:, :, :count]) + F.silu(x) @ base


def n_step_td(r: Tensor, v: Tensor, last: Tensor, *, n: int, gamma: float) -> Tensor:
    steps = len(r)
    weights = gamma ** torch.arange(steps, dtype=r.dtype)
    targets = []
    for t in range(steps):
        end = min(t + n, steps)
        gained = (weights[: end - t, None] * r[t:end]).sum(0)
        targets.append(gained + gamma ** (end - t) * (v[end] if t + n < steps else last))
    return F.mse_loss(v, stack(targets).detach()) / 2


# --- unrolled ---


def neural_ode_rk4(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, *, steps: int, dt: float) -> Tensor:
    def f(z: Tensor) -> Tensor:
        return tanh(z @ w1 + b1) @ w2 + b2

    for _ in range(steps):
        k1 = f(x)
        k2 = f(x + dt / 2 * k1)
        k3 = f(x + dt / 2 * k2)
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + dt * k3))
    return x


def em_mixture(x: Tensor, m0: Tensor, logpi: Tensor, *, steps: int, beta: float) -> Tensor:
    def joint(m: Tensor) -> Tensor:
        return logpi - beta * ((x[:, None] - m) ** 2).sum(-1) / 2

    m = m0
    for _ in range(steps):
        p = softmax(joint(m), 1)
        m = p.T @ x / p.sum(0)[:, None]
    return -logsumexp(joint(m), 1).mean()


def leapfrog(q0: Tensor, p0: Tensor, a: Tensor, *, steps: int, eps: float) -> tuple[Tensor, Tensor]:
    q, p = q0, p0
    for _ in range(steps):
        p = p - eps / 2 * tanh(q @ a.T) @ a
        q = q + eps * p
        p = p - eps / 2 * tanh(q @ a.T) @ a
    return q, p


def lista(y: Tensor, we: Tensor, s: Tensor, theta: Tensor, *, steps: int) -> Tensor:
    z = torch.zeros(len(y), len(s), dtype=y.dtype)
    for _ in range(steps):
        c = y @ we + z @ s
        z = where(c > theta, c - theta, where(c < -theta, c + theta, 0.0))
    return z


def heat(u0: Tensor, f: Tensor, *, k: float) -> Tensor:
    kernel = torch.tensor([[[k, 1 - 2 * k, k]]], dtype=f.dtype)
    u, steps = u0, []
    for source in f:
        u = F.conv1d(u[None, None], kernel, padding=1)[0, 0] + source
        steps.append(u)
    return stack(steps)


def sinkhorn_divergence(x: Tensor, y: Tensor, *, steps: int, eps: float) -> Tensor:
    def ot(x: Tensor, y: Tensor) -> Tensor:
        cost = ((x[:, None] - y) ** 2).sum(-1) / 2
        g = torch.zeros(len(y), dtype=y.dtype)
        for _ in range(steps):
            f = eps * (math.log(len(y)) - logsumexp((g - cost) / eps, 1))
            g = eps * (math.log(len(x)) - logsumexp((f[:, None] - cost) / eps, 0))
        return f.mean() + g.mean()

    return ot(x, y) - ot(x, x) / 2 - ot(y, y) / 2


# --- vision ---


def coordinate_attention(x: Tensor, w1: Tensor, b1: Tensor, wh: Tensor, bh: Tensor, ww: Tensor, bw: Tensor) -> Tensor:
    height = x.shape[2]
    both = F.hardswish(w1 @ torch.cat((x.mean(3), x.mean(2)), 2) + b1[:, None])
    rows, columns = sigmoid(wh @ both[..., :height] + bh[:, None]), sigmoid(ww @ both[..., height:] + bw[:, None])
    return x * rows[..., None] * columns[:, :, None]


def non_local_block(x: Tensor, wt: Tensor, wp: Tensor, wg: Tensor, wz: Tensor) -> Tensor:
    queries = F.conv2d(x, wt[..., None, None]).flatten(2)
    keys, values = (F.max_pool2d(F.conv2d(x, w[..., None, None]), 2).flatten(2) for w in (wp, wg))
    y = softmax(queries.mT @ keys, -1) @ values.mT
    return x + (wz @ y.mT).reshape(x.shape)


def global_filter(x: Tensor, re: Tensor, im: Tensor) -> Tensor:
    n = x.shape[1]
    spectrum = torch.fft.fft(x, dim=1)[:, : len(re)] * torch.complex(re, im)
    return torch.fft.ifft(F.pad(spectrum, (0, 0, 0, n - len(re))), dim=1).real.clone()


# --- more of each ---


def gated_deltanet(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
    q, k, alpha, beta = F.normalize(q, dim=-1), F.normalize(k, dim=-1), sigmoid(a), sigmoid(b)[:, :, None, None]
    state = torch.zeros(*k.shape[1:], v.shape[-1], dtype=v.dtype)
    steps = []
    for t in range(len(q)):
        erased = torch.eye(k.shape[-1], dtype=k.dtype) - beta[t] * k[t][:, :, None] * k[t][:, None]
        state = alpha[t][:, None, None] * erased @ state + beta[t] * k[t][:, :, None] * v[t][:, None]
        steps.append(einsum("hkv,hk->hv", state, q[t]))
    return stack(steps)


def biquad_filter(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    y1 = y2 = x1 = x2 = torch.zeros(len(x), dtype=x.dtype)
    steps = []
    for now in x.unbind(1):
        y = b[0] * now + b[1] * x1 + b[2] * x2 - a[0] * y1 - a[1] * y2
        x1, x2, y1, y2 = now, x1, y, y1
        steps.append(y)
    return stack(steps, 1)


def lru(
    u: Tensor, nu: Tensor, theta: Tensor, bre: Tensor, bim: Tensor, cre: Tensor, cim: Tensor, skip: Tensor
) -> Tensor:
    magnitude = torch.exp(-torch.exp(nu))
    eigenvalues = torch.polar(magnitude, torch.exp(theta))
    into, out = torch.complex(bre, bim) * torch.sqrt(1 - magnitude**2), torch.complex(cre, cim)
    state, steps = torch.zeros(u.shape[1], len(nu), dtype=into.dtype), []
    for now in u:
        state = eigenvalues * state + now.to(into.dtype) @ into
        steps.append((state @ out).real + skip * now)
    return stack(steps)


def stft_loss(x: Tensor, y: Tensor, window: Tensor, *, hop: int, eps: float) -> Tensor:
    def magnitude(z: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(z.unfold(1, len(window), hop) * window, dim=-1)
        return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + eps)

    mx, my = magnitude(x), magnitude(y)
    return (my - mx).norm() / my.norm() + (my.log() - mx.log()).abs().mean()


def swin_shift(x: Tensor, *, shift: int) -> Tensor:
    return torch.roll(x, (-shift, -shift), (1, 2))


def reflect_conv(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    before = w.shape[2] // 2
    return F.conv1d(F.pad(x, (before, w.shape[2] - 1 - before), mode="reflect"), w, b)


def capsule_routing(x: Tensor, w: Tensor, *, iterations: int) -> Tensor:
    u = einsum("nia,ijab->nijb", x, w)
    logits = torch.zeros(u.shape[:3], dtype=u.dtype)
    for _ in range(iterations):
        s = (softmax(logits, 2)[..., None] * u).sum(1)
        squared = (s**2).sum(-1, keepdim=True)
        v = s * squared.sqrt() / (1 + squared)
        logits = logits + (u * v[:, None]).sum(-1)
    return v


def unrolled_adam(
    w0: Tensor, x: Tensor, t: Tensor, xv: Tensor, tv: Tensor,
    *, steps: int, lr: float, b1: float, b2: float, eps: float,
) -> Tensor:  # fmt: skip
    w, m, v = w0, torch.zeros_like(w0), torch.zeros_like(w0)
    for k in range(1, steps + 1):
        g = 2 * x.T @ (x @ w - t) / len(x)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - lr * m / (1 - b1**k) / ((v / (1 - b2**k)).sqrt() + eps)
    return ((xv @ w - tv) ** 2).mean()


def appnp(h: Tensor, adj: Tensor, *, steps: int, alpha: float) -> Tensor:
    root = adj.sum(1).rsqrt()
    z = h
    for _ in range(steps):
        z = (1 - alpha) * (root[:, None] * adj * root) @ z + alpha * h
    return F.log_softmax(z, 1)


def spatial_transformer(x: Tensor, theta: Tensor, *, P: int, Q: int) -> Tensor:
    grid = F.affine_grid(theta, [*x.shape[:2], P, Q], align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)


def ntm_addressing(
    key: Tensor, strength: Tensor, gate: Tensor, shift: Tensor, sharpen: Tensor, mem: Tensor, prev: Tensor,
    *, eps: float,
) -> Tensor:  # fmt: skip
    similarity = einsum("bm,bnm->bn", key, mem) / (key.norm(dim=1, keepdim=True) * mem.norm(dim=2) + eps)
    content, g = softmax(softplus(strength)[:, None] * similarity, 1), sigmoid(gate)[:, None]
    gated, weights = g * content + (1 - g) * prev, softmax(shift, 1)
    shifted = stack([weights[:, s : s + 1] * torch.roll(gated, s, 1) for s in range(weights.shape[1])]).sum(0)
    sharp = shifted ** (1 + softplus(sharpen))[:, None]
    return sharp / sharp.sum(1, keepdim=True)
