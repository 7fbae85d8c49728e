"""Character language model: B characters of context predict the next; returns the mean cross-entropy.

An embedding C, a linear layer, batch normalization with Bessel's correction (so N is at least 2), tanh,
and a linear layer to the logits.

    emb[n, b, e] = C[x[n, b], e]
    h[n, j]      = sum[b, e](W1[b, e, j]*emb[n, b, e]) + b1[j]
    mu[j]        = mean[n](h[n, j])
    hc[n, j]     = h[n, j] - mu[j]
    var[j]       = sum[n](hc[n, j]**2)/(N - 1)
    rstd[j]      = 1/sqrt(var[j] + eps)
    hhat[n, j]   = rstd[j]*hc[n, j]
    a[n, j]      = tanh(gamma[j]*hhat[n, j] + beta[j])
    logits[n, v] = sum[j](W2[j, v]*a[n, j]) + b2[v]
    logp[n, v]   = log_softmax[v](logits[n, v])
    loss         = -mean[n](logp[n, y[n]])

Source: Bengio, Ducharme, Vincent & Jauvin, "A Neural Probabilistic Language Model", 2003, in the form of
Karpathy, "Building makemore Part 4: Becoming a Backprop Ninja", 2022.
"""

# Made by derive 0.1.0 from networks.layer. Do not edit: change the layer file and run
# `derive generate char_mlp`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, B]
    y: np.ndarray  # [N]
    W1: np.ndarray  # [B, E, H]
    gamma: np.ndarray  # [H]
    W2: np.ndarray  # [H, V]
    emb: np.ndarray  # [N, B, E]
    rstd: np.ndarray  # [H]
    hhat: np.ndarray  # [N, H]
    a: np.ndarray  # [N, H]
    logp: np.ndarray  # [N, V]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dC: np.ndarray  # [V, E]
    dW1: np.ndarray  # [B, E, H]
    db1: np.ndarray  # [H]
    dgamma: np.ndarray  # [H]
    dbeta: np.ndarray  # [H]
    dW2: np.ndarray  # [H, V]
    db2: np.ndarray  # [V]


