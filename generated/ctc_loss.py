"""Mean negative log-likelihood of a labelling by all alignments with it, given log-probabilities at each step.

label has the labels with a blank before, between and after them, so S is odd; skip is true where
a label may follow the one two places before it, that is where it is no blank and differs from that. The loss
of
a labelling that is too long is infinite, and nothing has a gradient then.

    alpha_start[n, s] = where(s == 0, 0, -inf)
    alpha[-1, n, s]   = alpha_start[n, s];
                        alpha[t, n, s] = logp[t, n, label[n, s]]
                        + logsumexp[r: 3](where(r < 2
                        or skip[n, s], padded(alpha, -inf)[t - 1, n, s - r], -inf))
    loss              = -mean[n](logaddexp(alpha[T - 1, n, S - 1], padded(alpha, -inf)[T - 1, n, S - 2]))

Memory beside arguments, results and cache: forward holds up to about 11*N*S + N*(S + 2) + S elements,
backward the larger of (T + 1)*N*(S + 2) + 9*T*N*S and (T + 1)*N*(S + 2) + 5*T*N*S + 3*N*S + N*(S + 2).

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
    skip: np.ndarray  # [N, S]
    alpha: np.ndarray  # [T + 1, N, S]
    T: int
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
    alpha_start = np.where(np.arange(S) == 0, 0, -np.inf).astype(logp.dtype)
    alpha = np.empty((T + 1, N, S), dtype=logp.dtype)
    alpha[0] = alpha_start
    for t in range(T):
        alpha_prev = alpha[t]
        alpha_prev_padded = _pad(alpha_prev, (2, 0), fill=-np.inf)
        alpha_prev_windows = sliding_window_view(alpha_prev_padded, 3, axis=1)[:, :, ::-1]
        term = (np.arange(3) < 2)[:, None] | skip[:, None, :]
        term2 = _logsumexp(np.where(term, np.swapaxes(alpha_prev_windows, 1, -1), -np.inf), axis=1)
        alpha[t + 1] = logp[t, np.arange(N)[:, None], label] + term2
    loss = np.where(S - 2 >= 0 and S - 2 < S, alpha[-1, :, min(max(S - 2, 0), S - 1)], -np.inf)
    loss = -np.logaddexp(alpha[-1, :, S - 1], loss).mean()
    return loss, Cache(label, skip, alpha, T, C)


def backward(dloss, cache):
    """Return Gradients(dlogp).

        dalpha[t, n, s]      = dalpha_next[t + 1, n, s] - dloss*
                               sigmoid(padded(alpha, -inf)[T - 1, n, S - 2] - alpha[T - 1, n, S - 1])*
                               delta(s, S - 2)*delta(t, T - 1)/N - dloss*
                               sigmoid(alpha[T - 1, n, S - 1] - padded(alpha, -inf)[T - 1, n, S - 2])*
                               delta(s, S - 1)*delta(t, T - 1)/N
        dalpha_next[T, n, s] = 0; dalpha_next[t, n, s] = sum[r, k: 3](delta(s, r - k)*dalpha[t, n, r]*
                               where(k < 2 or skip[n, r],
                               softmax[k](where(k < 2 or skip[n, r], padded(alpha, -inf)[t - 1, n, r - k], -inf)),
                               0))
        dlogp[t, n, c]       = sum[s](delta(c, label[n, s])*dalpha[t, n, s])

    dloss: scalar.
    Raises ValueError for another shape.
    """
    label, skip, alpha, T, C = cache
    N, S = label.shape
    dloss = _cotangent("dloss", dloss, (), alpha.dtype)
    alpha_padded = _pad(alpha, (2, 0), fill=-np.inf)
    alpha_windows = sliding_window_view(alpha_padded, 3, axis=2)[:-1][:, :, :, ::-1]
    p = np.where((np.arange(3) < 2)[:, None] | skip[:, None, :], np.swapaxes(alpha_windows, 2, -1), -np.inf)
    p = np.exp(p - np.maximum(p.max(axis=2, keepdims=True), -1e30))
    p /= np.maximum(p.sum(axis=2, keepdims=True), 1)
    dalpha_in = np.zeros((T, S, N), dtype=dloss.dtype)
    part = np.where(S - 2 >= 0 and S - 2 < S, alpha[-1, :, min(max(S - 2, 0), S - 1)], -np.inf)
    dalpha_in[T - 1, S - 1] -= dloss / N * expit(alpha[-1, :, S - 1] - np.maximum(part, -1e30))
    dalpha_in[T - 1] -= (
        dloss / N * expit(part - np.maximum(alpha[-1, :, S - 1], -1e30)) * (np.arange(S) == S - 2)[:, None]
    )
    dalpha = np.empty((T, N, S), dtype=dloss.dtype)
    dalpha_next = np.zeros(label.shape, dtype=dloss.dtype)
    for t in reversed(range(T)):
        dalpha[t] = dalpha_in[t].T + dalpha_next
        dalpha_next_padded = np.zeros((N, S + 2), dtype=dloss.dtype)
        for k in range(3):
            dalpha_next_padded[:, k : k + S] += dalpha[t] * np.where((2 - k < 2) | skip, p[t, :, 2 - k], 0)
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
