"""The backward pass of a character network by hand, stage by stage.

Source: the network of Bengio, Ducharme, Vincent & Jauvin, "A Neural Probabilistic Language Model", 2003, in the
form of Karpathy, "Building makemore Part 4: Becoming a Backprop Ninja", 2022.
"""

import numpy as np


def forward(x, y, C, W1, b1, gamma, beta, W2, b2, eps=1e-5):
    """Return (loss, cache)."""
    n = x.shape[0]
    emb = C[x]
    flat = emb.reshape(n, -1)
    hprebn = flat @ W1 + b1
    mean = hprebn.mean(axis=0)
    diff = hprebn - mean
    var = (diff**2).sum(axis=0) / (n - 1)
    rstd = (var + eps) ** -0.5
    raw = diff * rstd
    hpre = gamma * raw + beta
    h = np.tanh(hpre)
    logits = h @ W2 + b2
    counts = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = counts / counts.sum(axis=1, keepdims=True)
    loss = -np.log(probs[np.arange(n), y]).mean()
    return loss, (x, y, C, W1, gamma, W2, emb, flat, diff, rstd, raw, hpre, h, probs)


def backward(cache):
    """Return the gradients of the seven parameters; that of the loss is 1."""
    x, y, C, W1, gamma, W2, emb, flat, diff, rstd, raw, hpre, h, probs = cache
    n = x.shape[0]
    dlogits = probs.copy()
    dlogits[np.arange(n), y] -= 1
    dlogits /= n
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(axis=0)
    dhpre = (1 - h**2) * dh
    dgamma = (raw * dhpre).sum(axis=0)
    dbeta = dhpre.sum(axis=0)
    draw = gamma * dhpre
    drstd = (diff * draw).sum(axis=0)
    ddiff = rstd * draw
    dvar = -0.5 * rstd**3 * drstd
    dsquare = np.ones_like(diff) * dvar / (n - 1)
    ddiff += 2 * diff * dsquare
    dhprebn = ddiff.copy()
    dmean = -ddiff.sum(axis=0)
    dhprebn += dmean / n
    dflat = dhprebn @ W1.T
    dW1 = flat.T @ dhprebn
    db1 = dhprebn.sum(axis=0)
    demb = dflat.reshape(emb.shape)
    dC = np.zeros_like(C)
    np.add.at(dC, x, demb)
    return dC, dW1, db1, dgamma, dbeta, dW2, db2
