"""Mean negative log-likelihood of tags under a linear-chain conditional random field.

Scores: emit for a tag at a position, trans for a tag after another, start for the first tag.

    pre_alpha[t, n, k, j] = alpha[t - 1, n, j] + trans[j, k]
    alpha[-1, n, k]       = 0; alpha[t, n, k] = where(t == 0, start[k], logsumexp[j](pre_alpha[t, n, k, j]))
                            + emit[t, n, k]
    logz[n]               = logsumexp[k](alpha[T - 1, n, k])
    before[t, n]          = padded(tags)[t - 1, n]
    gold[n]               = sum[t](where(t == 0, start[tags[t, n]], trans[before[t, n], tags[t, n]])
                            + emit[t, n, tags[t, n]])
    loss                  = mean[n](logz[n] - gold[n])

Memory beside arguments, results and cache: forward holds up to about the largest of 2*N*K**2, 2*N*K + N and
(T + 1)*N + 4*T*N + N + T elements, backward the larger of 2*T*N*K + 2*T*N*K**2 + 3*N*K + N*K**2 and 2*T*N*K +
2*T*N*K**2 + 2*N*K + T*K.

Source: Lafferty, McCallum & Pereira, "Conditional Random Fields: Probabilistic Models for Segmenting and
Labeling Sequence Data", 2001.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate crf_loss`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    tags: np.ndarray  # [T, N]
    pre_alpha: np.ndarray  # [T, N, K, K]
    alpha: np.ndarray  # [N, K]
    before: np.ndarray  # [T, N]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    demit: np.ndarray  # [T, N, K]
    dtrans: np.ndarray  # [K, K]
    dstart: np.ndarray  # [K]


def forward(emit, tags, trans, start):
    """Return (loss, cache).

    emit: [T, N, K]; tags: [T, N] integers; trans: [K, K]; start: [K]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis, IndexError for a label out of range.
    """
    emit, tags, trans, start = _expect(emit, tags, trans, start)
    dtype = np.result_type(emit, trans, start)
    T, N, K = emit.shape
    _labels("tags", tags, K)
    pre_alpha = np.empty((T, N, K, K), dtype=dtype)
    alpha = np.zeros((N, K), dtype=dtype)
    for t in range(T):
        pre_alpha[t] = trans.T + alpha[:, None, :]
        alpha = emit[t] + np.where(t == 0, start, _logsumexp(pre_alpha[t], axis=-1))
    logz = _logsumexp(alpha, axis=-1)
    tags_padded = _pad(tags, (1, 0), (0, 0))
    before = tags_padded[:-1]
    gold = np.where((np.arange(T) == 0)[:, None], start[tags], trans[before, tags])
    gold = (emit[np.arange(T)[:, None], np.arange(N), tags] + gold).sum(axis=0)
    loss = (logz - gold).mean()
    dtypes = (emit.dtype, trans.dtype, start.dtype)
    return loss, Cache(tags, pre_alpha, alpha, before, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(demit, dtrans, dstart).

        dalpha_in[t, n, k]            = dloss*delta(t, T - 1)*softmax[k](alpha[T - 1, n, k])/N
        dpre_alpha_factor[t, n, k, j] = softmax[j](pre_alpha[t, n, k, j])
        dalpha[t, n, k]               = dalpha_in[t, n, k] + dalpha_next[t + 1, n, k]
        dpre_alpha[t, n, k, j]        = where(t == 0, 0, 1)*dalpha[t, n, k]*dpre_alpha_factor[t, n, k, j]
        dalpha_next[T, n, k]          = 0; dalpha_next[t, n, k] = sum[j](dpre_alpha[t, n, j, k])
        demit[t, n, k]                = dalpha[t, n, k] - dloss*delta(k, tags[t, n])/N
        dtrans[j, k]                  = sum[t, n](dpre_alpha[t, n, k, j]) - dloss*
                                        sum[n, t](where(t == 0, 0, 1)*delta(j, before[t, n])*delta(k, tags[t, n]))
                                        /N
        dstart[k]                     = sum[t, n](where(t == 0, 1, 0)*dalpha[t, n, k]) - dloss*
                                        sum[n, t](where(t == 0, 1, 0)*delta(k, tags[t, n]))/N

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    tags, pre_alpha, alpha, before, dtypes = cache
    T, N = tags.shape
    K = pre_alpha.shape[2]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    p = np.exp(alpha - alpha.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    dalpha_in = np.zeros((T, N, K), dtype=dloss.dtype)
    dalpha_in[T - 1] = dloss / N * p
    dpre_alpha_factor = np.exp(pre_alpha - pre_alpha.max(axis=-1, keepdims=True))
    dpre_alpha_factor /= dpre_alpha_factor.sum(axis=-1, keepdims=True)
    dalpha = np.empty((T, N, K), dtype=dloss.dtype)
    dpre_alpha = np.empty(pre_alpha.shape, dtype=dloss.dtype)
    dalpha_next = np.zeros(alpha.shape, dtype=dloss.dtype)
    for t in reversed(range(T)):
        dalpha[t] = dalpha_in[t] + dalpha_next
        dpre_alpha[t] = ((0 if t == 0 else 1) * dalpha[t])[:, :, None] * dpre_alpha_factor[t]
        dalpha_next = dpre_alpha[t].sum(axis=1)
    demit = dalpha.copy()
    demit[np.arange(T)[:, None], np.arange(N), tags] -= dloss / N
    dtrans = dpre_alpha.sum(axis=(0, 1)).T
    np.subtract.at(dtrans, (before, tags), np.where(np.arange(T) == 0, 0, dloss / N)[:, None])
    dstart = (np.arange(T) == 0).astype(dloss.dtype) @ dalpha.sum(axis=1)
    np.subtract.at(dstart, tags, (dloss / N * (np.arange(T) == 0))[:, None])
    return _into(out, Gradients(*map(np.asarray, (demit, dtrans, dstart), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "emit": ("Real", ("T", "N", "K")),
    "tags": ("Int", ("T", "N")),
    "trans": ("Real", ("K", "K")),
    "start": ("Real", ("K",)),
}
_KINDS = {"Real": "f", "Int": "iu"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "T": "alpha[T - 1, n, k]",
    "N": "mean[n]",
    "K": "logsumexp[j]",
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


def _pad(x, *widths, fill=0):
    """Return x with so many elements of fill before and after the last axes, a pair each; below 0 they are cut off."""
    cut, place, shape = [...], [...], list(x.shape)
    for axis, (before, after) in enumerate(widths, x.ndim - len(widths)):
        length = x.shape[axis]
        first = min(max(-before, 0), length)
        last = max(min(length + after, length), first)
        cut.append(slice(first, last))
        place.append(slice(first + before, last + before))
        shape[axis] += before + after
    inside = x[tuple(cut)]
    if inside.shape == tuple(shape):
        return inside
    padded = np.full(shape, fill, dtype=x.dtype)
    padded[tuple(place)] = inside
    return padded


def _logsumexp(x, axis=None, keepdims=False):
    """Return log(sum(exp(x))) with the largest element taken out; -inf where all elements are -inf."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # log(0) = -inf
        result = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return result if keepdims else result.squeeze(axis)
