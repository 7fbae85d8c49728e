"""Mean negative log-likelihood of a labelling by all alignments with it, given log-probabilities at each step.

label has the labels with a blank before, between and after them, so S is odd; skip is true where
a label may follow the one two places before it, that is where it is no blank and differs from that. A place
that
can't be reached has the logarithm -1e30, and so has a labelling that is too long.

    move[n, s, r]         = where(r < 2 or skip[n, s], 0, -inf)
    alpha_start[n, s]     = where(s == 0, 0, -1e30)
    pre_alpha[t, n, s, r] = padded(alpha, -inf)[t - 1, n, s - r] + move[n, s, r]
    alpha[-1, n, s]       = alpha_start[n, s];
                            alpha[t, n, s] = logp[t, n, label[n, s]] + logsumexp[r](pre_alpha[t, n, s, r])
    loss                  = -mean[n](softplus(padded(alpha, -inf)[T - 1, n, S - 2] - alpha[T - 1, n, S - 1])
                            + alpha[T - 1, n, S - 1])

Memory beside arguments, results and cache: forward holds up to about 10*N*S + N*(S + 2) + S elements,
backward the larger of 6*T*N*S and 5*T*N*S + 4*N*S + N*(S + 2).

Source: Graves, Fernández, Gomez & Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
Sequence Data with Recurrent Neural Networks", 2006.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate ctc_loss`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    label: np.ndarray  # [N, S]
    pre_alpha: np.ndarray  # [T, N, S, 3]
    alpha: np.ndarray  # [N, S]
    C: int


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dlogp: np.ndarray  # [T, N, C]


def forward(logp, label, skip):
    """Return (loss, cache).

    logp: [T, N, C]; label: [N, S] integers; skip: [N, S] booleans; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis, IndexError for a label out of range.
    """
    logp, label, skip = _expect(logp, label, skip)
    T, N, C = logp.shape
    S = label.shape[1]
    _labels("label", label, C)
    move = np.where((np.arange(3) < 2) | skip[:, :, None], 0, -np.inf).astype(logp.dtype)
    alpha_start = np.where(np.arange(S) == 0, 0, -1e30).astype(logp.dtype)
    pre_alpha = np.empty((T, N, S, 3), dtype=logp.dtype)
    alpha = np.broadcast_to(alpha_start, label.shape).copy()
    for t in range(T):
        alpha_padded = _pad(alpha, (2, 0), fill=-np.inf)
        alpha_windows = sliding_window_view(alpha_padded, 3, axis=1)[:, :, ::-1]
        pre_alpha[t] = move + alpha_windows
        alpha = logp[t, np.arange(N)[:, None], label] + _logsumexp(pre_alpha[t], axis=-1)
    loss = np.where(S - 2 >= 0 and S - 2 < S, alpha[:, min(max(S - 2, 0), S - 1)], -np.inf) - alpha[:, S - 1]
    loss = -(alpha[:, S - 1] + np.logaddexp(0, loss)).mean()
    return loss, Cache(label, pre_alpha, alpha, C)


def backward(dloss, cache):
    """Return Gradients(dlogp).

        dpre_alpha_factor[t, n, s, r] = softmax[r](pre_alpha[t, n, s, r])
        dalpha[t, n, s]               = dloss*sigmoid(padded(alpha, -inf)[T - 1, n, S - 2]
                                        - alpha[T - 1, n, S - 1])*delta(s, S - 1)*delta(t, T - 1)/N
                                        + dalpha_next[t + 1, n, s] - dloss*delta(s, S - 1)*delta(t, T - 1)/N
                                        - dloss*sigmoid(padded(alpha, -inf)[T - 1, n, S - 2]
                                        - alpha[T - 1, n, S - 1])*delta(s, S - 2)*delta(t, T - 1)/N
        dpre_alpha[t, n, s, r]        = dalpha[t, n, s]*dpre_alpha_factor[t, n, s, r]
        dalpha_next[T, n, s]          = 0; dalpha_next[t, n, s] = sum[r, k](delta(s, r - k)*
                                        dpre_alpha[t, n, r, k])
        dlogp[t, n, c]                = sum[s](delta(c, label[n, s])*dalpha[t, n, s])

    dloss: scalar.
    Raises ValueError for another shape.
    """
    label, pre_alpha, alpha, C = cache
    T = pre_alpha.shape[0]
    N, S = label.shape
    dloss = _cotangent("dloss", dloss, (), pre_alpha.dtype)
    dpre_alpha_factor = np.exp(pre_alpha - pre_alpha.max(axis=-1, keepdims=True))
    dpre_alpha_factor /= dpre_alpha_factor.sum(axis=-1, keepdims=True)
    dalpha_in = np.zeros((T, S, N), dtype=dloss.dtype)
    part = expit(np.where(S - 2 >= 0 and S - 2 < S, alpha[:, min(max(S - 2, 0), S - 1)], -np.inf) - alpha[:, S - 1])
    dalpha_in[T - 1, S - 1] += dloss / N * (part - 1)
    dalpha_in[T - 1, S - 2] -= dloss / N * part
    dalpha = np.empty((T, N, S), dtype=dloss.dtype)
    dalpha_next = np.zeros(label.shape, dtype=dloss.dtype)
    for t in reversed(range(T)):
        dalpha[t] = dalpha_in[t].T + dalpha_next
        dpre_alpha = dalpha[t, :, :, None] * dpre_alpha_factor[t]
        dalpha_next_padded = np.zeros((N, S + 2), dtype=dloss.dtype)
        for k in range(3):
            dalpha_next_padded[:, k : k + S] += dpre_alpha[:, :, 2 - k]
        dalpha_next = _pad(dalpha_next_padded, (-2, 0))
    dlogp = np.zeros((T, N, C), dtype=dloss.dtype)
    np.add.at(dlogp, (slice(None), np.arange(N)[:, None], label), dalpha)
    return Gradients(dlogp)


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "logp": ("Real", ("T", "N", "C")),
    "label": ("Int", ("N", "S")),
    "skip": ("Bool", ("N", "S")),
}
_KINDS = {"Real": "f", "Int": "iu", "Bool": "b"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "mean[n]",
    "T": "alpha[T - 1, n, S - 1]",
    "S": "alpha[T - 1, n, S - 1]",
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
