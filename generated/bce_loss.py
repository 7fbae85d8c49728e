"""Mean binary cross-entropy of probabilities p with targets t in [0, 1].

    log_p[...] = log(p[...])
    loss       = -mean[...](log1p(-p[...])*(1 - t[...]) + log_p[...]*t[...])

Source: Bishop, "Pattern Recognition and Machine Learning", 2006.
"""

# Made by derive 0.1.0 from losses.layer. Do not edit: change the layer file and run
# `derive generate bce_loss`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    p: np.ndarray  # [...]
    t: np.ndarray  # [...]
    log_p: np.ndarray  # [...]
    log1p_minus_p: np.ndarray  # [...]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dp: np.ndarray  # [...]
    dt: np.ndarray  # [...]


def forward(p, t):
    """Return (loss, cache).

    p: [...] between 0 and 1; t: [...]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    p, t = _expect(p, t)
    log_p = np.log(p)
    log1p_minus_p = np.log1p(-p)
    loss = -((1 - t) * log1p_minus_p + t * log_p).mean()
    dtypes = (p.dtype, t.dtype)
    return loss, Cache(p, t, log_p, log1p_minus_p, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dp, dt).

        dp[...] = dloss*(p[...] - t[...])/(sum[...](1)*p[...]*(1 - p[...]))
        dt[...] = -dloss*(log_p[...] - log1p(-p[...]))/sum[...](1)

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    p, t, log_p, log1p_minus_p, dtypes = cache
    count = p.size
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    dp = dloss / count * (p - t) / (p * (1 - p))
    dt = -dloss / count * (log_p - log1p_minus_p)
    return _into(out, Gradients(*map(np.asarray, (dp, dt), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "p": ("Unit", ("...",)),
    "t": ("Real", ("...",)),
}
_KINDS = {"Unit": "f", "Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "...": "mean[...]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
    arrays = [np.asarray(value) for value in inputs]
    real = [a.dtype for a, v in zip(arrays, inputs, strict=True) if a.dtype.kind == "f" and type(v) is not float]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        if type(inputs[k]) in (int, float) and "f" in _KINDS[kind]:  # a Python number takes the dtype of the arrays
            arrays[k] = np.asarray(inputs[k], dtype=np.result_type(*real) if real else float)
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape, batch = array.shape, array.ndim - len(axes) + 1
        if axes[:1] == ("...",) and batch >= 0:
            shape = (shape[:batch], *shape[batch:])
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
