"""Mean negative log-likelihood of observations under a hidden Markov model, by the forward algorithm.

logp has the observations' log-probabilities in each of K states; trans and start are logits.

    a[j, k]               = log_softmax[k](trans[j, k])
    first[k]              = log_softmax[k](start[k])
    pre_alpha[t, n, k, j] = alpha[t - 1, n, j] + a[j, k]
    alpha[-1, n, k]       = 0; alpha[t, n, k] = where(t == 0, first[k], logsumexp[j](pre_alpha[t, n, k, j]))
                            + logp[t, n, k]
    loss                  = -mean[n](logsumexp[k](alpha[T - 1, n, k]))

Source: Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition", 1989.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate hmm_loss`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    a: np.ndarray  # [K, K]
    first: np.ndarray  # [K]
    pre_alpha: np.ndarray  # [T, N, K, K]
    alpha: np.ndarray  # [N, K]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dlogp: np.ndarray  # [T, N, K]
    dtrans: np.ndarray  # [K, K]
    dstart: np.ndarray  # [K]


def forward(logp, trans, start):
    """Return (loss, cache).

    logp: [T, N, K]; trans: [K, K]; start: [K]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    logp, trans, start = _expect(logp, trans, start)
    dtype = np.result_type(logp, trans, start)
    T, N, K = logp.shape
    a = trans - trans.max(axis=-1, keepdims=True)
    a -= np.log(np.exp(a).sum(axis=-1, keepdims=True))
    first = start - start.max(axis=0, keepdims=True)
    first -= np.log(np.exp(first).sum(axis=0, keepdims=True))
    pre_alpha = np.empty((T, N, K, K), dtype=dtype)
    alpha = np.zeros((N, K), dtype=dtype)
    for t in range(T):
        pre_alpha[t] = a.T + alpha[:, None, :]
        alpha = logp[t] + np.where(t == 0, first, _logsumexp(pre_alpha[t], axis=-1))
    loss = -_logsumexp(alpha, axis=-1).mean()
    dtypes = (logp.dtype, trans.dtype, start.dtype)
    return loss, Cache(a, first, pre_alpha, alpha, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dlogp, dtrans, dstart).

        dlogp_in[t, n, k]             = dloss*delta(t, T - 1)*softmax[k](alpha[T - 1, n, k])/N
        dpre_alpha_factor[t, n, k, j] = softmax[j](pre_alpha[t, n, k, j])
        dlogp[t, n, k]                = dalpha_next[t + 1, n, k] - dlogp_in[t, n, k]
        dlse[t, n, k]                 = where(t == 0, 0, 1)*dlogp[t, n, k]
        dpre_alpha[t, n, k, j]        = dlse[t, n, k]*dpre_alpha_factor[t, n, k, j]
        dalpha_next[T, n, k]          = 0; dalpha_next[t, n, k] = sum[j](dpre_alpha[t, n, j, k])
        dfirst[k]                     = sum[t, n](where(t == 0, 1, 0)*dlogp[t, n, k])
        da[j, k]                      = sum[t, n](dpre_alpha[t, n, k, j])
        dtrans[j, k]                  = da[j, k] - exp(a[j, k])*sum[l](da[j, l])
        dstart[k]                     = dfirst[k] - exp(first[k])*sum[j](dfirst[j])

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    a, first, pre_alpha, alpha, dtypes = cache
    T, N, _, _ = pre_alpha.shape
    K = a.shape[0]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    p = np.exp(alpha - alpha.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    dlogp_in = np.zeros((T, N, K), dtype=dloss.dtype)
    dlogp_in[T - 1] = dloss / N * p
    dpre_alpha_factor = np.exp(pre_alpha - pre_alpha.max(axis=-1, keepdims=True))
    dpre_alpha_factor /= dpre_alpha_factor.sum(axis=-1, keepdims=True)
    dlogp = np.empty((T, N, K), dtype=dloss.dtype)
    dpre_alpha = np.empty(pre_alpha.shape, dtype=dloss.dtype)
    dalpha_next = np.zeros(alpha.shape, dtype=dloss.dtype)
    for t in reversed(range(T)):
        dlogp[t] = dalpha_next - dlogp_in[t]
        dlse = ((0 if t == 0 else 1) * dlogp[t])[:, :, None]
        dpre_alpha[t] = dlse * dpre_alpha_factor[t]
        dalpha_next = dpre_alpha[t].sum(axis=1)
    dfirst = (np.arange(T) == 0).astype(dloss.dtype) @ dlogp.sum(axis=1)
    da = dpre_alpha.sum(axis=(0, 1)).T
    dtrans = da - da.sum(axis=-1, keepdims=True) * np.exp(a)
    dstart = dfirst - dfirst.sum() * np.exp(first)
    return _into(out, Gradients(*map(np.asarray, (dlogp, dtrans, dstart), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "logp": ("Real", ("T", "N", "K")),
    "trans": ("Real", ("K", "K")),
    "start": ("Real", ("K",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "K": "log_softmax[k]",
    "N": "mean[n]",
    "T": "alpha[T - 1, n, k]",
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


def _logsumexp(x, axis=None, keepdims=False):
    """Return log(sum(exp(x))) with the largest element taken out; -inf where all elements are -inf."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # log(0) = -inf
        result = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return result if keepdims else result.squeeze(axis)