def forward(x, y, C, W1, b1, gamma, beta, W2, b2, *, eps=1e-05):
    """Return (loss, cache).

    x: [N, B] integers; y: [N] integers; C: [V, E]; W1: [B, E, H]; b1, gamma, beta: [H]; W2:
    [H, V]; b2: [V]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis, IndexError for a label out of range.
    """
    x, y, C, W1, b1, gamma, beta, W2, b2 = _expect(x, y, C, W1, b1, gamma, beta, W2, b2)
    V = C.shape[0]
    N = x.shape[0]
    _labels("x", x, V)
    _labels("y", y, V)
    emb = C[x]
    h = np.tensordot(emb, W1, axes=2) + b1
    mu = h.mean(axis=0)
    hc = h - mu
    hc -= hc.mean(axis=0, keepdims=True)
    var = (hc * hc).sum(axis=0) / (N - 1)
    rstd = 1 / np.sqrt(var + eps)
    hhat = rstd * hc
    a = np.tanh(gamma * hhat + beta)
    logits = a @ W2 + b2
    logp = logits - logits.max(axis=-1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(axis=-1, keepdims=True))
    loss = -logp[np.arange(N), y].mean()
    dtypes = (C.dtype, W1.dtype, b1.dtype, gamma.dtype, beta.dtype, W2.dtype, b2.dtype)
    return loss, Cache(x, y, W1, gamma, W2, emb, rstd, hhat, a, logp, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dC, dW1, db1, dgamma, dbeta, dW2, db2).

        dlogits[n, v] = dloss*(exp(logp[n, v]) - delta(v, y[n]))/N
        da[n, j]      = sum[v](W2[j, v]*dlogits[n, v])
        dpre_a[n, j]  = da[n, j]*(1 - a[n, j]**2)
        dgamma[j]     = sum[n](dpre_a[n, j]*hhat[n, j])
        dbeta[j]      = sum[n](dpre_a[n, j])
        dh[n, j]      = gamma[j]*rstd[j]*(dpre_a[n, j] - dbeta[j]/N - dgamma[j]*hhat[n, j]/(N - 1))
        demb[n, b, e] = sum[j](dh[n, j]*W1[b, e, j])
        dC[v, e]      = sum[n, b](delta(v, x[n, b])*demb[n, b, e])
        dW1[b, e, j]  = sum[n](dh[n, j]*emb[n, b, e])
        db1[j]        = 0
        dW2[j, v]     = sum[n](a[n, j]*dlogits[n, v])
        db2[v]        = sum[n](dlogits[n, v])

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, y, W1, gamma, W2, emb, rstd, hhat, a, logp, dtypes = cache
    N = x.shape[0]
    V = W2.shape[1]
    E = W1.shape[1]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    dlogits = np.exp(logp)
    dlogits[np.arange(N), y] -= 1
    dlogits *= dloss / N
    da = dlogits @ W2.T
    dpre_a = da * (1 - a * a)
    dgamma = (hhat * dpre_a).sum(axis=0)
    dbeta = dpre_a.sum(axis=0)
    dh = gamma * rstd * (dpre_a - dbeta / N - dgamma / (N - 1) * hhat)
    demb = np.einsum("nj,bej->nbe", dh, W1, optimize=True)
    dC = np.zeros((V, E), dtype=dloss.dtype)
    np.add.at(dC, x, demb)
    dW1 = np.einsum("nbe,nj->bej", emb, dh, optimize=True)
    db1 = np.zeros(gamma.shape, dtype=dloss.dtype)
    dW2 = a.T @ dlogits
    db2 = dlogits.sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (dC, dW1, db1, dgamma, dbeta, dW2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Int", ("N", "B")),
    "y": ("Int", ("N",)),
    "C": ("Real", ("V", "E")),
    "W1": ("Real", ("B", "E", "H")),
    "b1": ("Real", ("H",)),
    "gamma": ("Real", ("H",)),
    "beta": ("Real", ("H",)),
    "W2": ("Real", ("H", "V")),
    "b2": ("Real", ("V",)),
}
_KINDS = {"Int": "iu", "Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "mean[n]",
    "V": "log_softmax[v]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
    arrays = [np.asarray(value) for value in inputs]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape = array.shape
        for axis, length in zip(axes, shape, strict=False):
            sizes.setdefault(axis, (length, f"{name} {array.shape}"))
        if shape != tuple(sizes[axis][0] for axis in axes if axis in sizes) or len(shape) != len(axes):
            raise ValueError(f"{name}: expected shape {_described(axes, known)}, got {array.shape}")
    for axis, why in _NONEMPTY.items():
        if 0 in np.atleast_1d(sizes[axis][0]):
            raise ValueError(f"{sizes[axis][1]}: the axis {axis} is empty, which leaves {why} undefined")
    return arrays


def _described(axes, known):
    """Return "(N, D) = (4, D), N from x (4, 5)": the axes, and what is known of them."""

    def shape(lengths):
        text = ", ".join(str(n).strip("()").rstrip(",") for n in lengths)
        return f"({text},)" if len(lengths) == 1 else f"({text})"

    if not known:
        return shape(axes)
    owners = "".join(f", {axis} from {owner}" for axis, (_, owner) in known.items())
    return f"{shape(axes)} = {shape([known.get(axis, (axis,))[0] for axis in axes])}{owners}"


def _cotangent(name, value, shape, dtype):
    """Return a cotangent as an array of that dtype; ValueError for another kind or shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected Real elements, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array.astype(dtype, copy=False)


def _labels(name, labels, size):
    """Raise IndexError for a label that is not among 0 … size-1."""
    wrong = labels[(labels < 0) | (labels >= size)]
    if wrong.size:
        raise IndexError(f"{name}: expected labels from 0 to {size - 1}, got {wrong[0]}")


def _into(out, gradients):
    """Return the gradients, in the arrays of out where it has them; ValueError where one does not fit."""
    if out is None:
        return gradients
    arrays = _arrays(out)
    for name, value, array in zip(Gradients._fields, gradients, arrays, strict=True):
        if array is not None and (array.shape, array.dtype) != (np.shape(value), value.dtype):
            wanted = f"{value.dtype} of shape {np.shape(value)}"
            raise ValueError(f"out, {name}: expected {wanted}, got {array.dtype} of shape {array.shape}")
    for value, array in zip(gradients, arrays, strict=True):
        if array is not None and array is not value:
            np.copyto(array, value)
    return Gradients(*(value if array is None else array for value, array in zip(gradients, arrays, strict=True)))


def _arrays(out):
    """Return an array or None for each gradient; ValueError for anything else, or where two share memory."""
    fields = Gradients._fields
    if isinstance(out, dict):
        if not out.keys() <= set(fields):
            raise ValueError(f"out: expected names among {', '.join(fields)}, got {', '.join(map(str, out))}")
        out = [out.get(name) for name in fields]
    if not isinstance(out, (tuple, list)) or len(out) != len(fields):
        raise ValueError(f"out: expected Gradients({', '.join(fields)}), a sequence in this order or a dict")
    for k, (name, array) in enumerate(zip(fields, out, strict=True)):
        if array is not None and not (isinstance(array, np.ndarray) and array.flags.writeable):
            raise ValueError(f"out, {name}: expected an array that can be written to, or None")
        for other in out[:k]:
            if array is not None and other is not None and np.shares_memory(array, other):
                raise ValueError(f"out, {name}: shares memory with another one")
    return out
