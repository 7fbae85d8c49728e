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


def backward(dloss, cache, out=None):
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
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
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
    return _into(out, Gradients(dlogp))


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
